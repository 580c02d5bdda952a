// SPDX-License-Identifier: BSD-3-Clause
// The event queue (IHI0070 chapter 7): a full queue drops the event and toggles the overflow flag.
#include <algorithm>
#include <utility>

#include "machine/iommu/arm_smmu_v3/model.h"

namespace softiommu::smmuv3 {

using namespace hw::smmuv3;

namespace {

// Events that say how the translation of an address ended; the others are about the stream alone (7.3).
bool is_about_an_address(Event event) {
  switch (event) {
    case Event::f_uut:
    case Event::f_transl_forbidden:
    case Event::f_walk_eabt:
    case Event::f_translation:
    case Event::f_addr_size:
    case Event::f_access:
    case Event::f_permission:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::array<std::uint64_t, kEventWords> ArmSmmuV3::words_of(const EventRecord& entry) {
  const Transaction& t = entry.transaction;
  std::array<std::uint64_t, kEventWords> words{};
  words[0] = kEvent0["Event"].put(std::to_underlying(entry.event)) | kEvent0["StreamID"].put(t.stream) |
             kEvent0["SSV"].put(t.pasid != 0) | kEvent0["SubstreamID"].put(t.pasid);
  if (is_about_an_address(entry.event)) {
    words[1] = kEvent1["RnW"].put(t.access == Access::read) | kEvent1["S2"].put(entry.fault.stage2) |
               kEvent1["CLASS"].put(entry.fault.fault_class);
    words[2] = t.iova.value;
  }
  // An IPA in pages, or the place of the structure that could not be fetched.
  words[3] = entry.fault.stage2 ? kEvent3["IPA"].in_place(entry.fault.address) : entry.fault.address;
  return words;
}

// GERROR toggles only while software has acknowledged the last one (6.3.18).
bool ArmSmmuV3::raise_error(std::uint64_t gerror_bit) {
  const auto bit = static_cast<std::uint32_t>(gerror_bit);
  if (((gerror_ ^ gerrorn_) & bit) != 0) return false;
  gerror_ ^= bit;
  return true;
}

void ArmSmmuV3::record(const EventRecord& entry) {
  if (!kCr0["EVENTQEN"].is_set(cr0_)) return;
  const std::uint64_t base = eventq_base_;
  const auto log2 = static_cast<unsigned>(std::min(kQueueBaseBits["LOG2SIZE"].get(base), kIdr1["EVENTQS"].get(idr1_)));
  const PhysAddr queue{align_down(kQueueBaseBits["ADDR"].in_place(base), std::uint64_t{kEventBytes} << log2)};
  bool was_empty = false, lost = false;
  {
    const std::scoped_lock lock(events_mutex_);
    const std::uint32_t wrap = 1u << log2, indices = (2u << log2) - 1;
    const auto prod = static_cast<std::uint32_t>(kEventqProd["WR"].get(event_prod_)) & indices;
    const auto cons = static_cast<std::uint32_t>(kEventqCons["RD"].get(event_cons_)) & indices;
    if ((prod ^ cons) == wrap) {  // full
      const bool overflow_seen = kEventqProd["OVFLG"].get(event_prod_) == kEventqCons["OVACKFLG"].get(event_cons_);
      if (overflow_seen) event_prod_ ^= static_cast<std::uint32_t>(kEventqProd["OVFLG"].mask());
      return;
    }
    std::uint64_t* const words = word_at(queue + std::uint64_t{prod & (wrap - 1)} * kEventBytes);
    if (words == nullptr) {
      lost = raise_error(kGerrorBits["EVENTQ_ABT_ERR"].mask());
    } else {
      std::ranges::copy(words_of(entry), words);
      const std::uint64_t overflow = kEventqProd["OVFLG"].in_place(event_prod_);
      event_prod_ = static_cast<std::uint32_t>(overflow | kEventqProd["WR"].put((prod + 1) & indices));
      was_empty = prod == cons;
    }
  }
  // The interrupt is for the queue that is no longer empty (3.5.2), not for each event.
  if (was_empty && kIrqCtrlBits["EVENTQ_IRQEN"].is_set(irq_ctrl_)) interrupt(kEventqLine);
  if (lost && kIrqCtrlBits["GERROR_IRQEN"].is_set(irq_ctrl_)) interrupt(kGerrorLine);
}

std::uint64_t ArmSmmuV3::read_event_index(std::uint32_t offset) {
  const std::scoped_lock lock(events_mutex_);
  return offset == kEventqProd.offset ? event_prod_ : event_cons_;
}

// PROD is the hardware's while the queue is on.
void ArmSmmuV3::write_event_index(std::uint32_t offset, std::uint64_t value) {
  if (offset == kEventqProd.offset && kCr0["EVENTQEN"].is_set(cr0_)) return;
  const std::scoped_lock lock(events_mutex_);
  (offset == kEventqProd.offset ? event_prod_ : event_cons_) = static_cast<std::uint32_t>(value);
}

}  // namespace softiommu::smmuv3
