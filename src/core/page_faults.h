// SPDX-License-Identifier: BSD-3-Clause
// Page requests of a group's devices: who gets them, and how the answer finds its way back (Linux's iopf).
//
// Requests with one index are answered together: those before the last wait for it, then all go to the handler of the
// domain that the requester's PASID is attached to. A set of requests that nobody answers is answered `invalid` when it
// ends. Requests come from device threads, beside attaches: one leaf lock guards what they look up, and handlers
// are called under it, so that none is called any more once a detach has returned.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"

namespace softiommu {

class Device;
class Domain;

struct PageRequest {
  Pasid pasid = 0;            // 0: a request without one
  std::uint32_t index = 0;    // page request group index
  bool last = true;           // of its index: an answer is expected
  std::uint32_t rights = 0;   // PageRight bits
  std::uint64_t address = 0;  // as the device gave it
};

struct PageRight {
  static constexpr std::uint32_t read = 1, write = 2, execute = 4, privileged = 8;
};

enum class PageAnswer : std::uint8_t {
  success,  // the device tries again
  invalid,  // the access fails
  failure,  // the device shall stop using page requests
};

// Who attached a domain, in the words of whoever attached it: handlers tell requesters apart by it.
class AttachHandle {
 public:
  AttachHandle() = default;
  virtual ~AttachHandle() = default;
  AttachHandle(const AttachHandle&) = delete;
  AttachHandle& operator=(const AttachHandle&) = delete;
};

// The requests of one index, to be answered once.
class PageRequestSet {
 public:
  // `requests`: in the order they came, the last one last.
  PageRequestSet(const Device& device, AttachHandle& handle, std::vector<PageRequest> requests)
      : device_(&device), handle_(&handle), requests_(std::move(requests)) {}
  ~PageRequestSet() { answer(PageAnswer::invalid); }
  PageRequestSet(PageRequestSet&& other) noexcept
      : device_(std::exchange(other.device_, nullptr)), handle_(other.handle_), requests_(std::move(other.requests_)) {}
  PageRequestSet& operator=(PageRequestSet&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    std::swap(requests_, other.requests_);
    return *this;
  }

  const AttachHandle& handle() const { return *handle_; }
  const std::vector<PageRequest>& requests() const { return requests_; }
  // Tells the device through its driver. Only the first answer counts.
  void answer(PageAnswer answer);

 private:
  const Device* device_;  // nullptr: answered
  AttachHandle* handle_;
  std::vector<PageRequest> requests_;
};

class PageRequestHandler {
 public:
  virtual ~PageRequestHandler() = default;
  // Takes them over; may answer later. Called on device threads, under the group's lock for requests: it takes only
  // leaf locks. What it drops, also by throwing, is answered `invalid`.
  virtual void handle(PageRequestSet requests) = 0;
};

class PageFaults {
 public:
  // A request of a device of the group. From its driver, on any thread, without a lock that page_response() takes.
  //   EINVAL  nobody handles it: it is answered `invalid` already;  ENOMEM  answered `failure`
  Result<> report(const Device& device, const PageRequest& request);

  // ---- for the group: what is attached. PASID 0 stands for requests without one.
  struct Attached {
    Domain* domain = nullptr;  // nullptr: a place that is kept, nothing is attached
    AttachHandle* handle = nullptr;
  };
  // Makes the place, so that attach() needs no memory. False: there is one.
  bool reserve(Pasid pasid);
  void attach(Pasid pasid, Attached attached);
  void forget(Pasid pasid);
  Attached find(Pasid pasid) const;  // {}: nothing
  // The lowest PASID (but 0) that is attached; 0: none is.
  Pasid any_pasid() const;

 private:
  struct Partial {
    const Device* device;
    PageRequest request;
  };
  Attached handler_of(const Device& device, const PageRequest& request) const REQUIRES(mutex_);
  std::vector<PageRequest> collect(const Device& device, const PageRequest& request) REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::map<Pasid, Attached> attached_ GUARDED_BY(mutex_);
  std::vector<Partial> partial_ GUARDED_BY(mutex_);  // those that are not the last of their index
};

}  // namespace softiommu
