// SPDX-License-Identifier: BSD-3-Clause
// How devices of a context attach (core-rules sections 14, 16): each PASID of a group is on one HWPT, which the group's
// bound devices join one by one.
#include "iommufd/context.h"

namespace softiommu::iommufd {

namespace {

Error error_of(const AttachError& error) { return {error.code, error.reason.property}; }

Result<> switch_group(Group& group, Domain& domain, Pasid pasid, Requester& requester) {
  const auto done = pasid == 0 ? group.attach(domain, &requester) : group.attach_pasid(domain, pasid, requester);
  return done ? Result<>{} : std::unexpected(error_of(done.error()));
}

Result<> replace_in_group(Group& group, Domain& domain, Pasid pasid, Requester& requester) {
  const auto done = pasid == 0 ? group.replace(domain, &requester) : group.replace_pasid(domain, pasid, requester);
  return done ? Result<>{} : std::unexpected(error_of(done.error()));
}

// While a PASID is attached, its tables and those of requests without one are read by the same hardware: both must have
// been made for it.
Result<> check_pasid_use(const BoundGroup& group, const Hwpt& hwpt, Pasid pasid) {
  const auto first = group.attachments.begin();
  if (pasid == 0) {
    const bool others = std::ranges::any_of(group.attachments, [](const auto& entry) { return entry.first != 0; });
    if (!hwpt.pasid_compatible() && others)
      return fail(EINVAL, "PASIDs are attached, and the page table is not for it");
    return {};
  }
  if (!hwpt.pasid_compatible()) return fail(EINVAL, "the page table was not made for PASIDs");
  const bool plain = first != group.attachments.end() && first->first == 0 && first->second.hwpt != nullptr;
  if (plain && !first->second.hwpt->pasid_compatible())
    return fail(EINVAL, "the device is on a page table that was not made for PASIDs");
  return {};
}

void end_requests(const Hwpt& hwpt, const Requester& requester) {
  if (hwpt.fault_queue() != nullptr) hwpt.fault_queue()->end_requests_of(requester);
}

}  // namespace

Result<std::uint32_t> Context::attach(BoundDevice& device, std::uint32_t pt_id, Pasid pasid) {
  return without_throwing([&]() -> Result<std::uint32_t> {
    const MutexLock lock(mutex_);
    return change_pt({Change::Kind::attach, device, pasid}, pt_id);
  });
}

Result<std::uint32_t> Context::replace(BoundDevice& device, std::uint32_t pt_id, Pasid pasid) {
  return without_throwing([&]() -> Result<std::uint32_t> {
    const MutexLock lock(mutex_);
    return change_pt({Change::Kind::replace, device, pasid}, pt_id);
  });
}

Result<std::uint32_t> Context::attach_or_replace(BoundDevice& device, std::uint32_t pt_id, Pasid pasid) {
  return without_throwing([&]() -> Result<std::uint32_t> {
    const MutexLock lock(mutex_);
    const auto kind = device.attached(pasid) ? Change::Kind::replace : Change::Kind::attach;
    return change_pt({kind, device, pasid}, pt_id);
  });
}

Result<std::uint32_t> Context::change_pt(const Change& change, std::uint32_t pt_id) {
  if (objects_.find(pt_id) == nullptr) return fail(ENOENT, "no object has this id");
  if (auto* const hwpt = objects_.find<Hwpt>(pt_id)) {
    TRY(change_hwpt(change, *hwpt));
    return pt_id;
  }
  if (auto* const ioas = objects_.find<Ioas>(pt_id)) return TRY(search(change, *ioas))->id();
  return fail(EINVAL, "the object is neither an IOAS nor a hardware page table");
}

Result<> Context::change_hwpt(const Change& change, Hwpt& hwpt) {
  return change.kind == Change::Kind::attach ? join(change, hwpt) : move(change, hwpt);
}

Result<> Context::reserve_for(const Device& device, Ioas& ioas) {
  const auto reserved = without_throwing([&]() -> Result<> {
    for (const ReservedRegion& region : device.group()->driver().reserved_regions(device))
      if (region.kind != ReservedRegion::Kind::relaxable) TRY(ioas.table().reserve(region.range, &device));
    return {};
  });
  if (!reserved) ioas.table().release_reserved(&device);
  return reserved;
}

// Reserved regions are of requests without a PASID.
Result<> Context::join(const Change& change, Hwpt& hwpt) {
  BoundDevice& device = change.device;
  Attachment* const present = device.group().find(change.pasid);
  if (present != nullptr && present->has(device)) return fail(EBUSY, "the device is attached");
  if (present != nullptr && present->hwpt != &hwpt) return fail(EINVAL, "the group is on another page table");
  if (change.pasid == 0) TRY(reserve_for(device.device(), hwpt.ioas()));
  Result<> joined;
  if (present == nullptr)
    joined = without_throwing([&]() SOFTIOMMU_TS(no_thread_safety_analysis) { return attach_first(change, hwpt); });
  else
    present->devices.push_back(&device);
  if (!joined) {
    if (change.pasid == 0) hwpt.ioas().table().release_reserved(&device.device());
    return joined;
  }
  hwpt.use();
  device.use();
  return {};
}

// The first device takes the whole group along.
Result<> Context::attach_first(const Change& change, Hwpt& hwpt) {
  BoundGroup& bound = change.device.group();
  TRY(check_pasid_use(bound, hwpt, change.pasid));
  Attachment made{&hwpt, {&change.device}, std::make_unique<Requester>(change.device.id())};
  made.devices.reserve(bound.group.devices().size());
  Requester& requester = *made.requester;
  const auto place = bound.attachments.emplace(change.pasid, std::move(made)).first;
  const auto attached = switch_group(bound.group, hwpt.domain(), change.pasid, requester);
  if (!attached) bound.attachments.erase(place);
  return attached;
}

Result<> Context::move(const Change& change, Hwpt& hwpt) {
  BoundGroup& bound = change.device.group();
  Attachment* const attachment = bound.find(change.pasid);
  if (attachment == nullptr || !attachment->has(change.device)) return fail(EINVAL, "the device is not attached");
  Hwpt& old = *attachment->hwpt;
  if (&old == &hwpt) return {};
  const bool moves = change.pasid == 0 && &old.ioas() != &hwpt.ioas();
  const auto release = [&](Ioas& ioas) {
    for (BoundDevice* member : attachment->devices) ioas.table().release_reserved(&member->device());
  };
  const auto replace = [&]() -> Result<> {
    TRY(check_pasid_use(bound, hwpt, change.pasid));
    auto requester = std::make_unique<Requester>(change.device.id());
    TRY(replace_in_group(bound.group, hwpt.domain(), change.pasid, *requester));
    end_requests(old, *attachment->requester);
    attachment->requester = std::move(requester);
    return {};
  };
  Result<> reserved;
  if (moves) {
    for (BoundDevice* member : attachment->devices)
      if (reserved) reserved = reserve_for(member->device(), hwpt.ioas());
  }
  const Result<> replaced = reserved ? without_throwing(replace) : reserved;
  if (!replaced) {
    if (moves) release(hwpt.ioas());
    return replaced;
  }
  if (moves) release(old.ioas());
  attachment->hwpt = &hwpt;
  const std::size_t users = attachment->devices.size();
  for (std::size_t i = 0; i < users; ++i) hwpt.use();
  drop(old, users);
  return {};
}

// Automatic domains in the order they were made; only `incompatible` goes on to the next.
Result<Hwpt*> Context::search(const Change& change, Ioas& ioas) {
  for (std::size_t i = 0; i < ioas.hwpts().size(); ++i) {
    PagingHwpt& hwpt = *ioas.hwpts()[i];
    if (hwpt.life() != PagingHwpt::Life::automatic) continue;
    const auto done = change_hwpt(change, hwpt);
    if (done) return &hwpt;
    if (done.error().code != EINVAL) return std::unexpected(done.error());
  }
  PagingHwpt* const fresh = TRY(make_hwpt(change.device, ioas, {}, PagingHwpt::Life::automatic));
  if (const auto done = change_hwpt(change, *fresh); !done) {
    (void)remove(fresh->id());
    return std::unexpected(done.error());
  }
  return fresh;
}

void Context::detach(BoundDevice& device, Pasid pasid) {
  const MutexLock lock(mutex_);
  if (device.attached(pasid)) leave(device, pasid);
}

void Context::leave(BoundDevice& device, Pasid pasid) {
  BoundGroup& bound = device.group();
  const auto place = bound.attachments.find(pasid);
  Hwpt& hwpt = *place->second.hwpt;
  std::erase(place->second.devices, &device);
  if (place->second.devices.empty()) {
    if (pasid == 0)
      bound.group.detach();
    else
      bound.group.detach_pasid(pasid);
    end_requests(hwpt, *place->second.requester);
    bound.attachments.erase(place);
  }
  if (pasid == 0) hwpt.ioas().table().release_reserved(&device.device());
  device.unuse();
  drop(hwpt, 1);
}

// `users` devices have left it.
void Context::drop(Hwpt& hwpt, std::size_t users) {
  while (users-- > 0) hwpt.unuse();
  const auto* const paging = dynamic_cast<PagingHwpt*>(&hwpt);
  if (paging != nullptr && paging->life() == PagingHwpt::Life::automatic && !hwpt.in_use()) (void)remove(hwpt.id());
}

}  // namespace softiommu::iommufd
