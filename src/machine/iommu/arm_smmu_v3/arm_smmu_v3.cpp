// SPDX-License-Identifier: BSD-3-Clause
// The SMMUv3 model's face: what the machine file may say, registers, and the way of one transaction.
#include "machine/iommu/arm_smmu_v3/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "machine/findings.h"
#include "machine/registry.h"

namespace softiommu {
namespace smmuv3 {

using namespace hw::smmuv3;

namespace {

// clang-format off
constexpr Option kOptions[] = {
    {"stages",          Option::Kind::choice,  2, 0, 2, "1|2|both", "stages of translation that the hardware has"},
    {"stream_id_bits",  Option::Kind::integer, 16, 1, 24, "", "SIDSIZE: bits of a stream id"},
    {"two_level",       Option::Kind::flag,    1, 0, 1, "", "ST_LEVEL: two-level stream tables"},
    {"output_bits",     Option::Kind::choice,  4, 0, 6, "32|36|40|42|44|48|52", "OAS: bits of an output address; more than 48 need the 64 KiB granule"},
    {"wide_input",      Option::Kind::flag,    0, 0, 1, "", "VAX: stage 1 takes 52-bit addresses with the 64 KiB granule"},
    {"granules",        Option::Kind::list,    1u << 12, 12, 16, "12|14|16", "log2 of the translation granules: 12, 14, 16"},
    {"asid_bits",       Option::Kind::choice,  1, 0, 1, "8|16", "ASID16: bits of an address space id"},
    {"vmid_bits",       Option::Kind::choice,  1, 0, 1, "8|16", "VMID16: bits of a virtual machine id"},
    {"substream_bits",  Option::Kind::integer, 0, 0, kMostSubstreamBits, "", "SSIDSIZE: bits of a substream id (a PASID); 0: there are none"},
    {"two_level_descriptors", Option::Kind::flag, 1, 0, 1, "", "CD2L: two-level tables of context descriptors, where there are substreams"},
    {"force_write_back", Option::Kind::flag,   0, 0, 1, "", "S2FWB: stage 2 can force write-back; only with it and both stages are guests given an SMMU of their own"},
    {"stalls",          Option::Kind::choice,  0, 0, 2, "never|choice|always", "STALL_MODEL: faulting transactions may wait for software"},
    {"ats",             Option::Kind::flag,    0, 0, 1, "", "ATS: devices with TLBs of their own may ask for translations"},
    {"pri",             Option::Kind::flag,    0, 0, 1, "", "PRI: and for pages (with `ats`)"},
    {"coherent",        Option::Kind::flag,    1, 0, 1, "", "COHACC: the SMMU's own accesses snoop the caches"},
    {"range_invalidation", Option::Kind::flag, 1, 0, 1, "", "RIL: one command invalidates a range"},
    {"dirty",           Option::Kind::choice,  0, 0, 2, "none|access|dirty", "HTTU: what hardware updates in table entries"},
    {"messages",        Option::Kind::flag,    1, 0, 1, "", "MSI: CMD_SYNC may complete with a write to memory"},
    {"command_queue",   Option::Kind::integer, 8, 4, 19, "", "CMDQS: log2 of the largest command queue"},
    {"event_queue",     Option::Kind::integer, 7, 4, 19, "", "EVENTQS: log2 of the largest event queue"},
    {"page_request_queue", Option::Kind::integer, 7, 1, 19, "", "PRIQS: log2 of the largest page request queue, with `pri`"},
};

// Registers that software writes, the bits that stick, and the CR0 bits under which they are read-only (6.3).
struct Writable {
  std::uint32_t offset;
  unsigned bytes;
  std::uint64_t bits;
  std::uint64_t guard = 0;
};
constexpr std::uint64_t kTranslating = kCr0["SMMUEN"].mask(), kCommanding = kCr0["CMDQEN"].mask(),
                        kReporting = kCr0["EVENTQEN"].mask(), kRequesting = kCr0["PRIQEN"].mask();
constexpr Writable kWritable[] = {
    {kCr0.offset,           4, kTranslating | kCommanding | kReporting | kRequesting | kCr0["ATSCHK"].mask()},
    {kCr1.offset,           4, kCr1.layout.named(), kTranslating | kCommanding | kReporting | kRequesting},
    {kCr2.offset,           4, kCr2.layout.named(), kTranslating},
    {kGbpa.offset,          4, kGbpa.layout.named()},
    {kIrqCtrl.offset,       4, kIrqCtrlBits["GERROR_IRQEN"].mask() | kIrqCtrlBits["EVENTQ_IRQEN"].mask() |
                                   kIrqCtrlBits["PRIQ_IRQEN"].mask()},
    {kGerrorN.offset,       4, kGerrorN.layout.named()},
    {kStrtabBase.offset,    8, kStrtabBase.layout.named(), kTranslating},
    {kStrtabBaseCfg.offset, 4, kStrtabBaseCfg.layout.named(), kTranslating},
    {kCmdqBase.offset,      8, kCmdqBase.layout.named(), kCommanding},
    {kCmdqProd.offset,      4, kCmdqProd.layout.named()},
    {kCmdqCons.offset,      4, kCmdqCons.layout.named(), kCommanding},
    {kEventqBase.offset,    8, kEventqBase.layout.named(), kReporting},
    {kPriqBase.offset,      8, kPriqBase.layout.named(), kRequesting},
};
// clang-format on

// Of these bits, those of what the hardware has not are not writable (6.3.9, 6.3.16).
std::uint64_t absent_bits(std::uint32_t offset, std::uint64_t idr0) {
  const bool ats = kIdr0["ATS"].is_set(idr0), pri = kIdr0["PRI"].is_set(idr0);
  if (offset == kCr0.offset) return (pri ? 0 : kRequesting) | (ats ? 0 : kCr0["ATSCHK"].mask());
  if (offset == kIrqCtrl.offset) return pri ? 0 : kIrqCtrlBits["PRIQ_IRQEN"].mask();
  return offset == kPriqBase.offset && !pri ? ~std::uint64_t{0} : 0;
}

constexpr std::uint64_t kAArch64Tables = 2, kLittleEndian = 2;
constexpr std::uint64_t kStallModels[] = {kNeverStalls, kStallsAreAChoice, kAlwaysStalls};  // of the option's choices

std::uint64_t make_idr0(const Options& options) {
  const std::uint64_t stages = options["stages"];
  return kIdr0["S1P"].put(stages != 1) | kIdr0["S2P"].put(stages != 0) | kIdr0["TTF"].put(kAArch64Tables) |
         kIdr0["COHACC"].put(options["coherent"]) | kIdr0["HTTU"].put(options["dirty"]) |
         kIdr0["ASID16"].put(options["asid_bits"]) | kIdr0["VMID16"].put(options["vmid_bits"]) |
         kIdr0["MSI"].put(options["messages"]) | kIdr0["TTENDIAN"].put(kLittleEndian) |
         kIdr0["STALL_MODEL"].put(kStallModels[options["stalls"]]) | kIdr0["TERM_MODEL"].put(1) |
         kIdr0["ATS"].put(options["ats"]) | kIdr0["PRI"].put(options.flag("ats") && options.flag("pri")) |
         kIdr0["CD2L"].put(options["substream_bits"] != 0 && options.flag("two_level_descriptors")) |
         kIdr0["ST_LEVEL"].put(options["two_level"]);
}

std::uint64_t make_idr1(const Options& options) {
  return kIdr1["SIDSIZE"].put(options["stream_id_bits"]) | kIdr1["SSIDSIZE"].put(options["substream_bits"]) |
         kIdr1["CMDQS"].put(options["command_queue"]) | kIdr1["EVENTQS"].put(options["event_queue"]) |
         kIdr1["PRIQS"].put(options.flag("ats") && options.flag("pri") ? options["page_request_queue"] : 0);
}

std::uint64_t make_idr3(const Options& options) {
  return kIdr3["RIL"].put(options["range_invalidation"]) | kIdr3["FWB"].put(options["force_write_back"]);
}

std::uint64_t make_idr5(const Options& options) {
  const auto has = [&](unsigned granule) { return options["granules"] >> granule & 1; };
  return kIdr5["OAS"].put(options["output_bits"]) | kIdr5["GRAN4K"].put(has(12)) | kIdr5["GRAN16K"].put(has(14)) |
         kIdr5["GRAN64K"].put(has(16)) | kIdr5["VAX"].put(options["wide_input"]) |
         kIdr5["STALL_MAX"].put(kStallModels[options["stalls"]] != kNeverStalls ? Stalls::kMost : 0);
}

constexpr unsigned kOutputBits[] = {32, 36, 40, 42, 44, 48, 52};

bool inside(std::uint64_t offset, unsigned bytes, std::uint32_t limit) {
  return bytes != 0 && offset % bytes == 0 && offset + bytes <= limit;
}

}  // namespace

ArmSmmuV3::ArmSmmuV3(const UnitContext& context, const Options& options)
    : IommuUnit(context),
      sid_bits_(static_cast<unsigned>(options["stream_id_bits"])),
      ssid_bits_(static_cast<unsigned>(options["substream_bits"])),
      oas_bits_(kOutputBits[options["output_bits"]]),
      ril_(options.flag("range_invalidation")),
      idr0_(make_idr0(options)),
      idr1_(make_idr1(options)),
      idr3_(make_idr3(options)),
      idr5_(make_idr5(options)) {
  reset();
}

void ArmSmmuV3::reset() {
  {
    const std::scoped_lock lock(registers_mutex_);
    file_.fill(0);
    put(kIdr0.offset, 4, idr0_);
    put(kIdr1.offset, 4, idr1_);
    put(kIdr3.offset, 4, idr3_);
    put(kIdr5.offset, 4, idr5_);
    put(kAidr.offset, 4, kAidr["ArchMinorRev"].put(2));  // SMMUv3.2: range invalidation
    pending_lines_ = 0;
    cr0_ = 0;
    gbpa_ = 0;
    irq_ctrl_ = 0;
    gerror_ = gerrorn_ = 0;
    eventq_base_ = priq_base_ = 0;
    device_did_not_answer_ = false;
    stalls_.close();
    publish_live();
    iotlb_.invalidate_all();
    bump_generation();
  }
  const std::scoped_lock lock(queues_mutex_);
  events_ = page_requests_ = {};
}

std::uint64_t ArmSmmuV3::get(std::uint32_t offset, unsigned bytes) const {
  const std::uint64_t cell = file_[offset / 8] >> (offset % 8 * 8);
  return bytes == 8 ? cell : cell & ((std::uint64_t{1} << (bytes * 8)) - 1);
}

void ArmSmmuV3::put(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
  const std::uint64_t ones = bytes == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (bytes * 8)) - 1;
  const unsigned shift = offset % 8 * 8;
  std::uint64_t& cell = file_[offset / 8];
  cell = (cell & ~(ones << shift)) | (value & ones) << shift;
}

// 32-bit accesses to either half of a 64-bit register are allowed (6.2); other widths and places read as zero.
std::uint64_t ArmSmmuV3::read(std::uint64_t offset, unsigned bytes) {
  if (queue_at(offset) != nullptr) return read_index(static_cast<std::uint32_t>(offset));
  if ((bytes != 4 && bytes != 8) || !inside(offset, bytes, kFileBytes)) return 0;
  const std::scoped_lock lock(registers_mutex_);
  put(kGerror.offset, 4, gerror_);
  return get(static_cast<std::uint32_t>(offset), bytes);
}

bool ArmSmmuV3::is_guarded(std::uint64_t cr0_bits) const { return (cr0_ & cr0_bits) != 0; }

void ArmSmmuV3::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (queue_at(offset) != nullptr) return write_index(static_cast<std::uint32_t>(offset), value);
  if ((bytes != 4 && bytes != 8) || !inside(offset, bytes, kFileBytes)) return;
  std::uint32_t lines = 0;
  {
    const std::scoped_lock lock(registers_mutex_);
    const auto at = static_cast<std::uint32_t>(offset);
    for (const Writable& row : kWritable) {
      if (at + bytes <= row.offset || at >= row.offset + row.bytes || is_guarded(row.guard)) continue;
      const std::uint64_t before = get(row.offset, row.bytes);
      const std::uint64_t other = file_[at / 8];
      put(at, bytes, value);
      const std::uint64_t writable = row.bits & ~absent_bits(row.offset, idr0_);
      const std::uint64_t after = (get(row.offset, row.bytes) & writable) | (before & ~writable);
      file_[at / 8] = other;
      put(row.offset, row.bytes, after);
      written(row.offset);
    }
    lines = std::exchange(pending_lines_, 0);
  }
  for (unsigned line = 0; lines >> line != 0; ++line)
    if ((lines >> line & 1) != 0) interrupt(line);
}

