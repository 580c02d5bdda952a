// SPDX-License-Identifier: BSD-3-Clause
// Physical space is dealt out in chunks. [0, 1 GiB) is left to the tables of a small machine and to registers, so that
// address 0 is never memory; a larger machine's table arena follows; the rest serves user pages.
//
// A chunk mirrors a chunk of virtual space, its owner. When a pinned page has moved aside and its virtual address
// is pinned anew, the owner gets one more chunk (a layer), at the same offset: large mappings stay large, and each page
// keeps one physical address while it is pinned. Pins are counted per 2 MiB block, where a run covers it, plus
// per page. All side arrays are reserved address space: what is not used costs no memory.
//
// A page that is not at home is in a hidden place, or where the program's mremap took it: those are in a map, seldom
// used.
#include "machine/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <map>
#include <utility>

#include "base/futex_lock.h"
#include "machine/findings.h"
#include "machine/host_pages.h"
#include "machine/shuffle.h"

namespace softiommu {

namespace {

constexpr unsigned kBlockLg2 = 21, kHugestLg2 = 30, kUserLg2 = 48;
constexpr std::uint64_t kBlock = std::uint64_t{1} << kBlockLg2, kHugest = std::uint64_t{1} << kHugestLg2;
constexpr std::uint32_t kBlockPages = kBlock >> kPageShift;
constexpr std::uint32_t kMostChunkPages = 1u << (MemorySpec::kChunkLg2 - kPageShift);
constexpr unsigned kTopLg2 = 52;  // no format has more address bits
constexpr std::uint64_t kUserEnd = std::uint64_t{1} << kUserLg2;

// Where no computer has memory.
constexpr struct {
  std::uint64_t first, end;
} kRegisters[] = {
    {3 * kGiB, 4 * kGiB},        // the PCI windows; interrupts at 0xfee0'0000
    {0x5800'0000, 0x5a00'0000},  // the window of a Tegra20's GART
};

// --- side arrays ---------------------------------------------------------------------------------------------

using Count = std::atomic<std::uint32_t>;  // written under the lock, read without
// A mapping's record holds each pin, so that 2^32 pins of a page cannot exist.
void add(Count& count, std::uint32_t n) {
  count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
void subtract(Count& count, std::uint32_t n) {
  assert(count.load(std::memory_order_relaxed) >= n);
  count.store(count.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
}

struct Block {
  Count pins;   // of the whole block
  Count pages;  // how many of its pages have pins of their own
  Count moved;  // how many of its pages have moved aside
  bool pinned() const { return (pins.load(std::memory_order_relaxed) | pages.load(std::memory_order_relaxed)) != 0; }
};

struct ChunkPages {  // indexed by physical page; a small machine's chunks use the first ones
  std::array<Block, kMostChunkPages / kBlockPages> blocks;
  std::array<Count, kMostChunkPages> pins;                        // besides those of the block
  std::array<std::atomic<std::byte*>, kMostChunkPages> moved_to;  // nullptr: at home, at the owner's address

  Block& block(std::uint32_t page) { return blocks[page / kBlockPages]; }
  bool pinned(std::uint32_t page) const {
    return (blocks[page / kBlockPages].pins.load(std::memory_order_relaxed) |
            pins[page].load(std::memory_order_relaxed)) != 0;
  }
  bool moved(std::uint32_t page) const {
    return blocks[page / kBlockPages].moved.load(std::memory_order_relaxed) != 0 &&
           moved_to[page].load(std::memory_order_relaxed) != nullptr;
  }
};

struct Chunk {
  std::atomic<ChunkPages*> pages;     // nullptr: never used. Kept for good
  std::atomic<std::uint64_t> owner;   // the chunk of virtual space + 1; 0: free
  Count next_layer;                   // another chunk of the same owner; 0: none
  Count moved;                        // pages that have moved aside
  std::atomic<std::uint64_t> pinned;  // pins, counting each page
};

struct Arena : TableMemory {
  using TableMemory::records_for;
  Arena(std::byte* host, PhysAddr first, std::uint64_t bytes, Record* records) { adopt(host, first, bytes, records); }
};

// --- the memory ----------------------------------------------------------------------------------------------

class UserMemory final : public Memory {
 public:
  ~UserMemory() override;
  Result<> build(const MemorySpec& spec);

  Result<PhysRun> pin(std::uint64_t user, std::uint64_t bytes) override;
  void unpin(PhysRun run) override;
  std::byte* host(PhysAddr pa, std::uint64_t* contiguous) const override;
  bool any_pinned(std::uint64_t user, std::uint64_t bytes) const override;
  unsigned pins(std::uint64_t user) const override;
  Result<> move_aside(std::uint64_t user, std::uint64_t bytes) override;
  Result<std::uint64_t> relocate(const Relocation& how) override;
  void settle() override { const FutexGuard guard(lock_); }

 private:
  struct UserRange {
    std::uint64_t first, end;
    bool contains(UserRange other) const { return first <= other.first && other.end <= end; }
    std::uint64_t bytes() const { return end - first; }
  };

  std::uint64_t chunk_bytes() const { return std::uint64_t{1} << chunk_lg2_; }
  std::uint32_t chunk_pages() const { return 1u << (chunk_lg2_ - kPageShift); }
  // Of an address, virtual or physical. (There are at most 2^23 chunks.)
  std::uint32_t chunk_of(std::uint64_t address) const { return static_cast<std::uint32_t>(address >> chunk_lg2_); }
  std::uint32_t page_of(std::uint64_t address) const {
    return static_cast<std::uint32_t>((address & (chunk_bytes() - 1)) >> kPageShift);
  }
  std::uint64_t address_of(std::uint32_t chunk, std::uint32_t page) const {
    return std::uint64_t{chunk} << chunk_lg2_ | std::uint64_t{page} << kPageShift;
  }
  std::uint32_t physical(std::uint32_t page) const {
    return fragmented_ ? shuffle::to_physical(page, chunk_pages()) : page;
  }
  ChunkPages& pages(std::uint32_t chunk) const { return *chunks_[chunk].pages.load(std::memory_order_acquire); }
  bool at_home(std::uint32_t chunk, std::uint32_t page) const {  // pinned, and where its virtual address says
    const ChunkPages& there = pages(chunk);
    const std::uint32_t p = physical(page);
    return there.pinned(p) && !there.moved(p);
  }
  // Calls visit(chunk) for each layer of the owner until it answers true; whether one did.
  template <typename Visit>
  bool any_layer(std::uint64_t owner, Visit&& visit) const;

  bool usable(std::uint64_t chunk) const;
  std::uint32_t free_chunk(std::uint64_t owner) const REQUIRES(lock_);
  std::uint32_t reclaim() REQUIRES(lock_);
  Result<std::uint32_t> add_layer(std::uint64_t owner) REQUIRES(lock_);
  std::uint32_t layer_of(std::uint64_t owner, std::uint32_t page) const REQUIRES(lock_);
  std::uint32_t length_in_layer(std::uint32_t layer, std::uint32_t page, std::uint32_t count) const REQUIRES(lock_);

  void count_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) REQUIRES(lock_);
  void count_page_pin(ChunkPages& there, std::uint32_t page) REQUIRES(lock_);
  void count_total(std::uint32_t chunk, std::uint64_t more) REQUIRES(lock_);
  void drop_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) REQUIRES(lock_);
  void drop_block_pin(std::uint32_t chunk, std::uint32_t page) REQUIRES(lock_);
  void drop_page_pin(std::uint32_t chunk, std::uint32_t page) REQUIRES(lock_);
  void free_if_moved(std::uint32_t chunk, std::uint32_t page) REQUIRES(lock_);
  void give_back_freed() REQUIRES(lock_);

  bool layer_has_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) const;
  bool any_at_home(UserRange range) const;
  bool any_here(UserRange range) const REQUIRES(lock_) {
    return any_at_home(range) || relocated_.any(range.first, range.end);
  }
  UserRange next_here(UserRange range) const REQUIRES(lock_);
  Result<> move(UserRange range, UserRange limits) REQUIRES(lock_);
  int try_move(UserRange range) REQUIRES(lock_);
  void mark_moved(UserRange range, std::uint64_t hidden) REQUIRES(lock_);
  void unmark_moved(UserRange range, std::uint64_t hidden) REQUIRES(lock_);
  void give_back_unpinned(UserRange range, std::uint64_t hidden) REQUIRES(lock_);
  std::uint64_t page_here(std::uint64_t at) const REQUIRES(lock_);
  void put(std::uint64_t page, std::byte* place) REQUIRES(lock_);
  PhysRun pin_relocated(std::uint64_t user, std::uint32_t count) REQUIRES(lock_);

