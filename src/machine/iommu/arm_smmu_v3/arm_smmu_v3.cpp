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
    {"output_bits",     Option::Kind::choice,  4, 0, 5, "32|36|40|42|44|48", "OAS: bits of an output address"},
    {"granules",        Option::Kind::list,    1u << 12, 12, 16, "12|14|16", "log2 of the translation granules: 12, 14, 16"},
    {"asid_bits",       Option::Kind::choice,  1, 0, 1, "8|16", "ASID16: bits of an address space id"},
    {"vmid_bits",       Option::Kind::choice,  1, 0, 1, "8|16", "VMID16: bits of a virtual machine id"},
    {"coherent",        Option::Kind::flag,    1, 0, 1, "", "COHACC: the SMMU's own accesses snoop the caches"},
    {"range_invalidation", Option::Kind::flag, 1, 0, 1, "", "RIL: one command invalidates a range"},
    {"dirty",           Option::Kind::choice,  0, 0, 2, "none|access|dirty", "HTTU: what hardware updates in table entries"},
    {"messages",        Option::Kind::flag,    1, 0, 1, "", "MSI: CMD_SYNC may complete with a write to memory"},
    {"command_queue",   Option::Kind::integer, 8, 4, 19, "", "CMDQS: log2 of the largest command queue"},
    {"event_queue",     Option::Kind::integer, 7, 4, 19, "", "EVENTQS: log2 of the largest event queue"},
};

// Registers that software writes, the bits that stick, and the CR0 bits under which they are read-only (6.3).
struct Writable {
  std::uint32_t offset;
  unsigned bytes;
  std::uint64_t bits;
  std::uint64_t guard = 0;
};
constexpr std::uint64_t kTranslating = kCr0["SMMUEN"].mask(), kCommanding = kCr0["CMDQEN"].mask(),
                        kReporting = kCr0["EVENTQEN"].mask();
constexpr Writable kWritable[] = {
    {kCr0.offset,           4, kTranslating | kCommanding | kReporting},  // no PRI, no ATS, no VMID wildcards
    {kCr1.offset,           4, kCr1.layout.named(), kTranslating | kCommanding | kReporting},
    {kCr2.offset,           4, kCr2.layout.named(), kTranslating},
    {kGbpa.offset,          4, kGbpa.layout.named()},
    {kIrqCtrl.offset,       4, kIrqCtrlBits["GERROR_IRQEN"].mask() | kIrqCtrlBits["EVENTQ_IRQEN"].mask()},
    {kGerrorN.offset,       4, kGerrorN.layout.named()},
    {kStrtabBase.offset,    8, kStrtabBase.layout.named(), kTranslating},
    {kStrtabBaseCfg.offset, 4, kStrtabBaseCfg.layout.named(), kTranslating},
    {kCmdqBase.offset,      8, kCmdqBase.layout.named(), kCommanding},
    {kCmdqProd.offset,      4, kCmdqProd.layout.named()},
    {kCmdqCons.offset,      4, kCmdqCons.layout.named(), kCommanding},
    {kEventqBase.offset,    8, kEventqBase.layout.named(), kReporting},
};
// clang-format on

constexpr std::uint64_t kAArch64Tables = 2, kLittleEndian = 2, kTerminateOnly = 1;

std::uint64_t make_idr0(const Options& options) {
  const std::uint64_t stages = options["stages"];
  return kIdr0["S1P"].put(stages != 1) | kIdr0["S2P"].put(stages != 0) | kIdr0["TTF"].put(kAArch64Tables) |
         kIdr0["COHACC"].put(options["coherent"]) | kIdr0["HTTU"].put(options["dirty"]) |
         kIdr0["ASID16"].put(options["asid_bits"]) | kIdr0["VMID16"].put(options["vmid_bits"]) |
         kIdr0["MSI"].put(options["messages"]) | kIdr0["TTENDIAN"].put(kLittleEndian) |
         kIdr0["STALL_MODEL"].put(kTerminateOnly) | kIdr0["TERM_MODEL"].put(1) |
         kIdr0["ST_LEVEL"].put(options["two_level"]);
}

std::uint64_t make_idr1(const Options& options) {
  return kIdr1["SIDSIZE"].put(options["stream_id_bits"]) | kIdr1["CMDQS"].put(options["command_queue"]) |
         kIdr1["EVENTQS"].put(options["event_queue"]);
}

std::uint64_t make_idr5(const Options& options) {
  const auto has = [&](unsigned granule) { return options["granules"] >> granule & 1; };
  return kIdr5["OAS"].put(options["output_bits"]) | kIdr5["GRAN4K"].put(has(12)) | kIdr5["GRAN16K"].put(has(14)) |
         kIdr5["GRAN64K"].put(has(16));
}

constexpr unsigned kOutputBits[] = {32, 36, 40, 42, 44, 48, 52};