// What a write to the register at `offset` sets off. Updates acknowledge at once.
void ArmSmmuV3::written(std::uint32_t offset) {
  const auto value32 = static_cast<std::uint32_t>(get(offset, 4));
  if (offset == kCr0.offset) {
    const bool enabled_now = kCr0["SMMUEN"].is_set(value32);
    const bool was_enabled = kCr0["SMMUEN"].is_set(cr0_);
    put(kCr0Ack.offset, 4, value32);
    cr0_ = value32;
    if (enabled_now != was_enabled) bump_generation();
    if (enabled_now && !was_enabled) stalls_.open();
    if (was_enabled && !enabled_now) stalls_.close();
    run_commands();
  } else if (offset == kIrqCtrl.offset) {
    put(kIrqCtrlAck.offset, 4, value32);
    irq_ctrl_ = value32;
  } else if (offset == kGbpa.offset) {
    // The new value takes effect only with UPDATE, which then reads as 0.
    if (kGbpa["UPDATE"].is_set(value32)) gbpa_ = value32 & static_cast<std::uint32_t>(~kGbpa["UPDATE"].mask());
    put(kGbpa.offset, 4, gbpa_);
    bump_generation();
  } else if (offset == kStrtabBase.offset || offset == kStrtabBaseCfg.offset || offset == kCr2.offset) {
    publish_live();
  } else if (offset == kEventqBase.offset) {
    eventq_base_ = get(kEventqBase.offset, 8);
  } else if (offset == kPriqBase.offset) {
    priq_base_ = get(kPriqBase.offset, 8);
  } else if (offset == kGerrorN.offset) {
    gerrorn_ = value32;
    run_commands();
  } else if (offset == kCmdqProd.offset) {
    run_commands();
  }
}