  bool fragmented_ = false;
  unsigned chunk_lg2_ = 0;
  std::uint64_t first_chunk_ = 0, end_chunk_ = 0;  // for user pages
  Reserved<std::byte> arena_;
  Reserved<TableMemory::Record> records_;
  Reserved<Chunk> chunks_;                  // by physical chunk
  Reserved<Count> of_user_;                 // by virtual chunk: its first layer; 0: none
  std::atomic<std::uint64_t> reclaims_{0};  // odd while a chain of layers changes under a reader's feet
  mutable FutexLock lock_;
  HiddenPages hidden_ GUARDED_BY(lock_);
  RelocatedPages relocated_ GUARDED_BY(lock_);
  std::atomic<bool> any_relocated_{false};  // relocated_ has entries; for any_pinned()
  UserRange freed_ GUARDED_BY(lock_){};     // hidden pages without pins, gathered to be given back in one go
};

Result<> UserMemory::build(const MemorySpec& spec) {
  if (!is_aligned(spec.table_arena, kPageSize) || spec.table_arena < 2 * kPageSize) {
    return fail(EINVAL, "the table arena is not a number of pages");
  }
  top_ = spec.top;
  fragmented_ = spec.fragmented;
  chunk_lg2_ = spec.chunk_lg2();
  if (spec.top > std::uint64_t{1} << kTopLg2) return fail(EINVAL, "physical addresses have at most 52 bits");
  end_chunk_ = spec.top >> chunk_lg2_;
  if (spec.table_arena >= spec.top) return fail(EINVAL, "the table arena is larger than the machine's memory");
  first_chunk_ = spec.pages_first() >> chunk_lg2_;
  if (first_chunk_ >= end_chunk_) return fail(EINVAL, "the table arena leaves no room for user pages below the top");
  TRY(arena_.reserve(spec.table_arena));
  TRY(records_.reserve(Arena::records_for(spec.table_arena)));
  TRY(chunks_.reserve(end_chunk_));
  TRY(of_user_.reserve(kUserEnd >> chunk_lg2_));
  tables_ = std::make_unique<Arena>(arena_.get(), PhysAddr{spec.arena_first()}, spec.table_arena, records_.get());
  return {};
}

UserMemory::~UserMemory() {
  if (chunks_.get() == nullptr) return;
  for (std::uint64_t chunk = first_chunk_; chunk < end_chunk_; ++chunk) {
    ChunkPages* there = chunks_[chunk].pages.load(std::memory_order_relaxed);
    if (there != nullptr) raw_munmap(reinterpret_cast<std::uint64_t>(there), sizeof *there);
  }
}

template <typename Visit>
bool UserMemory::any_layer(std::uint64_t owner, Visit&& visit) const {
  for (std::uint32_t chunk = of_user_[owner].load(std::memory_order_acquire); chunk != 0;
       chunk = chunks_[chunk].next_layer.load(std::memory_order_acquire)) {
    if (visit(chunk)) return true;
  }
  return false;
}

// --- pin and unpin -------------------------------------------------------------------------------------------

Result<PhysRun> UserMemory::pin(std::uint64_t user, std::uint64_t bytes) {
  assert(is_aligned(user | bytes, kPageSize) && bytes != 0);
  TRY(fault::pass("memory.pin"));
  if ((user | (user + bytes - 1)) >> kUserLg2 != 0) return fail(ENOMEM, "the program's address has more than 48 bits");
  const std::uint32_t owner = chunk_of(user), page = page_of(user);
  auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes >> kPageShift, chunk_pages() - page));

  const FutexGuard guard(lock_);
  if (any_relocated_.load(std::memory_order_relaxed)) [[unlikely]] {
    const std::uint64_t next = relocated_.next(user);
    if (next == user) return pin_relocated(user, count);
    count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, (next - user) >> kPageShift));
  }
  std::uint32_t layer = of_user_[owner].load(std::memory_order_relaxed);
  const Chunk& first = chunks_[layer];  // layer 0 has an element too: never used, all zero
  const bool simple = layer != 0 && !fragmented_ && first.next_layer.load(std::memory_order_relaxed) == 0 &&
                      first.moved.load(std::memory_order_relaxed) == 0;
  if (!simple) [[unlikely]] {
    layer = layer_of(owner, page);
    if (layer == 0) layer = TRY(add_layer(owner));
    count = length_in_layer(layer, page, count);
  }
  const std::uint32_t physical_page = physical(page);
  count_pins(layer, physical_page, count);
  return PhysRun{PhysAddr{address_of(layer, physical_page)}, std::uint64_t{count} << kPageShift};
}

