// SPDX-License-Identifier: BSD-3-Clause
// What the unit tells: events, page requests, global errors (IHI 0070 3.5, 7, 8). An event is for whoever can answer it
// (a stalled transaction), else for the guest that has the stream, else for the log.
#include "base/log.h"
#include "drivers/arm_smmu_v3/master.h"
#include "drivers/arm_smmu_v3/unit.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

// A storm of events must not fill the log.
constexpr std::uint64_t kMostEventLines = 100;

// An index has a wrap bit just above its log2-size bits.
std::uint32_t slot_of(std::uint32_t index, unsigned lg2) { return index & ((1u << lg2) - 1); }
std::uint32_t after(std::uint32_t index, unsigned lg2) { return (index + 1) & ((2u << lg2) - 1); }

// What a guest is told (struct iommu_vevent_arm_smmuv3), unless its hypervisor's stage 2 is at fault.
bool is_for_guests(const std::uint64_t* event) {
  if (kEvent1["S2"].is_set(event[1])) return false;
  switch (static_cast<Event>(kEvent0["Event"].get(event[0]))) {
    case Event::c_bad_ste:
    case Event::f_stream_disabled:
    case Event::c_bad_substreamid:
    case Event::c_bad_cd:
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

// Each line by itself: an error comes on the thread whose command it was, which cannot give another one to answer a
// fault.
void Unit::serve_interrupt(unsigned line) {
  EventWords event;
  PageRequestWords request;
  switch (line) {
    case kEventqLine:
      while (next_event(event)) serve_event(event);
      break;
    case kPriqLine:
      while (next_page_request(request)) serve_page_request(request);
      break;
    default:
      report_errors();
      break;
  }
}

// CMDQ_ERR belongs to the thread that waits for its commands, which may be this one.
void Unit::report_errors() {
  const std::uint32_t active = (registers().read32(kGerror.offset) ^ acknowledged_.load()) &
                               static_cast<std::uint32_t>(kGerrorBits.named() & ~kGerrorBits["CMDQ_ERR"].mask());
  if (active == 0) return;
  log::error("arm-smmu-v3 {}: the unit reports a global error ({})", name_, kGerrorBits.describe(active));
  acknowledge(active);
}

// ---- Events -----------------------------------------------------------------------------------------------------

// Takes the oldest one out of the queue. After the last one it is asked again: what came meanwhile found the queue not
// empty, and raised no interrupt.
bool Unit::next_event(EventWords& event) {
  const MutexLock lock(events_mutex_);
  const unsigned lg2 = features_.event_lg2;
  const std::uint64_t produced = registers().read32(kEventqProd.offset);
  const std::uint64_t overflow = kEventqProd["OVFLG"].get(produced);
  const bool lost = overflow != kEventqCons["OVACKFLG"].get(registers().read32(kEventqCons.offset));
  if (lost && logged_++ < kMostEventLines)
    log::warning("arm-smmu-v3 {}: the event queue was full, events are lost", name_);
  const bool found = kEventqProd["WR"].get(produced) != read_;
  if (found) {
    const std::uint64_t* const words = tables().words(events_) + slot_of(read_, lg2) * kEventWords;
    std::copy_n(words, kEventWords, event.begin());
    read_ = after(read_, lg2);
  }
  if (found || lost)
    registers().write32(kEventqCons.offset, static_cast<std::uint32_t>(kEventqCons["RD"].put(read_) |
                                                                       kEventqCons["OVACKFLG"].put(overflow)));
  return found;
}

void Unit::serve_event(const EventWords& event) {
  const auto stream = static_cast<StreamId>(kEvent0["StreamID"].get(event[0]));
  if (kEvent1["Stall"].is_set(event[1])) {
    const PageRequest request{
        .pasid = kEvent0["SSV"].is_set(event[0]) ? static_cast<Pasid>(kEvent0["SubstreamID"].get(event[0])) : 0,
        .index = static_cast<std::uint32_t>(kEvent1["STAG"].get(event[1])),
        .rights = kEvent1["RnW"].is_set(event[1]) ? PageRight::read : PageRight::write,
        .address = event[2]};
    const MutexLock lock(masters_mutex_);
    if (const auto found = masters_.find(stream); found != masters_.end()) return found->second->report(request);
  } else if (is_for_guests(event.data())) {
    const MutexLock lock(masters_mutex_);
    if (const auto found = masters_.find(stream); found != masters_.end() && found->second->tell_guest(event)) return;
  }
  log_event(event);
}

void Unit::log_event(const EventWords& event) {
  {
    const MutexLock lock(events_mutex_);
    if (logged_++ >= kMostEventLines) return;
  }
  const auto what = static_cast<Event>(kEvent0["Event"].get(event[0]));
  const std::string substream =
      kEvent0["SSV"].is_set(event[0]) ? fmt::format(" substream {:#x}", kEvent0["SubstreamID"].get(event[0])) : "";
  log::warning("arm-smmu-v3 {}: event {:#04x} received: {} stream {:#x}{} iova {:#x} {}", name_,
               std::to_underlying(what), name_of(what), kEvent0["StreamID"].get(event[0]), substream, event[2],
               kEvent1["RnW"].is_set(event[1]) ? "read" : "write");
}

// ---- Page requests ----------------------------------------------------------------------------------------------

bool Unit::next_page_request(PageRequestWords& request) {
  const MutexLock lock(events_mutex_);
  const unsigned lg2 = features_.page_request_lg2;
  const std::uint64_t produced = registers().read32(kPriqProd.offset);
  const std::uint64_t overflow = kPriqProd["OVFLG"].get(produced);
  const bool lost = overflow != kPriqCons["OVACKFLG"].get(registers().read32(kPriqCons.offset));
  if (lost && logged_++ < kMostEventLines)
    log::warning("arm-smmu-v3 {}: the page request queue was full, requests are lost", name_);
  const bool found = kPriqProd["WR"].get(produced) != page_request_read_;
  if (found) {
    const std::uint64_t* const words = tables().words(page_requests_) + slot_of(page_request_read_, lg2) * kPriWords;
    std::copy_n(words, kPriWords, request.begin());
    page_request_read_ = after(page_request_read_, lg2);
  }
  if (found || lost)
    registers().write32(kPriqCons.offset, static_cast<std::uint32_t>(kPriqCons["RD"].put(page_request_read_) |
                                                                     kPriqCons["OVACKFLG"].put(overflow)));
  return found;
}

void Unit::serve_page_request(const PageRequestWords& words) {
  const auto stream = static_cast<StreamId>(kPri0["StreamID"].get(words[0]));
  const PageRequest request{
      .pasid = kPri0["SSV"].is_set(words[0]) ? static_cast<Pasid>(kPri0["SubstreamID"].get(words[0])) : 0,
      .index = static_cast<std::uint32_t>(kPri1["PRGIndex"].get(words[1])),
      .last = kPri0["Last"].is_set(words[0]),
      .rights = (kPri0["R"].is_set(words[0]) ? PageRight::read : 0) |
                (kPri0["W"].is_set(words[0]) ? PageRight::write : 0) |
                (kPri0["X"].is_set(words[0]) ? PageRight::execute : 0) |
                (kPri0["Priv"].is_set(words[0]) ? PageRight::privileged : 0),
      .address = kPri1["Address"].in_place(words[1])};
  const MutexLock lock(masters_mutex_);
  if (const auto found = masters_.find(stream); found != masters_.end()) found->second->report(request);
}

}  // namespace softiommu::arm_smmu_v3
