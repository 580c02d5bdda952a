// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv3 in the hands of a guest: domains whose stage 1 is the guest's, over a stage 2 of ours, and the guest's own
// invalidation commands and events. The structures are those of linux/iommufd.h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/virtual_iommu.h"
#include "drivers/arm_smmu_v3/domain.h"
#include "drivers/arm_smmu_v3/unit.h"

namespace softiommu::arm_smmu_v3 {

namespace abi {
inline constexpr std::uint32_t kHwptData = 2, kViommu = 1, kVeventq = 1, kInvalidation = 1;
struct StreamEntryWords {  // struct iommu_hwpt_arm_smmuv3
  std::uint64_t ste[2];
};
struct Invalidation {  // struct iommu_viommu_arm_smmuv3_invalidate
  std::uint64_t cmd[2];
};
struct Event {  // struct iommu_vevent_arm_smmuv3
  std::uint64_t evt[hw::smmuv3::kEventWords];
};
}  // namespace abi

class VirtualSmmu;

// The first two words of the guest's stream table entry. It may abort, bypass stage 1, or translate.
class NestedDomain final : public Domain {
 public:
  NestedDomain(Driver& owner, VirtualSmmu& guest, const abi::StreamEntryWords& words)
      : Domain(owner, DomainType::nested), guest_(guest), words_(words) {}

  VirtualSmmu& guest() const { return guest_; }
  // Does it need the device to have a name in the guest?
  bool translates() const;
  // A device's own TLB is the guest's to invalidate: it is on where the guest says so.
  bool answers_own_tlb() const;
  StreamEntry entry(const StreamTraits& traits) const;

 private:
  VirtualSmmu& guest_;
  const abi::StreamEntryWords words_;
};

class VirtualSmmu final : public VirtualIommu {
 public:
  // Takes a VMID of the unit for `parent`, as a device on it would. EINVAL: the parent does not fit the unit; ENOSPC:
  // no VMID; ENOMEM.
  static Result<std::unique_ptr<VirtualIommu>> create(Driver& driver, Unit& unit, const VirtualIommuRequest& request);
  VirtualSmmu(Driver& driver, Unit& unit, const VirtualIommuRequest& request, UnitId vmid)
      : VirtualIommu(request.owner),
        driver_(driver),
        unit_(unit),
        parent_(static_cast<PagingDomain&>(request.parent)),
        vmid_(vmid) {}
  ~VirtualSmmu() override;

  // EIO: a field that guests may not use, or a configuration that there is not.
  Result<std::unique_ptr<Domain>> allocate_nested(const DomainRequest& request, const UserData& data) override;
  // EIO: a command that guests may not give, or a stream that it has not.
  Result<> invalidate(UserArray& entries) override;
  // EOPNOTSUPP: a device with several streams.
  Result<std::unique_ptr<VirtualDevice>> make_device(const Device& device, std::uint64_t virtual_id) override;

  Unit& unit() const { return unit_; }
  PagingDomain& parent() const { return parent_; }
  UnitId vmid() const { return vmid_; }
  // False: the guest has no name for the device, or nobody listens.
  bool tell(const Device& device, std::span<const std::uint64_t, hw::smmuv3::kEventWords> event) const;

 private:
  Result<Unit::Command> translate(const abi::Invalidation& entry) const;
  Result<StreamId> stream_of(std::uint64_t virtual_stream) const;

  Driver& driver_;
  Unit& unit_;
  PagingDomain& parent_;
  const UnitId vmid_;
};

}  // namespace softiommu::arm_smmu_v3