void ArmSmmuV3::publish_live() {
  constexpr std::uint64_t kTwoLevel = 1;
  constexpr unsigned kSplits[] = {6, 8, 10}, kL1Lg2 = 3, kSteLg2 = 6;
  const std::uint64_t base = get(kStrtabBase.offset, 8), cfg = get(kStrtabBaseCfg.offset, 4);
  const auto split = static_cast<unsigned>(kStrtabBaseCfg["SPLIT"].get(cfg));
  Live live{.stream_table = {},
            .log2_size = std::min(static_cast<unsigned>(kStrtabBaseCfg["LOG2SIZE"].get(cfg)), sid_bits_),
            .split = std::ranges::find(kSplits, split) != std::end(kSplits) ? split : kSplits[0],
            .two_level = kStrtabBaseCfg["FMT"].get(cfg) == kTwoLevel && kIdr0["ST_LEVEL"].get(idr0_) == 1,
            .record_bad_streams = kCr2["RECINVSID"].is_set(get(kCr2.offset, 4))};
  // Address bits below the table's size are taken as 0 (6.3.24).
  const unsigned l1_bits = live.log2_size > live.split ? live.log2_size - live.split : 0;
  const unsigned size_lg2 = live.two_level ? std::max(kSteLg2, kL1Lg2 + l1_bits) : kSteLg2 + live.log2_size;
  live.stream_table = PhysAddr{align_down(kStrtabBase["ADDR"].in_place(base), std::uint64_t{1} << size_lg2)};
  const std::scoped_lock lock(config_mutex_);
  live_ = live;
  configs_.clear();
  ++config_epoch_;
}

