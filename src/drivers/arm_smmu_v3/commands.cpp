// SPDX-License-Identifier: BSD-3-Clause
// The command queue and what is asked of it (IHI 0070 3.5, chapter 4).
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "drivers/arm_smmu_v3/unit.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

// A command that is not done within this many looks never will be.
constexpr unsigned kMostPolls = 100'000;
// The status word answers nearly always; errors are looked for every so many polls.
constexpr unsigned kPollsBetweenErrorChecks = 64;
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

// The queue stands still at a command that the unit refused: an empty CMD_SYNC takes its place (4.1.4, 7.1). At a
// CMD_SYNC that a device's missing answer stopped, it goes on as it is.
bool Unit::refused_a_command() {
  const auto kRefused = static_cast<std::uint32_t>(kGerrorBits["CMDQ_ERR"].mask());
  if (((registers().read32(kGerror.offset) ^ acknowledged_.load()) & kRefused) == 0) return false;
  const std::uint64_t why = kCmdqCons["ERR"].get(registers().read32(kCmdqCons.offset));
  if (static_cast<CommandError>(why) != CommandError::atc_inv_sync) {
    std::uint64_t* const words = tables().words(queue_) + slot_of(consumed(), features_.command_lg2) * kCommandWords;
    words[0] = kCommandSync0["Opcode"].put(std::to_underlying(Opcode::sync));
    words[1] = 0;
  }
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

Result<> Unit::forget_descriptor(StreamId stream, std::optional<Pasid> pasid) {
  if (!pasid) return submit(for_stream(Opcode::cfgi_cd_all, stream));
  Command command = for_stream(Opcode::cfgi_cd, stream);
  command.word0 |= kCommandCfgi0["SubstreamID"].put(*pasid);
  command.word1 = kCommandCfgi1["Range"].put(1);  // Leaf
  return submit(command);
}

namespace {

std::uint64_t tagged(Opcode opcode, std::uint64_t vmid, std::uint64_t asid) {
  return kCommandTlbi0["Opcode"].put(std::to_underlying(opcode)) | kCommandTlbi0["VMID"].put(vmid) |
         kCommandTlbi0["ASID"].put(asid);
}

}  // namespace

Result<> Unit::invalidate_id(TlbTag tag) {
  return submit(
      Command{tag.stage == 1 ? tagged(Opcode::tlbi_nh_asid, 0, tag.id) : tagged(Opcode::tlbi_s12_vmall, tag.id, 0), 0});
}

Result<> Unit::invalidate_guest(UnitId vmid) { return submit(Command{tagged(Opcode::tlbi_nh_all, vmid, 0), 0}); }

Unit::Command Unit::for_pages(TlbTag tag, Iova first, bool leaf_only) {
  return {tag.stage == 1 ? tagged(Opcode::tlbi_nh_va, 0, tag.id) : tagged(Opcode::tlbi_s2_ipa, tag.id, 0),
          kCommandTlbi1["Leaf"].put(leaf_only) | kCommandTlbi1["Address"].in_place(first.value)};
}

// No level hint (TTL): the range may have held pages of several sizes.
Result<> Unit::invalidate_pages(TlbTag tag, IovaRange range, bool leaf_only) {
  const std::uint64_t pages = (range.last.value >> kPageShift) - (range.first.value >> kPageShift) + 1;
  Command command = for_pages(tag, range.first, leaf_only);
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
  if (pages > kMostPageCommands) return invalidate_id(tag);
  std::array<Command, kMostPageCommands> commands;
  for (std::uint64_t page = 0; page < pages; ++page)
    commands[page] = for_pages(tag, range.first + (page << kPageShift), leaf_only);
  return submit(std::span(commands).first(pages));
}

// ---- Devices' own TLBs and faults (4.5, 4.6) ---------------------------------------------------------------------

// The range is a power of two of pages, aligned to its size: the least one that covers what is asked for.
Result<> Unit::forget_device_translations(StreamId stream, std::optional<Pasid> pasid, IovaRange range) {
  constexpr unsigned kEverything = 52;
  const std::uint64_t first = range.first.value >> kPageShift, last = range.last.value >> kPageShift;
  const auto size = static_cast<unsigned>(std::bit_width(first ^ last));
  Command command{kCommandAtcInv0["Opcode"].put(std::to_underlying(Opcode::atc_inv)) |
                      kCommandAtcInv0["StreamID"].put(stream) | kCommandAtcInv0["SSV"].put(pasid != Pasid{0}) |
                      kCommandAtcInv0["Global"].put(!pasid) | kCommandAtcInv0["SubstreamID"].put(pasid.value_or(0)),
                  kCommandAtcInv1["Size"].put(kEverything)};
  if (size < kEverything)
    command.word1 =
        kCommandAtcInv1["Size"].put(size) | kCommandAtcInv1["Address"].in_place(first >> size << (size + kPageShift));
  return submit(command);
}

Result<> Unit::resume(StreamId stream, std::uint32_t tag, bool retry) {
  return submit(Command{kCommandResume0["Opcode"].put(std::to_underlying(Opcode::resume)) |
                            kCommandResume0["Ac"].put(retry) | kCommandResume0["Ab"].put(!retry) |
                            kCommandResume0["StreamID"].put(stream),
                        kCommandResume1["STAG"].put(tag & kCommandResume1["STAG"].max())});
}

Result<> Unit::answer_page_request(StreamId stream, const PageRequest& request, PageAnswer answer) {
  const PriResponse response = answer == PageAnswer::success   ? PriResponse::success
                               : answer == PageAnswer::invalid ? PriResponse::invalid
                                                               : PriResponse::failure;
  return submit(Command{kCommandPriResp0["Opcode"].put(std::to_underlying(Opcode::pri_resp)) |
                            kCommandPriResp0["SSV"].put(request.pasid != 0) |
                            kCommandPriResp0["SubstreamID"].put(request.pasid) |
                            kCommandPriResp0["StreamID"].put(stream),
                        kCommandPriResp1["PRGIndex"].put(request.index & kCommandPriResp1["PRGIndex"].max()) |
                            kCommandPriResp1["Resp"].put(std::to_underlying(response))});
}

}  // namespace softiommu::arm_smmu_v3
