// SPDX-License-Identifier: BSD-3-Clause
// Invalidation of a VT-d unit's caches: by registers (VT-d 6.5.1) and through the queue (6.5.2).
//
// Both are done when the register write returns: ICC and IVT are clear again, and IQH has reached IQT or stands at
// the descriptor that is wrong. What a wait descriptor announces holds: no DMA that used an old translation is
// still under way.
#include <array>
#include <atomic>
#include <bit>

#include "machine/iommu/intel_vtd/intel_vtd.h"

namespace softiommu::vtd {

using namespace hw::vtd;

namespace {

// FM of CCMD and of the context-cache descriptor: bits of the source id's function number, high bits first.
constexpr std::array<std::uint16_t, 4> kIgnoredFunctionBits{0b000, 0b100, 0b110, 0b111};

Granularity granularity(std::uint64_t field) { return static_cast<Granularity>(field); }

}  // namespace

std::uint16_t IntelVtd::implemented_domain(std::uint64_t domain) const {
  const std::uint64_t implemented = (std::uint64_t{1} << domain_id_bits(capabilities_.cap)) - 1;
  return static_cast<std::uint16_t>(domain & implemented);
}

void IntelVtd::invalidated() {
  bump_generation();
  if (!context_.paranoid) return;
  const MutexLock lock(reports_mutex_);
  reported_.clear();
}

// Context entries of scalable mode have no domain id: their invalidations match any.
std::optional<std::uint16_t> IntelVtd::context_tag(std::uint64_t domain) const {
  return is_scalable() ? std::nullopt : std::optional(implemented_domain(domain));
}

Granularity IntelVtd::drop_contexts(Granularity wanted, std::uint64_t domain, std::uint64_t source,
                                    std::uint64_t function_mask) {
  switch (wanted) {
    case Granularity::global:
      contexts_.invalidate_all();
      break;
    case Granularity::domain:
      contexts_.invalidate_domain(context_tag(domain));
      break;
    case Granularity::selective:
      contexts_.invalidate_source(context_tag(domain), static_cast<std::uint16_t>(source),
                                  kIgnoredFunctionBits[function_mask]);
      break;
    case Granularity::reserved:
      return wanted;
  }
  invalidated();
  return wanted;
}

void IntelVtd::drop_domain(std::uint16_t domain) {
  if (is_scalable())
    iotlb_.invalidate_masked(kDomainMask, domain);
  else
    iotlb_.invalidate_space(domain);
}

// `address` is laid out as IVA, which is also the high word of the descriptor. Without PSI a page-selective request
// covers the domain.
Granularity IntelVtd::drop_translations(Granularity wanted, std::uint64_t domain, std::uint64_t address) {
  const bool by_page = kCap["PSI"].is_set(capabilities_.cap);
  if (wanted == Granularity::selective && !by_page) wanted = Granularity::domain;
  switch (wanted) {
    case Granularity::global:
      iotlb_.invalidate_all();
      break;
    case Granularity::domain:
      drop_domain(implemented_domain(domain));
      break;
    case Granularity::selective: {
      const std::uint64_t mask_lg2 = kIva["AM"].get(address);
      if (mask_lg2 > kCap["MAMV"].get(capabilities_.cap)) return Granularity::reserved;
      const std::uint64_t bytes = kPageSize << mask_lg2;
      const Iova first{align_down(kIva["ADDR"].in_place(address), bytes)};
      // Which addresses of a first stage went through these pages of the second nobody knows.
      if (is_scalable())
        iotlb_.invalidate_masked(kDomainMask | kStageMask,
                                 space_of(Route::Kind::nested, implemented_domain(domain), 0));
      iotlb_.invalidate_range(implemented_domain(domain), IovaRange::of(first, bytes));
      break;
    }
    case Granularity::reserved:
      return wanted;
  }
  invalidated();
  return wanted;
}

void IntelVtd::run_context_command() {
  const MutexLock lock(commands_);
  std::uint64_t command = load64(kCcmd.offset);
  auto done = Granularity::reserved;
  if (kGsts["QIES"].is_set(load(kGsts.offset)))
    find([&] { return name() + ": CCMD was written while the invalidation queue is on: ignored"; });
  else
    done = drop_contexts(granularity(kCcmd["CIRG"].get(command)), kCcmd["DID"].get(command), kCcmd["SID"].get(command),
                         kCcmd["FM"].get(command));
  wait_for_dma();
  command = kCcmd["CAIG"].set(command, static_cast<std::uint64_t>(done));
  store64(kCcmd.offset, kCcmd["ICC"].set(command, 0));
}

void IntelVtd::run_iotlb_command() {
  const MutexLock lock(commands_);
  std::uint64_t command = load64(iotlb_base_ + kIotlb.offset);
  auto done = Granularity::reserved;
  if (kGsts["QIES"].is_set(load(kGsts.offset)))
    find([&] { return name() + ": IOTLB was written while the invalidation queue is on: ignored"; });
  else
    done = drop_translations(granularity(kIotlb["IIRG"].get(command)), kIotlb["DID"].get(command),
                             load64(iotlb_base_ + kIva.offset));
  wait_for_dma();
  command = kIotlb["IAIG"].set(command, static_cast<std::uint64_t>(done));
  store64(iotlb_base_ + kIotlb.offset, kIotlb["IVT"].set(command, 0));
}

IntelVtd::Lines IntelVtd::set_queue(bool on) {
  store64(kIqh.offset, 0);
  return on ? run_queue() : Lines{0};
}

// A descriptor lies in one page: one look-up for all its words. No type has a use for the third and fourth.
inline QueueError IntelVtd::load_descriptor(PhysAddr address, unsigned bytes, QueueWords& words) const {
  auto* const memory = reinterpret_cast<std::uint64_t*>(at(address));
  if (memory == nullptr) return QueueError::fetch_failed;
  words = {std::atomic_ref(memory[0]).load(std::memory_order_acquire),
           std::atomic_ref(memory[1]).load(std::memory_order_acquire)};
  if constexpr (std::endian::native == std::endian::big) words = {std::byteswap(words.low), std::byteswap(words.high)};
  if (bytes == kDescriptorBytes) return QueueError::none;
  const std::uint64_t rest = std::atomic_ref(memory[2]).load(std::memory_order_acquire) |
                             std::atomic_ref(memory[3]).load(std::memory_order_acquire);
  return rest != 0 ? QueueError::reserved_field : QueueError::none;
}

QueueError IntelVtd::run_context_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kContextCacheDescriptor0;
  if ((low & layout.unnamed()) != 0 || high != 0) return QueueError::reserved_field;
  const Granularity done = drop_contexts(granularity(layout["G"].get(low)), layout["DID"].get(low),
                                         layout["SID"].get(low), layout["FM"].get(low));
  return done == Granularity::reserved ? QueueError::reserved_field : QueueError::none;
}

