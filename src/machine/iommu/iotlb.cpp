// SPDX-License-Identifier: BSD-3-Clause
// One direct-mapped table for all page sizes: an entry's place follows from its space, page number and page size,
// and a bit set of the sizes present says which places a look-up has to probe (one or two in practice). An invalidation
// probes the places of its range in the same way, or looks at the entries that are there, whichever is less.
//
// Each entry has a sequence number, odd while it changes. All its words are atomic, loaded with acquire and stored with
// release: a reader that sees any new word also sees the odd (or a later) number when it looks again.
#include "machine/iommu/iotlb.h"

#include <array>
#include <bit>

#include "base/futex_lock.h"

namespace softiommu {

namespace {

using Word = std::atomic<std::uint64_t>;

constexpr std::size_t kEntries = std::size_t{1} << Iotlb::kEntriesLg2;
constexpr unsigned kSizes = 64;
constexpr std::uint64_t kExact = ~std::uint64_t{0};  // a mask that compares the whole space

// The low bits of an entry's words are free, because pages are at least 4 KiB.
constexpr std::uint64_t kInPage = kPageSize - 1;
constexpr std::uint64_t kReadable = 1, kWritable = 2, kCacheable = 4;

constexpr Iova page_of(Iova iova, unsigned page_lg2) {
  return Iova{align_down(iova.value, std::uint64_t{1} << page_lg2)};
}
// First byte of the page, and its size where the offset in the page would be; 0 is no tag (no page has 1 byte).
constexpr std::uint64_t tag_of(Iova iova, unsigned page_lg2) { return page_of(iova, page_lg2).value | page_lg2; }

constexpr std::uint64_t pack(const Translation& t) {
  return t.page.value | (t.read ? kReadable : 0) | (t.write ? kWritable : 0) | (t.cacheable ? kCacheable : 0);
}
constexpr Translation unpack(std::uint64_t data, unsigned page_lg2) {
  return {.page = PhysAddr{data & ~kInPage},
          .page_lg2 = static_cast<std::uint8_t>(page_lg2),
          .read = (data & kReadable) != 0,
          .write = (data & kWritable) != 0,
          .cacheable = (data & kCacheable) != 0};
}

std::size_t place_of(std::uint64_t space, Iova iova, unsigned page_lg2) {
  // Neighbouring pages take neighbouring places; spaces (and sizes) are spread by Fibonacci hashing.
  const std::uint64_t spread = (space * kSizes + page_lg2) * 0x9E37'79B9'7F4A'7C15;
  const std::uint64_t page = iova.value >> page_lg2;
  return ((page ^ page >> Iotlb::kEntriesLg2) + (spread >> (64 - Iotlb::kEntriesLg2))) % kEntries;
}

// Spaces are counted by a hash, so that an invalidation knows when it has seen all that it may have to take.
constexpr std::size_t kGroups = 256;
std::size_t group_of(std::uint64_t space) { return space * 0x9E37'79B9'7F4A'7C15 >> 56; }

struct Entry {
  Word sequence, space, tag, data;
};

}  // namespace

struct Iotlb::Impl {
  std::array<Entry, kEntries> entries{};
  Word sizes{0};          // bit n: an entry of 2^n bytes may be present
  Word invalidations{0};  // the ticket
  FutexLock lock;         // of everything that changes; a leaf
  std::array<std::uint64_t, kEntries / 64> occupied GUARDED_BY(lock){};
  std::array<std::uint32_t, kSizes> of_size GUARDED_BY(lock){};
  std::array<std::uint32_t, kGroups> of_group GUARDED_BY(lock){};
  std::uint32_t total GUARDED_BY(lock) = 0;

  static void put(Entry& entry, std::uint64_t space, std::uint64_t tag, std::uint64_t data) {
    const std::uint64_t sequence = entry.sequence.load(std::memory_order_relaxed);
    entry.sequence.store(sequence + 1, std::memory_order_relaxed);
    entry.space.store(space, std::memory_order_release);
    entry.tag.store(tag, std::memory_order_release);
    entry.data.store(data, std::memory_order_release);
    entry.sequence.store(sequence + 2, std::memory_order_release);
  }
  void fill(std::size_t place, std::uint64_t space, std::uint64_t tag, std::uint64_t data) REQUIRES(lock) {
    forget(place);
    put(entries[place], space, tag, data);
    occupied[place / 64] |= std::uint64_t{1} << place % 64;
    ++total;
    ++of_group[group_of(space)];
    const unsigned page_lg2 = tag & kInPage;
    if (of_size[page_lg2]++ == 0) set_sizes(sizes.load(std::memory_order_relaxed) | std::uint64_t{1} << page_lg2);
  }
  void clear(std::size_t place) REQUIRES(lock) {
    forget(place);
    put(entries[place], 0, 0, 0);
  }
  // Takes the entry out of the counts only.
  void forget(std::size_t place) REQUIRES(lock) {
    const std::uint64_t tag = entries[place].tag.load(std::memory_order_relaxed);
    if (tag == 0) return;
    occupied[place / 64] &= ~(std::uint64_t{1} << place % 64);
    --total;
    --of_group[group_of(entries[place].space.load(std::memory_order_relaxed))];
    const unsigned page_lg2 = tag & kInPage;
    if (--of_size[page_lg2] == 0) set_sizes(sizes.load(std::memory_order_relaxed) & ~(std::uint64_t{1} << page_lg2));
  }
  void set_sizes(std::uint64_t now) REQUIRES(lock) { sizes.store(now, std::memory_order_release); }

