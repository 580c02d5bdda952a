// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/arm_v7s.h"

#include "hw/arm_v7s.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

namespace v7s = hw::arm_v7s;

using Word = std::uint32_t;

constexpr unsigned kTableIndexLg2 = v7s::kSectionLg2 - v7s::kSmallLg2;

// What a leaf entry says, wherever its size keeps it.
struct Leaf {
  std::uint64_t address = 0;
  unsigned lg2 = 0;
  std::uint64_t ap = 0;  // AP[2:0]
  bool execute_never = false;
};

template <std::size_t kFields>
consteval bool fits_in_a_word(const hw::Layout<kFields>& layout) {
  return layout.named() >> 32 == 0;
}
static_assert(fits_in_a_word(v7s::kTable) && fits_in_a_word(v7s::kSection) && fits_in_a_word(v7s::kSupersection) &&
              fits_in_a_word(v7s::kSmall) && fits_in_a_word(v7s::kLarge) && fits_in_a_word(v7s::kMediaTek));

constexpr std::uint64_t access_bits(bool ap2, bool ap1, bool ap0) {
  return std::uint64_t{ap2} << 2 | std::uint64_t{ap1} << 1 | std::uint64_t{ap0};
}

// B3.7.1: what unprivileged accesses may do.
struct Rights {
  bool read = false, write = false;
};
constexpr Rights rights_of(std::uint64_t ap, ArmV7sTable::Rights model) {
  constexpr Rights kNone{}, kRead{true, false}, kAll{true, true};
  constexpr Rights kFull[] = {kNone, kNone, kRead, kAll, kNone, kNone, kRead, kRead};  // by AP[2:0]; 4 is reserved
  constexpr Rights kSimple[] = {kNone, kAll, kNone, kRead};                            // by AP[2:1]
  switch (model) {
    case ArmV7sTable::Rights::full:
      return kFull[ap];
    case ArmV7sTable::Rights::access_flag:
      return kSimple[ap >> 1];
    default:
      return kAll;
  }
}

class Walk {
 public:
  Walk(Memory& memory, const ArmV7sTable& table, Iova input) : memory_(memory), table_(table), input_(input) {}

  Outcome run(Access access);

 private:
  std::unexpected<Failure> fail(Fault fault, bool of_table = false) const {
    return std::unexpected(Failure{
        .fault = fault, .level = level_, .entry = entry_, .word = word_, .input = input_, .of_table = of_table});
  }
  bool fetch(PhysAddr table, std::uint64_t index);
  std::uint64_t extension() const;
  std::uint64_t next_table() const;
  Leaf first_level_leaf() const;
  Leaf second_level_leaf() const;
  Outcome serve(const Leaf& leaf, Access access) const;

  Memory& memory_;
  const ArmV7sTable& table_;
  Iova input_;
  unsigned level_ = 1;
  PhysAddr entry_{};
  Word word_ = 0;
};

bool Walk::fetch(PhysAddr table, std::uint64_t index) {
  entry_ = table + index * sizeof(Word);
  const TableWord<Word> entry(memory_, entry_);
  word_ = entry.exists() ? entry.load() : 0;
  return entry.exists();
}

std::uint64_t Walk::extension() const {
  constexpr unsigned kPa32 = 32, kPa33 = 33, kPa34 = 34;
  return v7s::kMediaTek["PA32"].get(word_) << kPa32 | v7s::kMediaTek["PA33"].get(word_) << kPa33 |
         v7s::kMediaTek["PA34"].get(word_) << kPa34;
}

std::uint64_t Walk::next_table() const {
  const std::uint64_t address = v7s::kTable["ADDR"].in_place(word_);
  return table_.mediatek && table_.table_addresses ? address | extension() : address;
}