// The pages from `user` on that came there by relocate(), as far as they are physically contiguous.
PhysRun UserMemory::pin_relocated(std::uint64_t user, std::uint32_t count) {
  const std::uint64_t first = *relocated_.find(user);
  std::uint32_t length = 1;
  while (length < count && (first + length) % chunk_pages() != 0) {
    const std::uint64_t* next = relocated_.find(user + (std::uint64_t{length} << kPageShift));
    if (next == nullptr || *next != first + length) break;
    ++length;
  }
  const std::uint64_t pa = first << kPageShift;
  count_pins(chunk_of(pa), page_of(pa), length);
  return {PhysAddr{pa}, std::uint64_t{length} << kPageShift};
}

// The layer that gives a virtual page its physical address: where it is pinned at home, else the first one whose
// page at this place is not occupied by a moved one. 0: none.
std::uint32_t UserMemory::layer_of(std::uint64_t owner, std::uint32_t page) const {
  const std::uint32_t p = physical(page);
  std::uint32_t found = 0;
  any_layer(owner, [&](std::uint32_t chunk) {
    const ChunkPages& there = pages(chunk);
    if (there.moved(p)) return false;
    if (found == 0 || there.pinned(p)) found = chunk;
    return there.pinned(p);
  });
  return found;
}

// How many of `count` pages from `page` on (which is in `layer`) follow it there, physically contiguous.
std::uint32_t UserMemory::length_in_layer(std::uint32_t layer, std::uint32_t page, std::uint32_t count) const {
  const std::uint64_t owner = chunks_[layer].owner.load(std::memory_order_relaxed) - 1;
  const bool first_layer = of_user_[owner].load(std::memory_order_relaxed) == layer;
  const auto whole_block = [&](std::uint32_t at) {  // all of it is in the first layer
    return first_layer && !fragmented_ && at % kBlockPages == 0 && !any_layer(owner, [&](std::uint32_t chunk) {
             const Block& block = pages(chunk).block(at);
             return block.moved.load(std::memory_order_relaxed) != 0 || (chunk != layer && block.pinned());
           });
  };
  std::uint32_t length = 1;
  while (length < count) {
    const std::uint32_t next = page + length;
    if (count - length >= kBlockPages && whole_block(next)) {
      length += kBlockPages;
      continue;
    }
    if (physical(next) != physical(page) + length || layer_of(owner, next) != layer) break;
    ++length;
  }
  return length;
}

