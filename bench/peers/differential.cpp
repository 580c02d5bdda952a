// SPDX-License-Identifier: BSD-3-Clause
// The same random mappings through Linux's page-table code (linked in) and through ours (a shared library): equal
// answers, equal translations, equal unmapped sizes, equal dirty pages, and equal words in the tables but for what
// differential_cases.h allows. Ends with 1 and the place at the first difference.
//
// usage: differential-KERNEL new|old LIBRARY [OPERATIONS [SEED [CASE]]]
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <vector>

#include "differential_cases.h"
#include "differential_trees.h"

namespace differential {
namespace {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 | 1) {}
  std::uint64_t operator()() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1d >> 8;
  }
  std::uint64_t below(std::uint64_t end) { return (*this)() % end; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

struct Sides {
  PeerApi linux, ours;
  std::uint64_t *linux_bitmap, *ours_bitmap;
};
constexpr std::uint64_t kBitmapBytes = 32 * kKiB;  // 1 GiB of 4 KiB pages

constexpr std::uint64_t kEnoughToMeetAll = 10000;

// How often each allowed difference was met.
std::array<std::uint64_t, std::size(kAllowed)> met_allowed{};

class Run {
 public:
  Run(const Sides& sides, const Case& which, Kernel kernel, std::uint64_t seed)
      : sides_(sides),
        case_(which),
        kernel_(kernel),
        random_(seed),
        linux_table_(make(sides.linux)),
        ours_table_(make(sides.ours)),
        linux_(sides.linux, linux_table_, words_),
        ours_(sides.ours, ours_table_, words_) {}
  ~Run() {
    sides_.linux.destroy(linux_table_);
    sides_.ours.destroy(ours_table_);
  }

  void operate(std::uint64_t operations) {
    for (done_ = 0; done_ < operations; ++done_) {
      const std::uint64_t choice = random_.below(100);
      if (choice < 40) {
        map();
      } else if (choice < 75) {
        unmap();
      } else if (choice < 90) {
        translate();
      } else {
        dirty();
      }
      if (done_ % 32 == 31) compare();
    }
    while (!pieces_.empty()) unmap();
    compare();
  }

 private:
  struct Range {
    std::uint64_t first, bytes;
    std::uint64_t end() const { return first + bytes; }
  };
  struct Piece {
    std::uint64_t bytes, pa;
    unsigned rights;
  };
  using Pieces = std::map<std::uint64_t, Piece>;

  void* make(const PeerApi& api) {
    void* const table = api.create(&case_.config);
    if (table == nullptr) fail("there is no such table", 0);
    return table;
  }

  template <class... Value>
  [[noreturn]] void fail(const char* what, std::uint64_t iova, Value... values) const {
    std::fprintf(stderr, "%s: operation %llu, IOVA %#llx: %s", case_.name, static_cast<unsigned long long>(done_),
                 static_cast<unsigned long long>(iova), what);
    (std::fprintf(stderr, " %#llx", static_cast<unsigned long long>(values)), ...);
    std::fprintf(stderr, "\n");
    std::exit(1);
  }

  const Difference* allowed(Behaviour behaviour, std::uint64_t bits_that_differ = 0, unsigned rights = 0) const {
    for (std::size_t i = 0; i < std::size(kAllowed); ++i) {
      const Difference& row = kAllowed[i];
      if (row.behaviour != behaviour || (row.kernels & kernel_) == 0 || (row.formats & in(case_.config.format)) == 0 ||
          (bits_that_differ & ~row.mask) != 0 || (rights & row.rights) != row.rights || (rights & row.without) != 0)
        continue;
      ++met_allowed[i];
      return &row;
    }
    return nullptr;
  }

  // ---- where and how large ----

  std::uint64_t page() const { return std::uint64_t{1} << case_.config.page_lg2; }
  unsigned input_bits() const {
    switch (case_.config.format) {
      case PEER_AMDV1:
        return 63;  // its root grows; not 64, so that ends do not wrap here
      case PEER_X86_64:
      case PEER_RISCV64:
        return case_.config.input_bits - 1;  // the lower half
      default:
        return case_.config.input_bits;
    }
  }
  std::uint64_t last() const { return ~std::uint64_t{0} >> (64 - input_bits()); }
  std::uint64_t reach(unsigned level) const { return level == 5 ? ~std::uint64_t{0} : span(level + 1) - 1; }
  std::uint64_t span(unsigned level) const { return std::uint64_t{1} << words_.shift(level); }

  // Mostly pages, often about as much as a block or two, sometimes more; AMD has all powers of two.
  std::uint64_t random_bytes() {
    const std::uint64_t choice = random_.below(100);
    if (choice < 55) return (1 + random_.below(80)) * page();
    if (choice < 90 || case_.config.format == PEER_V7S) {
      const std::uint64_t table = std::min(span(1), 64 * kMiB);
      return (random_.below(3) + 1) * table + random_.below(3) * random_.below(20) * page();
    }
    if (case_.config.format == PEER_AMDV1 && random_.one_in(2)) return page() << random_.below(28);
    return std::min(span(2), kGiB);
  }

  // Around a few places, so that mappings meet: the start, the end, and some between. Roots that grow see the higher
  // places later.
  std::uint64_t random_iova(std::uint64_t bytes) {
    const unsigned bits = input_bits();
    const unsigned grown = case_.config.input_bits + static_cast<unsigned>(done_ / 1500) * 5;
    const unsigned reach = case_.config.format == PEER_AMDV1 ? std::min(bits, grown) : bits;
    const std::uint64_t end = ~std::uint64_t{0} >> (64 - reach), window = std::min(end, 4 * span(1) + 8 * kMiB);
    const std::uint64_t places[] = {0, end - window, (end / 2 - window / 2), end / 3};
    std::uint64_t iova = places[random_.below(4)] + random_.below(window);
    const std::uint64_t alignment = random_.one_in(3) ? page() : std::min(span(1), std::bit_floor(bytes));
    iova &= ~(std::max(alignment, page()) - 1);
    return iova > end - (bytes - 1) ? (end - (bytes - 1)) & ~(page() - 1) : iova;
  }

  std::uint64_t random_pa(std::uint64_t iova, std::uint64_t bytes) {
    const std::uint64_t end = std::uint64_t{1} << std::min(case_.config.output_bits, 51u);
    std::uint64_t pa = random_.below(end - bytes) & ~(page() - 1);
    // Alike in their low bits, so that large pages fit: up to a block, or as large as the mapping.
    const std::uint64_t choice = bytes / page() > 8192 ? 2 : random_.below(3);  // not too many entries
    const std::uint64_t alike = choice == 0 ? page() : choice == 1 ? span(1) : std::max(span(1), std::bit_ceil(bytes));
    if (alike < end) pa = (pa & ~(alike - 1)) | (iova & (alike - 1));
    return pa + bytes > end || pa == 0 ? page() : pa;
  }

  // The first piece that overlaps the range, or none.
  Pieces::iterator overlap(const Range& range) {
    auto next = pieces_.lower_bound(range.first);
    if (next != pieces_.begin()) {
      const auto before = std::prev(next);
      if (before->first + (before->second.bytes - 1) >= range.first) return before;
    }
    return next != pieces_.end() && next->first <= range.first + (range.bytes - 1) ? next : pieces_.end();
  }

  // ---- operations ----

  void map() {
    if (pieces_.size() > 40) return unmap();
    const std::uint64_t bytes = std::min(random_bytes(), last() / 4 + 1);
    const std::uint64_t iova = random_iova(bytes), pa = random_pa(iova, bytes);
    if (random_.one_in(200)) return map_outside(pa, bytes);
    const unsigned rights = rights_of(case_.config, random_());
    const bool mapped = overlap({iova, bytes}) != pieces_.end();
    if (mapped && cannot_be_refused_alike(iova, bytes)) return;
    const int linux = sides_.linux.map(linux_table_, base_ + iova, pa, bytes, rights);
    const int ours = sides_.ours.map(ours_table_, base_ + iova, pa, bytes, rights);
    if (mapped) {
      const bool same = linux == ours || (linux == -EEXIST && allowed(Behaviour::mapped_error));
      if (!same || ours != -EADDRINUSE) fail("mapping what is mapped: Linux, ours", iova, -linux, -ours);
      return;
    }
    if (linux != 0 || ours != 0) fail("map: physical address, bytes; Linux, ours", iova, pa, bytes, -linux, -ours);
    pieces_[iova] = {bytes, pa, rights};
    if (words_.dirty().mask != 0 && allowed(Behaviour::born_dirty)) clean({iova, bytes});
  }

  // A mapping of what is mapped already would leave the two different.
  bool cannot_be_refused_alike(std::uint64_t iova, std::uint64_t bytes) const {
    const bool grows = iova + (bytes - 1) > reach(linux_.root().level) || bytes > span(linux_.root().level);
    return allowed(Behaviour::not_checked) || (bytes >= span(1) && allowed(Behaviour::block_over_pages)) ||
           (grows && allowed(Behaviour::grown_in_vain));
  }

  void map_outside(std::uint64_t pa, std::uint64_t bytes) {
    if (!allowed(Behaviour::outside_error)) return;
    const std::uint64_t iova = last() - (bytes - 1) + page();
    const int linux = sides_.linux.map(linux_table_, base_ + iova, pa, bytes, PEER_READ | PEER_WRITE);
    const int ours = sides_.ours.map(ours_table_, base_ + iova, pa, bytes, PEER_READ | PEER_WRITE);
    if (linux != -ERANGE || ours != -EINVAL) fail("mapping outside: Linux, ours", iova, -linux, -ours);
  }

  void unmap() {
    if (pieces_.empty()) return unmap_nothing();
    const Range range = random_mapped_range();
    std::uint64_t linux = 0, holes = 0;
    for (std::uint64_t at = range.first; at < range.end();) {
      const auto piece = overlap({at, range.end() - at});
      if (piece == pieces_.end()) break;
      if (piece->first > at) ++holes;
      const std::uint64_t first = std::max(at, piece->first);
      at = std::min(range.end(), piece->first + piece->second.bytes);
      linux += sides_.linux.unmap(linux_table_, base_ + first, at - first);
    }
    if (holes != 0) allowed(Behaviour::hole);
    const std::uint64_t ours = sides_.ours.unmap(ours_table_, base_ + range.first, range.bytes);
    if (linux != ours) fail("unmap: bytes; Linux, ours", range.first, range.bytes, linux, ours);
    forget(range);
  }

  void unmap_nothing() {
    const std::uint64_t bytes = page(), iova = random_iova(bytes);
    if (kernel_ == kOld || case_.config.format >= PEER_ARM_S1)
      return;  // io-pgtable takes it for a mistake of the caller
    const std::uint64_t linux = sides_.linux.unmap(linux_table_, base_ + iova, bytes);
    if (linux != 0 || sides_.ours.unmap(ours_table_, base_ + iova, bytes) != 0) fail("unmap of nothing", iova, linux);
  }

  // A piece, a part of one that ends between its pages, or that and what follows.
  Range random_mapped_range() {
    auto piece = std::next(pieces_.begin(), static_cast<long>(random_.below(pieces_.size())));
    std::uint64_t first = piece->first, end = first + piece->second.bytes;
    if (random_.one_in(3)) first = page_around(first + random_.below(piece->second.bytes)).first;
    if (random_.one_in(3)) {
      auto other = piece;
      for (std::uint64_t more = random_.below(3); more > 0 && std::next(other) != pieces_.end(); --more) ++other;
      if (other->first - piece->first < 64 * kGiB) end = other->first + other->second.bytes;
    }
    if (random_.one_in(3)) {
      const Range within = page_around(first + random_.below(end - first));
      if (within.bytes != 0) end = within.end();
    }
    return {first, end - first};
  }
  // Of Linux's tree; 0 bytes: a hole.
  Range page_around(std::uint64_t iova) const {
    const auto leaf = linux_.find(iova);
    return leaf ? Range{leaf->iova, std::uint64_t{1} << leaf->lg2} : Range{iova & ~(page() - 1), 0};
  }

  void forget(const Range& range) {
    for (auto piece = overlap(range); piece != pieces_.end(); piece = overlap(range)) {
      const auto [first, old] = *piece;
      pieces_.erase(piece);
      if (first < range.first) pieces_[first] = {range.first - first, old.pa, old.rights};
      if (const std::uint64_t end = first + old.bytes; end > range.end())
        pieces_[range.end()] = {end - range.end(), old.pa + (range.end() - first), old.rights};
    }
  }

  void translate() {
    for (int i = 0; i < 8; ++i) {
      std::uint64_t iova = random_iova(page()) + random_.below(page());
      if (!pieces_.empty() && !random_.one_in(4)) {
        const auto piece = std::next(pieces_.begin(), static_cast<long>(random_.below(pieces_.size())));
        const std::uint64_t edges[] = {0, piece->second.bytes - 1, piece->second.bytes,
                                       random_.below(piece->second.bytes)};
        iova = (piece->first + edges[random_.below(4)]) & last();
      }
      const auto piece = overlap({iova, 1});
      const std::uint64_t expected = piece == pieces_.end() ? 0 : piece->second.pa + (iova - piece->first);
      const std::uint64_t linux = sides_.linux.iova_to_phys(linux_table_, base_ + iova);
      const std::uint64_t ours = sides_.ours.iova_to_phys(ours_table_, base_ + iova);
      const bool known = base_ + iova == ~std::uint64_t{0} && linux != expected && allowed(Behaviour::last_byte);
      if ((linux != expected && !known) || ours != expected)
        fail("iova_to_phys: expected, Linux, ours", iova, expected, linux, ours);
    }
  }

  // ---- dirty state ----

  void clean(const Range& range) {
    const Dirty rule = words_.dirty();
    for (std::uint64_t at = range.first; at - range.first < range.bytes;) {
      const auto leaf = linux_.find(at);
      if (!leaf) fail("a fresh mapping has a hole", at);
      if ((leaf->word & rule.mask) == rule.dirty) linux_.store(leaf->at, leaf->word ^ rule.flip);
      at = leaf->iova + (std::uint64_t{1} << leaf->lg2);
    }
  }

  // Whole words of the bitmap, and whole pages of the table: those within the range, or those around it.
  Range dirty_range(const Range& mapped) {
    const std::uint64_t word = 64 * page();
    if (random_.one_in(2) || allowed(Behaviour::dirty_hole)) {
      const std::uint64_t first = (mapped.first + (word - 1)) & ~(word - 1);
      const std::uint64_t end = page_around(mapped.end() - 1).end() & ~(word - 1);
      return {first, end > first ? end - first : 0};
    }
    const std::uint64_t first = page_around(mapped.first).first & ~(word - 1);
    return {first, ((page_around(mapped.end() - 1).end() - 1) | (word - 1)) + 1 - first};
  }

  // Plays the device in both trees.
  void mark(std::uint64_t iova) {
    const Dirty rule = words_.dirty();
    for (const Tree* tree : {&linux_, &ours_}) {
      const auto leaf = tree->find(iova);
      if (!leaf) fail("a mapped page is not in the tree", iova);
      const bool is_clean = ((leaf->word ^ rule.flip) & rule.mask) == rule.dirty;
      if (is_clean) tree->store(leaf->at, leaf->word ^ rule.flip);
    }
  }

  void dirty() {
    if (words_.dirty().mask == 0 || pieces_.empty()) return translate();
    const auto piece = std::next(pieces_.begin(), static_cast<long>(random_.below(pieces_.size())));
    const std::uint64_t within = std::min(piece->second.bytes, kGiB / 2);
    for (std::uint64_t marks = random_.below(40); marks > 0; --marks) mark(piece->first + random_.below(within));
    const Range range = dirty_range({piece->first, within});
    if (range.bytes == 0 || range.bytes / page() / 8 > kBitmapBytes) return;
    const std::uint64_t first = range.first, bytes = range.bytes;
    std::memset(sides_.linux_bitmap, 0, kBitmapBytes);
    std::memset(sides_.ours_bitmap, 0, kBitmapBytes);
    const int linux = sides_.linux.read_dirty(linux_table_, base_ + first, bytes, sides_.linux_bitmap);
    const int ours = sides_.ours.read_dirty(ours_table_, base_ + first, bytes, sides_.ours_bitmap);
    if (linux != 0 || ours != 0) fail("read_dirty: Linux, ours", first, -linux, -ours);
    for (std::uint64_t i = 0; i < bytes / page(); ++i) {
      const std::uint64_t in_linux = sides_.linux_bitmap[i / 64] >> i % 64 & 1,
                          in_ours = sides_.ours_bitmap[i / 64] >> i % 64 & 1;
      const std::uint64_t iova = first + i * page();
      if (in_linux != in_ours && !(in_ours && in_last_entry(iova) && allowed(Behaviour::dirty_last_entry)))
        fail("dirty page: Linux, ours", iova, in_linux, in_ours);
    }
  }
  // Of several that a page stands in.
  bool in_last_entry(std::uint64_t iova) const {
    const auto leaf = linux_.find(iova);
    if (!leaf) return false;
    unsigned level = 0;
    while (words_.shift(level + 1) <= leaf->lg2) ++level;
    const std::uint64_t entry = span(level), bytes = std::uint64_t{1} << leaf->lg2;
    return bytes > entry && leaf->iova + (bytes - entry) <= iova;
  }

  // ---- words ----

  void compare() {
    const bool same_levels =
        Comparison(linux_, ours_, words_)
            .run(
                [&](unsigned level, std::uint64_t iova, std::uint64_t linux, std::uint64_t ours) {
                  const auto piece = overlap({iova, 1});
                  const unsigned rights = piece == pieces_.end() ? 0 : piece->second.rights;
                  if (words_.kind(linux, level) != Word::leaf || !allowed(Behaviour::word, linux ^ ours, rights))
                    fail("words: level, rights; Linux, ours", iova, level, rights, linux, ours);
                },
                [&] {
                  if (!allowed(Behaviour::empty_table)) fail("Linux has an empty table", 0);
                });
    if (!same_levels) fail("levels of the root: Linux, ours", 0, linux_.root().level, ours_.root().level);
  }

  const Sides& sides_;
  const Case& case_;
  const Kernel kernel_;
  Random random_;
  std::uint64_t done_ = 0;
  // Added to each IOVA on its way to a table.
  const std::uint64_t base_ =
      (case_.config.flags & PEER_UPPER_HALF) != 0 ? ~std::uint64_t{0} << case_.config.input_bits : 0;
  const Words words_{case_.config};
  void* const linux_table_;
  void* const ours_table_;
  const Tree linux_, ours_;
  Pieces pieces_;  // what is mapped
};

int test(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: differential-KERNEL new|old LIBRARY [OPERATIONS [SEED [CASE]]]\n");
    return 2;
  }
  const Kernel kernel = std::string_view(argv[1]) == "new" ? kNew : kOld;
  const std::uint64_t operations = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 10000;
  const std::uint64_t seed = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 1;
  Sides sides{linked_peer(), loaded_peer(argv[2]), nullptr, nullptr};
  if (sides.linux.init() != 0 || sides.ours.init() != 0) {
    std::fprintf(stderr, "no memory\n");
    return 1;
  }
  sides.linux_bitmap = sides.linux.bitmap(kBitmapBytes);
  sides.ours_bitmap = sides.ours.bitmap(kBitmapBytes);
  unsigned cases = 0;
  for (const Case& which : kCases) {
    if ((which.kernels & kernel) == 0 || (argc > 5 && std::string_view(which.name) != argv[5])) continue;
    Run(sides, which, kernel, seed).operate(operations);
    ++cases;
  }
  std::printf("%s kernel: %u configurations, %llu operations each: equal. Met of what may differ:\n", argv[1], cases,
              static_cast<unsigned long long>(operations));
  bool all_met = true;
  for (std::size_t i = 0; i < std::size(kAllowed); ++i) {
    if ((kAllowed[i].kernels & kernel) == 0) continue;
    std::printf("%10llu  %s\n", static_cast<unsigned long long>(met_allowed[i]), kAllowed[i].reason);
    all_met &= met_allowed[i] != 0;
  }
  if (!all_met && operations >= kEnoughToMeetAll && argc <= 5) {
    std::fprintf(stderr, "a difference is allowed that there is not\n");
    return 1;
  }
  return cases == 0;
}

}  // namespace
}  // namespace differential

int main(int argc, char** argv) { return differential::test(argc, argv); }
