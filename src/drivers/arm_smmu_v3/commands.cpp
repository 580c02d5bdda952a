// SPDX-License-Identifier: BSD-3-Clause
// The command queue and what is asked of it, the event queue, global errors (IHI 0070 3.5, chapters 4 and 7).
#include <algorithm>
#include <array>
#include <atomic>

#include "base/log.h"
#include "drivers/arm_smmu_v3/unit.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

// A command that is not done within this many looks never will be.
constexpr unsigned kMostPolls = 100'000;
// The status word answers nearly always; errors are looked for every so many polls.
constexpr unsigned kPollsBetweenErrorChecks = 64;
// A storm of events must not fill the log.
constexpr std::uint64_t kMostEventLines = 100;
// Without range commands: from here on one command for the whole id is cheaper.
constexpr std::uint64_t kMostPageCommands = 64;
// Range commands: TG of 4 KiB, and (NUM + 1) * 2^SCALE pages.
constexpr std::uint64_t kGranule4K = 1;

// An index has a wrap bit just above its log2-size bits.
std::uint32_t slot_of(std::uint32_t index, unsigned lg2) { return index & ((1u << lg2) - 1); }
std::uint32_t after(std::uint32_t index, unsigned lg2) { return (index + 1) & ((2u << lg2) - 1); }
bool is_full(std::uint32_t produced, std::uint32_t consumed, unsigned lg2) {
  return (produced ^ consumed) == 1u << lg2;
}

}  // namespace

// ---- Commands ---------------------------------------------------------------------------------------------------

std::uint32_t Unit::consumed() {
  return static_cast<std::uint32_t>(kCmdqCons["RD"].get(registers().read32(kCmdqCons.offset)));
}

// GERRORN, one bit at a time by whoever handles it: the last writer leaves what all have acknowledged.
void Unit::acknowledge(std::uint32_t errors) {
  std::uint32_t value = acknowledged_.fetch_xor(errors) ^ errors;
  for (;;) {
    registers().write32(kGerrorN.offset, value);
    const std::uint32_t now = acknowledged_.load();
    if (now == value) return;
    value = now;
  }
}

// The queue stands still at a command that the unit refused: an empty CMD_SYNC takes its place (4.1.4, 7.1).
bool Unit::refused_a_command() {
  const auto kRefused = static_cast<std::uint32_t>(kGerrorBits["CMDQ_ERR"].mask());
  if (((registers().read32(kGerror.offset) ^ acknowledged_.load()) & kRefused) == 0) return false;
  std::uint64_t* const words = tables().words(queue_) + slot_of(consumed(), features_.command_lg2) * kCommandWords;
  words[0] = kCommandSync0["Opcode"].put(std::to_underlying(Opcode::sync));
  words[1] = 0;
  acknowledge(kRefused);
  return true;
}

Result<> Unit::put_command(const Command& command) {
  const unsigned lg2 = features_.command_lg2;
  for (unsigned i = 0; is_full(produced_, consumed(), lg2); ++i) {
    if (i == 0) registers().write32(kCmdqProd.offset, produced_);
    if (i == kMostPolls || refused_a_command()) return fail(ENODEV, "the command queue does not move");
  }
  std::uint64_t* const words = tables().words(queue_) + slot_of(produced_, lg2) * kCommandWords;
  words[0] = command.word0;
  words[1] = command.word1;
  produced_ = after(produced_, lg2);
  return {};
}

// Completes with a message to the status word where the unit sends messages, else its consumption says it.
Unit::Command Unit::sync_command() {
  constexpr std::uint64_t kMessage = 1, kNothing = 0, kInnerShareable = 3, kWriteBack = 0xf;
  const std::uint64_t opcode = kCommandSync0["Opcode"].put(std::to_underlying(Opcode::sync));
  if (!features_.messages) return {opcode | kCommandSync0["CS"].put(kNothing), 0};
  return {opcode | kCommandSync0["CS"].put(kMessage) | kCommandSync0["MSH"].put(kInnerShareable) |
              kCommandSync0["MSIATTR"].put(kWriteBack) | kCommandSync0["MSIDATA"].put(++ticket_),
          kCommandSync1["MSIADDR"].in_place(status_.value)};
}

Result<> Unit::wait_for_queue(std::uint32_t index) {
  auto* const status = tables().as<std::uint32_t>(status_);
  bool refused = false;
  for (unsigned i = 0; i < kMostPolls; ++i) {
    const bool done =
        features_.messages ? std::atomic_ref(*status).load(std::memory_order_acquire) == ticket_ : consumed() == index;
    if (done) {
      // Of a queue that stood still and went on, not everything was done.
      if (refused) return fail(ENODEV, "the unit refused a command");
      return {};
    }
    if (i % kPollsBetweenErrorChecks == 0) refused = refused_a_command() || refused;
  }
  return fail(ENODEV, "the command queue stopped");
}

Result<> Unit::submit(std::span<const Command> commands) {
  const MutexLock lock(queue_mutex_);
  for (const Command& command : commands) TRY(put_command(command));
  TRY(put_command(sync_command()));
  // The words of the queue and the tables become visible before the index.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  registers().write32(kCmdqProd.offset, produced_);
  return wait_for_queue(produced_);
}

