// SPDX-License-Identifier: BSD-3-Clause
// What mock devices do: page requests, events for a guest, what they cache; and their PASIDs.
#include "iommufd/selftest/mock_object.h"
#include "iommufd/selftest/operation.h"

namespace softiommu::iommufd::selftest {

namespace {

Result<BoundDevice*> find_device(const Request& request, const ObjectTable& objects, std::uint32_t id) {
  auto* const device = objects.find<BoundDevice>(id);
  if (device == nullptr) return fail(ENOENT, "no device has this id");
  if (!request.driver.drives(device->device())) return fail(EINVAL, "not a mock device");
  return device;
}

Result<> check_iotlb(Request& request) {
  const auto& check = request.command.check_iotlb;
  return request.context.locked([&](ObjectTable& objects) -> Result<> {
    auto* const hwpt = objects.find<NestedHwpt>(request.command.id);
    if (hwpt == nullptr) return fail(ENOENT, "no nested HWPT has this id");
    const auto* const domain = dynamic_cast<mock::MockNested*>(&hwpt->domain());
    if (domain == nullptr) return fail(EINVAL, "not a domain of the mock IOMMU");
    if (check.id >= mock::abi::kIotlbEntries || domain->cached(check.id) != check.iotlb)
      return fail(EINVAL, "the entry is another");
    return {};
  });
}

Result<> check_cache(Request& request) {
  const auto& check = request.command.check_dev_cache;
  return request.context.locked([&](ObjectTable& objects) -> Result<> {
    BoundDevice* const device = TRY(find_device(request, objects, request.command.id));
    if (check.id >= mock::abi::kDeviceCaches ||
        mock::MockDriver::data_of(device->device()).guest().cached(check.id) != check.cache)
      return fail(EINVAL, "the entry is another");
    return {};
  });
}

// Whether anybody takes the request is the device's to find out.
Result<> trigger_iopf(Request& request) {
  const auto& ask = request.command.trigger_iopf;
  return request.context.locked([&](ObjectTable& objects) -> Result<> {
    BoundDevice* const device = TRY(find_device(request, objects, ask.dev_id));
    const PageRequest fault{
        .pasid = ask.pasid, .index = ask.grpid, .last = true, .rights = ask.perm, .address = ask.addr};
    (void)device->group().group.page_faults().report(device->device(), fault);
    return {};
  });
}

Result<> trigger_vevent(Request& request) {
  return request.context.locked([&](ObjectTable& objects) -> Result<> {
    BoundDevice* const device = TRY(find_device(request, objects, request.command.trigger_vevent.dev_id));
    return mock::MockDriver::data_of(device->device()).guest().report_event();
  });
}

// ---- PASIDs

Result<BoundDevice*> find_bound(Request& request) {
  return request.context.locked([&](ObjectTable& objects) -> Result<BoundDevice*> {
    auto* const object = objects.find<MockObject>(request.command.id);
    if (object == nullptr) return fail(ENOENT, "no mock device has this id");
    return &object->bound();
  });
}

Result<> pasid_attach(Request& request) {
  auto& ask = request.command.pasid_attach;
  BoundDevice* const bound = TRY(find_bound(request));
  ask.pt_id = TRY(request.context.attach(*bound, ask.pt_id, ask.pasid));
  const Result<> responded = request.respond();
  if (!responded) request.context.detach(*bound, ask.pasid);
  return responded;
}

Result<> pasid_replace(Request& request) {
  auto& ask = request.command.pasid_attach;
  BoundDevice* const bound = TRY(find_bound(request));
  TRY(request.call.prove_response());  // what it was on before could not be had back
  ask.pt_id = TRY(request.context.replace(*bound, ask.pt_id, ask.pasid));
  return request.respond();
}

Result<> pasid_detach(Request& request) {
  BoundDevice* const bound = TRY(find_bound(request));
  request.context.detach(*bound, request.command.pasid_detach.pasid);
  return {};
}

Result<> pasid_check_hwpt(Request& request) {
  const auto& check = request.command.pasid_check;
  return request.context.locked([&](ObjectTable& objects) -> Result<> {
    auto* const object = objects.find<MockObject>(request.command.id);
    if (object == nullptr) return fail(ENOENT, "no mock device has this id");
    const Domain* const attached = object->bound().group().group.domain(check.pasid);
    const Domain* wanted = nullptr;
    if (check.hwpt_id != 0) {
      if (objects.find(check.hwpt_id) == nullptr) return fail(ENOENT, "no object has this id");
      auto* const hwpt = objects.find<Hwpt>(check.hwpt_id);
      if (hwpt == nullptr) return fail(EINVAL, "the object is no HWPT");
      wanted = &hwpt->domain();
    }
    return attached == wanted ? Result<>{} : fail(EINVAL, "the PASID is on another domain");
  });
}

constexpr Operation kRows[] = {
    {abi::Op::md_check_iotlb, "MD_CHECK_IOTLB", check_iotlb},
    {abi::Op::dev_check_cache, "DEV_CHECK_CACHE", check_cache},
    {abi::Op::trigger_iopf, "TRIGGER_IOPF", trigger_iopf},
    {abi::Op::trigger_vevent, "TRIGGER_VEVENT", trigger_vevent},
    {abi::Op::pasid_attach, "PASID_ATTACH", pasid_attach},
    {abi::Op::pasid_replace, "PASID_REPLACE", pasid_replace},
    {abi::Op::pasid_detach, "PASID_DETACH", pasid_detach},
    {abi::Op::pasid_check_hwpt, "PASID_CHECK_HWPT", pasid_check_hwpt},
};

}  // namespace

std::span<const Operation> device_operations() { return kRows; }

}  // namespace softiommu::iommufd::selftest
