// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu/domain.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace softiommu::arm_smmu {

using namespace hw::smmu;

Result<Table> Table::create(TableMemory& memory, const TableShape& shape) {
  if (shape.kind == TableKind::short_descriptors)
    return make<pt::ArmV7s>(memory, shape, {.input_bits = shape.input_bits, .output_bits = shape.output_bits});
  const pt::ArmLpaeConfig config{.stage = shape.stage,
                                 .input_bits = shape.input_bits,
                                 .output_bits = shape.output_bits,
                                 .aarch32 = shape.kind == TableKind::long_descriptors};
  switch (shape.granule_lg2) {
    case pt::ArmLpae16K::kPageShift:
      return make<pt::ArmLpae16K>(memory, shape, config);
    case pt::ArmLpae64K::kPageShift:
      return make<pt::ArmLpae64K>(memory, shape, config);
    default:
      return make<pt::ArmLpae>(memory, shape, config);
  }
}

PagingDomain::PagingDomain(Driver& owner, Table table, TableMemory& memory, bool coherent)
    : SharedTableDomain(owner), table_(std::move(table)), memory_(memory), coherent_(coherent) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  return table_.map(iova, pa, bytes, prot);
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, memory_, iova, bytes, [&](const pt::Gather& gather) { invalidate(gather); });
}

std::optional<PhysAddr> PagingDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

void PagingDomain::invalidate(const pt::Gather& gather) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    const auto done = use.unit->invalidate_pages(*this, use.id, gather.range(), !gather.tables_freed());
    if (!done) log::error("arm-smmu: {}: {}", use.unit->name(), done.error().why);
  }
}

// What is smaller than the unit's is fine: a group's domain is made for the least of its units.
AttachResult<> PagingDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  const Features& features = unit.features();
  const TableShape& theirs = features.table;
  if (stage() != theirs.stage) return driver_says(incompatible, {"stage", stage(), theirs.stage});
  if (shape().kind != theirs.kind)
    return driver_says(incompatible,
                       {"table format", std::to_underlying(shape().kind), std::to_underlying(theirs.kind)});
  if (shape().granule_lg2 != theirs.granule_lg2)
    return driver_says(incompatible, {"granule", shape().granule_lg2, theirs.granule_lg2});
  if (shape().input_bits > theirs.input_bits)
    return driver_says(incompatible, {"input size", shape().input_bits, theirs.input_bits});
  if (shape().output_bits > theirs.output_bits)
    return driver_says(incompatible, {"output size", shape().output_bits, theirs.output_bits});
  if (coherent_ && !features.coherent) return driver_says(incompatible, {"coherency", 1, 0});
  return {};
}

// ---- Context banks ----------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t kWriteBack = 1, kNonCacheable = 0;  // IRGN, ORGN: how table walks are cached
constexpr std::uint64_t kInnerShareable = 3, kNonShareable = 0;
constexpr std::uint64_t kMairWriteBack = 0xff;  // normal memory, write-back, allocating

constexpr std::uint64_t output_code(unsigned bits) {
  return static_cast<std::uint64_t>(std::ranges::find(kAddressBits, bits) - std::begin(kAddressBits));
}

constexpr std::uint64_t granule_code(unsigned lg2) {  // TG0
  return lg2 == pt::ArmLpae64K::kPageShift ? 1 : lg2 == pt::ArmLpae16K::kPageShift ? 2 : 0;
}

// The type of short descriptors that the format makes is TEX[0], C, B = 7: normal memory, write-back, shareable inside.
constexpr std::uint64_t kShortTypes = kPrrr["TR7"].put(2) | kPrrr["NS1"].put(1) | kPrrr["NOS7"].put(1);
constexpr std::uint64_t kShortCaches = kNmrr["IR7"].put(1) | kNmrr["OR7"].put(1);

}  // namespace

ContextBank PagingDomain::describe(const Features& features, UnitId bank) const {
  ContextBank words;
  words.cba2r = kCba2r["VA64"].put(shape().kind == TableKind::aarch64);
  words.sctlr =
      kSctlr["M"].put(1) | kSctlr["TRE"].put(1) | kSctlr["AFE"].put(1) | kSctlr["CFRE"].put(1) | kSctlr["CFIE"].put(1);
  if (stage() == 1) {
    describe_stage1(words, features, bank);
  } else {
    describe_stage2(words, features, bank);
  }
  // Version 1 has fewer interrupts than banks.
  if (features.version == 1) words.cbar |= kCbar["IRPTNDX"].put(bank % features.interrupts);
  return words;
}