void UserMemory::count_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) {
  ChunkPages& there = pages(chunk);
  count_total(chunk, count);
  if (count == 1) return count_page_pin(there, page);
  for (std::uint32_t at = page, end = page + count; at != end;) {
    if (at % kBlockPages == 0 && end - at >= kBlockPages) {
      add(there.block(at).pins, 1);
      at += kBlockPages;
    } else {
      count_page_pin(there, at++);
    }
  }
}

inline void UserMemory::count_page_pin(ChunkPages& there, std::uint32_t page) {
  const std::uint32_t before = there.pins[page].load(std::memory_order_relaxed);
  if (before == 0) add(there.block(page).pages, 1);
  there.pins[page].store(before + 1, std::memory_order_relaxed);
}

// Pages pinned; `more` may be the complement of a number: less.
inline void UserMemory::count_total(std::uint32_t chunk, std::uint64_t more) {
  auto& pinned = chunks_[chunk].pinned;
  pinned.store(pinned.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  pinned_pages_.store(pinned_pages_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

void UserMemory::unpin(PhysRun run) {
  assert(is_aligned(run.first.value | run.bytes, kPageSize));
  const FutexGuard guard(lock_);
  if (run.bytes == kPageSize) {
    const std::uint32_t chunk = chunk_of(run.first.value), page = page_of(run.first.value);
    ChunkPages& there = pages(chunk);
    const std::uint32_t pins = there.pins[page].load(std::memory_order_relaxed);
    if (pins > 1 || (pins == 1 && there.block(page).moved.load(std::memory_order_relaxed) == 0)) [[likely]] {
      there.pins[page].store(pins - 1, std::memory_order_relaxed);
      if (pins == 1) subtract(there.block(page).pages, 1);
      count_total(chunk, ~std::uint64_t{0});
      return;
    }
  }
  for (std::uint64_t pa = run.first.value, left = run.bytes >> kPageShift; left != 0;) {
    const std::uint32_t chunk = chunk_of(pa), page = page_of(pa);
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, chunk_pages() - page));
    drop_pins(chunk, page, count);
    pa += std::uint64_t{count} << kPageShift;
    left -= count;
  }
  give_back_freed();
}

void UserMemory::drop_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) {
  assert(chunks_[chunk].pinned.load(std::memory_order_relaxed) >= count);
  ChunkPages& there = pages(chunk);
  for (std::uint32_t at = page, end = page + count; at != end;) {
    const bool whole = at % kBlockPages == 0 && end - at >= kBlockPages;
    if (whole && there.block(at).pins.load(std::memory_order_relaxed) != 0) {
      drop_block_pin(chunk, at);
      at += kBlockPages;
    } else {
      drop_page_pin(chunk, at++);
    }
  }
  count_total(chunk, ~std::uint64_t{count} + 1);
}

void UserMemory::drop_block_pin(std::uint32_t chunk, std::uint32_t page) {
  Block& block = pages(chunk).block(page);
  subtract(block.pins, 1);
  if (block.moved.load(std::memory_order_relaxed) == 0) return;
  for (std::uint32_t i = 0; i < kBlockPages; ++i) free_if_moved(chunk, page + i);
}

void UserMemory::drop_page_pin(std::uint32_t chunk, std::uint32_t page) {
  ChunkPages& there = pages(chunk);
  Block& block = there.block(page);
  if (there.pins[page].load(std::memory_order_relaxed) == 0) {
    // It is pinned with its block: from now on one of the block's pins is counted page by page.
    subtract(block.pins, 1);
    const std::uint32_t first = page - page % kBlockPages;
    for (std::uint32_t i = first; i < first + kBlockPages; ++i) {
      if (there.pins[i].load(std::memory_order_relaxed) == 0) add(block.pages, 1);
      add(there.pins[i], 1);
    }
  }
  subtract(there.pins[page], 1);
  if (there.pins[page].load(std::memory_order_relaxed) != 0) return;
  subtract(block.pages, 1);
  if (block.moved.load(std::memory_order_relaxed) != 0) free_if_moved(chunk, page);
}

