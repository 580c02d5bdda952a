// SPDX-License-Identifier: BSD-3-Clause
// The request and the event queue: split virtqueues of one page each (virtio 2.7).
#include <algorithm>
#include <atomic>

#include "base/log.h"
#include "drivers/virtio_iommu/unit.h"

namespace softiommu::virtio_iommu {

using namespace hw::virtio_iommu;

namespace {

// A request that is not over within this many looks never will be.
constexpr unsigned kMostPolls = 100'000;
// A storm of events must not fill the log.
constexpr std::uint64_t kMostLines = 100;

// A queue's page: descriptors, then the ring of what is available, then that of what was used.
constexpr std::uint16_t kQueueSize = 4;
constexpr std::uint64_t kAvailable = 0x400, kUsed = 0x800;
// The request buffer: what the device reads, then what it writes.
constexpr std::uint64_t kReply = 0x400;
constexpr std::uint64_t kFaultBytes = kFaultWords * sizeof(std::uint32_t);

template <class Word>
std::atomic_ref<Word> word(TableMemory& tables, PhysAddr page, std::uint64_t offset) {
  return std::atomic_ref<Word>(*tables.as<Word>(page + offset));
}

struct Descriptor {
  PhysAddr address;
  std::uint64_t bytes;
  bool write, more;
};
void describe(TableMemory& tables, PhysAddr page, std::uint64_t number, const Descriptor& d) {
  std::uint64_t* const words = tables.words(page) + number * (kDescriptorBytes / sizeof(std::uint64_t));
  words[0] = d.address.value;
  words[1] = kDescriptor1["LEN"].put(d.bytes) | kDescriptor1["NEXT"].put(d.more) | kDescriptor1["WRITE"].put(d.write) |
             kDescriptor1["INDEX"].put(d.more ? number + 1 : 0);
}

constexpr std::uint64_t kIndex = 2;  // of a ring, behind its flags
void offer(TableMemory& tables, PhysAddr page, std::uint16_t& offered, std::uint16_t head) {
  word<std::uint16_t>(tables, page, kAvailable + kRingHeaderBytes + 2 * (offered % kQueueSize)).store(head);
  word<std::uint16_t>(tables, page, kAvailable + kIndex).store(++offered, std::memory_order_release);
}

int errno_of(Answer answer) {
  switch (answer) {
    case Answer::no_memory:
      return ENOMEM;
    case Answer::no_entry:
      return ENOENT;
    case Answer::invalid:
      return EINVAL;
    case Answer::range:
      return ERANGE;
    case Answer::unsupported:
      return ENOSYS;
    case Answer::fault:
      return EFAULT;
    default:
      return EIO;
  }
}

}  // namespace

Result<> Unit::start_queue(unsigned number, PhysAddr page) {
  write(kQueueSel.offset, number);
  if (read(kQueueNumMax.offset) < kQueueSize) return fail(ENODEV, "the device's queues are too short");
  write(kQueueNum.offset, kQueueSize);
  const struct {
    std::uint32_t offset;
    PhysAddr address;
  } kParts[] = {
      {kQueueDesc.offset, page}, {kQueueDriver.offset, page + kAvailable}, {kQueueDevice.offset, page + kUsed}};
  for (const auto& [offset, address] : kParts) {
    write(offset, address.value & ~std::uint32_t{0});
    write(offset + 4, address.value >> 32);
  }
  // Whoever sends a request looks for its end; events raise the interrupt.
  word<std::uint16_t>(hardware_.tables, page, kAvailable).store(number == kRequestQueue);
  write(kQueueReady.offset, 1);
  if (read(kQueueReady.offset) != 1) return fail(ENODEV, "the device does not take its queue");
  return {};
}

// ---- Requests ---------------------------------------------------------------------------------------------------

bool Unit::request_is_open() {
  const MutexLock lock(queue_mutex_);
  const auto used = word<std::uint16_t>(hardware_.tables, requests_, kUsed + kIndex);
  return used.load(std::memory_order_acquire) != sent_;
}

Result<> Unit::request(std::span<const std::uint32_t> words) { return request_with_reply(words, {}); }

Result<> Unit::request_with_reply(std::span<const std::uint32_t> words, std::span<std::uint32_t> reply) {
  const MutexLock lock(queue_mutex_);
  TableMemory& tables = hardware_.tables;
  const auto used = word<std::uint16_t>(tables, requests_, kUsed + kIndex);
  if (used.load(std::memory_order_acquire) != sent_) return fail(ENODEV, "the device still has an earlier request");
  if (reply.size_bytes() + sizeof(std::uint32_t) > kPageSize - kReply)
    return fail(ENODEV, "the device tells more than there is room for");
  std::ranges::copy(words, tables.as<std::uint32_t>(buffer_));
  auto* const answer = tables.as<std::uint32_t>(buffer_ + kReply);
  std::fill_n(answer, reply.size() + 1, 0);
  answer[reply.size()] = static_cast<std::uint32_t>(kTail["STATUS"].put(std::to_underlying(Answer::device_error)));
  describe(tables, requests_, 0, {buffer_, words.size_bytes(), false, true});
  describe(tables, requests_, 1, {buffer_ + kReply, reply.size_bytes() + sizeof(std::uint32_t), true, false});
  offer(tables, requests_, sent_, 0);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  write(kQueueNotify.offset, kRequestQueue);
  for (unsigned i = 0; used.load(std::memory_order_acquire) != sent_; ++i)
    if (i == kMostPolls) return fail(ENODEV, "a request does not end");
  const auto status = static_cast<Answer>(kTail["STATUS"].get(answer[reply.size()]));
  if (status != Answer::ok) return fail(errno_of(status), "the device refuses a request");
  std::copy_n(answer, reply.size(), reply.begin());
  return {};
}

// ---- Events -----------------------------------------------------------------------------------------------------

void Unit::offer_event_buffers() {
  for (std::uint16_t i = 0; i < kQueueSize; ++i) {
    describe(hardware_.tables, events_, i, {event_buffer_ + i * kFaultBytes, kFaultBytes, true, false});
    offer(hardware_.tables, events_, offered_, i);
  }
}

void Unit::serve_interrupt() {
  write(kInterruptAck.offset, read(kInterruptStatus.offset));
  const MutexLock lock(events_mutex_);
  TableMemory& tables = hardware_.tables;
  while (word<std::uint16_t>(tables, events_, kUsed + kIndex).load(std::memory_order_acquire) != seen_) {
    const std::uint64_t entry = kUsed + kRingHeaderBytes + kUsedEntryBytes * (seen_ % kQueueSize);
    const auto number = static_cast<std::uint16_t>(word<std::uint32_t>(tables, events_, entry).load() % kQueueSize);
    const auto* const event = tables.as<std::uint32_t>(event_buffer_ + number * kFaultBytes);
    const std::uint64_t reason = kFaultReason["REASON"].get(event[0]);
    const std::uint64_t address = event[kFaultAddressWord] | std::uint64_t{event[kFaultAddressWord + 1]} << 32;
    // A blocked device that goes on is nothing to worry about.
    if (logged_++ < kMostLines)
      log::write(reason == hw::virtio_iommu::kNoDomain ? log::Level::info : log::Level::warning,
                 fmt::format("virtio-iommu {}: {} fault: endpoint {:#x} iova {:#x} {}", name_,
                             reason == hw::virtio_iommu::kNoDomain ? "domain" : "page", event[kFaultEndpointWord],
                             address, kFaultFlags["WRITE"].is_set(event[kFaultFlagsWord]) ? "write" : "read"));
    ++seen_;
    offer(tables, events_, offered_, number);
  }
}

}  // namespace softiommu::virtio_iommu
