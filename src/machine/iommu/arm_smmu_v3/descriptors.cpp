// SPDX-License-Identifier: BSD-3-Clause
// Context descriptors (IHI0070 3.9, 5.3, 5.4): which one a transaction uses, by its substream, and what it says.
#include <utility>

#include "machine/iommu/arm_smmu_v3/model.h"

namespace softiommu::smmuv3 {

using namespace hw::smmuv3;

namespace {

// log2 of the descriptors in a leaf of a two-level table.
constexpr unsigned leaf_lg2(S1Format format) { return format == S1Format::leaves_4k ? 6 : 10; }

S1Format format_of(std::uint64_t ste0) { return static_cast<S1Format>(kSte0["S1Fmt"].get(ste0)); }
S1Default default_of(std::uint64_t ste1) { return static_cast<S1Default>(kSte1["S1DSS"].get(ste1)); }

}  // namespace

// S1CDMax 0: there is one descriptor, and what is said of tables and substreams does not count.
bool ArmSmmuV3::is_legal_table(const SteWords& ste) const {
  const std::uint64_t bits = kSte0["S1CDMax"].get(ste[0]);
  if (bits == 0) return true;
  const S1Format format = format_of(ste[0]);
  const bool known = format == S1Format::linear ||
                     (kIdr0["CD2L"].is_set(idr0_) && (format == S1Format::leaves_4k || format == S1Format::leaves_64k));
  return bits <= ssid_bits_ && known && default_of(ste[1]) <= S1Default::substream0;
}

// Before any descriptor is read (3.9, 7.3.7, 7.3.10).
std::optional<WalkFault> ArmSmmuV3::refusal_of(const SteWords& ste, Pasid substream) const {
  const std::uint64_t bits = kSte0["S1CDMax"].get(ste[0]);
  if (substream != 0) {
    if (std::uint64_t{substream} >> bits != 0) return WalkFault{.event = Event::c_bad_substreamid};
    return std::nullopt;
  }
  if (bits != 0 && default_of(ste[1]) == S1Default::abort) return WalkFault{.event = Event::f_stream_disabled};
  return std::nullopt;
}

bool ArmSmmuV3::skips_stage1(const SteWords& ste, Pasid substream) const {
  return substream == 0 && kSte0["S1CDMax"].get(ste[0]) != 0 && default_of(ste[1]) == S1Default::bypass;
}

// A word of the table, whose addresses are IPAs if there is a stage 2. nullopt: config.error says why.
std::optional<std::uint64_t> ArmSmmuV3::fetch_word(PhysAddr address, StreamConfig& config) {
  if (config.has_stage2) {
    const auto host = translate_structure(config, address);
    if (!host) {
      config.error = host.error();
      return std::nullopt;
    }
    address = *host;
  }
  const auto word = load(address);
  if (!word) config.error = {.event = Event::f_cd_fetch, .address = address.value};
  return word;
}

bool ArmSmmuV3::fetch_descriptor(const SteWords& ste, Pasid substream, StreamConfig& config) {
  const S1Format format = format_of(ste[0]);
  PhysAddr table{kSte0["S1ContextPtr"].in_place(ste[0])};
  std::uint64_t index = substream;
  if (kSte0["S1CDMax"].get(ste[0]) != 0 && format != S1Format::linear) {
    const auto l1 = fetch_word(table + (index >> leaf_lg2(format)) * sizeof(std::uint64_t), config);
    if (!l1) return false;
    if (!kL1Cd["V"].is_set(*l1)) {
      config.error = {.event = Event::c_bad_substreamid};
      config.of_l1 = true;
      return false;
    }
    table = PhysAddr{kL1Cd["L2Ptr"].in_place(*l1)};
    index &= (std::uint64_t{1} << leaf_lg2(format)) - 1;
  }
  const PhysAddr place = table + index * kCdBytes;
  const auto word0 = fetch_word(place, config);
  const auto word1 = word0 ? fetch_word(place + sizeof(std::uint64_t), config) : std::nullopt;
  if (!word1) return false;
  config.error = {.event = Event::c_bad_cd};
  if (kCd0["S"].is_set(*word0) && kSte1["S1STALLD"].is_set(ste[1])) return false;
  return read_descriptor(*word0, *word1, config);
}

bool ArmSmmuV3::is_legal_stall(bool stalls) const {
  const std::uint64_t model = kIdr0["STALL_MODEL"].get(idr0_);
  return model == kStallsAreAChoice || stalls == (model == kAlwaysStalls);
}

// TTB1 is not walked: addresses of the upper half fault as if EPD1 were set.
bool ArmSmmuV3::read_descriptor(std::uint64_t cd0, std::uint64_t cd1, StreamConfig& config) const {
  walk::ArmStage& stage = config.stage1.tables;
  if (!kCd0["V"].is_set(cd0) || !kCd0["AA64"].is_set(cd0)) return false;
  if (!is_legal_stall(kCd0["S"].is_set(cd0)) || !kCd0["A"].is_set(cd0)) return false;  // TERM_MODEL 1
  const std::uint64_t asid = kCd0["ASID"].get(cd0);
  if (!kIdr0["ASID16"].is_set(idr0_) && asid > 0xff) return false;
  config.asid = static_cast<std::uint16_t>(asid);
  stage.granule_lg2 = kGranuleOf[kCd0["TG0"].get(cd0)];
  stage.output_bits = output_bits(kCd0["IPS"].get(cd0), stage.granule_lg2);
  config.stage1.record = kCd0["R"].is_set(cd0);
  config.stage1.stall = kCd0["S"].is_set(cd0);
  if (kCd0["EPD0"].is_set(cd0)) return true;  // no address is translated: input_bits stays 0

  constexpr unsigned kGranule64K = 16, kUsualInputBits = 48, kWideInputBits = 52;
  const bool is_wide = stage.granule_lg2 == kGranule64K && kIdr5["VAX"].is_set(idr5_);
  stage.input_bits = 64 - static_cast<unsigned>(kCd0["T0SZ"].get(cd0));
  if (kCd0["ENDI"].is_set(cd0) || !granule_supported(stage.granule_lg2)) return false;
  if (stage.input_bits < kLeastInputBits || stage.input_bits > (is_wide ? kWideInputBits : kUsualInputBits))
    return false;
  stage.table = PhysAddr{kCd1["TTB0"].in_place(cd1)};
  if (stage.table.value >> stage.output_bits != 0) return false;
  stage.start_level = walk::arm_start_level(stage.input_bits, stage.granule_lg2);
  stage.ignore_access_flag = kCd0["AFFD"].is_set(cd0);
  stage.set_access_flag = kCd0["HA"].is_set(cd0) && kIdr0["HTTU"].get(idr0_) >= 1;
  stage.set_dirty = stage.set_access_flag && kCd0["HD"].is_set(cd0) && kIdr0["HTTU"].get(idr0_) >= 2;
  stage.top_byte_ignored = kCd0["TBI0"].is_set(cd0);
  return true;
}

}  // namespace softiommu::smmuv3
