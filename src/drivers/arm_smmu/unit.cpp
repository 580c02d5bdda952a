// SPDX-License-Identifier: BSD-3-Clause
// Features, start, stream mapping entries, context banks. TLB maintenance and faults are in maintenance.cpp.
#include "drivers/arm_smmu/unit.h"

#include <algorithm>

#include "base/fault.h"
#include "drivers/arm_smmu/domain.h"

namespace softiommu::arm_smmu {

using namespace hw::smmu;

namespace {

constexpr unsigned kAArch32OutputBits = 40, kAArch32InputBits = 32, kExtendedIdBits = 16;
// Where physical addresses end that short descriptors can hold.
constexpr std::uint64_t kShortReach = 4 * kGiB;

unsigned address_bits(std::uint64_t code) {
  return kAddressBits[std::min<std::uint64_t>(code, std::size(kAddressBits) - 1)];
}

}  // namespace

Unit::~Unit() {
  if (!started_) return;
  {
    const MutexLock lock(mutex_);
    for (Entry& entry : entries_) entry = {};
    for (unsigned entry = 0; entry < entries_.size(); ++entry) write_entry(entry);
    for (unsigned bank = 0; bank < features_.banks; ++bank) write(pages_.bank(bank) + kSctlr.offset, 0);
  }
  write(kCr0.offset, registers().read32(kCr0.offset) & ~(kCr0["GFIE"].mask() | kCr0["GCFGFIE"].mask()));
  static_cast<void>(synchronise_all());
}

// ---- Start ------------------------------------------------------------------------------------------------------

Result<> Unit::start() {
  TRY(fault::pass("arm_smmu.start"));
  TRY(read_features());
  {
    const MutexLock lock(mutex_);
    entries_.resize(features_.entries);
    banks_.resize(features_.banks);
  }
  started_ = true;
  reset();
  TRY(synchronise_all());
  std::uint64_t cr0 = kCr0["GFRE"].put(1) | kCr0["GFIE"].put(1) | kCr0["GCFGFRE"].put(1) | kCr0["GCFGFIE"].put(1) |
                      kCr0["USFCFG"].put(1) | kCr0["SMCFCFG"].put(1) | kCr0["VMIDPNE"].put(1) | kCr0["PTM"].put(1);
  cr0 |= kCr0["EXIDENABLE"].put(features_.extended_ids) | kCr0["VMID16EN"].put(features_.wide_vmids);
  write(kCr0.offset, cr0);
  if ((registers().read32(kCr0.offset) & cr0) != cr0)
    return fail(ENODEV, "the unit does not take its control register");
  return {};
}

// As the first thing: nothing matches, no bank translates, no fault is outstanding, nothing is remembered.
void Unit::reset() {
  const MutexLock lock(mutex_);
  for (unsigned entry = 0; entry < features_.entries; ++entry) write_entry(entry);
  for (unsigned bank = 0; bank < features_.banks; ++bank) {
    write(pages_.bank(bank) + kSctlr.offset, 0);
    write(pages_.bank(bank) + kFsr.offset, kFsr.layout.named());
  }
  write(kGfsr.offset, registers().read32(kGfsr.offset));
  write(kTlbiAllH.offset, 0);
  write(kTlbiAllNsnh.offset, 0);
}

Result<> Unit::read_features() {
  const std::uint64_t idr0 = registers().read32(kIdr0.offset), idr1 = registers().read32(kIdr1.offset),
                      idr2 = registers().read32(kIdr2.offset);
  if (idr0 == ~std::uint32_t{0}) return fail(ENODEV, "no SMMU answers");
  if (!kIdr0["S1TS"].is_set(idr0) && !kIdr0["S2TS"].is_set(idr0)) return fail(ENODEV, "the unit does not translate");
  // What version 2 says there is reserved, and zero, in version 1.
  constexpr std::uint64_t kVersion2 =
      kIdr2["UBS"].mask() | kIdr2["PTFSV8_4K"].mask() | kIdr2["PTFSV8_16K"].mask() | kIdr2["PTFSV8_64K"].mask();
  pages_ = Pages::of(idr1);
  features_.version = (idr2 & kVersion2) != 0 ? 2 : 1;
  features_.matching = kIdr0["SMS"].is_set(idr0);
  features_.extended_ids = features_.version == 2 && features_.matching && kIdr0["EXIDS"].is_set(idr0);
  features_.wide_vmids = features_.version == 2 && kIdr2["VMID16S"].is_set(idr2);
  features_.coherent = kIdr0["CTTW"].is_set(idr0);
  features_.stream_bits = features_.extended_ids ? kExtendedIdBits : static_cast<unsigned>(kIdr0["NUMSIDB"].get(idr0));
  const std::uint64_t entries =
      features_.matching ? kIdr0["NUMSMRG"].get(idr0) : std::uint64_t{1} << features_.stream_bits;
  features_.entries = static_cast<unsigned>(std::min<std::uint64_t>(entries, kMostStreamEntries));
  features_.banks = static_cast<unsigned>(std::min<std::uint64_t>(kIdr1["NUMCB"].get(idr1), kMostContextBanks));
  features_.stage2_banks = static_cast<unsigned>(kIdr1["NUMS2CB"].get(idr1));
  features_.interrupts = static_cast<unsigned>(kIdr0["NUMIRPT"].get(idr0));
  if (features_.entries == 0) return fail(ENODEV, "the unit has no stream mapping entries");
  if (features_.stage2_banks > features_.banks) return fail(ENODEV, "the unit has more stage-2 banks than banks");
  if (features_.interrupts == 0) return fail(ENODEV, "the unit has no context interrupts");
  features_.table.stage = kIdr0["S1TS"].is_set(idr0) ? 1 : 2;
  read_table_shape(idr0, idr2);
  if (features_.table.input_bits == 0) return fail(ENODEV, "the unit walks no tables that the driver makes");
  return {};
}

// AArch64 tables where there are any, in the smallest granule; else long descriptors. Short ones, as a 32-bit Linux
// without LPAE makes them, are for computers whose memory they can reach whole.
void Unit::read_table_shape(std::uint64_t idr0, std::uint64_t idr2) {
  TableShape& table = features_.table;
  const unsigned taken = address_bits(kIdr2["IAS"].get(idr2)), out = address_bits(kIdr2["OAS"].get(idr2));
  const unsigned upstream = features_.version == 2 ? address_bits(kIdr2["UBS"].get(idr2)) : taken;
  table.output_bits = table.stage == 1 ? std::min(taken, out) : out;
  table.input_bits = table.stage == 1 ? upstream : std::min(taken, out);
  table.kind = TableKind::aarch64;
  for (const auto& [field, lg2] :
       {std::pair{kIdr2["PTFSV8_4K"], 12u}, std::pair{kIdr2["PTFSV8_16K"], 14u}, std::pair{kIdr2["PTFSV8_64K"], 16u}}) {
    if (features_.version != 2 || !field.is_set(idr2)) continue;
    table.granule_lg2 = lg2;
    return;
  }
  constexpr std::uint64_t kLongAndShort = 0, kLongOnly = 1;
  const std::uint64_t formats = kIdr0["PTFS"].get(idr0);
  table.granule_lg2 = pt::ArmLpae::kPageShift;
  if (formats == kLongAndShort && table.stage == 1 && hardware_.memory_top <= kShortReach) {
    table.kind = TableKind::short_descriptors;
    table.input_bits = table.output_bits = kAArch32InputBits;
  } else if (formats == kLongAndShort || formats == kLongOnly) {
    table.kind = TableKind::long_descriptors;
    table.input_bits = std::min(table.input_bits, table.stage == 1 ? kAArch32InputBits : kAArch32OutputBits);
    table.output_bits = std::min(table.output_bits, kAArch32OutputBits);
  } else {
    table.input_bits = 0;
  }
}

// ---- Stream mapping ---------------------------------------------------------------------------------------------

Result<unsigned> Unit::take_entry(StreamId stream) {
  TRY(fault::pass("arm_smmu.stream_entry"));
  if (stream >> features_.stream_bits != 0) return fail(ENODEV, "the unit's stream ids have fewer bits");
  const MutexLock lock(mutex_);
  auto place = entries_.end();
  if (!features_.matching) {
    if (stream >= entries_.size()) return fail(ENODEV, "the unit has fewer stream mapping entries");
    place = entries_.begin() + stream;
  } else {
    place = std::ranges::find_if(entries_, [&](const Entry& e) { return e.used && e.stream == stream; });
    if (place == entries_.end()) place = std::ranges::find(entries_, false, &Entry::used);
    if (place == entries_.end()) return fail(ENODEV, "every stream mapping entry is in use");
  }
  const auto number = static_cast<unsigned>(place - entries_.begin());
  ++place->devices;
  if (!place->used) {
    place->used = true;
    place->stream = stream;
    write_entry(number);
  }
  return number;
}

void Unit::give_entry(unsigned number) {
  const MutexLock lock(mutex_);
  if (--entries_[number].devices > 0) return;
  entries_[number] = {};
  write_entry(number);
}

void Unit::write_target(unsigned number, const Target& target) {
  const bool valid = features_.extended_ids && entries_[number].used;
  write(s2cr_offset(number), kS2cr["TYPE"].put(std::to_underlying(target.type)) | kS2cr["CBNDX"].put(target.bank) |
                                 kS2cr["EXIDVALID"].put(valid));
}

// An entry matches nothing until it says where to.
void Unit::write_entry(unsigned number) {
  const Entry& entry = entries_[number];
  if (features_.extended_ids) write(smr_offset(number), kExtendedSmr["ID"].put(entry.stream));
  write_target(number, entry.target);
  if (features_.matching && !features_.extended_ids)
    write(smr_offset(number), kSmr["VALID"].put(entry.used) | kSmr["ID"].put(entry.stream));
}

Result<> Unit::route(const std::vector<unsigned>& entries, const Target& target) {
  {
    const MutexLock lock(mutex_);
    for (const unsigned number : entries) {
      entries_[number].target = target;
      write_target(number, target);
    }
  }
  return synchronise_all();
}

// ---- Context banks ----------------------------------------------------------------------------------------------

Result<UnitId> Unit::allocate_id(const PagingDomain& domain) {
  TRY(fault::pass("arm_smmu.context_bank"));
  const MutexLock lock(mutex_);
  // Banks that do stage 2 only come first.
  for (unsigned bank = domain.stage() == 1 ? features_.stage2_banks : 0; bank < features_.banks; ++bank) {
    if (banks_used_.test(bank)) continue;
    banks_used_.set(bank);
    return static_cast<UnitId>(bank);
  }
  return fail(ENOSPC, "context banks");
}

// No entry leads there any more.
void Unit::free_id(const PagingDomain& /*domain*/, UnitId bank) {
  const MutexLock lock(mutex_);
  write(pages_.bank(bank) + kSctlr.offset, 0);
  banks_[bank] = {};
  banks_used_.reset(bank);
}

bool Unit::same_ids(const PagingDomain& a, const PagingDomain& b) { return a.stage() == b.stage(); }

// TCR before TTBR0: it decides how wide the ASID is. SCTLR is last.
void Unit::write_bank(UnitId bank, const ContextBank& words) {
  const std::uint64_t base = pages_.bank(bank), attributes = pages_.global1();
  write(base + kSctlr.offset, 0);
  if (features_.version == 2) write(attributes + cba2r_offset(bank), words.cba2r);
  write(attributes + cbar_offset(bank), words.cbar);
  write(base + kTcr2.offset, words.tcr2);
  write(base + kTcr.offset, words.tcr);
  registers().write64(base + kTtbr0.offset, words.ttbr0);
  registers().write64(base + kTtbr1.offset, 0);
  write(base + kContextIdr.offset, words.contextidr);
  write(base + kMair0.offset, words.mair0);
  write(base + kMair1.offset, words.mair1);
  write(base + kFsr.offset, kFsr.layout.named());
  write(base + kSctlr.offset, words.sctlr);
  banks_[bank] = words;
}

// While a bank is written it must not be used: one that is off lets addresses pass.
Result<> Unit::set_bank(const PagingDomain& domain, UnitId bank) {
  const ContextBank wanted = domain.describe(features_, bank);
  const Target here{StreamType::translate, bank};
  bool used = false;
  {
    const MutexLock lock(mutex_);
    if (banks_[bank] == wanted) return {};
    for (unsigned entry = 0; entry < entries_.size(); ++entry) {
      if (!entries_[entry].used || entries_[entry].target != here) continue;
      write_target(entry, {});
      used = true;
    }
  }
  if (used) TRY(synchronise_all());
  {
    const MutexLock lock(mutex_);
    write_bank(bank, wanted);
  }
  TRY(invalidate_bank(domain.stage(), bank));
  if (!used) return {};
  const MutexLock lock(mutex_);
  for (unsigned entry = 0; entry < entries_.size(); ++entry)
    if (entries_[entry].used && entries_[entry].target == here) write_target(entry, here);
  return {};
}

}  // namespace softiommu::arm_smmu
