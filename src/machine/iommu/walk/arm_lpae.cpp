// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/arm_lpae.h"

#include <algorithm>
#include <optional>

#include "hw/arm_lpae.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

namespace lpae = hw::arm_lpae;

using Word = std::uint64_t;

constexpr int kLastLevel = 3;
constexpr unsigned kGranule4K = 12, kGranule16K = 14, kGranule64K = 16;
// APTable (D8.3.1): what a table forbids for everything below it.
constexpr Word kNoUser = 1;  // and 2: no writes

// Which levels have blocks (D8.3.1): the highest of them needs 52-bit addresses.
bool has_blocks(const ArmStage& stage, int level) {
  switch (stage.granule_lg2) {
    case kGranule4K:
      return level == 2 || level == 1 || (level == 0 && stage.large_addresses);
    case kGranule16K:
      return level == 2 || (level == 1 && stage.large_addresses);
    default:
      return level == 2 || (level == 1 && stage.output_bits > 48);
  }
}

// log2 of the entries that a contiguous set of `level` has (D8.7.1); 0: the bit means nothing there.
unsigned set_lg2(const ArmStage& stage, int level) {
  switch (stage.granule_lg2) {
    case kGranule4K:
      return level >= 1 ? lpae::kContiguous4KLg2 : 0;
    case kGranule16K:
      return level == kLastLevel ? lpae::kContiguous16KPagesLg2 : level == 2 ? lpae::kContiguous16KBlocksLg2 : 0;
    default:
      return level >= 2 ? lpae::kContiguous64KLg2 : 0;
  }
}

// The address in a table or leaf entry (D8.3): with 52 bits the highest stand apart.
PhysAddr address_in(const ArmStage& stage, Word entry) {
  constexpr unsigned kHigh64K = 48, kHighLpa2 = 50;
  if (stage.granule_lg2 == kGranule64K)
    return PhysAddr{lpae::kAddress64K["ADDR"].in_place(entry) | lpae::kAddress64K["HIGH"].get(entry) << kHigh64K};
  if (stage.large_addresses)
    return PhysAddr{lpae::kAddressLpa2["ADDR"].in_place(entry) | lpae::kAddressLpa2["HIGH"].get(entry) << kHighLpa2};
  return PhysAddr{lpae::kTable["ADDR"].in_place(entry)};
}

struct Stage1Rules {
  static constexpr unsigned kStage = 1;
  static bool accessed(Word leaf) { return lpae::kStage1["AF"].is_set(leaf); }
  static Word touch(Word leaf) { return leaf | lpae::kStage1["AF"].mask(); }
  static bool dirty_when_written(Word leaf) {
    return readable(leaf) && lpae::kStage1["DBM"].is_set(leaf) && lpae::kStage1["AP2"].is_set(leaf);
  }
  static Word make_dirty(Word leaf) { return leaf & ~lpae::kStage1["AP2"].mask(); }
  static bool readable(Word leaf) { return lpae::kStage1["AP1"].is_set(leaf); }
  static bool writable(Word leaf) { return readable(leaf) && !lpae::kStage1["AP2"].is_set(leaf); }
  static bool executable(Word leaf) { return readable(leaf) && !lpae::kStage1["XN"].is_set(leaf); }
  static bool is_contiguous(Word leaf) { return lpae::kStage1["Contig"].is_set(leaf); }
};

struct Stage2Rules {
  static constexpr unsigned kStage = 2;
  static constexpr Word kNoUserExecution = 2;  // 2: none at all, 3: privileged only
  static bool accessed(Word leaf) { return lpae::kStage2["AF"].is_set(leaf); }
  static Word touch(Word leaf) { return leaf | lpae::kStage2["AF"].mask(); }
  static bool dirty_when_written(Word leaf) { return lpae::kStage2["DBM"].is_set(leaf) && !writable(leaf); }
  static Word make_dirty(Word leaf) { return leaf | lpae::kStage2["S2AP1"].mask(); }
  static bool readable(Word leaf) { return lpae::kStage2["S2AP0"].is_set(leaf); }
  static bool writable(Word leaf) { return lpae::kStage2["S2AP1"].is_set(leaf); }
  static bool executable(Word leaf) {
    return readable(leaf) && (lpae::kStage2["XN"].get(leaf) & kNoUserExecution) == 0;
  }
  static bool is_contiguous(Word leaf) { return lpae::kStage2["Contig"].is_set(leaf); }
};

