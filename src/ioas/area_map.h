// SPDX-License-Identifier: BSD-3-Clause
// The areas of one I/O address space, by IOVA: what was mapped, with which memory of the program.
//
// Areas never overlap. They lie in sorted blocks of at most 64, the blocks in one sorted array: a look-up is two binary
// searches over packed keys, an insert moves at most 63 entries; areas themselves come from a pool and never move.
// Not thread-safe: the container's or IOAS's lock guards it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "machine/memory.h"

namespace softiommu {

struct Area {
  IovaRange range;
  std::uint64_t user = 0;  // the program's address of the first byte
  Prot prot;
  bool pinned = false;        // `runs` say where its memory is
  bool user_invalid = false;  // the program announced that `user` is about to go away (UNMAP_DMA with VADDR)

  // Most areas are one physically contiguous run: no allocation for them.
  std::span<const PhysRun> runs() const {
    if (more_runs_.empty()) return {&first_run_, pinned ? std::size_t{1} : 0};
    return more_runs_;
  }
  // Adds a run after the others, merged with the last one where they touch. May throw std::bad_alloc.
  void add_run(PhysRun run);
  void clear_runs();

 private:
  friend class AreaMap;
  PhysRun first_run_{};
  std::vector<PhysRun> more_runs_;  // all runs, as soon as there are two
  Area* next_free_ = nullptr;
};

class AreaMap {
 public:
  AreaMap() = default;
  AreaMap(const AreaMap&) = delete;
  AreaMap& operator=(const AreaMap&) = delete;

  // A place in the map; valid until the map changes.
  struct Position {
    std::size_t block = 0;
    std::size_t slot = 0;
  };

  // The place of the first area that ends at or after `iova`; at() of it is nullptr if there is none.
  Position seek(Iova iova) const;
  Area* at(Position position) const {
    return position.block < blocks_.size() ? blocks_[position.block]->entries[position.slot].area : nullptr;
  }
  Position after(Position position) const;
  Position first() const { return {}; }

  // The first area that overlaps `range`; nullptr: none.
  Area* find(IovaRange range) const;
  // A new, empty area. EEXIST: it would overlap another one. ENOMEM; fault point "ioas.area".
  Result<Area*> insert(IovaRange range);
  // Takes the area at `position` out; returns the place of the one after it.
  Position erase(Position position);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  static constexpr std::size_t kBlockMost = 64;
  static constexpr std::size_t kChunk = 64;
  struct Entry {
    std::uint64_t first;  // beside the pointer, so that a search stays in the block
    Area* area;
  };
  struct Block {
    std::size_t count;
    std::array<Entry, kBlockMost> entries;
  };

  void add_chunk();
  void give_area(Area* area);
  std::unique_ptr<Block> take_block();
  void add_first_block(std::uint64_t first);
  Position make_room(Position position);
  std::size_t block_of(std::uint64_t iova) const;
  void put(Position position, Area* area);

  std::vector<std::unique_ptr<Block>> blocks_;  // none is empty
  std::vector<std::uint64_t> block_firsts_;     // blocks_[i]->entries[0].first
  mutable std::size_t latest_ = 0;              // the block of the last search: programs mostly stay near it
  std::unique_ptr<Block> spare_;                // so that a lone map and unmap allocates nothing
  std::vector<std::unique_ptr<Area[]>> chunks_;
  Area* free_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace softiommu
