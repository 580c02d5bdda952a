// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/regions.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>

namespace softiommu::launch {
namespace {

const TrapRegion* find_in(const std::vector<TrapRegion>& table, std::uintptr_t address) {
  const auto after = std::upper_bound(table.begin(), table.end(), address,
                                      [](std::uintptr_t a, const TrapRegion& r) { return a < r.first; });
  if (after == table.begin()) return nullptr;
  const TrapRegion& candidate = *std::prev(after);
  return address <= candidate.last ? &candidate : nullptr;
}

}  // namespace

TrapRegion region_of(const MmapPlan& plan, std::uintptr_t first, std::uint64_t bytes, int prot) {
  TrapRegion region;
  region.first = first;
  region.last = first + align_up(bytes, kPageSize) - 1;
  region.registers = plan.registers;
  region.offset = plan.offset;
  region.physical = plan.physical;
  region.enabled = plan.enabled;
  region.enabled_context = plan.enabled_context;
  region.readable = (prot & (PROT_READ | PROT_WRITE)) != 0;
  region.writable = (prot & PROT_WRITE) != 0;
  return region;
}

TrapRegions::TrapRegions() : table_(new Table) {}
TrapRegions::~TrapRegions() { delete table_.load(); }

void TrapRegions::publish(std::unique_ptr<Table> table) {
  const std::unique_ptr<const Table> old(table_.exchange(table.release(), std::memory_order_seq_cst));
  while (readers_.load(std::memory_order_seq_cst) != 0) sched_yield();
}

Result<> TrapRegions::add(TrapRegion region) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(writers_);
    auto table = std::make_unique<Table>(*table_.load());
    const auto place = std::upper_bound(table->begin(), table->end(), region.first,
                                        [](std::uintptr_t a, const TrapRegion& r) { return a < r.first; });
    table->insert(place, std::move(region));
    publish(std::move(table));
    return {};
  });
}

bool TrapRegions::remove(std::uintptr_t first, std::uintptr_t last) {
  if (!overlaps(first, last)) return false;
  const auto done = without_throwing([&]() -> Result<> {
    const MutexLock lock(writers_);
    auto table = std::make_unique<Table>();
    for (const TrapRegion& region : *table_.load()) {
      if (region.last < first || region.first > last) {
        table->push_back(region);
        continue;
      }
      if (region.first < first) {
        table->push_back(region);
        table->back().last = first - 1;
      }
      if (region.last > last) {
        table->push_back(region);
        table->back().first = last + 1;
        const std::uint64_t cut = last + 1 - region.first;
        table->back().offset += cut;
        table->back().file_offset += cut;
        if (region.physical) table->back().physical = *region.physical + cut;
      }
    }
    publish(std::move(table));
    return {};
  });
  return done.has_value();
}

bool TrapRegions::overlaps(std::uintptr_t first, std::uintptr_t last) const {
  readers_.fetch_add(1, std::memory_order_seq_cst);
  bool found = false;
  for (const TrapRegion& region : *table_.load(std::memory_order_seq_cst)) {
    found = found || (region.first <= last && first <= region.last);
  }
  readers_.fetch_sub(1, std::memory_order_release);
  return found;
}

std::vector<TrapRegion> TrapRegions::all() const {
  const MutexLock lock(writers_);
  return *table_.load();
}

void TrapRegions::forget_all() {
  readers_.store(0);
  writers_.reset();
  table_.store(new Table);  // the parent's regions are not released: their files are not this process's
}

void TrapRegions::become_child(bool (*change)(TrapRegion& region)) {
  readers_.store(0);
  writers_.reset();
  auto table = std::make_unique<Table>();
  for (TrapRegion region : *table_.load()) {
    if (change(region)) table->push_back(std::move(region));
  }
  table_.store(table.release());
}

TrapRegions::Reader::Reader(const TrapRegions& regions) : regions_(regions) {
  regions_.readers_.fetch_add(1, std::memory_order_seq_cst);
  table_ = regions_.table_.load(std::memory_order_seq_cst);
}
TrapRegions::Reader::~Reader() { regions_.readers_.fetch_sub(1, std::memory_order_release); }

const TrapRegion* TrapRegions::Reader::find(std::uintptr_t address) const { return find_in(*table_, address); }

Result<PhysAddr> TrapRegions::physical_at(std::uintptr_t first, std::uint64_t bytes, bool write) const {
  const TrapRegions::Reader reader(*this);
  const TrapRegion* const region = reader.find(first);
  if (region == nullptr || bytes - 1 > region->last - first) return fail(EFAULT, "not a device's registers");
  if (write ? !region->writable : !region->readable) return fail(EFAULT, "the registers are not mapped for this");
  if (!region->physical) return fail(EFAULT, "another process has the device");
  if (!region->is_enabled()) return fail(EFAULT, "the device does not decode memory");
  return *region->physical + (first - region->first);
}

}  // namespace softiommu::launch