  // What an invalidation asks for: one space, or all that agree in some bits.
  struct Spaces {
    std::uint64_t mask, value;
    bool exact() const { return mask == kExact; }
    bool contain(std::uint64_t space) const { return (space & mask) == value; }
    bool may_count(std::uint64_t space) const { return !exact() || group_of(space) == group_of(value); }
  };
  std::uint32_t most(const Spaces& spaces) REQUIRES(lock) {
    return spaces.exact() ? of_group[group_of(spaces.value)] : total;
  }
  // Looks at the entries that are there, until none can be left.
  template <typename Wanted>
  void clear_where(const Spaces& spaces, Wanted wanted) REQUIRES(lock) {
    std::uint32_t left = most(spaces);
    for (std::size_t word = 0; left != 0; ++word) {
      for (std::uint64_t rest = occupied[word]; rest != 0; rest &= rest - 1) {
        const std::size_t place = word * 64 + static_cast<std::size_t>(std::countr_zero(rest));
        const std::uint64_t space = entries[place].space.load(std::memory_order_relaxed);
        if (!spaces.may_count(space)) continue;
        --left;
        const std::uint64_t tag = entries[place].tag.load(std::memory_order_relaxed);
        const auto page = IovaRange::of(Iova{tag & ~kInPage}, std::uint64_t{1} << (tag & kInPage));
        if (spaces.contain(space) && wanted(page)) clear(place);
      }
    }
  }
  // How many places the pages of the range have; at least `enough` if there are more than that.
  std::uint64_t probes(IovaRange range, std::uint64_t enough) const {
    std::uint64_t sum = 0;
    for (std::uint64_t rest = sizes.load(std::memory_order_relaxed); rest != 0 && sum < enough; rest &= rest - 1) {
      const int page_lg2 = std::countr_zero(rest);
      sum += (range.last.value >> page_lg2) - (range.first.value >> page_lg2) + 1;
    }
    return sum;
  }
  void clear_each(std::uint64_t space, IovaRange range) REQUIRES(lock) {
    for (std::uint64_t rest = sizes.load(std::memory_order_relaxed); rest != 0; rest &= rest - 1) {
      const auto page_lg2 = static_cast<unsigned>(std::countr_zero(rest));
      const std::uint64_t last = range.last.value >> page_lg2;
      for (std::uint64_t page = range.first.value >> page_lg2;; ++page) {
        const Iova iova{page << page_lg2};
        const std::size_t place = place_of(space, iova, page_lg2);
        if (entries[place].tag.load(std::memory_order_relaxed) == tag_of(iova, page_lg2) &&
            entries[place].space.load(std::memory_order_relaxed) == space) {
          clear(place);
        }
        if (page == last) break;
      }
    }
  }
  void clear_range(const Spaces& spaces, IovaRange range) REQUIRES(lock) {
    constexpr std::uint64_t kScan = kEntries / 64;  // what a scan costs besides the entries that it finds
    const std::uint64_t scan = kScan + most(spaces);
    if (spaces.exact() && probes(range, scan) < scan) return clear_each(spaces.value, range);
    clear_where(spaces, [range](IovaRange page) { return page.overlaps(range); });
  }
  // A ticket taken before this is void: insert() compares under the lock, which the caller keeps until it has cleared.
  // One taken after it belongs to a walk that sees the tables as they are now.
  void begin_invalidation() REQUIRES(lock) {
    invalidations.store(invalidations.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
};

Iotlb::Iotlb() : impl_(std::make_unique<Impl>()) {}
Iotlb::~Iotlb() = default;

std::optional<Translation> Iotlb::look_up(std::uint64_t space, Iova iova) const {
  for (std::uint64_t rest = impl_->sizes.load(std::memory_order_acquire); rest != 0; rest &= rest - 1) {
    const auto page_lg2 = static_cast<unsigned>(std::countr_zero(rest));
    const Entry& entry = impl_->entries[place_of(space, iova, page_lg2)];
    const std::uint64_t sequence = entry.sequence.load(std::memory_order_acquire);
    const std::uint64_t entry_space = entry.space.load(std::memory_order_acquire);
    const std::uint64_t tag = entry.tag.load(std::memory_order_acquire);
    const std::uint64_t data = entry.data.load(std::memory_order_acquire);
    const bool torn = sequence % 2 != 0 || entry.sequence.load(std::memory_order_relaxed) != sequence;
    if (!torn && tag == tag_of(iova, page_lg2) && entry_space == space) return unpack(data, page_lg2);
  }
  return std::nullopt;
}

Iotlb::Ticket Iotlb::ticket() const { return impl_->invalidations.load(std::memory_order_acquire); }

void Iotlb::insert(Ticket ticket, std::uint64_t space, Iova iova, const Translation& translation) {
  if (!impl_->lock.try_lock()) return;
  if (impl_->invalidations.load(std::memory_order_relaxed) == ticket) {
    impl_->fill(place_of(space, iova, translation.page_lg2), space, tag_of(iova, translation.page_lg2),
                pack(translation));
  }
  impl_->lock.unlock();
}

void Iotlb::invalidate_all() { invalidate_masked(0, 0); }

void Iotlb::invalidate_space(std::uint64_t space) { invalidate_masked(kExact, space); }

void Iotlb::invalidate_range(std::uint64_t space, IovaRange range) { invalidate_masked_range(kExact, space, range); }

void Iotlb::invalidate_masked(std::uint64_t mask, std::uint64_t value) {
  const FutexGuard guard(impl_->lock);
  impl_->begin_invalidation();
  impl_->clear_where({mask, value}, [](IovaRange) { return true; });
}

void Iotlb::invalidate_masked_range(std::uint64_t mask, std::uint64_t value, IovaRange range) {
  const FutexGuard guard(impl_->lock);
  impl_->begin_invalidation();
  impl_->clear_range({mask, value}, range);
}

}  // namespace softiommu