inline QueueError IntelVtd::run_iotlb_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kIotlbDescriptor0;
  static_assert(kIotlbDescriptor1["ADDR"].mask() == kIva["ADDR"].mask());
  static_assert(kIotlbDescriptor1["AM"].mask() == kIva["AM"].mask());
  if ((low & layout.unnamed()) != 0 || (high & kIotlbDescriptor1.unnamed()) != 0) return QueueError::reserved_field;
  const Granularity done = drop_translations(granularity(layout["G"].get(low)), layout["DID"].get(low), high);
  return done == Granularity::reserved ? QueueError::reserved_field : QueueError::none;
}

inline QueueError IntelVtd::run_wait_descriptor(std::uint64_t low, std::uint64_t high, Lines& lines) {
  constexpr auto& layout = kWaitDescriptor0;
  // PD is reserved in a unit without ECAP.PDS.
  const bool reserved = ((low & layout.unnamed()) | layout["PD"].in_place(low)) != 0;
  if (reserved || (high & kWaitDescriptor1.unnamed()) != 0) return QueueError::reserved_field;
  wait_for_dma();
  if (layout["SW"].is_set(low)) {
    auto* status = reinterpret_cast<std::uint32_t*>(at(PhysAddr{kWaitDescriptor1["SADDR"].in_place(high)}));
    auto data = static_cast<std::uint32_t>(layout["SDATA"].get(low));
    if constexpr (std::endian::native == std::endian::big) data = std::byteswap(data);
    if (status != nullptr)
      std::atomic_ref(*status).store(data, std::memory_order_release);
    else
      find([&] { return name() + ": the status address of a wait descriptor is not in memory"; });
  }
  if (layout["IF"].is_set(low)) lines |= line(kCompletionLine, events_.wait_completed());
  return QueueError::none;
}

// Types that belong to features the unit does not have are unknown to it.
inline QueueError IntelVtd::run_descriptor(std::uint64_t low, std::uint64_t high, Lines& lines) {
  switch (static_cast<Descriptor>(descriptor_type(low))) {
    case Descriptor::context_cache:
      return run_context_descriptor(low, high);
    case Descriptor::iotlb:
      return run_iotlb_descriptor(low, high);
    case Descriptor::wait:
      return run_wait_descriptor(low, high, lines);
    case Descriptor::device_tlb:
      return run_device_tlb_descriptor(low, high);
    default:
      return kEcap["SMTS"].is_set(capabilities_.ecap) ? run_scalable_descriptor(low, high) : QueueError::invalid_type;
  }
}

// Scalable mode has descriptors of 256 bits only (VT-d 6.5.2).
QueueError IntelVtd::check_queue(std::uint64_t queue, std::uint64_t tail) const {
  if (tail >= queue_bytes(queue)) return QueueError::invalid_tail;
  if (is_scalable() && !kIqa["DW"].is_set(queue)) return QueueError::invalid_width;
  return tail % descriptor_bytes(queue) != 0 ? QueueError::unaligned_tail : QueueError::none;
}

IntelVtd::Lines IntelVtd::run_queue() {
  if (!kGsts["QIES"].is_set(load(kGsts.offset)) || events_.queue_stopped()) return 0;
  Lines lines = 0;
  const std::uint64_t queue = load64(kIqa.offset), bytes = queue_bytes(queue);
  const unsigned size = descriptor_bytes(queue);
  const PhysAddr base{kIqa["IQA"].in_place(queue)};
  std::uint64_t head = kIqh["QH"].in_place(load(kIqh.offset));
  // Software may move the tail meanwhile; only a command, which waits for this one, stops the queue.
  for (std::uint64_t tail = 0; (tail = kIqt["QT"].in_place(load(kIqt.offset))) != head;) {
    QueueWords words;
    QueueError error = check_queue(queue, tail);
    if (error == QueueError::none) error = load_descriptor(base + head, size, words);
    if (error == QueueError::none) error = run_descriptor(words.low, words.high, lines);
    if (error != QueueError::none) {
      lines |= line(kFaultLine, events_.queue_error(error));
      break;
    }
    // The queue's size is a power of two, and IQH's upper half has no bits.
    head = (head + size) & (bytes - 1);
    store(kIqh.offset, static_cast<std::uint32_t>(head));
  }
  return lines;
}

}  // namespace softiommu::vtd
