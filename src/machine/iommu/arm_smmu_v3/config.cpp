// SPDX-License-Identifier: BSD-3-Clause
// What a stream may do: stream table entries (IHI0070 3.3, 5.2), read once and cached with their context descriptors
// until a configuration invalidation says otherwise. Invalid structures are cached too, as the specification allows.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "machine/findings.h"
#include "machine/iommu/arm_smmu_v3/model.h"
#include "machine/memory.h"

namespace softiommu::smmuv3 {

using namespace hw::smmuv3;

namespace {

constexpr unsigned kOutputBitsOf[] = {32, 36, 40, 42, 44, 48, 52, 52};
constexpr std::uint64_t kLargestSize = 7;

StreamConfig error(const WalkFault& fault) { return {.kind = StreamConfig::Kind::error, .error = fault}; }
StreamConfig error(Event event, std::uint64_t address = 0) {
  return error(WalkFault{.event = event, .address = address});
}

}  // namespace

std::uint64_t StreamConfig::space() const {
  return has_stage1 ? kRegimeStage1 | tag_vmid(vmid) | asid : kRegimeStage2 | tag_vmid(vmid);
}

std::uint64_t* ArmSmmuV3::word_at(PhysAddr address) const {
  TableMemory& tables = context_.memory.tables();
  if (tables.contains(address)) return tables.words(address);
  return reinterpret_cast<std::uint64_t*>(context_.memory.host(address));
}

std::optional<std::uint64_t> ArmSmmuV3::load(PhysAddr address) const {
  std::uint64_t* const word = word_at(address);
  if (word == nullptr) return std::nullopt;
  return std::atomic_ref<std::uint64_t>(*word).load(std::memory_order_acquire);
}

StreamConfig ArmSmmuV3::config_of(StreamId stream, Pasid substream) {
  const ConfigKey key = key_of(stream, substream);
  for (;;) {
    Live live;
    std::uint64_t epoch = 0;
    std::optional<StreamConfig> cached;
    {
      const std::scoped_lock lock(config_mutex_);
      if (const auto found = configs_.find(key); found != configs_.end()) cached = found->second;
      live = live_;
      epoch = config_epoch_;
    }
    if (cached && !context_.paranoid) return *cached;
    const StreamConfig config = fetch_config(stream, substream, live);
    const std::scoped_lock lock(config_mutex_);
    if (epoch != config_epoch_) continue;  // invalidated while it was read: read again
    if (cached) {
      if (config != *cached)
        context_.findings.add(
            fmt::format("{}: stale configuration: stream {:#x}{}; missing: CMD_CFGI_STE or CMD_CFGI_CD", name(), stream,
                        substream != 0 ? fmt::format(", substream {:#x}", substream) : ""));
      return *cached;
    }
    configs_.insert_or_assign(key, config);
    return config;
  }
}

StreamConfig ArmSmmuV3::fetch_config(StreamId stream, Pasid substream, const Live& live) {
  StreamConfig failure;
  const auto ste = find_ste(stream, live, failure);
  return ste ? read_ste(*ste, substream) : failure;
}

std::optional<PhysAddr> ArmSmmuV3::find_ste(StreamId stream, const Live& live, StreamConfig& failure) const {
  const StreamConfig bad_stream =
      live.record_bad_streams ? error(Event::c_bad_streamid) : StreamConfig{.kind = StreamConfig::Kind::abort};
  if (stream >> live.log2_size != 0) {
    failure = bad_stream;
    return std::nullopt;
  }
  if (!live.two_level) return live.stream_table + std::uint64_t{stream} * kSteBytes;
  const PhysAddr descriptor = live.stream_table + std::uint64_t{stream >> live.split} * sizeof(std::uint64_t);
  const auto l1 = load(descriptor);
  if (!l1) {
    failure = error(Event::f_ste_fetch, descriptor.value);
    return std::nullopt;
  }
  const auto span = static_cast<unsigned>(kL1Std["Span"].get(*l1));
  const std::uint32_t index = stream & ((1u << live.split) - 1);
  if (span == 0 || span > live.split + 1 || index >> (span - 1) != 0) {
    failure = bad_stream;
    return std::nullopt;
  }
  return PhysAddr{align_down(kL1Std["L2Ptr"].in_place(*l1), std::uint64_t{kSteBytes} << (span - 1))} +
         std::uint64_t{index} * kSteBytes;
}

StreamConfig ArmSmmuV3::read_ste(PhysAddr place, Pasid substream) {
  SteWords ste;
  for (unsigned i = 0; i < ste.size(); ++i) {
    const auto word = load(place + i * sizeof(std::uint64_t));
    if (!word) return error(Event::f_ste_fetch, place.value);
    ste[i] = *word;
  }
  if (!kSte0["V"].is_set(ste[0])) return error(Event::c_bad_ste);
  StreamConfig config{.kind = StreamConfig::Kind::translate};
  switch (static_cast<SteConfig>(kSte0["Config"].get(ste[0]))) {
    case SteConfig::bypass:
      if (substream != 0) return error(Event::c_bad_substreamid);
      return {.kind = StreamConfig::Kind::bypass};
    case SteConfig::stage1:
      config.has_stage1 = true;
      break;
    case SteConfig::stage2:
      config.has_stage2 = true;
      break;
    case SteConfig::nested:
      config.has_stage1 = config.has_stage2 = true;
      break;
    default:
      return {.kind = StreamConfig::Kind::abort};  // 0b0xx: without an event
  }
  if (kIdr0["S2P"].is_set(idr0_)) {  // tags stage 1, too
    const std::uint64_t vmid = kSte2["S2VMID"].get(ste[2]);
    if (!kIdr0["VMID16"].is_set(idr0_) && vmid > 0xff) return error(Event::c_bad_ste);
    config.vmid = static_cast<std::uint16_t>(vmid);
  }
  constexpr std::uint64_t kNotAnswered = 0, kAnswered = 1;
  if (const std::uint64_t eats = kSte1["EATS"].get(ste[1]); kIdr0["ATS"].is_set(idr0_)) {
    if (eats != kNotAnswered && eats != kAnswered) return error(Event::c_bad_ste);  // split-stage ATS is not there
    config.ats = eats == kAnswered;
  }
  if (config.has_stage2 && !read_stage2(ste, config)) return error(Event::c_bad_ste);
  if (!config.has_stage1 && substream != 0) return error(Event::c_bad_substreamid);
  if (config.has_stage1 && !read_stage1(ste, substream, config)) {
    StreamConfig failed = error(config.error);
    failed.of_l1 = config.of_l1;
    return failed;
  }
  config.error = {};
  if (!config.has_stage1 && !config.has_stage2) config.kind = StreamConfig::Kind::bypass;
  return config;
}

// False: config.error says which event.
bool ArmSmmuV3::read_stage1(const SteWords& ste, Pasid substream, StreamConfig& config) {
  constexpr std::uint64_t kStrwEl1 = 0;
  config.error = {.event = Event::c_bad_ste};
  if (!kIdr0["S1P"].is_set(idr0_) || kSte1["STRW"].get(ste[1]) != kStrwEl1 || !is_legal_table(ste)) return false;
  // Where there is nothing to turn off, or it must not be, that is illegal.
  if (kSte1["S1STALLD"].is_set(ste[1]) && kIdr0["STALL_MODEL"].get(idr0_) != kStallsAreAChoice) return false;
  if (const auto refused = refusal_of(ste, substream)) {
    config.error = *refused;
    return false;
  }
  if (skips_stage1(ste, substream)) {
    config.has_stage1 = false;
    return true;
  }
  return fetch_descriptor(ste, substream, config);
}

bool ArmSmmuV3::granule_supported(unsigned granule_lg2) const {
  switch (granule_lg2) {
    case 12:
      return kIdr5["GRAN4K"].is_set(idr5_);
    case 14:
      return kIdr5["GRAN16K"].is_set(idr5_);
    case 16:
      return kIdr5["GRAN64K"].is_set(idr5_);
    default:
      return false;
  }
}

// A size larger than the hardware's own is as large as the hardware's (5.4, IPS); entries of the smaller granules hold
// no more than 48 bits.
unsigned ArmSmmuV3::output_bits(std::uint64_t size_field, unsigned granule_lg2) const {
  constexpr unsigned kGranule64K = 16;
  return std::min({kOutputBitsOf[size_field], oas_bits_, granule_lg2 == kGranule64K ? 52u : 48u});
}

bool ArmSmmuV3::read_stage2(const SteWords& ste, StreamConfig& config) const {
  const std::uint64_t ste2 = ste[2];
  if (!kIdr0["S2P"].is_set(idr0_)) return false;
  walk::ArmStage& stage = config.stage2.tables;
  stage.granule_lg2 = kGranuleOf[kSte2["S2TG"].get(ste2)];
  stage.input_bits = 64 - static_cast<unsigned>(kSte2["S2T0SZ"].get(ste2));
  if (!kSte2["S2AA64"].is_set(ste2) || kSte2["S2ENDI"].is_set(ste2) || !granule_supported(stage.granule_lg2))
    return false;
  if (stage.input_bits < kLeastInputBits || stage.input_bits > output_bits(kLargestSize, stage.granule_lg2))
    return false;
  const auto sl0 = static_cast<unsigned>(kSte2["S2SL0"].get(ste2));
  const unsigned deepest = stage.granule_lg2 == 12 ? 2 : 3;
  if (sl0 > deepest) return false;
  const unsigned start_level = deepest - sl0;
  stage.start_level = static_cast<int>(start_level);
  // The root may be up to 16 concatenated tables: at most 4 bits more than one table's index.
  const unsigned per_level = stage.granule_lg2 - 3, below = stage.granule_lg2 + per_level * (3 - start_level);
  if (stage.input_bits <= below || stage.input_bits > below + per_level + 4) return false;
  if (!is_legal_stall(kSte2["S2S"].is_set(ste2))) return false;
  config.stage2.stall = kSte2["S2S"].is_set(ste2);
  stage.table = PhysAddr{kSte3["S2TTB"].in_place(ste[3])};
  stage.output_bits = output_bits(kSte2["S2PS"].get(ste2), stage.granule_lg2);
  if (stage.table.value >> stage.output_bits != 0) return false;
  stage.ignore_access_flag = kSte2["S2AFFD"].is_set(ste2);
  stage.set_access_flag = kSte2["S2HA"].is_set(ste2) && kIdr0["HTTU"].get(idr0_) >= 1;
  stage.set_dirty = stage.set_access_flag && kSte2["S2HD"].is_set(ste2) && kIdr0["HTTU"].get(idr0_) >= 2;
  config.stage2.record = kSte2["S2R"].is_set(ste2);
  return true;
}

}  // namespace softiommu::smmuv3
