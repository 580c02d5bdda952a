// SPDX-License-Identifier: BSD-3-Clause
// One device behind a VT-d unit: its PASID directory and tables (scalable mode), and its TLB.
//
// In scalable mode the context entry points to the PASID directory from probe to release; what changes with domains are
// entries of the PASID tables, PASID 0 being that of requests without one.
#pragma once

#include <vector>

#include "core/device.h"
#include "drivers/intel/entries.h"
#include "drivers/intel/unit.h"

namespace softiommu::intel {

class IntelDevice final : public DeviceData {
 public:
  IntelDevice(Unit& unit, Device& device) : unit_(unit), device_(device), ids_(device.stream_ids()) {}
  ~IntelDevice() override;

  // Switches on what device and unit both have; makes context entries and the PASID table, all PASIDs blocked. ENOMEM;
  // ENODEV: the unit did not complete an invalidation.
  Result<> start();
  // The unit knows the device no more.
  void stop();

  Unit& unit() { return unit_; }
  unsigned pasid_bits() const { return pasid_bits_; }
  bool has_tlb() const { return has_tlb_; }

  // The PASID's entry exists afterwards. ENOMEM.
  Result<> reserve(Pasid pasid);
  // Changes the entry of a reserved PASID and invalidates whatever may hold the old one; returns when no DMA uses that.
  // On the way the PASID is blocked. ENODEV: the hardware did not complete the invalidation.
  Result<> set_entry(Pasid pasid, const PasidEntry& entry);
  // Changes flags of an entry that is present and stays so.
  Result<> refresh(Pasid pasid, const PasidEntry& entry);
  Result<> block_all();
  // The same for the context entries of legacy mode.
  Result<> set_context(const ContextEntry& entry);
  // Of requests with the PASID (0: without one), in the device.
  Result<> invalidate_tlb(Pasid pasid, IovaRange range);

 private:
  Result<> make_directory();
  Result<> flush(Pasid pasid, const PasidEntry& old);
  std::uint64_t* words(Pasid pasid) const;  // nullptr: not reserved
  std::uint64_t& directory_entry(Pasid pasid) const;

  Unit& unit_;
  Device& device_;
  std::vector<StreamId> ids_;
  unsigned pasid_bits_ = 0;
  bool has_tlb_ = false, requests_pages_ = false;
  PhysAddr directory_;
  unsigned directory_lg2_ = hw::vtd::kLeastDirectoryLg2;
  std::vector<PhysAddr> tables_;
};

}  // namespace softiommu::intel