Leaf Walk::first_level_leaf() const {
  constexpr unsigned kPa32 = 32, kPa36 = 36;
  Leaf leaf{.address = v7s::kSection["ADDR"].in_place(word_),
            .lg2 = v7s::kSectionLg2,
            .ap = access_bits(v7s::kSection["AP2"].is_set(word_), v7s::kSection["AP1"].is_set(word_),
                              v7s::kSection["AP0"].is_set(word_)),
            .execute_never = v7s::kSection["XN"].is_set(word_)};
  if (v7s::kSection["SUPER"].is_set(word_)) {
    leaf.lg2 = v7s::kSupersectionLg2;
    leaf.address = v7s::kSupersection["ADDR"].in_place(word_);
    if (!table_.mediatek)
      leaf.address |= v7s::kSupersection["PA35_32"].get(word_) << kPa32 | v7s::kSupersection["PA39_36"].get(word_)
                                                                              << kPa36;
  }
  return leaf;
}

Leaf Walk::second_level_leaf() const {
  if (v7s::kSmall["TYPE"].is_set(word_)) {
    return {.address = v7s::kSmall["ADDR"].in_place(word_),
            .lg2 = v7s::kSmallLg2,
            .ap = access_bits(v7s::kSmall["AP2"].is_set(word_), v7s::kSmall["AP1"].is_set(word_),
                              v7s::kSmall["AP0"].is_set(word_)),
            .execute_never = v7s::kSmall["XN"].is_set(word_)};
  }
  return {.address = v7s::kLarge["ADDR"].in_place(word_),
          .lg2 = v7s::kLargeLg2,
          .ap = access_bits(v7s::kLarge["AP2"].is_set(word_), v7s::kLarge["AP1"].is_set(word_),
                            v7s::kLarge["AP0"].is_set(word_)),
          .execute_never = v7s::kLarge["XN"].is_set(word_)};
}

Outcome Walk::serve(const Leaf& leaf, Access access) const {
  const std::uint64_t address = table_.mediatek ? leaf.address | extension() : leaf.address;
  if ((address & ~low_bits(table_.output_bits)) != 0) return fail(Fault::output_range);
  constexpr std::uint64_t kAccessed = 1;  // AP[0]
  if (table_.rights == ArmV7sTable::Rights::access_flag && (leaf.ap & kAccessed) == 0) return fail(Fault::access_flag);
  const Rights rights = rights_of(leaf.ap, table_.rights);
  if (access == Access::write ? !rights.write : !rights.read) return fail(Fault::permission);
  const bool has_execution = table_.rights != ArmV7sTable::Rights::none;
  return Page{.first = PhysAddr{address},
              .lg2 = leaf.lg2,
              .read = rights.read,
              .write = rights.write,
              .execute = has_execution && rights.read && !leaf.execute_never};
}

Outcome Walk::run(Access access) {
  if ((input_.value & ~low_bits(table_.input_bits)) != 0) return fail(Fault::input_range);
  if (!fetch(table_.root, input_.value >> v7s::kSectionLg2)) return fail(Fault::memory, true);
  switch (v7s::kTable["TYPE"].get(word_)) {
    case v7s::kTypeFault:
      return fail(Fault::not_present);
    case v7s::kTypeTable:
      break;
    default:
      return serve(first_level_leaf(), access);
  }
  const std::uint64_t table = next_table();
  if ((table & ~low_bits(table_.output_bits)) != 0) return fail(Fault::output_range, true);
  level_ = 0;
  if (!fetch(PhysAddr{table}, input_.value >> v7s::kSmallLg2 & low_bits(kTableIndexLg2)))
    return fail(Fault::memory, true);
  if (v7s::kLarge["TYPE"].get(word_) == v7s::kTypeFault) return fail(Fault::not_present);
  return serve(second_level_leaf(), access);
}

}  // namespace

Outcome arm_v7s(Memory& memory, const ArmV7sTable& table, Iova iova, Access access) {
  return Walk(memory, table, iova).run(access);
}

}  // namespace softiommu::walk
