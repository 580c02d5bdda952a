// SPDX-License-Identifier: BSD-3-Clause
// Context descriptors (IHI 0070 5.3, 5.4) of one device: two for a device without PASIDs in use, of which an attach
// writes the one that no stream table entry points to, and a table with one for each PASID.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/table_memory.h"
#include "base/types.h"
#include "drivers/arm_smmu_v3/stream_entry.h"

namespace softiommu::arm_smmu_v3 {

struct ContextDescriptor {
  std::uint64_t words[hw::smmuv3::kCdWords]{};
  static ContextDescriptor of(const PagingDomain& domain, const StreamTraits& traits, UnitId asid);
};

// The two. What is in a stream table entry that points to one of them: S1CDMax 0, so that PASIDs are refused.
class DescriptorPair {
 public:
  static constexpr unsigned kSlots = 2;

  // ENOMEM.
  static Result<std::unique_ptr<DescriptorPair>> create(TableMemory& memory);
  explicit DescriptorPair(TableMemory& memory) : memory_(memory) {}
  ~DescriptorPair() {
    if (page_.value != 0) memory_.free(page_);
  }
  DescriptorPair(const DescriptorPair&) = delete;
  DescriptorPair& operator=(const DescriptorPair&) = delete;

  struct Slot {
    unsigned index;
    PhysAddr address;
    bool written;  // what the hardware may remember of it is no longer true
  };
  // A slot that says `wanted`: one that does already, else the spare one.
  Slot hold(const ContextDescriptor& wanted);
  // Every stream of the device uses `slot` now.
  void use(const Slot& slot) { live_ = slot.index; }

 private:
  std::uint64_t* words(unsigned slot) const { return memory_.words(page_) + slot * hw::smmuv3::kCdWords; }

  TableMemory& memory_;
  PhysAddr page_;
  unsigned live_ = 0;
};

// By PASID. Linear up to 1024 of them, else two levels with leaves of 64 KiB, where the unit has them.
class DescriptorTable {
 public:
  static constexpr unsigned kLeafLg2 = 10;

  // Of 2^pasid_bits descriptors; that of PASID 0 can be used at once. ENOMEM.
  static Result<std::unique_ptr<DescriptorTable>> create(TableMemory& memory, unsigned pasid_bits);
  explicit DescriptorTable(TableMemory& memory, unsigned pasid_bits) : memory_(memory), pasid_bits_(pasid_bits) {}
  ~DescriptorTable();
  DescriptorTable(const DescriptorTable&) = delete;
  DescriptorTable& operator=(const DescriptorTable&) = delete;

  bool reaches(Pasid pasid) const { return pasid >> pasid_bits_ == 0; }
  // What a stream table entry says of it: S1ContextPtr, S1Fmt, S1CDMax.
  std::uint64_t entry_bits() const;

  // The PASID's descriptor can be used afterwards. True: the first level has changed. ENOMEM.
  Result<bool> reserve(Pasid pasid);
  bool is_valid(Pasid pasid) const;
  // Of a PASID that is reserved: the words behind the first one, while it is not valid; then the first one.
  bool says(Pasid pasid, const ContextDescriptor& wanted) const;
  void fill(Pasid pasid, const ContextDescriptor& wanted);
  void set_first_word(Pasid pasid, std::uint64_t word);
  void make_invalid(Pasid pasid);

 private:
  bool has_two_levels() const { return pasid_bits_ > kLeafLg2; }
  std::uint64_t* words(Pasid pasid) const;  // nullptr: not reserved

  TableMemory& memory_;
  const unsigned pasid_bits_;
  PhysAddr root_{};               // the only level, or the first
  std::vector<PhysAddr> leaves_;  // two levels: by place in the first
};

}  // namespace softiommu::arm_smmu_v3
