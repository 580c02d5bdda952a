// SPDX-License-Identifier: BSD-3-Clause
#include <poll.h>

#include <iterator>

#include "base/fault.h"
#include "iommufd/event_queue.h"

namespace softiommu::iommufd {

namespace {

abi::PageFault record_of(const PageRequest& request, std::uint32_t device, std::uint32_t cookie) {
  abi::PageFault record{};
  record.flags = (request.pasid != 0 ? abi::kPageFaultPasidValid : 0) | (request.last ? abi::kPageFaultLastPage : 0);
  record.dev_id = device;
  record.pasid = request.pasid;
  record.grpid = request.index;
  record.perm = request.rights;
  record.addr = request.address;
  record.cookie = cookie;
  return record;
}

}  // namespace

void FaultQueue::handle(PageRequestSet requests) {
  std::list<PageRequestSet> one;
  one.push_back(std::move(requests));
  const MutexLock lock(waiting_lock_);
  waiting_.splice(waiting_.end(), one);
}

// The sets leave under both locks: nobody else answers them.
void FaultQueue::end_requests_of(const Requester& requester) {
  std::list<PageRequestSet> ended;
  const MutexLock lock(answers_);
  {
    const MutexLock waiting(waiting_lock_);
    for (auto set = waiting_.begin(); set != waiting_.end();) {
      const auto next = std::next(set);
      if (&set->handle() == &requester) ended.splice(ended.end(), waiting_, set);
      set = next;
    }
  }
  ended.clear();
  std::erase_if(taken_, [&](const auto& taken) { return &taken.second.handle() == &requester; });
}

std::uint32_t FaultQueue::free_cookie() const {
  std::uint32_t cookie = 1;
  for (const auto& taken : taken_)
    if (taken.first == cookie) ++cookie;
  return cookie;
}

FaultQueue::Taken FaultQueue::take(std::size_t room, bool& waits) {
  const MutexLock lock(answers_);
  std::list<PageRequestSet> one;
  {
    const MutexLock waiting(waiting_lock_);
    waits = !waiting_.empty();
    if (!waits || waiting_.front().requests().size() * sizeof(abi::PageFault) > room) return {};
    one.splice(one.end(), waiting_, waiting_.begin());
  }
  try {
    Taken taken{free_cookie(), {}};
    const auto& requester = static_cast<const Requester&>(one.front().handle());
    for (const PageRequest& request : one.front().requests())
      taken.records.push_back(record_of(request, requester.device_id(), taken.cookie));
    taken_.emplace(taken.cookie, std::move(one.front()));
    return taken;
  } catch (...) {
    const MutexLock waiting(waiting_lock_);
    waiting_.splice(waiting_.begin(), one);
    throw;
  }
}

// It may have been answered meanwhile. Without memory to put it back it is answered `invalid`.
void FaultQueue::put_back(std::uint32_t cookie) {
  const MutexLock lock(answers_);
  auto taken = taken_.extract(cookie);
  if (taken.empty()) return;
  std::list<PageRequestSet> one;
  one.push_back(std::move(taken.mapped()));
  const MutexLock waiting(waiting_lock_);
  waiting_.splice(waiting_.begin(), one);
}

ssize_t FaultQueue::read(Program& program, std::uint64_t user, std::size_t bytes) {
  if (bytes % sizeof(abi::PageFault) != 0) return -ESPIPE;
  std::size_t done = 0;
  const auto all = without_throwing([&]() -> Result<> {
    for (;;) {
      TRY(fault::pass("iommufd.fault_read"));
      bool waits = false;
      const Taken taken = take(bytes - done, waits);
      if (taken.records.empty()) return waits ? fail(EINVAL, "the first set of requests does not fit") : Result<>{};
      const std::size_t part = taken.records.size() * sizeof(abi::PageFault);
      if (const auto copied = program.copy_out(user + done, taken.records.data(), part); !copied) {
        put_back(taken.cookie);
        return copied;
      }
      done += part;
    }
  });
  return done != 0 || all ? static_cast<ssize_t>(done) : -all.error().code;
}

ssize_t FaultQueue::write(Program& program, std::uint64_t user, std::size_t bytes) {
  if (bytes % sizeof(abi::PageResponse) != 0) return -ESPIPE;
  std::size_t done = 0;
  const auto respond = [&]() -> Result<> {
    for (; done < bytes; done += sizeof(abi::PageResponse)) {
      abi::PageResponse response{};
      TRY(program.copy_in(&response, user + done, sizeof response));
      if (response.code != abi::kPageResponseSuccess && response.code != abi::kPageResponseInvalid)
        return fail(EINVAL, "no such answer");
      const MutexLock lock(answers_);
      const auto taken = taken_.find(response.cookie);
      if (taken == taken_.end()) return fail(EINVAL, "no page requests have this cookie");
      taken->second.answer(response.code == abi::kPageResponseSuccess ? PageAnswer::success : PageAnswer::invalid);
      taken_.erase(taken);
    }
    return {};
  };
  const Result<> all = respond();
  return done != 0 || all ? static_cast<ssize_t>(done) : -all.error().code;
}

short FaultQueue::poll() const {
  const MutexLock lock(waiting_lock_);
  return static_cast<short>(POLLOUT | (waiting_.empty() ? 0 : POLLIN | POLLRDNORM));
}

}  // namespace softiommu::iommufd
