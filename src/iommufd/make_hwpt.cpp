// SPDX-License-Identifier: BSD-3-Clause
// How HWPTs are made: paging ones on an IOAS, nested ones on a nest parent or a virtual IOMMU.
#include <algorithm>

#include "base/fault.h"
#include "iommufd/abi.h"
#include "iommufd/context.h"

namespace softiommu::iommufd {

namespace {

bool can_enforce_coherency(const Group& group) {
  return std::ranges::all_of(group.devices(),
                             [&](const Device* device) { return group.driver().can_enforce_cache_coherency(*device); });
}

// What may be asked of a paging HWPT, in Linux's order.
Result<> check_paging_flags(const BoundDevice& device, std::uint32_t flags) {
  constexpr std::uint32_t kKnown =
      abi::kHwptNestParent | abi::kHwptDirtyTracking | abi::kHwptFaultIdValid | abi::kHwptPasid;
  if ((flags & ~kKnown) != 0) return fail(EOPNOTSUPP, "unknown flags");
  if ((flags & abi::kHwptDirtyTracking) != 0 && !device.device().driver()->tracks_dirty(device.device()))
    return fail(EOPNOTSUPP, "the hardware tracks no dirty pages");
  if ((flags & abi::kHwptFaultIdValid) != 0 && (flags & abi::kHwptNestParent) != 0)
    return fail(EOPNOTSUPP, "a nest parent takes no page requests");
  return {};
}

Result<> check_nested_flags(std::uint32_t flags, const UserData& data) {
  if ((flags & ~(abi::kHwptFaultIdValid | abi::kHwptPasid)) != 0) return fail(EOPNOTSUPP, "unknown flags");
  if (data.empty()) return fail(EOPNOTSUPP, "a nested page table needs data");
  return {};
}

}  // namespace

Result<std::uint32_t> Context::make_requested_hwpt(const abi::HwptAlloc& request, const UserData& data) {
  auto* const device = objects_.find<BoundDevice>(request.dev_id);
  if (device == nullptr) return fail(ENOENT, "no device has this id");
  Object* const with = objects_.find(request.pt_id);
  if (with == nullptr) return fail(EINVAL, "no object to make it with has this id");
  DomainRequest domain{.dirty_tracking = (request.flags & abi::kHwptDirtyTracking) != 0,
                       .nest_parent = (request.flags & abi::kHwptNestParent) != 0,
                       .pasid = (request.flags & abi::kHwptPasid) != 0,
                       .data = data.empty() ? nullptr : &data};
  Hwpt* made = nullptr;
  if (auto* const ioas = dynamic_cast<Ioas*>(with)) {
    TRY(check_paging_flags(*device, request.flags));
    made = TRY(make_hwpt(*device, *ioas, domain, PagingHwpt::Life::kept));
  } else if (dynamic_cast<PagingHwpt*>(with) != nullptr || dynamic_cast<Viommu*>(with) != nullptr) {
    auto* const viommu = dynamic_cast<Viommu*>(with);
    if (viommu != nullptr && !viommu->serves(device->device()))
      return fail(EINVAL, "the virtual IOMMU is of another IOMMU than the device's");
    TRY(check_nested_flags(request.flags, data));
    made = TRY(make_nested_hwpt(*device, *with, domain, data));
  } else {
    return fail(EINVAL, "a page table is made with an IOAS, a nest parent or a virtual IOMMU");
  }
  if ((request.flags & abi::kHwptFaultIdValid) == 0) return made->id();
  auto* const faults = objects_.find<FaultQueue>(request.fault_id);
  if (faults != nullptr) {
    made->set_fault_queue(*faults);
    return made->id();
  }
  (void)remove(made->id());
  return fail(ENOENT, "no fault queue has this id");
}

Result<PagingHwpt*> Context::make_hwpt(BoundDevice& device, Ioas& ioas, const DomainRequest& request,
                                       PagingHwpt::Life life) {
  Group& group = device.group().group;
  auto domain = TRY(system_.allocate_domain(group, request));
  // Before anything is mapped: mappings that do not snoop could not be told apart later.
  if (can_enforce_coherency(group)) domain->enforce_cache_coherency();
  auto* const hwpt = TRY(objects_.add(std::make_unique<PagingHwpt>(ioas, std::move(domain), request, life)));
  const auto published = without_throwing([&] { return hwpt->publish(); });
  if (published) return hwpt;
  (void)remove(hwpt->id());
  return std::unexpected(published.error());
}

Result<NestedHwpt*> Context::make_nested_hwpt(BoundDevice& device, Object& with, const DomainRequest& request,
                                              const UserData& data) {
  Driver& driver = *device.device().driver();
  auto* const viommu = dynamic_cast<Viommu*>(&with);
  PagingHwpt& parent = viommu != nullptr ? viommu->parent() : static_cast<PagingHwpt&>(with);
  TRY(fault::pass("iommufd.nested_hwpt"));
  std::unique_ptr<Domain> domain;
  if (viommu != nullptr) {
    domain = TRY(without_throwing([&] { return viommu->driver_part().allocate_nested(request, data); }));
  } else {
    if (!driver.nests()) return fail(EOPNOTSUPP, "the driver makes no nested domains");
    if (parent.life() == PagingHwpt::Life::automatic || !parent.nest_parent() || &parent.domain().owner() != &driver)
      return fail(EINVAL, "the page table is no nest parent of this device's driver");
    domain =
        TRY(without_throwing([&] { return driver.allocate_nested(device.device(), parent.domain(), request, data); }));
  }
  if (domain == nullptr || domain->type() != DomainType::nested)
    return fail(EOPNOTSUPP, "the driver is broken: it made no nested domain");
  return objects_.add(std::make_unique<NestedHwpt>(parent, with, std::move(domain), request));
}

}  // namespace softiommu::iommufd
