// SPDX-License-Identifier: BSD-3-Clause
#include "core/page_faults.h"

#include "base/fault.h"
#include "base/log.h"
#include "core/device.h"
#include "core/domain.h"
#include "core/driver.h"

namespace softiommu {

namespace {

void respond(const Device& device, const PageRequest& request, PageAnswer answer) noexcept {
  try {
    device.driver()->page_response(device, request, answer);
  } catch (...) {
    log::error("driver {} is broken: page_response threw", device.driver()->name());
  }
}

}  // namespace

void PageRequestSet::answer(PageAnswer answer) {
  if (const Device* const device = std::exchange(device_, nullptr)) respond(*device, requests_.back(), answer);
}

Result<> PageFaults::report(const Device& device, const PageRequest& request) {
  const MutexLock lock(mutex_);
  const Attached to = handler_of(device, request);
  if (to.domain == nullptr || to.domain->page_request_handler() == nullptr || to.handle == nullptr) {
    if (request.last) respond(device, request, PageAnswer::invalid);
    return fail(EINVAL, "no domain takes this device's page requests");
  }
  auto requests = without_throwing([&]() SOFTIOMMU_TS(no_thread_safety_analysis) -> Result<std::vector<PageRequest>> {
    TRY(fault::pass("core.page_request"));
    return collect(device, request);
  });
  if (!requests) {
    if (request.last) respond(device, request, PageAnswer::failure);
    return std::unexpected(requests.error());
  }
  if (!request.last) return {};
  return without_throwing([&]() -> Result<> {
    to.domain->page_request_handler()->handle({device, *to.handle, *std::move(requests)});
    return {};
  });
}

// A driver whose programs keep the PASID table themselves gets every PASID's requests through the nested domain of the
// requests without one.
PageFaults::Attached PageFaults::handler_of(const Device& device, const PageRequest& request) const {
  auto found = attached_.find(request.pasid);
  if (found != attached_.end() && found->second.domain != nullptr) return found->second;
  if (request.pasid == 0 || !device.driver()->has_user_pasid_table()) return {};
  found = attached_.find(0);
  const bool nested =
      found != attached_.end() && found->second.domain != nullptr && found->second.domain->type() == DomainType::nested;
  return nested ? found->second : Attached{};
}

// What came before the last of an index waits here; with the last one they are taken out.
std::vector<PageRequest> PageFaults::collect(const Device& device, const PageRequest& request) {
  if (!request.last) {
    partial_.push_back({&device, request});
    return {};
  }
  const auto together = [&](const Partial& partial) {
    return partial.device == &device && partial.request.index == request.index;
  };
  std::vector<PageRequest> requests;
  requests.reserve(partial_.size() + 1);
  for (const Partial& partial : partial_)
    if (together(partial)) requests.push_back(partial.request);
  requests.push_back(request);
  std::erase_if(partial_, together);
  return requests;
}

bool PageFaults::reserve(Pasid pasid) {
  const MutexLock lock(mutex_);
  return attached_.try_emplace(pasid).second;
}

void PageFaults::attach(Pasid pasid, Attached attached) {
  const MutexLock lock(mutex_);
  attached_.find(pasid)->second = attached;
}

void PageFaults::forget(Pasid pasid) {
  const MutexLock lock(mutex_);
  attached_.erase(pasid);
  std::erase_if(partial_, [&](const Partial& partial) REQUIRES(mutex_) {
    return handler_of(*partial.device, partial.request).domain == nullptr;
  });
}

PageFaults::Attached PageFaults::find(Pasid pasid) const {
  const MutexLock lock(mutex_);
  const auto found = attached_.find(pasid);
  return found != attached_.end() ? found->second : Attached{};
}

Pasid PageFaults::any_pasid() const {
  const MutexLock lock(mutex_);
  const auto first = attached_.upper_bound(0);
  return first != attached_.end() ? first->first : 0;
}

}  // namespace softiommu
