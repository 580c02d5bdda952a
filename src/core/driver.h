// SPDX-License-Identifier: BSD-3-Clause
// What one kind of IOMMU has to say: its rules for attach. Instances of the hardware are its units.
//
// Attach is two calls. prepare() reserves everything for all the switches it is given (memory, ids, the way back
// included, counting what the change gives back) and changes nothing that anyone can see. commit() programs the
// hardware for one device; it may give any hard failure, never `incompatible`. If one fails, the core calls undo() for
// those already switched, in reverse, and abandon(). After the last commit the core calls finish(), which gives back
// what the old domain held. Undo, block, finish and abandon need no resources.
// A prepare() that fails has given back all that it reserved; a commit() that fails leaves its device on `from`, or says
// in Switch::blocked that the hardware did not let it.
// A driver may let std::bad_alloc out of any call: the core makes it no_memory (ENOMEM).
//
// A switch to a static domain (blocked, identity) must always be preparable.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/attach_error.h"
#include "base/result.h"
#include "base/table_memory.h"
#include "base/types.h"
#include "core/domain.h"
#include "core/rules.h"
#include "machine/memory.h"
#include "machine/mmio.h"

namespace softiommu {

class Device;
class VirtualIommu;
struct PageRequest;
struct VirtualIommuRequest;
enum class PageAnswer : std::uint8_t;

// What a driver gets of one IOMMU: registers, memory for its structures, a name. Nothing else.
struct UnitHardware {
  unsigned index;  // position among the units of this driver, from 0
  std::string_view name;
  MmioRegion& registers;
  TableMemory& tables;
  std::uint64_t memory_top;  // physical addresses of DMA memory are below this
};

// One device moving from one domain to another (or back). Storage belongs to the group and exists from the start,
// so that the way back needs no memory. `words` are the driver's own notes between the calls.
struct Switch {
  Device* device = nullptr;
  Domain* from = nullptr;  // nullptr: nothing attached yet
  // nullptr: to nothing, blocked. Asked only of a driver without a static blocked domain, as the last resort of a
  // detach and when the system ends; must always be preparable.
  Domain* to = nullptr;
  Pasid pasid = 0;  // 0: the device's requests without one. Of others `from` is nullptr where nothing was attached
  std::array<std::uint64_t, 4> words{};
  // Set by a commit() that fails where the hardware refuses the way back, too: the device is blocked, not on `from`.
  bool blocked = false;
};

// Ranges of IOVA that mean something else for a device.
struct ReservedRegion {
  enum class Kind : std::uint8_t {
    direct,        // must be mapped 1:1 at all times (firmware owns it)
    relaxable,     // direct until a program takes the device
    reserved,      // never mapped
    msi,           // interrupt messages: the hardware does not translate it
    software_msi,  // interrupt messages: translated, the base may be moved
  };
  IovaRange range;
  Kind kind;
};

// What IOMMU_GET_HW_INFO tells of the hardware in front of a device: one of the structures of linux/iommufd.h.
struct HardwareInfo {
  std::uint32_t type = 0;  // enum iommu_hw_info_type; 0: nothing is told
  std::size_t bytes = 0;
  std::array<std::byte, 64> data{};

  template <class T>
  static HardwareInfo of(std::uint32_t type, const T& structure) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(data));
    HardwareInfo info{type, sizeof structure, {}};
    std::memcpy(info.data.data(), &structure, sizeof structure);
    return info;
  }
};

// A driver's own data about a device that it serves.
class DeviceData {
 public:
  virtual ~DeviceData() = default;
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual std::string_view name() const = 0;        // "intel"
  virtual std::string_view unit_model() const = 0;  // the hardware it drives: "intel-vtd"

  // Whose answers it gives. Before the first unit.
  void follow(Rules rules) { rules_ = rules; }
  // In Linux a domain of this driver fits only the unit that it was made for; Rules::linux7 has the core see to it.
  virtual bool linux_ties_domains_to_a_unit() const { return false; }

