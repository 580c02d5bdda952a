// SPDX-License-Identifier: BSD-3-Clause
// The machine's physical memory: one arena for tables, and the program's own pages under physical addresses.
//
// A user page gets a physical address when it is first pinned, congruent to its virtual address modulo 1 GiB (32 MiB in
// a small machine), so that large mappings stay large: each such chunk of virtual space in use owns a chunk of physical
// space (neighbours in virtual space are neighbours where that is free). Physical to host is one array look-up per
// chunk. One page has one physical address as long as it is pinned anywhere.
//
// When a pinned range is about to be unmapped or replaced by the program, move_aside() takes the pages to a
// hidden place: the physical address keeps meaning the old page, the virtual address gets a new one later.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "base/table_memory.h"
#include "base/types.h"
#include "machine/dma_fence.h"

namespace softiommu {

class DmaWatch;
class Findings;
class MmioMap;

struct MemorySpec {
  std::uint64_t top = std::uint64_t{1} << 39;          // physical addresses are below this
  std::uint64_t table_arena = std::uint64_t{4} << 30;  // reserved, not used, address space
  bool fragmented = false;                             // hand out physical pages that are not congruent, on purpose

  // Tables come first, then the program's pages, from a whole GiB on. In a small machine the tables are within the
  // first GiB, so that hardware with 31- or 32-bit addresses reaches them and what is behind them; and programs, whose
  // memory is in several GiB of virtual space, get smaller chunks.
  static constexpr unsigned kChunkLg2 = 30, kSmallChunkLg2 = 25;
  constexpr bool is_small() const { return top <= 4 * kGiB; }
  constexpr unsigned chunk_lg2() const { return is_small() ? kSmallChunkLg2 : kChunkLg2; }
  // Pages at the same virtual addresses modulo this, pinned in the same order, get the same physical addresses.
  static constexpr unsigned kWindowChunks = 16;
  static constexpr std::uint64_t kSamePlace = std::uint64_t{kWindowChunks} << kChunkLg2;
  constexpr std::uint64_t arena_first() const { return is_small() ? 16 * kMiB : kGiB; }
  constexpr std::uint64_t pages_first() const { return align_down(arena_first() + table_arena + kGiB - 1, kGiB); }
};

struct PhysRun {
  PhysAddr first;
  std::uint64_t bytes;
};

class Memory {
 public:
  // EINVAL: the spec does not fit together; ENOMEM.
  static Result<std::unique_ptr<Memory>> create(const MemorySpec& spec);
  virtual ~Memory() = default;

  TableMemory& tables() { return *tables_; }
  std::uint64_t top() const { return top_; }

  // Pins the first physically contiguous part of [user, user + bytes) (page-aligned) and says how much that was
  // (it ends with a chunk of virtual space at the latest); the caller loops. Each page counts its pins.
  // ENOMEM: no physical space is left, or `user` is beyond 48 bits; fault point "memory.pin".
  virtual Result<PhysRun> pin(std::uint64_t user, std::uint64_t bytes) = 0;
  // Undoes one pin of each page; what was moved aside and has no pin left is given back to the host.
  virtual void unpin(PhysRun run) = 0;

  // Where the page of `pa` is in this process; nullptr: nothing is there. Valid up to the end of the 4 KiB page;
  // `contiguous` (if asked for) says for how many bytes from `pa` on. Lock-free.
  virtual std::byte* host(PhysAddr pa, std::uint64_t* contiguous = nullptr) const = 0;

  // Is any page of the program's range pinned? Lock-free, a few instructions when nothing near it is.
  virtual bool any_pinned(std::uint64_t user, std::uint64_t bytes) const = 0;
  // How often the page that the program sees there is pinned.
  virtual unsigned pins(std::uint64_t user) const = 0;
  // Moves the pinned pages of the range to a hidden place (the virtual range is unmapped there afterwards:
  // the caller's munmap or MAP_FIXED follows). ENOMEM; EFAULT: a page cannot be moved (then it keeps its place and
  // later DMA to it is reported, never a crash).
  virtual Result<> move_aside(std::uint64_t user, std::uint64_t bytes) = 0;

  // The program moves memory (mremap). Pinned pages go along: device and program share them at the new place, and a
  // page keeps its physical address, also when it is pinned anew there.
  struct Relocation {
    std::uint64_t from, from_bytes;
    std::uint64_t to, to_bytes;  // `to` 0: a free place. Nothing of the target is pinned (move_aside() comes first)
    int flags;                   // of mremap; MREMAP_MAYMOVE and MREMAP_FIXED are added
  };
  // Where the memory is now. On failure (the host's errno; ENOMEM) everything is where it was.
  virtual Result<std::uint64_t> relocate(const Relocation& how) = 0;

  std::uint64_t pinned_pages() const { return pinned_pages_.load(std::memory_order_relaxed); }

  // For ports. The generation changes when a page moves aside: what host() said before is no longer good.
  std::uint64_t generation() const { return generation_.load(std::memory_order_seq_cst); }
  DmaActivity& add_port() { return fence_.create(); }
  void remove_port(DmaActivity& activity) { fence_.discard(activity); }
  // Returns when no move is under way. Never inside a copy: a move waits for copies.
  virtual void settle() = 0;
  // A device accessed `pa` and no memory is there: one line for each page (in `findings`, else in the log).
  void report_lost(PhysAddr pa, Iova iova, StreamId stream) noexcept;
  // What lies at physical addresses that are not memory. Before the first DMA; it outlives the memory's ports.
  void set_registers(const MmioMap* registers) { registers_ = registers; }
  const MmioMap* registers() const { return registers_; }
  // Looks on from now on; it outlives the memory's ports. Before the first DMA.
  void set_watch(DmaWatch* watch) { watch_ = watch; }
  DmaWatch* watch() const { return watch_; }
  void set_findings(Findings* findings) { findings_.store(findings, std::memory_order_release); }

 protected:
  std::unique_ptr<TableMemory> tables_;
  std::uint64_t top_ = 0;
  std::atomic<std::uint64_t> pinned_pages_{0};  // pins, counting each one
  std::atomic<std::uint64_t> generation_{0};
  DmaWatch* watch_ = nullptr;  // beside the generation, which each access reads
  DmaFence fence_;

 private:
  std::atomic<Findings*> findings_{nullptr};
  const MmioMap* registers_ = nullptr;
};

}  // namespace softiommu