void UserMemory::free_if_moved(std::uint32_t chunk, std::uint32_t page) {
  ChunkPages& there = pages(chunk);
  if (!there.moved(page) || there.pinned(page)) return;
  const auto hidden = reinterpret_cast<std::uint64_t>(there.moved_to[page].load(std::memory_order_relaxed));
  there.moved_to[page].store(nullptr, std::memory_order_relaxed);
  subtract(there.block(page).moved, 1);
  subtract(chunks_[chunk].moved, 1);
  if (any_relocated_.load(std::memory_order_relaxed)) {
    const std::uint64_t* known = relocated_.find(hidden);
    if (known != nullptr && *known == address_of(chunk, page) >> kPageShift) {  // the program's memory, not ours
      relocated_.forget(hidden, hidden + kPageSize);
      any_relocated_.store(!relocated_.empty(), std::memory_order_relaxed);
      return;
    }
  }
  if (hidden != freed_.end) give_back_freed();
  if (freed_.bytes() == 0) freed_.first = hidden;
  freed_.end = hidden + kPageSize;
}

void UserMemory::give_back_freed() {
  if (freed_.bytes() == 0) return;
  hidden_.give_back(freed_.first, freed_.bytes());
  freed_ = {};
}

// --- chunks --------------------------------------------------------------------------------------------------

bool UserMemory::usable(std::uint64_t chunk) const {
  const std::uint64_t first = chunk << chunk_lg2_, end = first + chunk_bytes();
  return chunk >= first_chunk_ && chunk < end_chunk_ && chunks_[chunk].owner.load(std::memory_order_relaxed) == 0 &&
         std::ranges::none_of(kRegisters, [&](const auto& row) { return first < row.end && row.first < end; });
}

// Beside the neighbours in virtual space where that is free; else with room for neighbours; else the lowest.
// The choice depends on the order of pins and on MemorySpec::kSamePlace only, so that a run can be repeated. 0: none is
// free.
std::uint32_t UserMemory::free_chunk(std::uint64_t owner) const {
  constexpr std::uint64_t kWindow = MemorySpec::kWindowChunks;
  const std::uint64_t before = owner == 0 ? 0 : of_user_[owner - 1].load(std::memory_order_relaxed);
  if (before != 0 && usable(before + 1)) return static_cast<std::uint32_t>(before + 1);
  const std::uint64_t last_owner = (kUserEnd >> chunk_lg2_) - 1;
  const std::uint64_t after = owner == last_owner ? 0 : of_user_[owner + 1].load(std::memory_order_relaxed);
  if (after != 0 && usable(after - 1)) return static_cast<std::uint32_t>(after - 1);
  for (std::uint64_t window = align_down(first_chunk_ + kWindow - 1, kWindow); window + kWindow <= end_chunk_;
       window += kWindow) {
    bool empty = true;
    for (std::uint64_t i = 0; i < kWindow && empty; ++i) empty = usable(window + i);
    if (empty) return static_cast<std::uint32_t>(window + owner % kWindow);
  }
  for (std::uint64_t chunk = first_chunk_; chunk < end_chunk_; ++chunk) {
    if (usable(chunk)) return static_cast<std::uint32_t>(chunk);
  }
  return 0;
}

// Takes a chunk without pins from its owner. 0: every chunk has pins.
std::uint32_t UserMemory::reclaim() {
  for (std::uint64_t i = first_chunk_; i < end_chunk_; ++i) {
    Chunk& chunk = chunks_[i];
    const std::uint64_t owner = chunk.owner.load(std::memory_order_relaxed);
    if (owner == 0 || chunk.pinned.load(std::memory_order_relaxed) != 0) continue;
    reclaims_.fetch_add(1, std::memory_order_seq_cst);
    Count* link = &of_user_[owner - 1];
    while (link->load(std::memory_order_relaxed) != i)
      link = &chunks_[link->load(std::memory_order_relaxed)].next_layer;
    link->store(chunk.next_layer.load(std::memory_order_relaxed), std::memory_order_release);
    chunk.next_layer.store(0, std::memory_order_release);
    chunk.owner.store(0, std::memory_order_release);
    reclaims_.fetch_add(1, std::memory_order_seq_cst);
    return static_cast<std::uint32_t>(i);
  }
  return 0;
}

