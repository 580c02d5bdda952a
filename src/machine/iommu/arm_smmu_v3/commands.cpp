// SPDX-License-Identifier: BSD-3-Clause
// The command queue (IHI0070 chapter 4): run inside the write of CMDQ_PROD, on the caller's thread.
#include <algorithm>
#include <utility>

#include "machine/iommu/arm_smmu_v3/model.h"
#include "machine/memory.h"

namespace softiommu::smmuv3 {

using namespace hw::smmuv3;

namespace {

// An index has a wrap bit just above its log2-size bits (3.5.1).
std::uint32_t slot(std::uint32_t index, unsigned log2) { return index & ((1u << log2) - 1); }
std::uint32_t next(std::uint32_t index, unsigned log2) { return (index + 1) & ((2u << log2) - 1); }

constexpr std::uint64_t kAllStreams = 31;  // Range of CFGI_STE_RANGE that means every stream

}  // namespace

// (NUM + 1) * 2^SCALE granules from Address with TG, else the one entry that translates it (4.4.1.1).
IovaRange ArmSmmuV3::range_of(const Command& command) const {
  constexpr std::uint64_t kMostScale = 39, kSmallestGranuleLg2 = 10;  // TG n is a granule of 2^(10 + 2n) bytes
  const std::uint64_t tg = kCommandTlbi1["TG"].get(command[1]);
  const Iova first{kCommandTlbi1["Address"].in_place(command[1])};
  std::uint64_t bytes = kPageSize;
  if (ril_ && tg != 0)
    bytes = (kCommandTlbi0["NUM"].get(command[0]) + 1)
            << std::min(kCommandTlbi0["SCALE"].get(command[0]), kMostScale) << (kSmallestGranuleLg2 + 2 * tg);
  return IovaRange::of(first, std::min(bytes - 1, ~first.value) + 1);
}

void ArmSmmuV3::run_commands() {
  const std::uint64_t base = get(kCmdqBase.offset, 8);
  const auto log2 = static_cast<unsigned>(std::min(kQueueBaseBits["LOG2SIZE"].get(base), kIdr1["CMDQS"].get(idr1_)));
  const std::uint64_t queue = align_down(kQueueBaseBits["ADDR"].in_place(base), std::uint64_t{kCommandBytes} << log2);
  if (!kCr0["CMDQEN"].is_set(cr0_) || kGerrorBits["CMDQ_ERR"].is_set(gerror_ ^ gerrorn_)) return;
  const auto prod = static_cast<std::uint32_t>(get(kCmdqProd.offset, 4)) & ((2u << log2) - 1);
  for (;;) {
    const std::uint64_t cons_word = get(kCmdqCons.offset, 4);
    const auto cons = static_cast<std::uint32_t>(kCmdqCons["RD"].get(cons_word)) & ((2u << log2) - 1);
    if (cons == prod) return;
    const PhysAddr at{queue + std::uint64_t{slot(cons, log2)} * kCommandBytes};
    const auto word0 = load(at), word1 = load(at + 8);
    if (!word0 || !word1) return stop_queue(CommandError::abort);
    const Command command{*word0, *word1};
    if (static_cast<Opcode>(kCommandCfgi0["Opcode"].get(command[0])) == Opcode::sync) {
      if (!synchronise(command)) return stop_queue(CommandError::atc_inv_sync);
    } else if (!run(command)) {
      return stop_queue(CommandError::illegal);
    }
    put(kCmdqCons.offset, 4, kCmdqCons["RD"].put(next(cons, log2)));
  }
}

// CMDQ_CONS stays at the command; the queue goes on when software has acknowledged GERROR (7.1).
void ArmSmmuV3::stop_queue(CommandError why) {
  put(kCmdqCons.offset, 4, kCmdqCons["ERR"].set(get(kCmdqCons.offset, 4), std::to_underlying(why)));
  if (raise_error(kGerrorBits["CMDQ_ERR"].mask()) && kIrqCtrlBits["GERROR_IRQEN"].is_set(irq_ctrl_))
    pending_lines_ |= 1u << kGerrorLine;
}

bool ArmSmmuV3::run(const Command& command) {
  switch (static_cast<Opcode>(kCommandCfgi0["Opcode"].get(command[0]))) {
    case Opcode::prefetch_config:
    case Opcode::prefetch_addr:
      return true;
    case Opcode::cfgi_ste:
    case Opcode::cfgi_ste_range:
      return invalidate_config(command);
    case Opcode::cfgi_cd:
    case Opcode::cfgi_cd_all:
      return kIdr0["S1P"].is_set(idr0_) && invalidate_config(command);
    case Opcode::tlbi_nh_all:
    case Opcode::tlbi_nh_asid:
    case Opcode::tlbi_nh_va:
    case Opcode::tlbi_nh_vaa:
    case Opcode::tlbi_s12_vmall:
    case Opcode::tlbi_s2_ipa:
    case Opcode::tlbi_nsnh_all:
      return invalidate_tlb(command);
    case Opcode::atc_inv:
      return invalidate_device(command);
    case Opcode::pri_resp:
      return answer_request(command);
    case Opcode::resume:
    case Opcode::stall_term:
      return resume(command);
    default:
      return false;  // EL2 regimes are not there (IDR0)
  }
}

// Of all substreams of the streams.
void ArmSmmuV3::forget_configs(StreamId first, StreamId last) {
  configs_.erase(configs_.lower_bound(key_of(first, 0)),
                 configs_.upper_bound(key_of(last, (Pasid{1} << kMostSubstreamBits) - 1)));
}

// A substream's configuration is cached whole, STE and CD together: what forgets one of them forgets both.
bool ArmSmmuV3::invalidate_config(const Command& command) {
  const auto opcode = static_cast<Opcode>(kCommandCfgi0["Opcode"].get(command[0]));
  const auto stream = static_cast<StreamId>(kCommandCfgi0["StreamID"].get(command[0]));
  const std::scoped_lock lock(config_mutex_);
  ++config_epoch_;
  if (opcode == Opcode::cfgi_cd) {
    // With Leaf, what was read of the first level stays.
    const auto found = configs_.find(key_of(stream, static_cast<Pasid>(kCommandCfgi0["SubstreamID"].get(command[0]))));
    const bool leaf_only = kCommandCfgi1["Range"].get(command[1]) != 0;
    if (found != configs_.end() && !(leaf_only && found->second.of_l1)) configs_.erase(found);
  } else if (opcode != Opcode::cfgi_ste_range) {
    forget_configs(stream, stream);
  } else if (const std::uint64_t range = kCommandCfgi1["Range"].get(command[1]); range == kAllStreams) {
    configs_.clear();
  } else {
    const std::uint64_t streams = std::uint64_t{1} << (range + 1), first = align_down(std::uint64_t{stream}, streams);
    forget_configs(static_cast<StreamId>(first), static_cast<StreamId>(first + streams - 1));
  }
  bump_generation();
  return true;
}

bool ArmSmmuV3::resume(const Command& command) {
  if (kIdr0["STALL_MODEL"].get(idr0_) == kNeverStalls) return false;
  const auto stream = static_cast<StreamId>(kCommandResume0["StreamID"].get(command[0]));
  if (static_cast<Opcode>(kCommandResume0["Opcode"].get(command[0])) == Opcode::stall_term)
    stalls_.terminate(stream);
  else
    stalls_.resume(stream, static_cast<Stalls::Tag>(kCommandResume1["STAG"].get(command[1])),
                   kCommandResume0["Ac"].is_set(command[0]));
  return true;
}

// A device that does not answer is noticed by the next CMD_SYNC (4.5.1).
bool ArmSmmuV3::invalidate_device(const Command& command) {
  constexpr std::uint64_t kEverything = 52;
  if (!kIdr0["ATS"].is_set(idr0_)) return false;
  const std::uint64_t size = kCommandAtcInv1["Size"].get(command[1]);
  IovaRange range{Iova{0}, Iova{~std::uint64_t{0}}};
  if (size < kEverything) {
    const std::uint64_t bytes = kPageSize << size;
    range = IovaRange::of(Iova{align_down(kCommandAtcInv1["Address"].in_place(command[1]), bytes)}, bytes);
  }
  const bool has_pasid = kCommandAtcInv0["SSV"].is_set(command[0]);
  const bool answered = invalidate_device_tlb(
      {.stream = static_cast<StreamId>(kCommandAtcInv0["StreamID"].get(command[0])),
       .pasid = has_pasid ? static_cast<Pasid>(kCommandAtcInv0["SubstreamID"].get(command[0])) : 0,
       .all_pasids = has_pasid && kCommandAtcInv0["Global"].is_set(command[0]),
       .range = range});
  if (!answered) device_did_not_answer_ = true;
  bump_generation();
  return true;
}

bool ArmSmmuV3::answer_request(const Command& command) {
  using Code = PageResponse::Code;
  if (!kIdr0["PRI"].is_set(idr0_)) return false;
  const std::uint64_t response = kCommandPriResp1["Resp"].get(command[1]);
  if (response > std::to_underlying(PriResponse::success)) return false;
  const bool has_pasid = kCommandPriResp0["SSV"].is_set(command[0]);
  answer_page_request({.stream = static_cast<StreamId>(kCommandPriResp0["StreamID"].get(command[0])),
                       .pasid = has_pasid ? static_cast<Pasid>(kCommandPriResp0["SubstreamID"].get(command[0])) : 0,
                       .group = static_cast<std::uint16_t>(kCommandPriResp1["PRGIndex"].get(command[1])),
                       .code = response == std::to_underlying(PriResponse::success)   ? Code::success
                               : response == std::to_underlying(PriResponse::invalid) ? Code::invalid
                                                                                      : Code::failure});
  return true;
}

bool ArmSmmuV3::invalidate_tlb(const Command& command) {
  const auto opcode = static_cast<Opcode>(kCommandTlbi0["Opcode"].get(command[0]));
  const bool needs_stage2 = opcode == Opcode::tlbi_s12_vmall || opcode == Opcode::tlbi_s2_ipa;
  if (needs_stage2 ? !kIdr0["S2P"].is_set(idr0_) : !kIdr0["S1P"].is_set(idr0_) && opcode != Opcode::tlbi_nsnh_all)
    return false;
  // Fields of what the hardware has not are ignored: VMIDs without stage 2, the upper half of 8-bit ids.
  const auto id = [](std::uint64_t value, bool sixteen_bits) { return sixteen_bits ? value : value & 0xff; };
  const std::uint64_t vmid_field = kIdr0["S2P"].is_set(idr0_) ? kCommandTlbi0["VMID"].get(command[0]) : 0;
  const std::uint64_t vmid = tag_vmid(id(vmid_field, kIdr0["VMID16"].is_set(idr0_)));
  const std::uint64_t asid = id(kCommandTlbi0["ASID"].get(command[0]), kIdr0["ASID16"].is_set(idr0_));
  const IovaRange range = range_of(command);

  switch (opcode) {
    case Opcode::tlbi_nh_all:
      iotlb_.invalidate_masked(kRegimeMask | kVmidMask, kRegimeStage1 | vmid);
      break;
    case Opcode::tlbi_nh_asid:
      iotlb_.invalidate_space(kRegimeStage1 | vmid | asid);
      break;
    case Opcode::tlbi_nh_va:
      iotlb_.invalidate_range(kRegimeStage1 | vmid | asid, range);
      break;
    case Opcode::tlbi_nh_vaa:
      iotlb_.invalidate_masked_range(kRegimeMask | kVmidMask, kRegimeStage1 | vmid, range);
      break;
    case Opcode::tlbi_s12_vmall:
      iotlb_.invalidate_masked(kVmidMask, vmid);
      break;
    case Opcode::tlbi_s2_ipa:
      iotlb_.invalidate_range(kRegimeStage2 | vmid, range);
      break;
    default:
      iotlb_.invalidate_all();
      break;
  }
  bump_generation();
  return true;
}

// Complete only when no DMA that used what was invalidated is still copying (4.7, and 3.21 on completion).
bool ArmSmmuV3::synchronise(const Command& command) {
  constexpr std::uint64_t kInterrupt = 1;
  if (std::exchange(device_did_not_answer_, false)) return false;
  wait_for_dma();
  if (kCommandSync0["CS"].get(command[0]) != kInterrupt) return true;
  const PhysAddr address{kCommandSync1["MSIADDR"].in_place(command[1])};
  if (address.value == 0 || !kIdr0["MSI"].is_set(idr0_)) {
    pending_lines_ |= 1u << kSyncLine;
    return true;
  }
  // 32 bits of data; the other half of the aligned word stays.
  std::uint64_t* const word = word_at(PhysAddr{align_down(address.value, 8)});
  if (word == nullptr) return true;
  auto* const half = reinterpret_cast<std::uint32_t*>(word) + (address.value % 8) / 4;
  std::atomic_ref<std::uint32_t>(*half).store(static_cast<std::uint32_t>(kCommandSync0["MSIDATA"].get(command[0])),
                                              std::memory_order_release);
  return true;
}

}  // namespace softiommu::smmuv3
