// SPDX-License-Identifier: BSD-3-Clause
// Queues that a program reads from a file of their own: page faults that it answers, and events of a virtual IOMMU.
//
// They are filled by device threads and used by the program's without the context's lock: each has leaf locks of its
// own, and none is held while the program's memory is touched. A read that cannot be written out puts back what it
// took.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/program.h"
#include "base/result.h"
#include "core/page_faults.h"
#include "iommufd/abi.h"
#include "iommufd/object.h"

namespace softiommu::iommufd {

class BoundDevice;
class Viommu;

// Whose attach a page request came through.
class Requester final : public AttachHandle {
 public:
  explicit Requester(std::uint32_t device_id) : device_id_(device_id) {}
  std::uint32_t device_id() const { return device_id_; }

 private:
  std::uint32_t device_id_;
};

// An object with a file, which uses it as long as it is open.
class EventQueue : public Object {
 public:
  virtual std::string path() const = 0;
  // As the system calls answer: bytes, or a negative errno. Nothing to read: 0, never waiting.
  virtual ssize_t read(Program& program, std::uint64_t user, std::size_t bytes) = 0;
  virtual ssize_t write(Program& program, std::uint64_t user, std::size_t bytes) = 0;
  virtual short poll() const = 0;
};

// Page requests of the devices on its HWPTs. All of one index are read at once, under one cookie, by which they are
// answered once.
class FaultQueue final : public EventQueue, public PageRequestHandler {
 public:
  std::string path() const override { return "anon_inode:[iommufd-pgfault]"; }
  // -ESPIPE: not whole records; -EINVAL: the first set does not fit; -EFAULT, -ENOMEM.
  ssize_t read(Program& program, std::uint64_t user, std::size_t bytes) override;
  // -ESPIPE: not whole responses; -EINVAL: an unknown code or cookie; -EFAULT. What was written before counts.
  ssize_t write(Program& program, std::uint64_t user, std::size_t bytes) override;
  short poll() const override;

  void handle(PageRequestSet requests) override;
  // Answers `invalid` whatever came through this attach and is not answered yet.
  void end_requests_of(const Requester& requester);

 private:
  friend struct QueueView;  // of tests/faults
  struct Taken {
    std::uint32_t cookie = 0;
    std::vector<abi::PageFault> records;  // empty: nothing waits, or it does not fit
  };
  Taken take(std::size_t room, bool& waits);
  void put_back(std::uint32_t cookie);
  std::uint32_t free_cookie() const REQUIRES(answers_);

  // Order: answers_, waiting_lock_. Device threads take the second only; drivers are told answers under the first.
  Mutex answers_;
  std::map<std::uint32_t, PageRequestSet> taken_ GUARDED_BY(answers_);  // by cookie: read, not answered
  mutable Mutex waiting_lock_;
  std::list<PageRequestSet> waiting_ GUARDED_BY(waiting_lock_);
};

// Events of one type of a virtual IOMMU. What does not fit any more is lost: the reader sees a header that says so, and
// a gap in the sequence.
class Veventq final : public EventQueue {
 public:
  Veventq(Viommu& viommu, std::uint32_t type, std::uint32_t depth);
  ~Veventq() override;

  std::string path() const override { return "anon_inode:[iommufd-viommu-event]"; }
  // -EINVAL: no room for a header, or for the first event; -EFAULT.
  ssize_t read(Program& program, std::uint64_t user, std::size_t bytes) override;
  ssize_t write(Program&, std::uint64_t, std::size_t) override { return -EINVAL; }
  short poll() const override;

  std::uint32_t type() const { return type_; }
  // ENOMEM: it counts as lost.
  Result<> add(std::span<const std::byte> event);

 private:
  friend struct QueueView;
  struct Event {
    abi::VeventHeader header;
    std::vector<std::byte> data;
  };
  using Events = std::list<Event>;
  // The next event, or if there is none the sequence number of the last that was lost.
  Events take(std::optional<std::uint32_t>& lost);
  void put_back(Events& event, std::optional<std::uint32_t> lost);

  Viommu& viommu_;
  const std::uint32_t type_, depth_;
  mutable Mutex mutex_;
  Events events_ GUARDED_BY(mutex_);
  std::optional<std::uint32_t> lost_ GUARDED_BY(mutex_);  // its sequence number: behind all events
  std::uint32_t sequence_ GUARDED_BY(mutex_) = 0;
};

}  // namespace softiommu::iommufd