Result<std::uint32_t> UserMemory::add_layer(std::uint64_t owner) {
  std::uint32_t index = free_chunk(owner);
  if (index == 0) index = reclaim();
  if (index == 0) return fail(ENOMEM, "the machine's physical memory is used up by pinned pages");
  Chunk& chunk = chunks_[index];
  if (chunk.pages.load(std::memory_order_relaxed) == nullptr) {
    void* got =
        raw_mmap(nullptr, sizeof(ChunkPages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (got == nullptr) return fail(ENOMEM, "no address space to count pins in");
    madvise(got, sizeof(ChunkPages), MADV_NOHUGEPAGE);  // sparse by nature; on failure it is only larger
    chunk.pages.store(static_cast<ChunkPages*>(got), std::memory_order_release);  // zero pages are zero counts
  }
  chunk.owner.store(owner + 1, std::memory_order_release);
  Count* link = &of_user_[owner];
  while (link->load(std::memory_order_relaxed) != 0) link = &chunks_[link->load(std::memory_order_relaxed)].next_layer;
  link->store(index, std::memory_order_release);
  return index;
}

// --- look-ups without a lock ---------------------------------------------------------------------------------

std::byte* UserMemory::host(PhysAddr pa, std::uint64_t* contiguous) const {
  if (tables_->contains(pa)) {
    const std::uint64_t offset = pa - tables_->address(arena_.get());
    if (contiguous != nullptr) *contiguous = arena_.bytes() - offset;
    return arena_.get() + offset;
  }
  const std::uint64_t index = pa.value >> chunk_lg2_;
  if (index < first_chunk_ || index >= end_chunk_) return nullptr;
  const Chunk& chunk = chunks_[index];
  const ChunkPages* there = chunk.pages.load(std::memory_order_acquire);
  if (there == nullptr) return nullptr;
  const std::uint32_t page = page_of(pa.value);
  const Block& block = there->blocks[page / kBlockPages];
  if (!there->pinned(page)) return nullptr;
  const std::uint64_t in_page = pa.value % kPageSize;
  const bool whole_block =
      block.pins.load(std::memory_order_relaxed) != 0 && block.moved.load(std::memory_order_relaxed) == 0;
  if (contiguous != nullptr) *contiguous = whole_block ? kBlock - pa.value % kBlock : kPageSize - in_page;
  if (there->moved(page)) return there->moved_to[page].load(std::memory_order_relaxed) + in_page;
  const std::uint32_t in_virtual = fragmented_ ? shuffle::to_virtual(page, chunk_pages()) : page;
  const auto owner = static_cast<std::uint32_t>(chunk.owner.load(std::memory_order_relaxed) - 1);
  return reinterpret_cast<std::byte*>(address_of(owner, in_virtual) + in_page);
}

bool UserMemory::layer_has_pins(std::uint32_t chunk, std::uint32_t page, std::uint32_t count) const {
  if (chunks_[chunk].pinned.load(std::memory_order_relaxed) == 0) return false;
  for (std::uint32_t at = page, end = page + count; at < end;) {
    if (!fragmented_ && !pages(chunk).block(at).pinned()) {
      at += kBlockPages - at % kBlockPages;
      continue;
    }
    if (at_home(chunk, at++)) return true;
  }
  return false;
}

bool UserMemory::any_at_home(UserRange range) const {
  for (std::uint64_t at = range.first; at < range.end;) {
    const std::uint64_t stop = std::min(range.end, align_down(at, chunk_bytes()) + chunk_bytes());
    const std::uint32_t page = page_of(at);
    const auto count = static_cast<std::uint32_t>((stop - at) >> kPageShift);
    if (any_layer(chunk_of(at), [&](std::uint32_t chunk) { return layer_has_pins(chunk, page, count); })) return true;
    at = stop;
  }
  return false;
}

unsigned UserMemory::pins(std::uint64_t user) const {
  if (user >> kUserLg2 != 0) return 0;
  const FutexGuard guard(lock_);
  const auto count = [&](std::uint32_t chunk, std::uint32_t page) REQUIRES(lock_) {
    const ChunkPages& there = pages(chunk);
    return there.blocks[page / kBlockPages].pins.load(std::memory_order_relaxed) +
           there.pins[page].load(std::memory_order_relaxed);
  };
  if (const std::uint64_t* const moved = relocated_.find(align_down(user, kPageSize)))
    return count(chunk_of(*moved << kPageShift), page_of(*moved << kPageShift));
  const std::uint32_t page = page_of(user), layer = layer_of(chunk_of(user), page);
  return layer == 0 ? 0 : count(layer, physical(page));
}

bool UserMemory::any_pinned(std::uint64_t user, std::uint64_t bytes) const {
  if (user >= kUserEnd || bytes == 0) return false;
  const std::uint64_t last = user + std::min(bytes, kUserEnd - user) - 1;
  const UserRange range{align_down(user, kPageSize), align_down(last, kPageSize) + kPageSize};
  for (;;) {
    const std::uint64_t before = reclaims_.load(std::memory_order_seq_cst);
    const bool any = any_at_home(range);
    if (any) return true;
    if (before % 2 != 0 || reclaims_.load(std::memory_order_seq_cst) != before) continue;
    if (!any_relocated_.load(std::memory_order_acquire)) return false;
    const FutexGuard guard(lock_);
    return relocated_.any(range.first, range.end);
  }
}

// --- moving aside --------------------------------------------------------------------------------------------

Result<> UserMemory::move_aside(std::uint64_t user, std::uint64_t bytes) {
  if (!any_pinned(user, bytes)) return {};
  const std::uint64_t last = user + std::min(bytes, kUserEnd - user) - 1;
  const UserRange all{align_down(user, kPageSize), align_down(last, kPageSize) + kPageSize};
  return without_throwing([&]() -> Result<> {
    const FutexGuard guard(lock_);
    Result<> answer;
    for (UserRange rest = all; rest.bytes() != 0;) {
      const UserRange run = next_here(rest);
      rest.first = run.end;
      if (run.bytes() == 0) continue;
      if (auto moved = move(run, all); !moved && answer) answer = moved;
    }
    return answer;
  });
}

// The first run of pages in `range` that are pinned there; an empty one at its end if there is none.
UserMemory::UserRange UserMemory::next_here(UserRange range) const {
  const auto home = [this](std::uint64_t at) REQUIRES(lock_) { return any_here({at, at + kPageSize}); };
  std::uint64_t at = range.first;
  while (at < range.end) {
    const std::uint64_t step_end = std::min(range.end, align_down(at, kBlock) + kBlock);
    if (!any_here({at, step_end})) {
      at = step_end;
      continue;
    }
    while (!home(at)) at += kPageSize;
    break;
  }
  std::uint64_t end = at;
  while (end < range.end && home(end)) end += kPageSize;
  return {at, end};
}

// Moves a range whose pages are pinned. One call of the host moves what one of its mappings holds, so that a range
// is halved until that is so. A part of a huge page moves with the whole, if `limits` (what is about to go) has it.
Result<> UserMemory::move(UserRange range, UserRange limits) {
  const int error = try_move(range);
  if (error == 0) return {};
  if (error == ENOMEM) return fail(ENOMEM, "no address space to move pinned pages to");
  if (error == EINVAL) {
    for (const std::uint64_t unit : {kBlock, kHugest}) {
      const UserRange whole{align_down(range.first, unit), align_down(range.end + unit - 1, unit)};
      if (whole.bytes() != range.bytes() && limits.contains(whole) && try_move(whole) == 0) return {};
    }
  }
  if (range.bytes() == kPageSize) return fail(EFAULT, "a pinned page cannot be moved: it is not mapped any more");
  const std::uint64_t grain = range.bytes() >= 2 * kBlock ? kBlock : kPageSize;
  const std::uint64_t middle = std::max(align_down(range.first + range.bytes() / 2, grain), range.first + kPageSize);
  Result<> answer;
  for (const UserRange half : {UserRange{range.first, middle}, UserRange{middle, range.end}}) {
    if (!any_here(half)) continue;  // moved with the huge page that the other half has a part of
    if (auto moved = move(half, limits); !moved && answer) answer = moved;
  }
  return answer;
}

// Answers an errno, 0 for success. Ports first learn the hidden address and let go of the old one; a copy to the
// hidden place before the pages arrive faults, and is tried again after settle().
int UserMemory::try_move(UserRange range) {
  const std::uint64_t hidden = HiddenPages::reserve(range.first, range.bytes());
  if (hidden == 0) return ENOMEM;
  mark_moved(range, hidden);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  fence_.wait();
  if (syscall(SYS_mremap, range.first, range.bytes(), range.bytes(), MREMAP_MAYMOVE | MREMAP_FIXED, hidden) != -1) {
    give_back_unpinned(range, hidden);
    relocated_.forget(range.first, range.end);
    any_relocated_.store(!relocated_.empty(), std::memory_order_relaxed);
    return 0;
  }
  const int error = errno;
  unmark_moved(range, hidden);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  // The host may have unmapped the target before it failed, and another thread may have mapped something there:
  // only what can be reserved anew is surely ours to unmap. Else the reserved range stays; it holds no memory.
  if (raw_mmap(reinterpret_cast<void*>(hidden), range.bytes(), PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE) != nullptr) {
    raw_munmap(hidden, range.bytes());
  }
  return error;
}

// The physical page that is pinned and seen at `at`, as its number; 0: none.
std::uint64_t UserMemory::page_here(std::uint64_t at) const {
  if (const std::uint64_t* known = relocated_.find(at)) return *known;
  const std::uint32_t page = page_of(at);
  std::uint64_t found = 0;
  any_layer(chunk_of(at), [&](std::uint32_t chunk) {  // a page is at home in one layer only
    if (!at_home(chunk, page)) return false;
    found = address_of(chunk, physical(page)) >> kPageShift;
    return true;
  });
  return found;
}

// nullptr: the page is at home.
void UserMemory::put(std::uint64_t page, std::byte* place) {
  const std::uint32_t chunk = chunk_of(page << kPageShift), p = page_of(page << kPageShift);
  ChunkPages& there = pages(chunk);
  const bool was_moved = there.moved_to[p].load(std::memory_order_relaxed) != nullptr;
  there.moved_to[p].store(place, std::memory_order_relaxed);
  if (place != nullptr && !was_moved) {
    add(there.block(p).moved, 1);
    add(chunks_[chunk].moved, 1);
  } else if (place == nullptr && was_moved) {
    subtract(there.block(p).moved, 1);
    subtract(chunks_[chunk].moved, 1);
  }
}

void UserMemory::mark_moved(UserRange range, std::uint64_t hidden) {
  for (std::uint64_t at = range.first; at < range.end; at += kPageSize) {
    const std::uint64_t page = page_here(at);
    if (page != 0) put(page, reinterpret_cast<std::byte*>(hidden + (at - range.first)));
  }
}

void UserMemory::unmark_moved(UserRange range, std::uint64_t hidden) {
  for (std::uint64_t at = range.first; at < range.end; at += kPageSize) {
    if (const std::uint64_t* known = relocated_.find(at)) {
      put(*known, reinterpret_cast<std::byte*>(at));
      continue;
    }
    const std::uint32_t p = physical(page_of(at));
    auto* place = reinterpret_cast<std::byte*>(hidden + (at - range.first));
    std::uint32_t layer = 0;
    const bool moved = any_layer(chunk_of(at), [&](std::uint32_t chunk) {
      layer = chunk;
      return pages(chunk).moved_to[p].load(std::memory_order_relaxed) == place;
    });
    if (moved) put(address_of(layer, p) >> kPageShift, nullptr);
  }
}

// Of a whole huge page that moved for a part of it: the pages that nobody has pinned.
void UserMemory::give_back_unpinned(UserRange range, std::uint64_t hidden) {
  for (std::uint64_t at = range.first; at < range.end; at += kPageSize) {
    const std::uint32_t p = physical(page_of(at));
    const std::uint64_t place = hidden + (at - range.first);
    const bool marked =
        relocated_.find(at) != nullptr || any_layer(chunk_of(at), [&](std::uint32_t chunk) {
          return pages(chunk).moved_to[p].load(std::memory_order_relaxed) == reinterpret_cast<std::byte*>(place);
        });
    if (!marked) hidden_.give_back(place, kPageSize);
  }
}

// As try_move(), to a place that the program sees.
Result<std::uint64_t> UserMemory::relocate(const Relocation& how) {
  return without_throwing([&]() -> Result<std::uint64_t> {
    const UserRange range{how.from, how.from + std::min(how.from_bytes, how.to_bytes)};
    const FutexGuard guard(lock_);
    const std::uint64_t to = how.to != 0 ? how.to : HiddenPages::reserve(how.from, how.to_bytes);
    if (to == 0) return fail(ENOMEM, "no address space to move memory to");
    std::map<std::uint64_t, std::uint64_t> going;
    for (std::uint64_t at = range.first; at < range.end; at += kPageSize) {
      const std::uint64_t page = page_here(at);
      if (page != 0) going.emplace_hint(going.end(), to + (at - range.first), page);
    }
    any_relocated_.store(true, std::memory_order_seq_cst);
    for (const auto& [place, page] : going) put(page, reinterpret_cast<std::byte*>(place));
    generation_.fetch_add(1, std::memory_order_seq_cst);
    fence_.wait();
    const long moved =
        syscall(SYS_mremap, how.from, how.from_bytes, how.to_bytes, how.flags | MREMAP_MAYMOVE | MREMAP_FIXED, to);
    const int error = errno;
    if (moved != -1) {
      relocated_.forget(range.first, range.end);
      relocated_.add(std::move(going));
    } else {
      for (const auto& [place, page] : going) {
        const std::uint64_t at = range.first + (place - to);
        put(page, relocated_.find(at) != nullptr ? reinterpret_cast<std::byte*>(at) : nullptr);
      }
      generation_.fetch_add(1, std::memory_order_seq_cst);
      if (how.to == 0) raw_munmap(to, how.to_bytes);
    }
    any_relocated_.store(!relocated_.empty(), std::memory_order_seq_cst);
    if (moved == -1) return fail(error, "the host does not move this memory");
    return to;
  });
}

}  // namespace

Result<std::unique_ptr<Memory>> Memory::create(const MemorySpec& spec) {
  return without_throwing([&]() -> Result<std::unique_ptr<Memory>> {
    auto memory = std::make_unique<UserMemory>();
    TRY(memory->build(spec));
    return memory;
  });
}

void Memory::report_lost(PhysAddr pa, Iova iova, StreamId stream) noexcept {
  try {
    const auto compose = [&] {
      return fmt::format("DMA by stream {:#x} to iova {:#x}: no memory is at physical address {:#x}", stream,
                         iova.value, pa.value);
    };
    if (Findings* const findings = findings_.load(std::memory_order_acquire))
      findings->add(fmt::format("lost page {:#x}", pa.value >> kPageShift), compose);
    else
      log::write(log::Level::error, compose());
  } catch (...) {
    log::write(log::Level::error, "DMA to a physical address without memory (out of memory for the details)");
  }
}

}  // namespace softiommu