void PagingDomain::describe_stage1(ContextBank& words, const Features& features, UnitId bank) const {
  constexpr std::uint64_t kNoShareability = 3, kAnyMemory = 15;  // the weakest: the tables decide
  constexpr std::uint64_t kAsUpstream = 7;                       // SEP
  words.cbar = kCbar["TYPE"].put(std::to_underlying(ContextType::stage1)) | kCbar["BPSHCFG"].put(kNoShareability) |
               kCbar["MEMATTR"].put(kAnyMemory);
  words.sctlr |= kSctlr["ASIDPNE"].put(1);
  const std::uint64_t cacheability = features.coherent ? kWriteBack : kNonCacheable;
  const std::uint64_t root = table_.root().value;
  if (shape().kind == TableKind::short_descriptors) {
    words.tcr = kAArch32Tcr["PD1"].put(1);
    words.ttbr0 = kShortTtbr["ADDR"].in_place(root) | kShortTtbr["S"].put(features.coherent) |
                  kShortTtbr["NOS"].put(features.coherent) | kShortTtbr["RGN"].put(cacheability) |
                  kShortTtbr["IRGN0"].put(cacheability);
    words.contextidr = kContextIdr["ASID"].put(bank);
    words.mair0 = kShortTypes;
    words.mair1 = kShortCaches;
    return;
  }
  words.tcr = kTcr["IRGN0"].put(cacheability) | kTcr["ORGN0"].put(cacheability) |
              kTcr["SH0"].put(features.coherent ? kInnerShareable : kNonShareable) | kTcr["EPD1"].put(1);
  words.tcr2 = kTcr2["SEP"].put(kAsUpstream) | kTcr2["PASIZE"].put(output_code(shape().output_bits));
  if (shape().kind == TableKind::aarch64) {
    words.tcr |= kTcr["T0SZ"].put(64 - shape().input_bits) | kTcr["TG0"].put(granule_code(shape().granule_lg2));
    words.tcr2 |= kTcr2["AS"].put(1);
  } else {
    words.tcr |= kAArch32Tcr["EAE"].put(1) | kTcr["T0SZ"].put(32 - shape().input_bits);
  }
  words.ttbr0 = kTtbrBits["ADDR"].in_place(root) | kTtbrBits["ASID"].put(bank);
  words.mair0 = kMairWriteBack << 8 * pt::ArmLpae::kAttrIndexWriteBack;
}

void PagingDomain::describe_stage2(ContextBank& words, const Features& features, UnitId bank) const {
  const std::uint64_t vmid = std::uint64_t{bank} + 1;  // 0 is stage 1's
  words.cbar = kCbar["TYPE"].put(std::to_underlying(ContextType::stage2));
  if (features.wide_vmids) {
    words.cba2r |= kCba2r["VMID16"].put(vmid);
  } else {
    words.cbar |= kCbar["VMID"].put(vmid);
  }
  const std::uint64_t cacheability = features.coherent ? kWriteBack : kNonCacheable;
  // A walk of two levels begins at level 2, which is SL0 0 with 4 KiB tables and 1 with others.
  const bool small = shape().granule_lg2 == pt::ArmLpae::kPageShift;
  const bool aarch64 = shape().kind == TableKind::aarch64;
  const unsigned t0sz = aarch64 ? 64 - shape().input_bits : (32 - shape().input_bits) & 31;  // AArch32: with a sign
  words.tcr = kStage2Tcr["RES1"].put(1) | kStage2Tcr["T0SZ"].put(t0sz) |
              kStage2Tcr["SL0"].put(table_.levels() - (small ? 2 : 1)) | kStage2Tcr["IRGN0"].put(cacheability) |
              kStage2Tcr["ORGN0"].put(cacheability) |
              kStage2Tcr["SH0"].put(features.coherent ? kInnerShareable : kNonShareable) |
              kStage2Tcr["TG0"].put(aarch64 ? granule_code(shape().granule_lg2) : 0) |
              kStage2Tcr["PASIZE"].put(aarch64 ? output_code(shape().output_bits) : 0);
  words.ttbr0 = kTtbrBits["ADDR"].in_place(table_.root().value);
}

}  // namespace softiommu::arm_smmu