// ---- Configuration and TLB --------------------------------------------------------------------------------------

Unit::Command Unit::for_stream(Opcode opcode, StreamId stream) const {
  return {kCommandCfgi0["Opcode"].put(std::to_underlying(opcode)) | kCommandCfgi0["StreamID"].put(stream), 0};
}

Result<> Unit::forget_descriptor(StreamId stream) { return submit(for_stream(Opcode::cfgi_cd_all, stream)); }

Result<> Unit::invalidate_id(UnitId id) {
  if (features_.stage == 1)
    return submit({Command{
        kCommandTlbi0["Opcode"].put(std::to_underlying(Opcode::tlbi_nh_asid)) | kCommandTlbi0["ASID"].put(id), 0}});
  return submit({Command{
      kCommandTlbi0["Opcode"].put(std::to_underlying(Opcode::tlbi_s12_vmall)) | kCommandTlbi0["VMID"].put(id), 0}});
}

Unit::Command Unit::for_pages(UnitId id, Iova first, bool leaf_only) const {
  const Opcode opcode = features_.stage == 1 ? Opcode::tlbi_nh_va : Opcode::tlbi_s2_ipa;
  const std::uint64_t tag = features_.stage == 1 ? kCommandTlbi0["ASID"].put(id) : kCommandTlbi0["VMID"].put(id);
  return {kCommandTlbi0["Opcode"].put(std::to_underlying(opcode)) | tag,
          kCommandTlbi1["Leaf"].put(leaf_only) | kCommandTlbi1["Address"].in_place(first.value)};
}

// No level hint (TTL): the range may have held pages of several sizes.
Result<> Unit::invalidate_pages(UnitId id, IovaRange range, bool leaf_only) {
  const std::uint64_t pages = (range.last.value >> kPageShift) - (range.first.value >> kPageShift) + 1;
  Command command = for_pages(id, range.first, leaf_only);
  if (pages == 1) return submit(command);
  if (features_.ranges) {
    // Some pages more than asked, so that one command does it. At least two, so that NUM, SCALE and TTL are not all 0.
    constexpr std::uint64_t kMostNum = kCommandTlbi0["NUM"].max() + 1;
    unsigned scale = 0;
    while ((pages - 1) >> scale >= kMostNum) ++scale;
    command.word0 |= kCommandTlbi0["NUM"].put((pages - 1) >> scale) | kCommandTlbi0["SCALE"].put(scale);
    command.word1 |= kCommandTlbi1["TG"].put(kGranule4K);
    return submit(command);
  }
  if (pages > kMostPageCommands) return invalidate_id(id);
  std::array<Command, kMostPageCommands> commands;
  for (std::uint64_t page = 0; page < pages; ++page)
    commands[page] = for_pages(id, range.first + (page << kPageShift), leaf_only);
  return submit(std::span(commands).first(pages));
}

// ---- Events and errors ------------------------------------------------------------------------------------------

void Unit::serve_interrupt() {
  report_events();
  report_errors();
}

// CMDQ_ERR belongs to the thread that waits for its commands, which may be this one.
void Unit::report_errors() {
  const std::uint32_t active = (registers().read32(kGerror.offset) ^ acknowledged_.load()) &
                               static_cast<std::uint32_t>(kGerrorBits.named() & ~kGerrorBits["CMDQ_ERR"].mask());
  if (active == 0) return;
  log::error("arm-smmu-v3 {}: the unit reports a global error ({})", name_, kGerrorBits.describe(active));
  acknowledge(active);
}

void Unit::report_events() {
  const MutexLock lock(events_mutex_);
  const unsigned lg2 = features_.event_lg2;
  for (;;) {
    const std::uint64_t produced = registers().read32(kEventqProd.offset);
    const std::uint64_t overflow = kEventqProd["OVFLG"].get(produced);
    const bool lost = overflow != kEventqCons["OVACKFLG"].get(registers().read32(kEventqCons.offset));
    if (lost && logged_++ < kMostEventLines)
      log::warning("arm-smmu-v3 {}: the event queue was full, events are lost", name_);
    if (kEventqProd["WR"].get(produced) == read_ && !lost) return;
    while (read_ != kEventqProd["WR"].get(produced)) {
      const std::uint64_t* const words = tables().words(events_) + slot_of(read_, lg2) * kEventWords;
      const auto event = static_cast<Event>(kEvent0["Event"].get(words[0]));
      if (logged_++ < kMostEventLines)
        log::warning("arm-smmu-v3 {}: event {:#04x} received: {} stream {:#x} iova {:#x} {}", name_,
                     std::to_underlying(event), name_of(event), kEvent0["StreamID"].get(words[0]), words[2],
                     kEvent1["RnW"].is_set(words[1]) ? "read" : "write");
      read_ = after(read_, lg2);
    }
    // Then look again: an event that came meanwhile found the queue not empty, and raised no interrupt.
    registers().write32(kEventqCons.offset, static_cast<std::uint32_t>(kEventqCons["RD"].put(read_) |
                                                                       kEventqCons["OVACKFLG"].put(overflow)));
  }
}

}  // namespace softiommu::arm_smmu_v3
