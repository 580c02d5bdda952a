// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/area_map.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/fault.h"

namespace softiommu {

void Area::add_another_run(PhysRun run) {
  PhysRun& last = more_runs_ == nullptr ? first_run_ : more_runs_->back();
  if (last.first + last.bytes == run.first) {
    last.bytes += run.bytes;
    return;
  }
  if (more_runs_ != nullptr) {
    more_runs_->push_back(run);
    return;
  }
  auto runs = std::make_unique<std::vector<PhysRun>>(std::initializer_list<PhysRun>{first_run_, run});
  more_runs_ = runs.release();
}

void Area::free_more_runs() { delete std::exchange(more_runs_, nullptr); }

// What lies `from` bytes or more behind the first byte is the upper area's. May throw before anything changed.
void Area::give_runs_to(Area& upper, std::uint64_t from) {
  std::uint64_t at = 0;
  auto kept = std::make_unique<std::vector<PhysRun>>();
  kept->reserve(runs().size());
  for (const PhysRun& run : runs()) {
    const std::uint64_t lower = at >= from ? 0 : std::min(run.bytes, from - at);
    if (lower != 0) kept->push_back({run.first, lower});
    if (lower != run.bytes) upper.add_run({run.first + lower, run.bytes - lower});
    at += run.bytes;
  }
  if (!pinned) return;
  free_more_runs();
  first_run_ = kept->front();
  if (kept->size() > 1) more_runs_ = kept.release();
}

AreaMap::~AreaMap() {
  for (auto position = first(); Area* const area = at(position); position = after(position)) area->clear_runs();
}

Result<Area*> AreaMap::take_area() {
  TRY(fault::pass("ioas.area"));
  return without_throwing([&]() -> Result<Area*> {
    areas_.reserve(1);
    return new (areas_.take()) Area;
  });
}

Result<Area*> AreaMap::insert(IovaRange range) {
  Area* area = nullptr;
  const auto make = [&]() -> Result<void*> {
    area = TRY(take_area());
    return area;
  };
  const auto inserted = tree_.insert(range, make);
  if (!inserted) [[unlikely]]
    return std::unexpected(inserted.error());
  area->range = range;
  return area;
}

AreaMap::Position AreaMap::erase(Position position) {
  areas_.give(at(position));  // untouched: who has just unpinned it has it in the caches, nobody else needs it there
  return tree_.erase(position);
}

Result<Area*> AreaMap::split(Position position, Iova at_iova) {
  Area& lower = *at(position);
  Area* const upper = TRY(take_area());
  const std::uint64_t from = at_iova - lower.range.first;
  const auto done = without_throwing([&]() -> Result<> {
    *upper = lower;
    upper->pinned = false;
    upper->more_runs_ = nullptr;
    upper->range.first = at_iova;
    upper->user += from;
    TRY(tree_.reserve_split(position));
    lower.give_runs_to(*upper, from);
    return {};
  });
  if (!done) {
    upper->clear_runs();
    areas_.give(upper);
    return std::unexpected(done.error());
  }
  tree_.split(position, at_iova, upper);
  lower.range.last = at_iova - 1;
  return upper;
}

}  // namespace softiommu
