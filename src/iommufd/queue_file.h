// SPDX-License-Identifier: BSD-3-Clause
// The file of a fault queue or an event queue. It keeps its context, and the queue in use, until it is closed.
#pragma once

#include <memory>
#include <utility>

#include "base/file.h"
#include "iommufd/context.h"
#include "iommufd/event_queue.h"

namespace softiommu::iommufd {

class QueueFile final : public File {
 public:
  // Takes over one use of the queue.
  QueueFile(std::shared_ptr<Context> context, EventQueue& queue, Program& program)
      : context_(std::move(context)), queue_(queue), program_(program) {}
  ~QueueFile() override { context_->unuse(queue_); }

  std::string path() const override { return queue_.path(); }
  bool has_position() const override { return false; }
  long ioctl(unsigned int, std::uint64_t) override { return -ENOTTY; }
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t) override { return queue_.read(program_, user, bytes); }
  ssize_t pwrite(std::uint64_t user, std::size_t bytes, off_t) override { return queue_.write(program_, user, bytes); }
  short poll() override { return queue_.poll(); }

 private:
  std::shared_ptr<Context> context_;
  EventQueue& queue_;
  Program& program_;
};

// Keeps the owner of a mapped page in use.
class MappedUse final {
 public:
  MappedUse(std::shared_ptr<Context> context, Object& owner) : context_(std::move(context)), owner_(owner) {}
  ~MappedUse() { context_->unuse(owner_); }
  MappedUse(const MappedUse&) = delete;
  MappedUse& operator=(const MappedUse&) = delete;

 private:
  std::shared_ptr<Context> context_;
  Object& owner_;
};

}  // namespace softiommu::iommufd
