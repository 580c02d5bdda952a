// SPDX-License-Identifier: BSD-3-Clause
// Disjoint ranges of 64-bit addresses, sorted, each with a pointer; and the holes between them.
//
// A B+-tree: leaves of 32 ranges, inner nodes of 64 children. Every node knows the largest hole below it and the
// largest aligned power of two that fits into one, so that a hole is found in one descent, from either end. A hole
// belongs to the range that ends it; the one above the last range is open and belongs to nobody.
// Every call takes a number of steps that grows with the height only (7 levels hold 2^32 ranges), except where
// find_hole() says so. Nodes come from pools and are recycled: in a steady state nothing is allocated.
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/types.h"
#include "ioas/node_pool.h"

namespace softiommu {

// What find_hole() looks for.
struct HoleRequest {
  enum class Prefer : std::uint8_t { lowest, highest };
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 1;  // a power of two
  std::uint64_t offset = 0;     // below alignment: the answer is a multiple of it plus this
  IovaRange within{Iova{0}, Iova{~std::uint64_t{0}}};
  Prefer prefer = Prefer::lowest;
};

class RangeTree {
 public:
  static constexpr unsigned kLeafMost = 32, kInnerMost = 64;

 private:
  struct Summary {
    std::uint64_t gap = 0;   // bytes of the largest hole
    std::uint8_t order = 0;  // log2 + 1 of the largest aligned power of two in a hole; 0: there is no hole
    friend bool operator==(const Summary&, const Summary&) = default;
  };
  struct Inner;
  struct Node {
    Inner* parent;
    std::uint32_t count;
    std::uint32_t level;  // 0: a leaf
    Summary best;
  };
  struct Leaf : Node {
    std::uint64_t floor;  // where the hole before the first range begins
    Leaf *previous, *next;
    std::uint64_t first[kLeafMost];  // ~0 where unused
    struct Rest {
      std::uint64_t last;
      void* value;
    } rest[kLeafMost];

    // Of the hole before the range there. Behind a range that ends at 2^64 - 1 nothing is looked up.
    std::uint64_t hole_first(unsigned slot) const { return slot == 0 ? floor : rest[slot - 1].last + 1; }
  };
  struct Inner : Node {
    std::uint64_t key[kInnerMost];  // child i holds ranges from key[i] on (child 0: all below key[1]); ~0 where unused
    Node* child[kInnerMost];
    std::uint64_t gap[kInnerMost];  // the children's summaries
    std::uint8_t order[kInnerMost];
  };

 public:
  RangeTree() = default;
  RangeTree(const RangeTree&) = delete;
  RangeTree& operator=(const RangeTree&) = delete;

  // A range's place; valid until the tree changes.
  struct Position {
    Leaf* leaf = nullptr;  // nullptr: behind the last range
    unsigned slot = 0;
    explicit operator bool() const { return leaf != nullptr; }
    IovaRange range() const { return {Iova{leaf->first[slot]}, Iova{leaf->rest[slot].last}}; }
    void* value() const { return leaf->rest[slot].value; }
  };

  // The first range that ends at or after `iova`.
  Position seek(Iova iova) const {
    if (root_ == nullptr) return {};
    const Place place = find_place(iova.value);
    if (place.slot > 0 && place.leaf->rest[place.slot - 1].last >= iova.value) return {place.leaf, place.slot - 1};
    if (place.slot == 0 && place.leaf->floor > iova.value) return before(*place.leaf);
    return normal(place.leaf, place.slot);
  }
  Position first() const { return root_ == nullptr ? Position{} : normal(first_, 0); }
  static Position after(Position position) { return normal(position.leaf, position.slot + 1); }

  // `make_value` is called for the range's pointer once nothing else can fail but memory: Result<void*>().
  // EEXIST: it would overlap another range. ENOMEM; others from make_value. On failure nothing changed.
  template <class MakeValue>
  Result<> insert(IovaRange range, MakeValue&& make_value) {
    if (root_ == nullptr) [[unlikely]]
      TRY(make_root());
    Place place = find_place(range.first.value);
    if (!is_free(place, range)) [[unlikely]]
      return fail(EEXIST, "the range overlaps one that is mapped");
    if (place.leaf->count == kLeafMost) [[unlikely]]
      TRY(make_room(place));
    put(place, range, TRY(make_value()));
    return {};
  }
  // Takes the range out; returns the place of the one after it.
  Position erase(Position position) {
    --size_;
    if (position.leaf->parent != nullptr) return erase_and_tell(position);
    close_slot(*position.leaf, position.slot);
    return normal(position.leaf, position.slot);
  }
  // Cuts the range in two: the upper one begins at `at`, which is inside of it and not its first byte, and gets
  // `value`. reserve_split() comes first, with the same place, which it may change. ENOMEM.
  Result<> reserve_split(Position& position);
  void split(Position position, Iova at, void* value);

