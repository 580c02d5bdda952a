// SPDX-License-Identifier: BSD-3-Clause
// The register file of a VT-d unit: what reads give, what writes keep, and the global commands (VT-d 11.4).
#include "machine/iommu/intel_vtd/intel_vtd.h"

namespace softiommu::vtd {

using namespace hw::vtd;

namespace {

constexpr std::uint64_t kLowHalf = 0xffff'ffff;
constexpr unsigned kHalfBits = 32;

constexpr std::uint32_t upper_half(std::uint64_t offset) { return static_cast<std::uint32_t>(offset + 4); }
constexpr std::uint32_t low_word(std::uint64_t value) { return static_cast<std::uint32_t>(value & kLowHalf); }
constexpr std::uint32_t high_word(std::uint64_t value) { return static_cast<std::uint32_t>(value >> kHalfBits); }

}  // namespace

IntelVtd::IntelVtd(UnitContext context, const Capabilities& capabilities)
    : IommuUnit(std::move(context)),
      capabilities_(capabilities),
      iotlb_base_(iotlb_offset(capabilities.ecap)),
      records_first_(fault_record_offset(capabilities.cap, 0)),
      records_end_(fault_record_offset(capabilities.cap, fault_record_count(capabilities.cap))),
      events_(fault_record_count(capabilities.cap)),
      page_requests_(context_.memory) {
  describe_registers();
  const MutexLock lock(commands_);
  reset_locked();
}

template <std::size_t N>
void IntelVtd::allow_writes(const hw::Register<N>& row, std::uint32_t base) {
  const std::uint32_t offset = row.offset + base;
  writable_[offset / 4] = low_word(row.layout.named());
  if (row.bytes == sizeof(std::uint64_t)) writable_[upper_half(offset) / 4] = high_word(row.layout.named());
}

// Registers of features that the unit does not have (interrupt remapping, protected memory, the advanced fault
// log) read as 0 and ignore writes.
void IntelVtd::describe_registers() {
  allow_writes(kRtaddr);
  allow_writes(kCcmd);
  allow_writes(kFedata);
  allow_writes(kFeaddr);
  allow_writes(kFeuaddr);
  allow_writes(kIva, iotlb_base_);
  allow_writes(kIotlb, iotlb_base_);
  if (!kEcap["QI"].is_set(capabilities_.ecap)) return;
  allow_writes(kIqt);
  allow_writes(kIqa);
  if (!kEcap["SMTS"].is_set(capabilities_.ecap))  // 256-bit descriptors belong to scalable mode
    writable_[kIqa.offset / 4] &= ~low_word(kIqa["DW"].mask());
  allow_writes(kIedata);
  allow_writes(kIeaddr);
  allow_writes(kIeuaddr);
  if (!kEcap["PRS"].is_set(capabilities_.ecap)) return;
  allow_writes(kPqa);
  allow_writes(kPedata);
  allow_writes(kPeaddr);
  allow_writes(kPeuaddr);
}

void IntelVtd::store64(std::uint64_t offset, std::uint64_t value) {
  store(offset, low_word(value));
  store(upper_half(offset), high_word(value));
}

void IntelVtd::reset() {
  const MutexLock lock(commands_);
  reset_locked();
  wait_for_dma();
}

void IntelVtd::reset_locked() {
  for (auto& word : image_) word.store(0, std::memory_order_release);
  store(kVer.offset, static_cast<std::uint32_t>(kVer.reset));
  store64(kCap.offset, capabilities_.cap);
  store64(kEcap.offset, capabilities_.ecap);
  translating_.store(false, std::memory_order_release);
  root_.store(0, std::memory_order_release);
  events_.reset();
  page_requests_.reset();
  contexts_.invalidate_all();
  pasids_.invalidate_all();
  iotlb_.invalidate_all();
  invalidated();
}

std::optional<unsigned> IntelVtd::fault_record_at(std::uint64_t offset) const {
  if (offset < records_first_ || offset >= records_end_) return std::nullopt;
  return static_cast<unsigned>((offset - records_first_) / kGroupUnit);
}

std::uint32_t IntelVtd::read_word(std::uint64_t offset) const {
  if (const auto record = fault_record_at(offset)) {
    const std::uint64_t within = (offset - records_first_) % kGroupUnit;
    const std::uint64_t word = within < kFrcdHigh.offset ? events_.record_low(*record) : events_.record_high(*record);
    return is_aligned(within, sizeof(std::uint64_t)) ? low_word(word) : high_word(word);
  }
  if (offset == iotlb_base_ + kIva.offset || offset == upper_half(iotlb_base_ + kIva.offset)) return 0;
  switch (offset) {
    case kFsts.offset:
      return events_.fault_status();
    case kFectl.offset:
      return events_.fault_control();
    case kIcs.offset:
      return events_.completion_status();
    case kIectl.offset:
      return events_.completion_control();
    case kIqercd.offset:
      return low_word(events_.queue_error_record());
    case kPqh.offset:
      return low_word(page_requests_.head());
    case kPqt.offset:
      return low_word(page_requests_.tail());
    case kPrs.offset:
      return page_requests_.status();
    case kPectl.offset:
      return page_requests_.control();
    default:
      return load(offset);
  }
}

std::uint64_t IntelVtd::read(std::uint64_t offset, unsigned bytes) {
  if (bytes == 0 || bytes > sizeof(std::uint64_t) || offset + bytes > kRegisterBytes || !is_aligned(offset, bytes))
    return ~std::uint64_t{0};
  const std::uint64_t word = read_word(align_down(offset, sizeof(std::uint32_t)));
  if (bytes == sizeof(std::uint64_t)) return word | std::uint64_t{read_word(upper_half(offset))} << kHalfBits;
  const auto shift = static_cast<unsigned>((offset % sizeof(std::uint32_t)) * 8);
  return word >> shift & (kLowHalf >> (kHalfBits - bytes * 8));
}

void IntelVtd::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  const bool whole = bytes == sizeof(std::uint32_t) || bytes == sizeof(std::uint64_t);
  if (!whole || offset + bytes > kRegisterBytes || !is_aligned(offset, bytes)) return;
  if (offset == kIqt.offset) return write_tail(value);
  Lines lines = write_word(offset, low_word(value));
  if (bytes == sizeof(std::uint64_t)) lines |= write_word(upper_half(offset), high_word(value));
  if (lines != 0) raise(lines);
}

