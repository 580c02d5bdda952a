// SPDX-License-Identifier: BSD-3-Clause
// What the hardware tells: events (IHI0070 chapter 7) and page requests (chapter 8). A full queue drops the entry and
// toggles the overflow flag.
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
               kEvent1["CLASS"].put(entry.fault.fault_class) | kEvent1["Stall"].put(entry.stalled.has_value()) |
               kEvent1["STAG"].put(entry.stalled.value_or(0));
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

ArmSmmuV3::OutputQueue::Put ArmSmmuV3::put_into(OutputQueue& queue, const OutputPlace& place,
                                                std::span<const std::uint64_t> entry) {
  using Put = OutputQueue::Put;
  const auto log2 =
      static_cast<unsigned>(std::min<std::uint64_t>(kQueueBaseBits["LOG2SIZE"].get(place.base), place.most_lg2));
  const PhysAddr first{
      align_down(kQueueBaseBits["ADDR"].in_place(place.base), std::uint64_t{entry.size_bytes()} << log2)};
  const std::scoped_lock lock(queues_mutex_);
  const std::uint32_t wrap = 1u << log2, indices = (2u << log2) - 1;
  const auto prod = static_cast<std::uint32_t>(kEventqProd["WR"].get(queue.prod)) & indices;
  const auto cons = static_cast<std::uint32_t>(kEventqCons["RD"].get(queue.cons)) & indices;
  if ((prod ^ cons) == wrap) {
    const bool overflow_seen = kEventqProd["OVFLG"].get(queue.prod) == kEventqCons["OVACKFLG"].get(queue.cons);
    if (overflow_seen) queue.prod ^= static_cast<std::uint32_t>(kEventqProd["OVFLG"].mask());
    return Put::full;
  }
  std::uint64_t* const words = word_at(first + std::uint64_t{prod & (wrap - 1)} * entry.size_bytes());
  if (words == nullptr) return Put::no_memory;
  std::ranges::copy(entry, words);
  const std::uint64_t overflow = kEventqProd["OVFLG"].in_place(queue.prod);
  queue.prod = static_cast<std::uint32_t>(overflow | kEventqProd["WR"].put((prod + 1) & indices));
  return prod == cons ? Put::first : Put::behind_others;
}

// The interrupt is for the queue that is no longer empty (3.5.2), not for each entry.
void ArmSmmuV3::raise_for(OutputQueue::Put put, std::uint64_t irq_enable, unsigned line, std::uint64_t abort_error) {
  if (put == OutputQueue::Put::first && (irq_ctrl_ & irq_enable) != 0) interrupt(line);
  if (put == OutputQueue::Put::no_memory && raise_error(abort_error) &&
      kIrqCtrlBits["GERROR_IRQEN"].is_set(irq_ctrl_)) {
    interrupt(kGerrorLine);
  }
}

bool ArmSmmuV3::record(const EventRecord& entry) {
  using Put = OutputQueue::Put;
  if (!kCr0["EVENTQEN"].is_set(cr0_)) return false;
  const OutputPlace place{eventq_base_, static_cast<unsigned>(kIdr1["EVENTQS"].get(idr1_))};
  const Put put = put_into(events_, place, words_of(entry));
  raise_for(put, kIrqCtrlBits["EVENTQ_IRQEN"].mask(), kEventqLine, kGerrorBits["EVENTQ_ABT_ERR"].mask());
  return put == Put::first || put == Put::behind_others;
}

// What cannot be queued is answered at once (8.1): with success if the queue was full, so that the device asks again.
bool ArmSmmuV3::request_page(const PageRequestMessage& request) {
  using Put = OutputQueue::Put;
  using Code = PageResponse::Code;
  const auto answer = [&](Code code) {
    return !request.last || answer_page_request({request.stream, request.pasid, request.group, code});
  };
  if (!kCr0["SMMUEN"].is_set(cr0_) || !kCr0["PRIQEN"].is_set(cr0_)) return answer(Code::failure);
  const std::uint64_t words[kPriWords] = {
      kPri0["StreamID"].put(request.stream) | kPri0["SSV"].put(request.pasid != 0) |
          kPri0["SubstreamID"].put(request.pasid) | kPri0["R"].put(request.read) | kPri0["W"].put(request.write) |
          kPri0["Last"].put(request.last),
      kPri1["PRGIndex"].put(request.group) | kPri1["Address"].in_place(request.address.value)};
  const OutputPlace place{priq_base_, static_cast<unsigned>(kIdr1["PRIQS"].get(idr1_))};
  const Put put = put_into(page_requests_, place, words);
  raise_for(put, kIrqCtrlBits["PRIQ_IRQEN"].mask(), kPriqLine, kGerrorBits["PRIQ_ABT_ERR"].mask());
  if (put == Put::full) return answer(Code::success);
  return put != Put::no_memory || answer(Code::failure);
}

// ---- indices of both queues -------------------------------------------------------------------------------------

ArmSmmuV3::OutputQueue* ArmSmmuV3::queue_at(std::uint64_t offset) {
  if (offset == kEventqProd.offset || offset == kEventqCons.offset) return &events_;
  const bool of_requests = offset == kPriqProd.offset || offset == kPriqCons.offset;
  return of_requests && kIdr0["PRI"].is_set(idr0_) ? &page_requests_ : nullptr;
}

std::uint64_t ArmSmmuV3::read_index(std::uint32_t offset) {
  const std::scoped_lock lock(queues_mutex_);
  const OutputQueue& queue = *queue_at(offset);
  return offset == kEventqProd.offset || offset == kPriqProd.offset ? queue.prod : queue.cons;
}

// PROD is the hardware's while the queue is on.
void ArmSmmuV3::write_index(std::uint32_t offset, std::uint64_t value) {
  if (offset == kEventqProd.offset && kCr0["EVENTQEN"].is_set(cr0_)) return;
  if (offset == kPriqProd.offset && kCr0["PRIQEN"].is_set(cr0_)) return;
  const std::scoped_lock lock(queues_mutex_);
  OutputQueue& queue = *queue_at(offset);
  (offset == kEventqProd.offset || offset == kPriqProd.offset ? queue.prod : queue.cons) =
      static_cast<std::uint32_t>(value);
}

}  // namespace softiommu::smmuv3