std::optional<Translation> ArmSmmuV3::translate(const Transaction& transaction) {
  for (;;) {
    const Attempt attempted = attempt(transaction);
    if (!attempted.again) return attempted.translation;
  }
}

std::optional<Translation> ArmSmmuV3::pass(const Transaction& transaction) const {
  if (transaction.iova.value >> oas_bits_ != 0) return std::nullopt;
  return Translation{PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true, true};
}

ArmSmmuV3::Attempt ArmSmmuV3::attempt(const Transaction& transaction) {
  if (!kCr0["SMMUEN"].is_set(cr0_)) return {kGbpa["ABORT"].is_set(gbpa_) ? std::nullopt : pass(transaction)};

  // Taken before the configuration is read: an invalidation in between makes the insert below a no-op.
  const Iotlb::Ticket ticket = iotlb_.ticket();
  const StreamConfig config = config_of(transaction.stream, transaction.pasid);
  switch (config.kind) {
    case StreamConfig::Kind::abort:
      return {};
    case StreamConfig::Kind::error:
      record({config.error.event, transaction, config.error});
      return {};
    case StreamConfig::Kind::bypass:
      if (transaction.iova.value >> oas_bits_ != 0) record({Event::f_addr_size, transaction, {}});
      return {pass(transaction)};
    case StreamConfig::Kind::translate:
      break;
  }
  if (auto hit = iotlb_.look_up(config.space(), transaction.iova))
    if (transaction.access == Access::read ? hit->read : hit->write)
      return {context_.paranoid ? checked_hit(transaction, config, *hit) : hit};

  const WalkResult page = walk(config, transaction.iova, transaction.access);
  if (!page) return fault(transaction, page.error());
  const Translation translation{page->first, static_cast<std::uint8_t>(page->lg2), page->read, page->write,
                                !context_.paranoid};
  iotlb_.insert(ticket, config.space(), transaction.iova, translation);
  return {translation};
}