// Nearly every write: the upper half of the register has no bits.
void IntelVtd::write_tail(std::uint64_t value) {
  store(kIqt.offset, low_word(value) & writable_[kIqt.offset / 4]);
  Lines lines = 0;
  {
    const MutexLock lock(commands_);
    lines = run_queue();
  }
  if (lines != 0) raise(lines);
}

void IntelVtd::raise(Lines lines) {
  for (const unsigned number : {kFaultLine, kCompletionLine, kPageRequestLine})
    if ((lines & line(number, true)) != 0) interrupt(number);
}

IntelVtd::Lines IntelVtd::write_word(std::uint64_t offset, std::uint32_t value) {
  const std::uint32_t writable = writable_[offset / 4];
  if (writable != 0) store(offset, (load(offset) & ~writable) | (value & writable));
  if (const auto record = fault_record_at(offset)) {
    if (offset == upper_half(fault_record_offset(capabilities_.cap, *record) + kFrcdHigh.offset))
      events_.clear_record(*record, std::uint64_t{value} << kHalfBits);
    return 0;
  }
  const std::uint64_t wide = std::uint64_t{value} << kHalfBits;
  if (offset == upper_half(iotlb_base_ + kIotlb.offset) && kIotlb["IVT"].is_set(wide)) run_iotlb_command();
  switch (offset) {
    case kGcmd.offset:
      return run_global_command(value);
    case upper_half(kCcmd.offset):
      if (kCcmd["ICC"].is_set(wide)) run_context_command();
      return 0;
    case kFsts.offset:
      return acknowledge(value);
    case kFectl.offset:
      return line(kFaultLine, events_.set_fault_control(value));
    case kIcs.offset:
      events_.clear_completion_status(value);
      return 0;
    case kIectl.offset:
      return line(kCompletionLine, events_.set_completion_control(value));
    default:
      return kEcap["PRS"].is_set(capabilities_.ecap) ? write_page_request_word(offset, value) : Lines{0};
  }
}

IntelVtd::Lines IntelVtd::write_page_request_word(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kPqh.offset:
      page_requests_.set_head(value);
      return 0;
    case kPqt.offset:
      page_requests_.set_tail(value);
      return 0;
    case kPqa.offset:
    case upper_half(kPqa.offset):
      page_requests_.set_place(load64(kPqa.offset));
      return 0;
    case kPrs.offset:
      page_requests_.clear_status(value);
      return 0;
    case kPectl.offset:
      return line(kPageRequestLine, page_requests_.set_control(value));
    default:
      return 0;
  }
}

// Clearing IQE lets the queue go on at the descriptor that stopped it.
IntelVtd::Lines IntelVtd::acknowledge(std::uint32_t fault_status) {
  const bool stopped = events_.queue_stopped();
  events_.clear_fault_status(fault_status);
  if (!stopped || events_.queue_stopped()) return 0;
  const MutexLock lock(commands_);
  return run_queue();
}

void IntelVtd::set_translation(bool on) {
  if (translating_.exchange(on, std::memory_order_acq_rel) == on) return;
  bump_generation();
  wait_for_dma();
}

// The manual allows one change a write; when software changes more, they take effect in the order in which
// they make sense. Commands finish before the write does, so GSTS shows them at once.
IntelVtd::Lines IntelVtd::run_global_command(std::uint32_t command) {
  const MutexLock lock(commands_);
  std::uint64_t status = load(kGsts.offset);
  if (kGcmd["SRTP"].is_set(command)) {
    root_.store(load64(kRtaddr.offset), std::memory_order_release);
    status = kGsts["RTPS"].set(status, 1);
  }
  Lines lines = 0;
  if (kEcap["QI"].is_set(capabilities_.ecap)) {
    const bool on = kGcmd["QIE"].is_set(command);
    const bool changes = on != kGsts["QIES"].is_set(status);
    status = kGsts["QIES"].set(status, on);
    store(kGsts.offset, static_cast<std::uint32_t>(status));
    if (changes) lines = set_queue(on);
  }
  set_translation(kGcmd["TE"].is_set(command));
  status = kGsts["TES"].set(status, kGcmd["TE"].is_set(command));
  store(kGsts.offset, static_cast<std::uint32_t>(status));
  return lines;
}

}  // namespace softiommu::vtd