  // Where `request.bytes` (not 0) free bytes are; nullopt exactly when no hole fits.
  // For requests that are aligned to their own size (a power of two) or to no more than all ranges are, that is one
  // descent and the hole is the first from the preferred end. For others holes exist that are large enough but lie
  // wrong: 64 of them are tried, then the first hole is taken that fits wherever it lies; only when there is none of
  // those either, all are tried.
  std::optional<Iova> find_hole(const HoleRequest& request) const;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // For tests: does every node say what is below it?
  bool consistent() const;

 private:
  struct Place {  // where a range would be inserted: before `slot`
    Leaf* leaf;
    unsigned slot;
  };
  class HoleSearch;

  // In the place where a search went last, or next to it, most go again.
  bool is_near(const Leaf& leaf, std::uint64_t at) const {
    return (leaf.previous == nullptr || leaf.first[0] <= at) &&
           (leaf.next == nullptr || at <= leaf.rest[leaf.count - 1].last);
  }
  Place find_place(std::uint64_t at) const {
    Leaf* leaf = latest_;
    if (!is_near(*leaf, at)) latest_ = leaf = descend(at);
    return {leaf, ranges_not_above(*leaf, at)};
  }
  static bool is_free(Place place, IovaRange range) {
    const Leaf& leaf = *place.leaf;
    if (place.slot > 0 ? leaf.rest[place.slot - 1].last >= range.first.value : leaf.floor > range.first.value)
      return false;
    if (place.slot < leaf.count) return leaf.first[place.slot] > range.last.value;
    return leaf.next == nullptr || leaf.next->first[0] > range.last.value;
  }
  static Position before(const Leaf& leaf) { return {leaf.previous, leaf.previous->count - 1}; }
  static Position normal(Leaf* leaf, unsigned slot) {
    return slot < leaf->count ? Position{leaf, slot} : Position{leaf->next, 0};
  }
  static unsigned ranges_not_above(const Leaf& leaf, std::uint64_t at) {
    if (leaf.count > kFew) return many_not_above(leaf, at);
    unsigned slot = 0;
    while (slot < leaf.count && leaf.first[slot] <= at) ++slot;
    return slot;
  }
  static unsigned many_not_above(const Leaf& leaf, std::uint64_t at);
  static unsigned child_for(const Inner& inner, std::uint64_t at);
  Leaf* descend(std::uint64_t at) const;

  Result<> make_root();
  // Into a leaf that has room, where the range is free.
  void put(Place place, IovaRange range, void* value) {
    ++size_;
    if (place.leaf->parent == nullptr) [[likely]]
      write(place, range, value);
    else
      put_and_tell(place, range, value);
  }
  Position erase_and_tell(Position position);
  void put_and_tell(Place place, IovaRange range, void* value);
  static void write(Place place, IovaRange range, void* value) {
    Leaf& leaf = *place.leaf;
    if (place.slot < leaf.count) open_slot(leaf, place.slot);
    ++leaf.count;
    leaf.first[place.slot] = range.first.value;
    leaf.rest[place.slot] = {range.last.value, value};
  }
  static void open_slot(Leaf& leaf, unsigned slot);
  static void close_slot(Leaf& leaf, unsigned slot);
  Result<> make_room(Place& place);
  Leaf& split_leaf(Leaf& full, unsigned keep);
  void split_inner(Inner& full);
  void add_sibling(Node& left, Node& right, std::uint64_t key);
  Position tidy(Leaf& leaf, unsigned slot);
  static unsigned move_all(Leaf& from, Leaf& to);
  void remove_leaf(Leaf& leaf);
  void remove_child(Inner& parent, unsigned slot);
  void tidy_inner(Inner& inner);

  // Summaries. A leaf that is the root needs none.
  static std::uint8_t order_of(std::uint64_t first, std::uint64_t bytes);
  static Summary hole_before(const Leaf& leaf, unsigned slot);
  static std::uint64_t largest_gap(const Leaf& leaf, std::uint64_t at_most);
  static std::uint8_t largest_order(const Leaf& leaf, std::uint8_t at_most);
  static Summary best_of(const Leaf& leaf);
  static Summary best_of(const Inner& inner, Summary at_most);
  static void gain(Leaf& leaf, std::uint64_t first, std::uint64_t bytes);
  static void lose(Leaf& leaf, std::uint64_t first, std::uint64_t bytes);
  static void publish(Node& node, Summary best);
  static unsigned slot_of(const Node& node);
  static void set_child(Inner& parent, unsigned slot, Node& child);
  bool consistent(const Node& node, std::uint64_t low, std::uint64_t high) const;

  static constexpr unsigned kFew = 4;
  static constexpr std::uint8_t kNoOrder = 255;  // larger than any
  static constexpr std::uint64_t kUnused = ~std::uint64_t{0};

  Node* root_ = nullptr;
  mutable Leaf* latest_ = nullptr;
  Leaf *first_ = nullptr, *last_ = nullptr;
  std::size_t size_ = 0;
  NodePool<Leaf> leaves_;
  NodePool<Inner> inners_;
};

}  // namespace softiommu
