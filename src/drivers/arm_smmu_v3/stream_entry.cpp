// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/stream_entry.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "drivers/arm_smmu_v3/domain.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

constexpr std::uint64_t kWriteBack = 1, kNonCacheable = 0;  // S1CIR, S2IR0 and the like: how tables are cached
constexpr std::uint64_t kInnerShareable = 3, kNonShareable = 0;
constexpr std::uint64_t kUseIncoming = 1;  // SHCFG
constexpr std::uint64_t kAnswered = 1;     // EATS

std::uint64_t config_word(SteConfig config) {
  return kSte0["V"].put(1) | kSte0["Config"].put(std::to_underlying(config));
}

constexpr std::uint64_t kStage1Bits = kSte1.named() & ~kSte1["S2FWB"].mask();
constexpr std::uint64_t kStage2Bits =
    kSte1["MEV"].mask() | kSte1["EATS"].mask() | kSte1["S2FWB"].mask() | kSte1["SHCFG"].mask();

}  // namespace

std::uint64_t StreamEntry::used_bits(std::uint64_t word0, unsigned word) {
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  if (word == 0) return kAll;
  // Of one descriptor it says nothing what there is without a substream.
  const std::uint64_t unused = kSte0["S1CDMax"].is_set(word0) ? 0 : kSte1["S1DSS"].mask();
  switch (static_cast<SteConfig>(kSte0["Config"].get(word0))) {
    case SteConfig::bypass:
      return word == 1 ? kSte1["SHCFG"].mask() : 0;
    case SteConfig::stage1:
      return word == 1 ? kStage1Bits & ~unused : word == 2 ? kSte2["S2VMID"].mask() : 0;  // tags stage 1, too
    case SteConfig::stage2:
      return word == 1 ? kStage2Bits : kAll;
    case SteConfig::nested:
      return word == 1 ? kSte1.named() & ~unused : kAll;
    case SteConfig::abort:
      return 0;
  }
  return kAll;
}

StreamEntry abort_entry() { return {{config_word(SteConfig::abort)}}; }

StreamEntry bypass_entry(const StreamTraits& traits) {
  return {{config_word(SteConfig::bypass),
           kSte1["S1CIR"].put(kWriteBack) | kSte1["S1COR"].put(kWriteBack) | kSte1["S1CSH"].put(kInnerShareable) |
               kSte1["S1STALLD"].put(traits.stalls_off) | kSte1["SHCFG"].put(kUseIncoming)}};
}

StreamEntry stage1_entry(const StreamTraits& traits, std::uint64_t table, S1Default without_substream) {
  StreamEntry entry = bypass_entry(traits);
  entry.words[0] = config_word(SteConfig::stage1) | table;
  entry.words[1] |=
      kSte1["S1DSS"].put(std::to_underlying(without_substream)) | kSte1["EATS"].put(traits.translates ? kAnswered : 0);
  return entry;
}

StreamEntry stage2_entry(const StreamTraits& traits, const PagingDomain& domain, UnitId vmid) {
  constexpr unsigned kLeastLevels = 2;  // S2SL0 0: the walk starts at level 2, each one more starts a level earlier
  const pt::ArmLpaeConfig& config = domain.config();
  const std::uint64_t cacheability = traits.coherent ? kWriteBack : kNonCacheable;
  StreamEntry entry = bypass_entry(traits);
  entry.words[0] = config_word(SteConfig::stage2);
  entry.words[1] |= kSte1["EATS"].put(traits.translates ? kAnswered : 0) | kSte1["S2FWB"].put(config.force_write_back);
  entry.words[2] = kSte2["S2VMID"].put(vmid) | kSte2["S2T0SZ"].put(64 - config.input_bits) |
                   kSte2["S2SL0"].put(domain.levels() - kLeastLevels) | kSte2["S2IR0"].put(cacheability) |
                   kSte2["S2OR0"].put(cacheability) |
                   kSte2["S2SH0"].put(traits.coherent ? kInnerShareable : kNonShareable) |
                   kSte2["S2PS"].put(output_size(config.output_bits)) | kSte2["S2AA64"].put(1) | kSte2["S2PTW"].put(1) |
                   kSte2["S2S"].put(traits.stalls) | kSte2["S2R"].put(1);
  entry.words[3] = kSte3["S2TTB"].in_place(domain.root().value);
  return entry;
}

// Merged events: a guest that faults again and again must not fill the queue (MEV).
StreamEntry nested_entry(const StreamTraits& traits, const PagingDomain& parent, UnitId vmid,
                         const std::uint64_t (&guest)[2]) {
  const auto config =
      kSte0["V"].is_set(guest[0]) ? static_cast<SteConfig>(kSte0["Config"].get(guest[0])) : SteConfig::abort;
  if (config == SteConfig::abort) return abort_entry();
  StreamEntry entry = stage2_entry(traits, parent, vmid);
  if (config == SteConfig::bypass) return entry;
  constexpr std::uint64_t kOwn = kSte1["EATS"].mask() | kSte1["S2FWB"].mask() | kSte1["SHCFG"].mask();
  entry.words[0] = config_word(SteConfig::nested) | (guest[0] & ~kSte0["Config"].mask());
  entry.words[1] = (entry.words[1] & kOwn) | guest[1] | kSte1["MEV"].put(1);
  return entry;
}

std::uint64_t output_size(unsigned bits) {
  constexpr unsigned kBits[] = {32, 36, 40, 42, 44, 48, 52};
  return static_cast<std::uint64_t>(std::ranges::find(kBits, bits) - std::begin(kBits));
}

}  // namespace softiommu::arm_smmu_v3
