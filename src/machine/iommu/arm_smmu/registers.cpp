// SPDX-License-Identifier: BSD-3-Clause
// The register file: global spaces 0 and 1, and the context banks. What is nowhere reads as zero and ignores writes.
#include <mutex>
#include <span>

#include "machine/iommu/arm_smmu/model.h"

namespace softiommu::smmu {

using namespace hw::smmu;

namespace {

constexpr std::uint64_t ones(unsigned bytes) { return ~std::uint64_t{0} >> (64 - 8 * bytes); }

// clang-format off
constexpr RegisterRow<GlobalWords> kGlobalRows[] = {
    {kCr0.offset,     4, kCr0.layout.named(),     &GlobalWords::cr0},
    {kAcr.offset,     4, 0,                       &GlobalWords::acr},
    {kGfar.offset,    8, kGfar.layout.named(),    &GlobalWords::gfar},
    {kGfsr.offset,    4, 0,                       &GlobalWords::gfsr},
    {kGfsynr0.offset, 4, kGfsynr0.layout.named(), &GlobalWords::gfsynr0},
    {kGfsynr1.offset, 4, kGfsynr1.layout.named(), &GlobalWords::gfsynr1},
};
constexpr RegisterRow<BankWords> kBankRows[] = {
    {kSctlr.offset,      4, kSctlr.layout.named(),  &BankWords::sctlr},
    {kTcr2.offset,       4, kTcr2.layout.named(),   &BankWords::tcr2},
    {kTtbr0.offset,      8, ~std::uint64_t{0},      &BankWords::ttbr0},
    {kTtbr1.offset,      8, ~std::uint64_t{0},      &BankWords::ttbr1},
    {kTcr.offset,        4, ones(4),                &BankWords::tcr},
    {kContextIdr.offset, 4, ones(4),                &BankWords::contextidr},
    {kMair0.offset,      4, ones(4),                &BankWords::mair0},
    {kMair1.offset,      4, ones(4),                &BankWords::mair1},
    {kPar.offset,        8, ~std::uint64_t{0},      &BankWords::par},
    {kFsr.offset,        4, 0,                      &BankWords::fsr},
    {kFar.offset,        8, kFar.layout.named(),    &BankWords::far},
    {kFsynr0.offset,     4, kFsynr0.layout.named(), &BankWords::fsynr0},
    {kIpaFar.offset,     8, kIpaFar.layout.named(), &BankWords::ipafar},
};
// clang-format on

template <class Words, std::size_t N>
const RegisterRow<Words>* row_at(const RegisterRow<Words> (&rows)[N], std::uint64_t at, unsigned bytes) {
  for (const RegisterRow<Words>& row : rows)
    if (row.covers(at, bytes)) return &row;
  return nullptr;
}

// Halves of 64-bit registers may be read and written alone.
template <class Words>
std::uint64_t read_word(const RegisterRow<Words>& row, const Words& words, std::uint64_t at, unsigned bytes) {
  return words.*row.word >> 8 * (at - row.offset) & ones(bytes);
}
template <class Words>
void write_word(const RegisterRow<Words>& row, Words& words, std::uint64_t at, unsigned bytes, std::uint64_t value) {
  const auto shift = static_cast<unsigned>(8 * (at - row.offset));
  const std::uint64_t written = ones(bytes) << shift & row.writable;
  words.*row.word = (words.*row.word & ~written) | (value << shift & written);
}

// The entry of an array of words that `at` is in; nothing: it is elsewhere.
std::optional<unsigned> index_in(std::uint64_t at, std::uint32_t first, unsigned count) {
  if (at < first || at >= first + 4 * std::uint64_t{count}) return std::nullopt;
  return static_cast<unsigned>((at - first) / 4);
}

}  // namespace

// ---- The three spaces -------------------------------------------------------------------------------------------

std::uint64_t ArmSmmu::read(std::uint64_t offset, unsigned bytes) {
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0 || offset + bytes > pages_.bytes()) return 0;
  const std::uint64_t page = offset >> pages_.lg2, at = offset & ((std::uint64_t{1} << pages_.lg2) - 1);
  const std::scoped_lock lock(mutex_);
  if (page == 0) return read_global0(at, bytes);
  if (page == 1) return read_global1(at);
  if (page < pages_.half || page - pages_.half >= banks_count_) return 0;
  return read_bank(static_cast<unsigned>(page - pages_.half), at, bytes);
}