// What the tables above a leaf forbid: stage 1 only (D8.3.1).
struct Limits {
  Word access = 0;
  bool no_execution = false;
  void add(Word table) {
    access |= lpae::kTable["APTable"].get(table);
    no_execution = no_execution || lpae::kTable["XNTable"].is_set(table);
  }
  bool readable() const { return (access & kNoUser) == 0; }
  bool writable() const { return access == 0; }
};

template <class Rules>
class StageWalk {
 public:
  // `host`: what translates this stage's table addresses, if anything does.
  StageWalk(Memory& memory, const ArmStage& stage, const ArmStage* host)
      : memory_(memory), stage_(stage), host_(host) {}

  Outcome run(Iova input, Access access);

 private:
  std::unexpected<Failure> fail(Fault fault, bool of_table = false) const {
    return std::unexpected(Failure{.fault = fault,
                                   .level = static_cast<unsigned>(kLastLevel - level_),
                                   .entry = entry_,
                                   .word = word_,
                                   .stage = Rules::kStage,
                                   .input = input_,
                                   .of_table = of_table});
  }
  std::optional<std::uint64_t> translated_bits() const;
  std::expected<PhysAddr, Failure> place_of(PhysAddr entry, Access access) const;
  Outcome serve(TableWord<Word> entry, unsigned span_lg2, Access access);
  std::expected<void, Failure> update(TableWord<Word> entry, bool write);
  Page page_at(unsigned span_lg2) const;

  Memory& memory_;
  const ArmStage& stage_;
  const ArmStage* host_;
  Iova input_{};
  int level_ = 0;
  PhysAddr entry_{};  // where word_ is, as this stage says it
  Word word_ = 0;
  Limits limits_;
};

// The bits of the input that the tables are indexed with; the others must be all zeros, or ones in the upper half.
template <class Rules>
std::optional<std::uint64_t> StageWalk<Rules>::translated_bits() const {
  constexpr unsigned kTopByte = 56;
  if (stage_.input_bits == 0) return std::nullopt;
  const std::uint64_t inside = low_bits(stage_.input_bits);
  std::uint64_t outside = input_.value & ~inside;
  if (stage_.top_byte_ignored) outside &= low_bits(kTopByte);
  std::uint64_t wanted = stage_.upper_half ? ~inside : 0;
  if (stage_.top_byte_ignored) wanted &= low_bits(kTopByte);
  return outside == wanted ? std::optional(input_.value & inside) : std::nullopt;
}

// Under another stage the address of an entry is an input of that stage.
template <class Rules>
std::expected<PhysAddr, Failure> StageWalk<Rules>::place_of(PhysAddr entry, Access access) const {
  if (host_ == nullptr) return entry;
  const Outcome page = StageWalk<Stage2Rules>(memory_, *host_, nullptr).run(Iova{entry.value}, access);
  if (page) return page->first + (entry.value & low_bits(page->lg2));
  Failure failure = page.error();
  failure.of_table = true;
  return std::unexpected(failure);
}

template <class Rules>
Outcome StageWalk<Rules>::run(Iova input, Access access) {
  input_ = input;
  level_ = stage_.start_level;
  const auto address = translated_bits();
  if (!address) return fail(Fault::input_range);

  const unsigned per_level = stage_.granule_lg2 - 3;
  PhysAddr table = stage_.table;
  for (;; ++level_) {
    const unsigned span_lg2 = stage_.granule_lg2 + per_level * static_cast<unsigned>(kLastLevel - level_);
    // The first index is all that is left: fewer bits than a table's, or more where root tables are concatenated.
    const std::uint64_t index =
        level_ == stage_.start_level ? *address >> span_lg2 : *address >> span_lg2 & low_bits(per_level);
    entry_ = table + index * sizeof(Word);
    word_ = 0;
    const auto place = place_of(entry_, Access::read);
    if (!place) return std::unexpected(place.error());
    const TableWord<Word> entry(memory_, *place);
    if (!entry.exists()) return fail(Fault::memory, true);
    word_ = entry.load();

    const Word type = lpae::kTable["TYPE"].get(word_);
    const bool is_table = level_ < kLastLevel && type == lpae::kTypeTable;
    const Word leaf_type = level_ == kLastLevel ? lpae::kTypePage : lpae::kTypeBlock;
    if (!is_table && (type != leaf_type || (level_ != kLastLevel && !has_blocks(stage_, level_))))
      return fail(Fault::not_present);
    table = address_in(stage_, word_);
    if ((table.value & ~low_bits(stage_.output_bits)) != 0) return fail(Fault::output_range, is_table);
    if (!is_table) return serve(entry, span_lg2, access);
    if (Rules::kStage == 1) limits_.add(word_);
  }
}

