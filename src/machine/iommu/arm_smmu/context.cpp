// SPDX-License-Identifier: BSD-3-Clause
// What a context bank's registers mean (IHI 0062 chapter 16), and walks of its tables.
//
// A configuration that the architecture reserves has no tables: every access is a translation fault.
#include <algorithm>
#include <iterator>

#include "machine/iommu/arm_smmu/model.h"
#include "machine/memory.h"

namespace softiommu::smmu {

using namespace hw::smmu;

namespace {

constexpr unsigned kGranuleOfTg0[] = {12, 16, 14, 0}, kGranuleOfTg1[] = {0, 14, 12, 16};  // 0: reserved
constexpr unsigned kLeastInputBits = 25, kAArch32Bits = 32, kAArch32OutputBits = 40;
constexpr std::uint64_t kAArch32Space = std::uint64_t{1} << kAArch32Bits;
enum Format : std::uint64_t { kShort, kLong, kAArch64 };  // FSR.FORMAT

}  // namespace

std::uint64_t ArmSmmu::vmid_of(const BankWords& bank) const {
  if (has_wide_vmids()) return kCba2r["VMID16"].get(bank.cba2r);
  return kCbar["VMID"].get(bank.cbar);
}

std::uint64_t ArmSmmu::asid_of(const BankWords& bank) const {
  constexpr std::uint64_t kNarrow = 0xff;
  if (!is_aarch64(bank) && !kAArch32Tcr["EAE"].is_set(bank.tcr)) return kContextIdr["ASID"].get(bank.contextidr);
  const std::uint64_t asid = kTtbrBits["ASID"].get(kTcr["A1"].is_set(bank.tcr) ? bank.ttbr1 : bank.ttbr0);
  return is_aarch64(bank) && kTcr2["AS"].is_set(bank.tcr2) ? asid : asid & kNarrow;
}

bool ArmSmmu::has_granule(unsigned lg2) const {
  return (lg2 == 12 && kIdr2["PTFSV8_4K"].is_set(idr2_)) || (lg2 == 14 && kIdr2["PTFSV8_16K"].is_set(idr2_)) ||
         (lg2 == 16 && kIdr2["PTFSV8_64K"].is_set(idr2_));
}

unsigned ArmSmmu::output_bits(std::uint64_t code) const {
  return kAddressBits[std::min<std::uint64_t>(code, std::size(kAddressBits) - 1)];
}

// ---- Tables -----------------------------------------------------------------------------------------------------

LongTables ArmSmmu::long_tables(const BankWords& bank) const {
  const bool aarch64 = is_aarch64(bank);
  const auto field = [&](hw::Field of) { return static_cast<unsigned>(of.get(bank.tcr)); };
  LongTables tables{.aarch32 = !aarch64};
  const unsigned granules[] = {aarch64 ? kGranuleOfTg0[field(kTcr["TG0"])] : 12,
                               aarch64 ? kGranuleOfTg1[field(kTcr["TG1"])] : 12};
  constexpr unsigned kAArch32Mask = 7;
  const unsigned sizes[] = {field(kTcr["T0SZ"]), field(kTcr["T1SZ"])};
  const bool off[] = {kTcr["EPD0"].is_set(bank.tcr), kTcr["EPD1"].is_set(bank.tcr)};
  const bool ignored[] = {kTcr2["TBI0"].is_set(bank.tcr2), kTcr2["TBI1"].is_set(bank.tcr2)};
  const std::uint64_t roots[] = {bank.ttbr0, bank.ttbr1};
  for (unsigned half = 0; half < 2; ++half) {
    const unsigned bits = aarch64 ? 64 - sizes[half] : kAArch32Bits - (sizes[half] & kAArch32Mask);
    const unsigned most = std::max(aarch64 ? upstream_bits_ : kAArch32Bits, kAArch32Bits);
    if (off[half] || bits > most || bits < kLeastInputBits) continue;
    if (aarch64 ? !has_granule(granules[half]) : kIdr0["PTFS"].get(idr0_) > 1) continue;
    const unsigned out =
        aarch64 ? std::min(output_bits(kTcr2["PASIZE"].get(bank.tcr2)), output_bits_) : kAArch32OutputBits;
    tables.halves[half] = walk::ArmStage{.table = PhysAddr{kTtbrBits["ADDR"].in_place(roots[half])},
                                         .granule_lg2 = granules[half],
                                         .input_bits = bits,
                                         .output_bits = out,
                                         .start_level = walk::arm_start_level(bits, granules[half]),
                                         .upper_half = half == 1,
                                         .top_byte_ignored = aarch64 && ignored[half],
                                         .ignore_access_flag = kSctlr["AFFD"].is_set(bank.sctlr)};
  }
  // ARMv7 ARM B3.6.4: what TTBR1's size leaves is TTBR0's, or the other way round.
  const unsigned t0 = sizes[0] & kAArch32Mask, t1 = sizes[1] & kAArch32Mask;
  if (t1 != 0) {
    tables.upper_from = kAArch32Space - (kAArch32Space >> t1);
  } else {
    tables.upper_from = kAArch32Space >> t0;
  }
  return tables;
}

ShortTables ArmSmmu::short_tables(const BankWords& bank) const {
  ShortTables tables;
  if (kIdr0["PTFS"].get(idr0_) != 0) return tables;
  constexpr unsigned kRootLg2 = 14;
  const auto n = static_cast<unsigned>(kAArch32Tcr["N"].get(bank.tcr));
  const auto table = [&](std::uint64_t ttbr, unsigned root_lg2, unsigned bits) {
    return walk::ArmV7sTable{
        .root = PhysAddr{align_down(kShortTtbr["ADDR"].in_place(ttbr), std::uint64_t{1} << root_lg2)},
        .input_bits = bits,
        .output_bits = std::min(output_bits_, kAArch32OutputBits),
        .rights = kSctlr["AFE"].is_set(bank.sctlr) ? walk::ArmV7sTable::Rights::access_flag
                                                   : walk::ArmV7sTable::Rights::full};
  };
  if (!kAArch32Tcr["PD0"].is_set(bank.tcr)) tables.halves[0] = table(bank.ttbr0, kRootLg2 - n, kAArch32Bits - n);
  if (!kAArch32Tcr["PD1"].is_set(bank.tcr)) tables.halves[1] = table(bank.ttbr1, kRootLg2, kAArch32Bits);
  tables.upper_from = kAArch32Space >> n;  // with N 0 there is nothing for TTBR1
  return tables;
}

std::optional<walk::ArmStage> ArmSmmu::stage2_tables(const BankWords& bank) const {
  const bool aarch64 = is_aarch64(bank);
  const auto field = [&](hw::Field of) { return static_cast<unsigned>(of.get(bank.tcr)); };
  const unsigned granule = aarch64 ? kGranuleOfTg0[field(kStage2Tcr["TG0"])] : 12;
  if (aarch64 ? !has_granule(granule) : kIdr0["PTFS"].get(idr0_) > 1) return std::nullopt;
  // AArch32: 32 - T0SZ with T0SZ a number of 5 bits with a sign (its copy is the bit that the manual calls S).
  constexpr unsigned kSigned = 32, kSign = 16;
  const unsigned t0sz = field(kStage2Tcr["T0SZ"]), low = t0sz % kSigned;
  const unsigned bits = aarch64 ? 64 - t0sz : kAArch32Bits - low + (low >= kSign ? kSigned : 0);
  const unsigned most = aarch64 ? input_bits_ : kAArch32OutputBits;
  if (bits < kLeastInputBits || bits > most) return std::nullopt;
  const unsigned deepest = granule == 12 ? 2 : 3, sl0 = field(kStage2Tcr["SL0"]);
  if (sl0 > (aarch64 ? 2u : 1u)) return std::nullopt;
  const unsigned start = deepest - sl0;
  // The root may be up to 16 concatenated tables: at most 4 bits more than one table's index.
  const unsigned per_level = granule - 3, below = granule + per_level * (3 - start);
  if (bits <= below || bits > below + per_level + 4) return std::nullopt;
  const unsigned out = aarch64 ? output_bits(kStage2Tcr["PASIZE"].get(bank.tcr)) : kAArch32OutputBits;
  return walk::ArmStage{.table = PhysAddr{kTtbrBits["ADDR"].in_place(bank.ttbr0)},
                        .granule_lg2 = granule,
                        .input_bits = bits,
                        .output_bits = std::min(out, output_bits_),
                        .start_level = static_cast<int>(start),
                        .ignore_access_flag = kSctlr["AFFD"].is_set(bank.sctlr)};
}

// ---- Banks ------------------------------------------------------------------------------------------------------

std::expected<Context, std::uint64_t> ArmSmmu::context_of(unsigned number) const {
  const BankWords& bank = banks_[number];
  const auto type = static_cast<ContextType>(kCbar["TYPE"].get(bank.cbar));
  const std::unexpected invalid(kGfsr["ICF"].mask());
  Context context{.bank = number, .stage2_bank = number};
  const bool translates = kSctlr["M"].is_set(bank.sctlr);

  if (type == ContextType::stage2) {
    if (!kIdr0["S2TS"].is_set(idr0_)) return invalid;
    context.has_stage2 = translates;
    context.stage2 = stage2_tables(bank);
    context.space = kRegimeStage2 | tag_vmid(vmid_of(bank));
    context.format = is_aarch64(bank) ? kAArch64 : kLong;
    return context;
  }
  // Stage 1 "then fault": nothing of it may go on.
  if (!kIdr0["S1TS"].is_set(idr0_) || type == ContextType::stage1_then_fault) return invalid;
  const bool short_tables_wanted = !is_aarch64(bank) && !kAArch32Tcr["EAE"].is_set(bank.tcr);
  context.format = is_aarch64(bank) ? kAArch64 : short_tables_wanted ? kShort : kLong;
  if (translates && short_tables_wanted) context.stage1 = short_tables(bank);
  if (translates && !short_tables_wanted) context.stage1 = long_tables(bank);
  std::uint64_t vmid = vmid_of(bank);
  if (type == ContextType::nested) {
    const auto below = static_cast<unsigned>(kNestedCbar["CBNDX"].get(bank.cbar));
    // Short descriptors over stage 2 are left out here.
    if (!kIdr0["NTS"].is_set(idr0_) || below >= banks_count_ || short_tables_wanted) return invalid;
    const BankWords& host = banks_[below];
    if (static_cast<ContextType>(kCbar["TYPE"].get(host.cbar)) != ContextType::stage2) return invalid;
    context.stage2_bank = below;
    context.has_stage2 = kSctlr["M"].is_set(host.sctlr);
    context.stage2 = stage2_tables(host);
    vmid = vmid_of(host);
  }
  context.space =
      context.has_stage1() ? kRegimeStage1 | tag_vmid(vmid) | asid_of(bank) : kRegimeStage2 | tag_vmid(vmid);
  return context;
}

// ---- Walks ------------------------------------------------------------------------------------------------------

WalkResult ArmSmmu::walk(const Context& context, Iova iova, Access access) const {
  const std::unexpected nothing(walk::Failure{.fault = walk::Fault::not_present, .input = iova});
  if (context.has_stage2 && !context.stage2) return nothing;
  const walk::ArmStage* const stage2 = context.has_stage2 ? &*context.stage2 : nullptr;
  if (const auto* const tables = std::get_if<LongTables>(&context.stage1)) {
    if (tables->aarch32 && iova.value >= kAArch32Space) return nothing;
    constexpr std::uint64_t kUpperHalf = std::uint64_t{1} << 55;
    const bool upper = tables->aarch32 ? iova.value >= tables->upper_from : (iova.value & kUpperHalf) != 0;
    const auto& stage1 = tables->halves[upper];
    if (!stage1) return nothing;
    // The walk takes the upper half's addresses with ones above them.
    const Iova input{tables->aarch32 && upper ? iova.value | ~(kAArch32Space - 1) : iova.value};
    return walk::arm_lpae(context_.memory, {.stage1 = &*stage1, .stage2 = stage2}, input, access);
  }
  if (const auto* const tables = std::get_if<ShortTables>(&context.stage1)) {
    if (iova.value >= kAArch32Space) return nothing;
    const auto& table = tables->halves[iova.value >= tables->upper_from];
    if (!table) return nothing;
    return walk::arm_v7s(context_.memory, *table, iova, access);
  }
  return walk::arm_lpae(context_.memory, {.stage2 = stage2}, iova, access);
}

}  // namespace softiommu::smmu