void ArmSmmu::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0 || offset + bytes > pages_.bytes()) return;
  const std::uint64_t page = offset >> pages_.lg2, at = offset & ((std::uint64_t{1} << pages_.lg2) - 1);
  After after = After::nothing;
  {
    const std::scoped_lock lock(mutex_);
    if (page == 0) {
      after = write_global0(at, bytes, value);
    } else if (page == 1) {
      write_global1(at, value & ones(4));
    } else if (page >= pages_.half && page - pages_.half < banks_count_) {
      after = write_bank(static_cast<unsigned>(page - pages_.half), at, bytes, value);
    }
  }
  if (after == After::synchronise) wait_for_dma();
}

// ---- Global space 0 ---------------------------------------------------------------------------------------------

std::uint64_t ArmSmmu::read_global0(std::uint64_t at, unsigned bytes) const {
  if (const auto* const row = row_at(kGlobalRows, at, bytes)) return read_word(*row, global_, at, bytes);
  if (at == kIdr0.offset) return idr0_;
  if (at == kIdr1.offset) return idr1_;
  if (at == kIdr2.offset) return idr2_;
  if (at == kIdr7.offset) return 0;
  if (const auto entry = index_in(at, smr_offset(0), entries_); entry && kIdr0["SMS"].is_set(idr0_))
    return smr_[*entry];
  if (const auto entry = index_in(at, s2cr_offset(0), entries_)) return s2cr_[*entry];
  return 0;  // TLBGSTATUS too: a synchronisation is over when its write returns
}

ArmSmmu::After ArmSmmu::write_global0(std::uint64_t at, unsigned bytes, std::uint64_t value) {
  if (at == kGfsr.offset) {
    global_.gfsr &= ~value;
  } else if (const auto* const row = row_at(kGlobalRows, at, bytes)) {
    std::uint64_t missing = 0;
    if (at == kCr0.offset && !kIdr0["EXIDS"].is_set(idr0_)) missing |= kCr0["EXIDENABLE"].mask();
    if (at == kCr0.offset && !kIdr2["VMID16S"].is_set(idr2_)) missing |= kCr0["VMID16EN"].mask();
    write_word(*row, global_, at, bytes, value & ~missing);
    if (at == kCr0.offset) bump_generation();
  } else if (at >= kTlbiVmid.offset && at <= kTlbGsync.offset) {
    return invalidate_global(at, value);
  } else {
    write_stream_entry(at, value);
  }
  return After::nothing;
}

void ArmSmmu::write_stream_entry(std::uint64_t at, std::uint64_t value) {
  const auto smr = index_in(at, smr_offset(0), entries_);
  const auto s2cr = index_in(at, s2cr_offset(0), entries_);
  if (smr && kIdr0["SMS"].is_set(idr0_)) {
    std::uint64_t bits = kExtendedSmr.named();
    if (!is_extended()) {
      // Ids that the unit does not have are not there to be compared.
      const std::uint64_t id = (std::uint64_t{1} << kIdr0["NUMSIDB"].get(idr0_)) - 1;
      bits = kSmr["VALID"].mask() | kSmr["ID"].put(id) | kSmr["MASK"].put(id);
    }
    smr_[*smr] = static_cast<std::uint32_t>(value & bits);
  } else if (s2cr) {
    s2cr_[*s2cr] = static_cast<std::uint32_t>(value & kS2cr.named());
  }
  bump_generation();
}

// ---- Global space 1 ---------------------------------------------------------------------------------------------