// A transaction that stalls waits here: after the answer everything is read anew (3.12.2).
ArmSmmuV3::Attempt ArmSmmuV3::fault(const Transaction& transaction, const WalkFault& fault) {
  if (fault.stall) {
    const DmaPause waiting;  // an invalidation does not wait for it
    const auto tag = stalls_.begin(transaction.stream);
    if (!tag) return {};
    if (record({fault.event, transaction, fault, tag})) return {std::nullopt, stalls_.wait(*tag)};
    stalls_.cancel(*tag);
  } else if (fault.record) {
    record({fault.event, transaction, fault});
  }
  return {};
}

// Paranoid mode: what is kept and the tables no longer say. nullopt: they agree.
std::optional<std::string> ArmSmmuV3::disagreement(const Transaction& transaction, const StreamConfig& config,
                                                   const Translation& kept) {
  const auto place = [&](PhysAddr page, unsigned lg2) {
    return page.value + (transaction.iova.value & ((std::uint64_t{1} << lg2) - 1));
  };
  const WalkResult now = walk(config, transaction.iova, transaction.access);
  const std::uint64_t cached = place(kept.page, kept.page_lg2), walked = now ? place(now->first, now->lg2) : 0;
  if (now && walked == cached) return std::nullopt;
  const std::string substream = transaction.pasid != 0 ? fmt::format(", substream {:#x}", transaction.pasid) : "";
  const std::string tables = now ? fmt::format("{:#x}", walked) : std::string("not present");
  return fmt::format("stream {:#x}{}, {} {}, iova {:#x}: the TLB says {:#x} but the tables say {}", transaction.stream,
                     substream, config.has_stage1 ? "ASID" : "VMID", config.has_stage1 ? config.asid : config.vmid,
                     transaction.iova.value, cached, tables);
}

std::optional<Translation> ArmSmmuV3::checked_hit(const Transaction& transaction, const StreamConfig& config,
                                                  Translation hit) {
  hit.cacheable = false;
  const char* const missing = !config.has_stage1   ? "CMD_TLBI_S2_IPA or CMD_TLBI_S12_VMALL"
                              : !config.has_stage2 ? "CMD_TLBI_NH_VA or CMD_TLBI_NH_ASID"
                                                   : "CMD_TLBI_NH_VA, or CMD_TLBI_NH_ALL after a change of stage 2";
  if (const auto stale = disagreement(transaction, config, hit))
    context_.findings.add(fmt::format("{}: stale translation: {}; missing: {}", name(), *stale, missing));
  return hit;
}

}  // namespace smmuv3

UnitModel arm_smmu_v3_unit_model() {
  return {"arm-smmu-v3", "Arm System MMU version 3, stage 1 and stage 2", smmuv3::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              return std::make_unique<smmuv3::ArmSmmuV3>(context, options);
            });
          }};
}

}  // namespace softiommu
