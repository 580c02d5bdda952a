// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/area_map.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"

namespace softiommu {

void Area::add_run(PhysRun run) {
  if (!pinned) {
    first_run_ = run;
    pinned = true;
    return;
  }
  PhysRun& last = more_runs_.empty() ? first_run_ : more_runs_.back();
  if (last.first + last.bytes == run.first) {
    last.bytes += run.bytes;
    return;
  }
  if (more_runs_.empty()) more_runs_.push_back(first_run_);
  more_runs_.push_back(run);
}

void Area::clear_runs() {
  more_runs_.clear();
  pinned = false;
}

namespace {

std::uint64_t key_of(std::uint64_t key) { return key; }
template <typename Entry>
std::uint64_t key_of(const Entry& entry) {
  return entry.first;
}

// How many of `count` > 0 sorted elements are <= `key`; no branch depends on a comparison.
template <typename Element>
std::size_t count_not_above(const Element* elements, std::size_t count, std::uint64_t key) {
  const Element* base = elements;
  while (count > 1) {
    const std::size_t half = count / 2;
    base = key_of(base[half - 1]) <= key ? base + half : base;
    count -= half;
  }
  return static_cast<std::size_t>(base - elements) + (key_of(*base) <= key ? 1 : 0);
}

}  // namespace

// The last block that starts at or below `iova`; blocks_.size(): none does.
std::size_t AreaMap::block_of(std::uint64_t iova) const {
  const std::size_t blocks = block_firsts_.size();
  if (latest_ < blocks && block_firsts_[latest_] <= iova &&
      (latest_ + 1 == blocks || iova < block_firsts_[latest_ + 1])) {
    return latest_;
  }
  const std::size_t not_above = blocks == 0 ? 0 : count_not_above(block_firsts_.data(), blocks, iova);
  if (not_above == 0) return blocks;
  return latest_ = not_above - 1;
}

AreaMap::Position AreaMap::seek(Iova iova) const {
  const std::size_t at = block_of(iova.value);
  if (at == blocks_.size()) return {0, 0};  // every area starts above
  const Block& block = *blocks_[at];
  const std::size_t slot = count_not_above(block.entries.data(), block.count, iova.value) - 1;  // starts at or below
  if (block.entries[slot].area->range.last >= iova) return {at, slot};
  return after({at, slot});
}

AreaMap::Position AreaMap::after(Position position) const {
  if (position.slot + 1 < blocks_[position.block]->count) return {position.block, position.slot + 1};
  return {position.block + 1, 0};
}

Area* AreaMap::find(IovaRange range) const {
  Area* const area = at(seek(range.first));
  return area != nullptr && area->range.first <= range.last ? area : nullptr;
}

void AreaMap::add_chunk() {
  chunks_.push_back(std::make_unique<Area[]>(kChunk));
  for (std::size_t i = 0; i < kChunk; ++i) give_area(&chunks_.back()[i]);
}

void AreaMap::give_area(Area* area) {
  area->clear_runs();
  area->next_free_ = free_;
  free_ = area;
}

std::unique_ptr<AreaMap::Block> AreaMap::take_block() {
  auto block = spare_ != nullptr ? std::move(spare_) : std::make_unique_for_overwrite<Block>();
  block->count = 0;
  return block;
}

// An empty map's. The caller fills it at once.
void AreaMap::add_first_block(std::uint64_t first) {
  block_firsts_.reserve(1);
  blocks_.push_back(take_block());
  block_firsts_.push_back(first);
}

// Splits the full block that `position` points into (or follows), and says where the same place is now.
AreaMap::Position AreaMap::make_room(Position position) {
  Block& full = *blocks_[position.block];
  // In ascending use the last block keeps what it has: sequential maps fill blocks to the brim.
  const bool append = position.block + 1 == blocks_.size() && position.slot == full.count;
  const std::size_t keep = append ? full.count - 1 : full.count / 2;
  blocks_.reserve(blocks_.size() + 1);
  block_firsts_.reserve(block_firsts_.size() + 1);
  auto upper = take_block();
  upper->count = full.count - keep;
  std::copy_n(full.entries.begin() + static_cast<std::ptrdiff_t>(keep), upper->count, upper->entries.begin());
  full.count = keep;
  const auto next = static_cast<std::ptrdiff_t>(position.block + 1);
  block_firsts_.insert(block_firsts_.begin() + next, upper->entries[0].first);
  blocks_.insert(blocks_.begin() + next, std::move(upper));
  if (position.slot > keep) return {position.block + 1, position.slot - keep};
  return position;
}

Result<Area*> AreaMap::insert(IovaRange range) {
  Position position = seek(range.first);
  if (const Area* const area = at(position); area != nullptr && area->range.first <= range.last) {
    return fail(EEXIST, "the range overlaps one that is mapped");
  }
  TRY(fault::pass("ioas.area"));
  return without_throwing([&]() -> Result<Area*> {
    if (free_ == nullptr) add_chunk();
    if (blocks_.empty()) add_first_block(range.first.value);
    // The place before which it goes may be the start of a block: then the end of the block before is as good.
    if (position.slot == 0 && position.block > 0) {
      position = {position.block - 1, blocks_[position.block - 1]->count};
    }
    if (blocks_[position.block]->count == kBlockMost) position = make_room(position);
    // Nothing fails from here on.
    Area* const area = std::exchange(free_, free_->next_free_);
    area->range = range;
    area->user_invalid = false;
    put(position, area);
    return area;
  });
}

void AreaMap::put(Position position, Area* area) {
  Block& block = *blocks_[position.block];
  const auto place = block.entries.begin() + static_cast<std::ptrdiff_t>(position.slot);
  const auto end = block.entries.begin() + static_cast<std::ptrdiff_t>(block.count);
  std::copy_backward(place, end, end + 1);
  *place = {area->range.first.value, area};
  ++block.count;
  block_firsts_[position.block] = block.entries[0].first;
  ++size_;
}

AreaMap::Position AreaMap::erase(Position position) {
  Block& block = *blocks_[position.block];
  const auto place = block.entries.begin() + static_cast<std::ptrdiff_t>(position.slot);
  const auto end = block.entries.begin() + static_cast<std::ptrdiff_t>(block.count);
  give_area(place->area);
  std::copy(place + 1, end, place);
  --block.count;
  --size_;
  if (block.count == 0) {
    spare_ = std::move(blocks_[position.block]);
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(position.block));
    block_firsts_.erase(block_firsts_.begin() + static_cast<std::ptrdiff_t>(position.block));
    return {position.block, 0};
  }
  block_firsts_[position.block] = block.entries[0].first;
  if (position.slot == block.count) return {position.block + 1, 0};
  return position;
}

}  // namespace softiommu