std::uint64_t ArmSmmu::read_global1(std::uint64_t at) const {
  if (const auto bank = index_in(at, cbar_offset(0), banks_count_)) return banks_[*bank].cbar;
  if (const auto bank = index_in(at, cbfrsynra_offset(0), banks_count_)) return banks_[*bank].cbfrsynra;
  if (const auto bank = index_in(at, cba2r_offset(0), banks_count_)) return banks_[*bank].cba2r;
  return 0;
}

void ArmSmmu::write_global1(std::uint64_t at, std::uint64_t value) {
  if (const auto bank = index_in(at, cbar_offset(0), banks_count_)) {
    // Banks of stage 2 only: TYPE is always 0, which is stage 2.
    banks_[*bank].cbar = *bank < stage2_banks_ ? value & ~kCbar["TYPE"].mask() : value;
  } else if (const auto syndrome = index_in(at, cbfrsynra_offset(0), banks_count_)) {
    banks_[*syndrome].cbfrsynra = value & kCbfrsynra.named();
  } else if (const auto second = index_in(at, cba2r_offset(0), banks_count_); second && is_version2()) {
    const bool has_aarch64 = has_granule(12) || has_granule(14) || has_granule(16);
    banks_[*second].cba2r = value & kCba2r.named() & ~(has_aarch64 ? 0 : kCba2r["VA64"].mask());
  }
  bump_generation();
}

// ---- Context banks ----------------------------------------------------------------------------------------------

std::uint64_t ArmSmmu::read_bank(unsigned bank, std::uint64_t at, unsigned bytes) const {
  const auto* const row = row_at(kBankRows, at, bytes);
  return row != nullptr ? read_word(*row, banks_[bank], at, bytes) : 0;  // TLBSTATUS and ATSR: all is done at once
}

ArmSmmu::After ArmSmmu::write_bank(unsigned number, std::uint64_t at, unsigned bytes, std::uint64_t value) {
  BankWords& bank = banks_[number];
  if (at == kFsr.offset) {
    bank.fsr &= ~(value & ~kFsr["SS"].mask());
    if ((bank.fsr & ~kFsr["FORMAT"].mask()) == 0) bank.fsr = 0;
  } else if (at == kResume.offset) {
    if (!kFsr["SS"].is_set(bank.fsr)) return After::nothing;
    bank.fsr &= ~kFsr["SS"].mask();
    bank.resume = kResume["TNR"].is_set(value) ? BankWords::Answer::terminate : BankWords::Answer::retry;
  } else if (const auto* const row = row_at(kBankRows, at, bytes)) {
    write_word(*row, bank, at, bytes, value);
    bump_generation();
  } else if (at >= kTlbiVa.offset && at <= kTlbSync.offset) {
    return invalidate_bank(number, at, value);
  } else if (at >= kAts1Pr.offset && at <= kAts1Uw.offset) {
    translate_for_software(number, at, value);
  }
  return After::nothing;
}

// Privileged operations are answered as unprivileged ones: devices' accesses, and so their tables, are unprivileged.
// Only for contexts of stage 1 alone: of a nested one the answer is a fault.
void ArmSmmu::translate_for_software(unsigned number, std::uint64_t at, std::uint64_t value) {
  if (kIdr0["ATOSNS"].is_set(idr0_) || !kIdr0["S1TS"].is_set(idr0_)) return;
  const auto context = context_of(number);
  std::uint64_t& par = banks_[number].par;
  par = kPar["F"].mask() | kFsr["TF"].mask();
  if (!context || !context->has_stage1() || context->has_stage2) return;
  const bool write = at == kAts1Pw.offset || at == kAts1Uw.offset;
  const Iova iova{kAtsBits["ADDR"].in_place(value)};
  const WalkResult page = walk(*context, iova, write ? Access::write : Access::read);
  if (page) {
    const std::uint64_t inside = iova.value & ((std::uint64_t{1} << page->lg2) - 1);
    par = kPar["ADDR"].in_place(page->first.value + inside);
  } else {
    par = kPar["F"].mask() | fsr_of(page.error().fault);
  }
}

}  // namespace softiommu::smmu
