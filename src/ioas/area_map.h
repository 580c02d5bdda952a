// SPDX-License-Identifier: BSD-3-Clause
// The areas of one I/O address space, by IOVA: what was mapped, with which memory of the program.
//
// Areas never overlap and never move. Their ranges, and the holes between them, are in a RangeTree, which bounds the
// time of every call; an area itself is one cache line, touched only when somebody wants to know what is in it.
// Not thread-safe: the container's or IOAS's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "ioas/node_pool.h"
#include "ioas/range_tree.h"
#include "machine/memory.h"

namespace softiommu {

struct Area {
  IovaRange range;
  std::uint64_t user = 0;  // the program's address of the first byte
  Prot prot;
  bool pinned = false;        // `runs` say where its memory is
  bool registers = false;     // a device's, which nobody pins
  bool user_invalid = false;  // the program announced that `user` is about to go away (UNMAP_DMA with VADDR)

  // Most areas are one physically contiguous run: no allocation for them.
  std::span<const PhysRun> runs() const {
    if (more_runs_ == nullptr) return {&first_run_, pinned ? std::size_t{1} : 0};
    return *more_runs_;
  }
  // Adds a run after the others, merged with the last one where they touch. May throw std::bad_alloc.
  void add_run(PhysRun run) {
    if (!pinned) {
      first_run_ = run;
      pinned = true;
    } else {
      add_another_run(run);
    }
  }
  void clear_runs() {
    if (more_runs_ != nullptr) [[unlikely]]
      free_more_runs();
    pinned = false;
  }

 private:
  friend class AreaMap;
  void add_another_run(PhysRun run);
  void free_more_runs();
  void give_runs_to(Area& upper, std::uint64_t from);

  PhysRun first_run_{};
  std::vector<PhysRun>* more_runs_ = nullptr;  // all runs, as soon as there are two; owned
};

class AreaMap {
 public:
  AreaMap() = default;
  ~AreaMap();
  AreaMap(const AreaMap&) = delete;
  AreaMap& operator=(const AreaMap&) = delete;

  // A place in the map; valid until the map changes.
  using Position = RangeTree::Position;

  // The place of the first area that ends at or after `iova`; at() of it is nullptr if there is none.
  Position seek(Iova iova) const { return tree_.seek(iova); }
  static Area* at(Position position) { return position ? static_cast<Area*>(position.value()) : nullptr; }
  static Position after(Position position) { return RangeTree::after(position); }
  Position first() const { return tree_.first(); }

  // The first area that overlaps `range`; nullptr: none.
  Area* find(IovaRange range) const {
    const Position position = seek(range.first);
    return position && position.range().first <= range.last ? at(position) : nullptr;
  }
  // A new, empty area. EEXIST: it would overlap another one. ENOMEM; fault point "ioas.area".
  Result<Area*> insert(IovaRange range);
  // Takes the area at `position`, whose runs are cleared, out; returns the place of the one after it.
  Position erase(Position position);
  // Cuts the area in two, its memory too; the upper one (the answer) begins at `at`, which is inside of it and not its
  // first byte. ENOMEM; fault point "ioas.area". On failure nothing changed.
  Result<Area*> split(Position position, Iova at);
  // Free IOVAs; see RangeTree::find_hole().
  std::optional<Iova> find_hole(const HoleRequest& request) const { return tree_.find_hole(request); }

  std::size_t size() const { return tree_.size(); }
  bool empty() const { return tree_.empty(); }

 private:
  Result<Area*> take_area();

  RangeTree tree_;
  NodePool<Area> areas_;
};

static_assert(sizeof(Area) <= 64, "one cache line");

}  // namespace softiommu
