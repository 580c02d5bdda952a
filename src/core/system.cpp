// SPDX-License-Identifier: BSD-3-Clause
#include "core/system.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/trace.h"

namespace softiommu {

System::~System() {
  for (const auto& group : groups_) group->shut_down();
  for (const auto& device : devices_)
    if (device->present() && device->driver_ != nullptr) device->driver_->release(*device);
  for (IommuUnit* unit : units_) unit->on_interrupt({});
  groups_.clear();
  devices_.clear();
}

Group* System::group(unsigned id) const {
  const auto all = groups();
  const auto found = std::ranges::find(all, id, &Group::id);
  return found != all.end() ? found->get() : nullptr;
}

Device* System::device(std::string_view name) const {
  const auto found = std::ranges::find(devices_, name, &Device::name);
  return found != devices_.end() ? found->get() : nullptr;
}

unsigned System::driver_number(const Driver& driver) const {
  const auto found = std::ranges::find(drivers_, &driver, &std::unique_ptr<Driver>::get);
  return static_cast<unsigned>(found - drivers_.begin());
}

namespace {

Result<std::unique_ptr<Domain>> ask_for_domain(Driver& driver, std::span<Device* const> devices,
                                               const DomainRequest& request) {
  TRY(fault::pass("core.domain"));
  if (request.data != nullptr && !driver.takes_domain_data()) return fail(EOPNOTSUPP, "the driver takes no data");
  auto domain = TRY(without_throwing([&] { return driver.allocate(devices, request); }));
  if (domain == nullptr) return fail(ENOMEM, "the driver made no domain");
  if (&domain->owner() == &driver && domain->type() == DomainType::paging) return domain;
  log::error("driver {} is broken: it allocated a domain that is not a paging domain of its own", driver.name());
  return fail(ENODEV, "the driver is broken");
}

AttachError as_attach_error(const Error& error) {
  switch (error.code) {
    case ENOMEM:
      return {AttachFailure::no_memory, ENOMEM, {error.why}};
    case ENOSPC:
      return {AttachFailure::no_space, ENOSPC, {error.why}};
    default:
      return {AttachFailure::no_device, error.code, {error.why}};
  }
}

}  // namespace

Result<std::unique_ptr<Domain>> System::allocate_domain(Group& group, const DomainRequest& request) {
  const std::uint64_t begin = trace::now_ns();
  const auto devices = group.devices();  // which may change
  if (devices.empty()) return fail(ENODEV, "the group's devices are gone");
  auto domain = ask_for_domain(group.driver(), devices, request);
  AttachResult<> answer;
  if (domain) {
    (*domain)->fresh_for_.store(&group);
    (*domain)->made_for_unit_ = devices.front()->unit_index();
  } else {
    answer = std::unexpected(as_attach_error(domain.error()));
  }
  AttachRecord entry{.kind = AttachRecord::Kind::allocate,
                     .group = group.id(),
                     .devices = group.device_names(),
                     .domain = domain ? (*domain)->id() : 0,
                     .domain_driver = group.driver().name(),
                     .fresh = true};
  if (!answer) entry.error = answer.error();
  entry.nanoseconds = trace::now_ns() - begin;
  journal_.add(entry);
  return domain;
}

}  // namespace softiommu
