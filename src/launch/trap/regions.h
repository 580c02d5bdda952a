// SPDX-License-Identifier: BSD-3-Clause
// Which addresses of the program are device registers: the BARs that it has mapped.
//
// Readers are fault handlers: they take no lock and allocate nothing. A writer publishes a new table and waits until no
// reader uses the old one, so that after remove() no access to the old region is under way. Readers must be
// short; a writer must not be called from a reader.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/result.h"
#include "machine/mmio.h"

namespace softiommu::launch {

struct TrapRegion {
  std::uintptr_t first = 0, last = 0;  // closed
  MmioRegion* registers = nullptr;
  std::uint64_t offset = 0;          // of `first` in `registers`
  std::optional<PhysAddr> physical;  // of `first`; none: another process has the machine
  bool (*enabled)(const void* context) = nullptr;
  const void* enabled_context = nullptr;
  bool readable = true, writable = true;  // as mapped; another access is the program's SIGSEGV
  std::shared_ptr<void> holds;            // the open file: a mapping keeps it
  void* open = nullptr;                   // that file and the offset in it, for a child of fork
  std::uint64_t file_offset = 0;

  bool is_enabled() const { return enabled == nullptr || enabled(enabled_context); }
};
// The pages at `first` that are mapped as `plan` says, with `prot`; what holds the file is the caller's.
TrapRegion region_of(const MmapPlan& plan, std::uintptr_t first, std::uint64_t bytes, int prot);

class TrapRegions {
 public:
  TrapRegions();
  ~TrapRegions();
  TrapRegions(const TrapRegions&) = delete;
  TrapRegions& operator=(const TrapRegions&) = delete;

  // Adds a region; what it overlaps must have been removed. ENOMEM.
  Result<> add(TrapRegion region);
  // Cuts [first, last] out of all regions; true if there was any.
  bool remove(std::uintptr_t first, std::uintptr_t last);
  bool overlaps(std::uintptr_t first, std::uintptr_t last) const;
  // Where the machine has the registers that lie at [first, first + bytes). EFAULT: Program::registers_at.
  Result<PhysAddr> physical_at(std::uintptr_t first, std::uint64_t bytes, bool write) const;
  // What is there now: for a child of fork that is served by this process, too.
  std::vector<TrapRegion> all() const;
  // Without waiting, where no other thread is left. Every region is forgotten: in a keeper.
  void forget_all();
  // The child after fork: `change` turns each region into the child's, or answers false if it has none.
  void become_child(bool (*change)(TrapRegion& region));

  // A look at the table that stays valid as long as it lives; several may be nested.
  class Reader {
   public:
    explicit Reader(const TrapRegions& regions);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    const TrapRegion* find(std::uintptr_t address) const;

   private:
    const TrapRegions& regions_;
    const std::vector<TrapRegion>* table_;
  };

 private:
  using Table = std::vector<TrapRegion>;  // sorted, disjoint
  void publish(std::unique_ptr<Table> table) REQUIRES(writers_);

  std::atomic<const Table*> table_;
  mutable std::atomic<unsigned> readers_{0};
  mutable Mutex writers_;
};

}  // namespace softiommu::launch
