// SPDX-License-Identifier: BSD-3-Clause
#include "machine/platform_device.h"

#include "hw/platform_dma.h"

namespace softiommu {

using namespace hw::platform_dma;

PlatformDevice::PlatformDevice(const Context& context)
    : name_(context.name), streams_(context.streams), can_stall_(context.stalls), executor_(context.executor) {
  for (const StreamId stream : streams_) {
    ports_.push_back(std::make_unique<DmaPort>(context.memory, context.unit, stream));
    ports_.back()->set_name(name_);
  }
}

std::uint64_t PlatformDevice::read(std::uint64_t offset, unsigned bytes) {
  const FutexGuard lock(mutex_);
  const Registers& r = registers_;
  if (offset == kSource.offset && bytes == kSource.bytes) return r.source;
  if (offset == kDestination.offset && bytes == kDestination.bytes) return r.destination;
  if (bytes != kCommand.bytes) return ~std::uint64_t{0};
  switch (offset) {
    case kIdentification.offset:
      return kIdentification["PORTS"].set(kIdentification.reset, ports_.size() - 1);
    case kCount.offset:
      return r.count;
    case kCommand.offset:
      return r.command;
    case kStatus.offset:
      return r.status;
    default:
      return ~std::uint64_t{0};
  }
}

void PlatformDevice::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  for (const auto& port : ports_) port->tell();
  {
    const FutexGuard lock(mutex_);
    Registers& r = registers_;
    if (offset == kStatus.offset && bytes == kStatus.bytes) r.status &= ~value;
    if (kCommand["START"].is_set(r.command)) return;  // read-only while a copy runs
    if (offset == kSource.offset && bytes == kSource.bytes) r.source = value;
    if (offset == kDestination.offset && bytes == kDestination.bytes) r.destination = value;
    if (offset == kCount.offset && bytes == kCount.bytes) r.count = value;
    if (offset != kCommand.offset || bytes != kCommand.bytes) return;
    r.command = value & kCommand.layout.named();
  }
  executor_.wake(*this);
}

void PlatformDevice::forget_thread() {
  mutex_.reset();
  for (const auto& port : ports_) port->forget_thread();
}

std::uint64_t PlatformDevice::step(std::uint64_t /*now_ns*/) {
  Registers job;
  {
    const FutexGuard lock(mutex_);
    if (!kCommand["START"].is_set(registers_.command)) return kIdle;
    job = registers_;
  }
  const std::uint64_t port = kCommand["PORT"].get(job.command);
  const bool ok = port < ports_.size() && ports_[port]->copy(Iova{job.destination}, Iova{job.source}, job.count);
  {
    const FutexGuard lock(mutex_);
    registers_.command = kCommand["START"].set(registers_.command, 0);
    registers_.status |= kStatus["DONE"].mask() | kStatus["ERROR"].put(!ok);
  }
  if (kCommand["IRQ"].is_set(job.command) && interrupt_) interrupt_();
  return kIdle;
}

}  // namespace softiommu