template <class Rules>
Outcome StageWalk<Rules>::serve(TableWord<Word> entry, unsigned span_lg2, Access access) {
  const bool write = access == Access::write;
  if (const auto done = update(entry, write && limits_.writable()); !done) return std::unexpected(done.error());
  if (!Rules::accessed(word_) && !stage_.ignore_access_flag) return fail(Fault::access_flag);
  const Page page = page_at(span_lg2);
  if (write ? !page.write : !page.read) return fail(Fault::permission);
  return page;
}

// What hardware changes in the leaf (D8.4.6): its update and software's change of the entry must not undo each other.
template <class Rules>
std::expected<void, Failure> StageWalk<Rules>::update(TableWord<Word> entry, bool write) {
  const Word type = lpae::kTable["TYPE"].get(word_);
  for (;;) {
    Word wanted = word_;
    if (stage_.set_access_flag) wanted = Rules::touch(wanted);
    if (stage_.set_dirty && write && Rules::dirty_when_written(wanted)) wanted = Rules::make_dirty(wanted);
    if (wanted == word_) return {};
    // The update writes to memory that the other stage must allow writing to.
    if (const auto place = place_of(entry_, Access::write); !place) return std::unexpected(place.error());
    if (entry.replace(word_, wanted)) {
      word_ = wanted;
      return {};
    }
    if (lpae::kTable["TYPE"].get(word_) != type) return fail(Fault::not_present);
  }
}

// A contiguous set is one page, unless its entry and the input do not agree on the place in the set.
template <class Rules>
Page StageWalk<Rules>::page_at(unsigned span_lg2) const {
  const PhysAddr output = align_down(address_in(stage_, word_), span_lg2);
  unsigned lg2 = span_lg2;
  if (Rules::is_contiguous(word_)) {
    const unsigned all = span_lg2 + set_lg2(stage_, level_);
    if (((output.value ^ input_.value) & low_bits(all) & ~low_bits(span_lg2)) == 0) lg2 = all;
  }
  return {.first = align_down(output, lg2),
          .lg2 = lg2,
          .read = Rules::readable(word_) && limits_.readable(),
          .write = Rules::writable(word_) && limits_.writable(),
          .execute = Rules::executable(word_) && limits_.readable() && !limits_.no_execution};
}

}  // namespace

Outcome arm_lpae(Memory& memory, const ArmStages& stages, Iova iova, Access access) {
  if (stages.stage1 == nullptr) return StageWalk<Stage2Rules>(memory, *stages.stage2, nullptr).run(iova, access);
  const Outcome first = StageWalk<Stage1Rules>(memory, *stages.stage1, stages.stage2).run(iova, access);
  if (!first || stages.stage2 == nullptr) return first;

  const Iova ipa{first->first.value + (iova.value & low_bits(first->lg2))};
  const Outcome second = StageWalk<Stage2Rules>(memory, *stages.stage2, nullptr).run(ipa, access);
  if (!second) return second;
  const unsigned lg2 = std::min(first->lg2, second->lg2);
  return Page{.first = align_down(second->first + (ipa.value & low_bits(second->lg2)), lg2),
              .lg2 = lg2,
              .read = first->read && second->read,
              .write = first->write && second->write,
              .execute = first->execute && second->execute};
}

}  // namespace softiommu::walk