bool inside(std::uint64_t offset, unsigned bytes, std::uint32_t limit) {
  return bytes != 0 && offset % bytes == 0 && offset + bytes <= limit;
}

}  // namespace

ArmSmmuV3::ArmSmmuV3(const UnitContext& context, const Options& options)
    : IommuUnit(context),
      sid_bits_(static_cast<unsigned>(options["stream_id_bits"])),
      oas_bits_(kOutputBits[options["output_bits"]]),
      ril_(options.flag("range_invalidation")),
      idr0_(make_idr0(options)),
      idr1_(make_idr1(options)),
      idr3_(kIdr3["RIL"].put(ril_)),
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
    eventq_base_ = 0;
    publish_live();
    iotlb_.invalidate_all();
    bump_generation();
  }
  const std::scoped_lock lock(events_mutex_);
  event_prod_ = event_cons_ = 0;
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
  if (offset == kEventqProd.offset || offset == kEventqCons.offset)
    return read_event_index(static_cast<std::uint32_t>(offset));
  if ((bytes != 4 && bytes != 8) || !inside(offset, bytes, kFileBytes)) return 0;
  const std::scoped_lock lock(registers_mutex_);
  put(kGerror.offset, 4, gerror_);
  return get(static_cast<std::uint32_t>(offset), bytes);
}

bool ArmSmmuV3::is_guarded(std::uint64_t cr0_bits) const { return (cr0_ & cr0_bits) != 0; }

void ArmSmmuV3::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (offset == kEventqProd.offset || offset == kEventqCons.offset)
    return write_event_index(static_cast<std::uint32_t>(offset), value);
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
      const std::uint64_t after = (get(row.offset, row.bytes) & row.bits) | (before & ~row.bits);
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
  const auto pass = [&]() -> std::optional<Translation> {
    if (transaction.iova.value >> oas_bits_ != 0) return std::nullopt;
    return Translation{PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true, true};
  };
  if (!kCr0["SMMUEN"].is_set(cr0_)) return kGbpa["ABORT"].is_set(gbpa_) ? std::nullopt : pass();

  // Taken before the configuration is read: an invalidation in between makes the insert below a no-op.
  const Iotlb::Ticket ticket = iotlb_.ticket();
  const StreamConfig config = config_of(transaction.stream);
  switch (config.kind) {
    case StreamConfig::Kind::abort:
      return std::nullopt;
    case StreamConfig::Kind::error:
      record({config.error.event, transaction, config.error});
      return std::nullopt;
    case StreamConfig::Kind::bypass:
    case StreamConfig::Kind::translate:
      break;
  }
  if (transaction.pasid != 0) {  // SSIDSIZE is 0
    record({Event::c_bad_substreamid, transaction, {}});
    return std::nullopt;
  }
  if (config.kind == StreamConfig::Kind::bypass) {
    if (transaction.iova.value >> oas_bits_ != 0) record({Event::f_addr_size, transaction, {}});
    return pass();
  }
  if (auto hit = iotlb_.look_up(config.space(), transaction.iova))
    if (transaction.access == Access::read ? hit->read : hit->write)
      return context_.paranoid ? checked_hit(transaction, config, *hit) : hit;

  const WalkResult page = walk(config, transaction.iova, transaction.access);
  if (!page) {
    if (page.error().record) record({page.error().event, transaction, page.error()});
    return std::nullopt;
  }
  const Translation translation{page->first, static_cast<std::uint8_t>(page->lg2), page->read, page->write,
                                !context_.paranoid};
  iotlb_.insert(ticket, config.space(), transaction.iova, translation);
  return translation;
}

// Paranoid mode: a hit that the tables no longer say is a missing invalidation.
std::optional<Translation> ArmSmmuV3::checked_hit(const Transaction& transaction, const StreamConfig& config,
                                                  Translation hit) {
  hit.cacheable = false;
  const WalkResult now = walk(config, transaction.iova, transaction.access);
  const std::uint64_t offset = transaction.iova.value & ((std::uint64_t{1} << hit.page_lg2) - 1);
  const std::uint64_t cached = hit.page.value + offset;
  const std::uint64_t walked =
      now ? now->first.value + (transaction.iova.value & ((std::uint64_t{1} << now->lg2) - 1)) : 0;
  if (now && walked == cached) return hit;
  const std::string tables =
      now ? fmt::format("the tables say {:#x}", walked) : std::string("the tables say not present");
  context_.findings.add(
      fmt::format("{}: stale translation: stream {:#x}, {} {}, iova {:#x}: the TLB says {:#x} but {}; missing: {}",
                  name(), transaction.stream, config.has_stage1 ? "ASID" : "VMID",
                  config.has_stage1 ? config.asid : config.vmid, transaction.iova.value, cached, tables,
                  config.has_stage1 ? "CMD_TLBI_NH_VA or CMD_TLBI_NH_ASID" : "CMD_TLBI_S2_IPA or CMD_TLBI_S12_VMALL"));
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