  // Resets and enables one unit; all devices behind it are blocked until attached. ENODEV: the hardware does not
  // answer as it should; ENOMEM. On failure the unit is not used.
  virtual Result<> add_unit(const UnitHardware& hardware) = 0;
  // The unit's interrupt line (from the machine's threads): read and log faults.
  virtual void interrupt(unsigned unit, unsigned line) = 0;

  // Takes a device that is behind unit `device.unit_index()`. ENODEV: it cannot be served.
  virtual Result<std::unique_ptr<DeviceData>> probe(Device& device) = 0;
  virtual void release(Device& /*device*/) {}
  // Devices with equal keys are in one group; the default keeps what the bus cannot isolate together.
  virtual std::uint64_t group_key(const Device& device) const;
  virtual std::vector<ReservedRegion> reserved_regions(const Device& device) const = 0;
  // The type that this driver wants as the device's default domain.
  virtual DomainType default_domain_type(const Device& /*device*/) const { return DomainType::paging; }
  virtual bool attach_is_deferred(const Device& /*device*/) const { return false; }
  // Can the device's accesses be made to snoop the caches by the IOMMU?
  virtual bool can_enforce_cache_coherency(const Device& /*device*/) const { return false; }

  // Can a domain for the device keep dirty state (DomainRequest::dirty_tracking)?
  virtual bool tracks_dirty(const Device& /*device*/) const { return false; }
  // For virtual machine monitors, which show their guest an IOMMU like it.
  virtual HardwareInfo hardware_info(const Device& /*device*/) const { return {}; }

  // PASIDs: how many bits of one the device and its IOMMU have; 0: none. Constant while the driver serves the device.
  virtual unsigned pasid_bits(const Device& /*device*/) const { return 0; }
  // Can domains be attached to single PASIDs (Switch::pasid)?
  virtual bool attaches_pasids() const { return false; }
  // Programs keep the table of PASIDs themselves, in nested domains.
  virtual bool has_user_pasid_table() const { return false; }
  // The answer to a page request (PageFaults::report) that was the last of its index.
  virtual void page_response(const Device& /*device*/, const PageRequest& /*request*/, PageAnswer /*answer*/) {}

  // Does allocate() look at DomainRequest::data? The core refuses such requests else.
  virtual bool takes_domain_data() const { return false; }
  // A fresh paging domain that all of `devices` (one group) can be attached to. ENOMEM, EOPNOTSUPP, ENODEV.
  virtual Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) = 0;
  // Does it make nested domains without a virtual IOMMU?
  virtual bool nests() const { return false; }
  // One on a nest parent of this driver. EOPNOTSUPP; what `data` answers (UserData::as); ENOMEM.
  virtual Result<std::unique_ptr<Domain>> allocate_nested(const Device& device, Domain& parent,
                                                          const DomainRequest& request, const UserData& data);
  virtual bool offers_viommu(const Device& /*device*/, std::uint32_t /*type*/) const { return false; }
  // A virtual IOMMU of the unit that serves the device, of a type that is offered.
  virtual Result<std::unique_ptr<VirtualIommu>> make_viommu(const Device& device, const VirtualIommuRequest& request);
  // The static domain of this type; nullptr if the hardware has none.
  virtual Domain* static_domain(DomainType type) = 0;

  // Devices with equal values may fit the same domain, with unequal values they cannot: the search's index.
  // Compared with prepare() by the contract tests.
  virtual std::uint64_t fit(const Device& device) const = 0;

  virtual AttachResult<> prepare(std::span<Switch> switches) = 0;
  virtual AttachResult<> commit(Switch& change) = 0;
  // Back to change.from. False: the hardware refuses (the core then blocks the device).
  virtual bool undo(Switch& change) = 0;
  virtual void finish(std::span<Switch> switches) = 0;
  virtual void abandon(std::span<Switch> switches) = 0;
  // Stops all DMA of the device. Cannot fail. What its domain holds for it stays until a switch away from it.
  virtual void block(Device& device) = 0;

 protected:
  bool as_linux() const { return rules_ == Rules::linux7; }

 private:
  Rules rules_ = Rules::contract;
};

using MakeDriver = std::unique_ptr<Driver> (*)();

}  // namespace softiommu
