// SPDX-License-Identifier: BSD-3-Clause
// The table walk (Arm ARM D8; IHI0070 3.12, 3.13, 7.3): one stage, or stage 1 whose tables and output go through
// stage 2. Written from the architecture's text; nothing of pt/ is used.
#include <algorithm>
#include <utility>

#include "hw/arm_lpae.h"
#include "machine/iommu/arm_smmu_v3/model.h"
#include "machine/memory.h"

namespace softiommu::smmuv3 {

using hw::smmuv3::Event;
namespace lpae = hw::arm_lpae;

namespace {

constexpr unsigned kLastLevel = 3;
// APTable (D8.3.1): what a table forbids for everything below it.
constexpr std::uint64_t kNoUser = 1;  // and 2: no writes

bool block_allowed(unsigned level, unsigned granule_lg2) { return level == 2 || (level == 1 && granule_lg2 == 12); }

// Devices access unprivileged and do not fetch (PnU 0, InD 0).
struct Stage1Rules {
  static constexpr bool kStage2 = false;
  static bool accessed(std::uint64_t leaf) { return lpae::kStage1["AF"].is_set(leaf); }
  static std::uint64_t touch(std::uint64_t leaf) { return leaf | lpae::kStage1["AF"].mask(); }
  static bool dirty_when_written(std::uint64_t leaf) {
    return readable(leaf) && lpae::kStage1["DBM"].is_set(leaf) && lpae::kStage1["AP2"].is_set(leaf);
  }
  static std::uint64_t make_dirty(std::uint64_t leaf) { return leaf & ~lpae::kStage1["AP2"].mask(); }
  static bool readable(std::uint64_t leaf) { return lpae::kStage1["AP1"].is_set(leaf); }
  static std::uint64_t limits(std::uint64_t table) { return lpae::kTable["APTable"].get(table); }
  static bool writable(std::uint64_t leaf) { return readable(leaf) && !lpae::kStage1["AP2"].is_set(leaf); }
};

struct Stage2Rules {
  static constexpr bool kStage2 = true;
  static bool accessed(std::uint64_t leaf) { return lpae::kStage2["AF"].is_set(leaf); }
  static std::uint64_t touch(std::uint64_t leaf) { return leaf | lpae::kStage2["AF"].mask(); }
  static bool dirty_when_written(std::uint64_t leaf) {
    return lpae::kStage2["DBM"].is_set(leaf) && !lpae::kStage2["S2AP1"].is_set(leaf);
  }
  static std::uint64_t make_dirty(std::uint64_t leaf) { return leaf | lpae::kStage2["S2AP1"].mask(); }
  static bool readable(std::uint64_t leaf) { return lpae::kStage2["S2AP0"].is_set(leaf); }
  static std::uint64_t limits(std::uint64_t /*table*/) { return 0; }
  static bool writable(std::uint64_t leaf) { return lpae::kStage2["S2AP1"].is_set(leaf); }
};

// What hardware changes in a leaf that serves an access, a write if `write`.
template <class Rules>
std::uint64_t updated(std::uint64_t leaf, const Stage& stage, bool write) {
  if (stage.set_access_flag) leaf = Rules::touch(leaf);
  if (stage.set_dirty && write && Rules::dirty_when_written(leaf)) leaf = Rules::make_dirty(leaf);
  return leaf;
}

}  // namespace

ArmSmmuV3::WalkResult ArmSmmuV3::walk(const StreamConfig& config, Iova iova, Access access) {
  if (!config.has_stage1) return walk_stage<Stage2Rules>(config, config.stage2, iova, access);
  const WalkResult first = walk_stage<Stage1Rules>(config, config.stage1, iova, access);
  if (!first || !config.has_stage2) return first;

  const std::uint64_t offset = iova.value & ((std::uint64_t{1} << first->page_lg2) - 1);
  const Iova ipa{first->page.value + offset};
  const WalkResult second = walk_stage<Stage2Rules>(config, config.stage2, ipa, access);
  if (!second) return second;
  const auto page_lg2 = std::min(first->page_lg2, second->page_lg2);
  const std::uint64_t output = second->page.value + (ipa.value & ((std::uint64_t{1} << second->page_lg2) - 1));
  return Leaf{PhysAddr{align_down(output, std::uint64_t{1} << page_lg2)}, page_lg2, first->read && second->read,
              first->write && second->write};
}

// Where a table of stage 1 is: under stage 2 its address is an IPA.
std::expected<PhysAddr, WalkFault> ArmSmmuV3::table_address(const StreamConfig& config, bool nested, PhysAddr table) {
  if (!nested) return table;
  const WalkResult leaf = walk_stage<Stage2Rules>(config, config.stage2, Iova{table.value}, Access::read);
  if (!leaf) {
    WalkFault fault = leaf.error();
    fault.fault_class = kClassTable;
    return std::unexpected(fault);
  }
  return leaf->page + (table.value & ((std::uint64_t{1} << leaf->page_lg2) - 1));
}

template <class Rules>
ArmSmmuV3::WalkResult ArmSmmuV3::walk_stage(const StreamConfig& config, const Stage& stage, Iova input, Access access) {
  const auto fault = [&](Event event, std::uint8_t fault_class = kClassInput) {
    return std::unexpected(
        WalkFault{event, Rules::kStage2, stage.record, Rules::kStage2 ? input.value : 0, fault_class});
  };
  const bool nested = !Rules::kStage2 && config.has_stage2;
  const unsigned granule = stage.granule_lg2, per_level = granule - 3;
  std::uint64_t address = input.value;
  if (stage.top_byte_ignored) address &= ~std::uint64_t{0} >> 8;
  if (stage.input_bits == 0 || address >> stage.input_bits != 0) return fault(Event::f_translation);

  PhysAddr table = stage.table;
  std::uint64_t limits = 0;  // of the tables on the way
  for (unsigned level = stage.start_level; level <= kLastLevel; ++level) {
    const unsigned shift = granule + per_level * (kLastLevel - level);
    // The first index has the bits that are left over: fewer than a table's, or more where root tables are
    // concatenated.
    const std::uint64_t index_mask =
        level == stage.start_level ? ~std::uint64_t{0} : (std::uint64_t{1} << per_level) - 1;
    const auto host_table =
        table_address(config, nested, table + (address >> shift & index_mask) * sizeof(std::uint64_t));
    if (!host_table) return std::unexpected(host_table.error());
    std::uint64_t* const word = word_at(*host_table);
    if (word == nullptr) return fault(Event::f_walk_eabt, kClassTable);
    std::atomic_ref<std::uint64_t> entry(*word);
    std::uint64_t leaf = entry.load(std::memory_order_acquire);

    const std::uint64_t type = lpae::kTable["TYPE"].get(leaf);
    const PhysAddr output{lpae::kTable["ADDR"].in_place(leaf)};
    if (type == lpae::kTypeTable && level < kLastLevel) {
      if (output.value >> stage.output_bits != 0) return fault(Event::f_addr_size, kClassTable);
      table = output;
      limits |= Rules::limits(leaf);
      continue;
    }
    const bool is_leaf =
        level == kLastLevel ? type == lpae::kTypePage : type == lpae::kTypeBlock && block_allowed(level, granule);
    if (!is_leaf) return fault(Event::f_translation);
    if (output.value >> stage.output_bits != 0) return fault(Event::f_addr_size);
    // Hardware's update and software's change of the entry must not undo each other.
    const bool write = access == Access::write && limits == 0;
    std::uint64_t wanted = updated<Rules>(leaf, stage, write);
    while (wanted != leaf && !entry.compare_exchange_weak(leaf, wanted, std::memory_order_acq_rel)) {
      if (lpae::kTable["TYPE"].get(leaf) != type) return fault(Event::f_translation);
      wanted = updated<Rules>(leaf, stage, write);
    }
    leaf = wanted;
    if (!Rules::accessed(leaf) && !stage.ignore_access_flag) return fault(Event::f_access);
    const bool readable = Rules::readable(leaf) && (limits & kNoUser) == 0;
    const bool writable = Rules::writable(leaf) && limits == 0;
    if (access == Access::read ? !readable : !writable) return fault(Event::f_permission);
    const PhysAddr page{align_down(lpae::kTable["ADDR"].in_place(leaf), std::uint64_t{1} << shift)};
    return Leaf{page, static_cast<std::uint8_t>(shift), readable, writable};
  }
  return fault(Event::f_translation);
}

}  // namespace softiommu::smmuv3
