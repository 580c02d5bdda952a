// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/range_tree.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace softiommu {

namespace {

// Searches look at every eighth key first, then at seven between two of them; no branch depends on a comparison.
constexpr unsigned kStride = 8;
constexpr std::size_t kCacheLine = 64;
constexpr unsigned kLeafPoor = 8, kLeafJoined = 24, kInnerPoor = 16, kInnerJoined = 48;  // when nodes are joined

// How many of kCount keys, kStep apart, are <= at.
template <unsigned kCount, unsigned kStep>
unsigned not_above(const std::uint64_t* keys, std::uint64_t at) {
  return [=]<unsigned... i>(std::integer_sequence<unsigned, i...>) {
    return ((keys[i * kStep] <= at ? 1U : 0U) + ...);
  }(std::make_integer_sequence<unsigned, kCount>());
}

template <typename T>
void open_gap(T* array, unsigned slot, unsigned count) {
  std::copy_backward(array + slot, array + count, array + count + 1);
}
template <typename T>
void close_gap(T* array, unsigned slot, unsigned count) {
  std::copy(array + slot + 1, array + count, array + slot);
}

}  // namespace

// --- search ------------------------------------------------------------------------------------------------------

unsigned RangeTree::many_not_above(const Leaf& leaf, std::uint64_t at) {
  const unsigned stretch = not_above<kLeafMost / kStride - 1, kStride>(leaf.first + kStride, at) * kStride;
  return std::min(stretch + not_above<kStride, 1>(leaf.first + stretch, at), leaf.count);
}

unsigned RangeTree::child_for(const Inner& inner, std::uint64_t at) {
  const unsigned stretch = not_above<kInnerMost / kStride - 1, kStride>(inner.key + kStride, at) * kStride;
  return std::min(stretch + not_above<kStride - 1, 1>(inner.key + stretch + 1, at), inner.count - 1);
}

RangeTree::Leaf* RangeTree::descend(std::uint64_t at) const {
  Node* node = root_;
  for (std::uint32_t level = root_->level; level > 0; --level) {
    auto& inner = static_cast<Inner&>(*node);
    node = inner.child[child_for(inner, at)];
  }
  auto* const leaf = static_cast<Leaf*>(node);
  for (std::size_t line = 0; line < sizeof(Leaf); line += kCacheLine)  // all at once, before anything waits for one
    __builtin_prefetch(reinterpret_cast<const std::byte*>(leaf) + line);
  return leaf;
}

// --- summaries ---------------------------------------------------------------------------------------------------

std::uint8_t RangeTree::order_of(std::uint64_t first, std::uint64_t bytes) {
  if (bytes == 0) return 0;
  const auto lg2 = static_cast<unsigned>(std::bit_width(bytes) - 1);
  const std::uint64_t size = std::uint64_t{1} << lg2, lead = (~first + 1) & (size - 1);
  // Where the largest power of two does not fit, the next smaller one always does.
  return static_cast<std::uint8_t>(lg2 + (lead <= bytes - size ? 1U : 0U));
}

RangeTree::Summary RangeTree::hole_before(const Leaf& leaf, unsigned slot) {
  const std::uint64_t first = leaf.hole_first(slot), bytes = leaf.first[slot] - first;
  return {bytes, order_of(first, bytes)};
}

// Of what is below now, knowing that it cannot exceed `at_most`: often equal, and then found early.
std::uint64_t RangeTree::largest_gap(const Leaf& leaf, std::uint64_t at_most) {
  std::uint64_t largest = 0;
  for (unsigned i = 0; i < leaf.count && largest < at_most; ++i)
    largest = std::max(largest, leaf.first[i] - leaf.hole_first(i));
  return largest;
}

std::uint8_t RangeTree::largest_order(const Leaf& leaf, std::uint8_t at_most) {
  std::uint8_t largest = 0;
  for (unsigned i = 0; i < leaf.count && largest < at_most; ++i) {
    const std::uint64_t floor = leaf.hole_first(i), bytes = leaf.first[i] - floor;
    if (bytes >> largest != 0) largest = std::max(largest, order_of(floor, bytes));
  }
  return largest;
}

RangeTree::Summary RangeTree::best_of(const Leaf& leaf) {
  return {largest_gap(leaf, kUnused), largest_order(leaf, kNoOrder)};
}

RangeTree::Summary RangeTree::best_of(const Inner& inner, Summary at_most) {
  Summary best;
  for (unsigned i = 0; i < inner.count && best.gap < at_most.gap; ++i) best.gap = std::max(best.gap, inner.gap[i]);
  for (unsigned i = 0; i < inner.count && best.order < at_most.order; ++i)
    best.order = std::max(best.order, inner.order[i]);
  return best;
}

// The leaf has a hole more: [first, first + bytes).
void RangeTree::gain(Leaf& leaf, std::uint64_t first, std::uint64_t bytes) {
  if (bytes < leaf.best.gap && bytes >> leaf.best.order == 0) return;
  publish(leaf, {std::max(leaf.best.gap, bytes), std::max(leaf.best.order, order_of(first, bytes))});
}

// The leaf had this hole, and has parts of it at most.
void RangeTree::lose(Leaf& leaf, std::uint64_t first, std::uint64_t bytes) {
  Summary best = leaf.best;
  if (bytes == best.gap) best.gap = largest_gap(leaf, best.gap);
  if (order_of(first, bytes) == best.order) best.order = largest_order(leaf, best.order);
  publish(leaf, best);
}

// Tells the nodes above, as far as that changes them.
void RangeTree::publish(Node& node, Summary best) {
  for (Node* at = &node; at->best != best;) {
    at->best = best;
    Inner* const parent = at->parent;
    if (parent == nullptr) return;
    const unsigned slot = slot_of(*at);
    const Summary before{parent->gap[slot], parent->order[slot]};
    set_child(*parent, slot, *at);
    const Summary most{std::max(parent->best.gap, best.gap), std::max(parent->best.order, best.order)};
    const bool shrinks =
        (before.gap == most.gap && best.gap < most.gap) || (before.order == most.order && best.order < most.order);
    best = shrinks ? best_of(*parent, most) : most;
    at = parent;
  }
}

unsigned RangeTree::slot_of(const Node& node) {
  const std::uint64_t key =
      node.level == 0 ? static_cast<const Leaf&>(node).first[0] : static_cast<const Inner&>(node).key[0];
  const unsigned slot = child_for(*node.parent, key);
  assert(node.parent->child[slot] == &node);
  return slot;
}

void RangeTree::set_child(Inner& parent, unsigned slot, Node& child) {
  parent.child[slot] = &child;
  parent.gap[slot] = child.best.gap;
  parent.order[slot] = child.best.order;
  child.parent = &parent;
}

// --- insert ------------------------------------------------------------------------------------------------------

Result<> RangeTree::make_root() {
  return without_throwing([&]() -> Result<> {
    leaves_.reserve(1);
    Leaf* const leaf = new (leaves_.take()) Leaf;
    *static_cast<Node*>(leaf) = {};
    leaf->floor = 0;
    leaf->previous = leaf->next = nullptr;
    std::ranges::fill(leaf->first, kUnused);
    root_ = latest_ = first_ = last_ = leaf;
    return {};
  });
}

// One loop over both arrays, and no calls: mostly only few ranges move.
void RangeTree::open_slot(Leaf& leaf, unsigned slot) {
  std::uint64_t first = leaf.first[slot];
  Leaf::Rest rest = leaf.rest[slot];
  for (unsigned i = slot + 1; i <= leaf.count; ++i) {
    std::swap(first, leaf.first[i]);
    std::swap(rest, leaf.rest[i]);
  }
}

void RangeTree::close_slot(Leaf& leaf, unsigned slot) {
  std::uint64_t first = kUnused;
  Leaf::Rest rest{};
  for (unsigned i = leaf.count; i-- > slot;) {
    std::swap(first, leaf.first[i]);
    std::swap(rest, leaf.rest[i]);
  }
  --leaf.count;
}

void RangeTree::put_and_tell(Place place, IovaRange range, void* value) {
  Leaf& leaf = *place.leaf;
  Leaf* const next = leaf.next;
  const std::uint64_t floor = leaf.hole_first(place.slot);
  if (place.slot < leaf.count) {
    const std::uint64_t hole = leaf.first[place.slot] - floor;
    write(place, range, value);
    lose(leaf, floor, hole);
    return;
  }
  write(place, range, value);
  gain(leaf, floor, range.first.value - floor);
  if (next != nullptr) {
    next->floor = range.last.value + 1;
    lose(*next, floor, next->first[0] - floor);
  }
}

// Splits the full leaf of `place`, and says where the same place is now.
Result<> RangeTree::make_room(Place& place) {
  Leaf& full = *place.leaf;
  // In ascending and in descending use the leaf at the end keeps what it has: it stays full.
  unsigned keep = kLeafMost / 2;
  if (full.next == nullptr && place.slot == kLeafMost) keep = kLeafMost - 1;
  if (full.previous == nullptr && place.slot == 0) keep = 1;
  return without_throwing([&]() -> Result<> {
    std::size_t inners = 0;
    const Inner* up = full.parent;
    for (; up != nullptr && up->count == kInnerMost; up = up->parent) ++inners;
    inners_.reserve(inners + (up == nullptr ? 1 : 0));
    leaves_.reserve(1);
    Leaf& upper = split_leaf(full, keep);
    if (place.slot > keep) place = {&upper, place.slot - keep};
    latest_ = place.leaf;
    return {};
  });
}

RangeTree::Leaf& RangeTree::split_leaf(Leaf& full, unsigned keep) {
  Leaf& upper = *new (leaves_.take()) Leaf;
  upper.parent = nullptr;
  upper.level = 0;
  upper.count = kLeafMost - keep;
  upper.floor = full.rest[keep - 1].last + 1;
  std::ranges::fill(std::copy(full.first + keep, full.first + kLeafMost, upper.first), std::end(upper.first), kUnused);
  std::copy(full.rest + keep, std::end(full.rest), upper.rest);
  std::fill(full.first + keep, std::end(full.first), kUnused);
  full.count = keep;
  upper.previous = &full;
  upper.next = full.next;
  full.next = &upper;
  (upper.next != nullptr ? upper.next->previous : last_) = &upper;
  upper.best = best_of(upper);
  full.best = best_of(full);
  add_sibling(full, upper, upper.first[0]);
  return upper;
}

// `right` holds what was the upper part of `left`, from `key` on.
void RangeTree::add_sibling(Node& left, Node& right, std::uint64_t key) {
  if (left.parent == nullptr) {
    Inner& root = *new (inners_.take()) Inner;
    root.parent = nullptr;
    root.level = left.level + 1;
    root.count = 1;
    std::ranges::fill(root.key, kUnused);
    std::ranges::fill(root.order, std::uint8_t{0});
    root.key[0] = 0;
    set_child(root, 0, left);
    root.best = {std::max(left.best.gap, right.best.gap), std::max(left.best.order, right.best.order)};
    root_ = &root;
  }
  if (left.parent->count == kInnerMost) split_inner(*left.parent);
  Inner& parent = *left.parent;
  const unsigned slot = slot_of(left) + 1;
  open_gap(parent.key, slot, parent.count);
  open_gap(parent.child, slot, parent.count);
  open_gap(parent.gap, slot, parent.count);
  open_gap(parent.order, slot, parent.count);
  ++parent.count;
  parent.key[slot] = key;
  set_child(parent, slot, right);
  set_child(parent, slot - 1, left);
}

void RangeTree::split_inner(Inner& full) {
  constexpr unsigned keep = kInnerMost / 2;
  Inner& upper = *new (inners_.take()) Inner;
  upper.parent = nullptr;
  upper.level = full.level;
  upper.count = kInnerMost - keep;
  std::ranges::fill(std::copy(full.key + keep, std::end(full.key), upper.key), std::end(upper.key), kUnused);
  std::copy(full.child + keep, std::end(full.child), upper.child);
  std::copy(full.gap + keep, std::end(full.gap), upper.gap);
  std::ranges::fill(std::copy(full.order + keep, std::end(full.order), upper.order), std::end(upper.order),
                    std::uint8_t{0});
  for (unsigned i = 0; i < upper.count; ++i) upper.child[i]->parent = &upper;
  std::fill(full.key + keep, std::end(full.key), kUnused);
  full.count = keep;
  const Summary before = full.best;
  upper.best = best_of(upper, before);
  full.best = best_of(full, before);
  add_sibling(full, upper, upper.key[0]);
}

Result<> RangeTree::reserve_split(Position& position) {
  if (position.leaf->count < kLeafMost) return {};
  Place place{position.leaf, position.slot + 1};
  TRY(make_room(place));
  position = {place.leaf, place.slot - 1};  // the place behind a range stays in its leaf
  return {};
}

// No hole changes: neither does what any node says of them.
void RangeTree::split(Position position, Iova at, void* value) {
  const IovaRange range = position.range();
  assert(range.first < at && at <= range.last);
  write({position.leaf, position.slot + 1}, {at, range.last}, value);
  position.leaf->rest[position.slot].last = at.value - 1;
  ++size_;
}

// --- erase -------------------------------------------------------------------------------------------------------

RangeTree::Position RangeTree::erase_and_tell(Position position) {
  Leaf& leaf = *position.leaf;
  const unsigned slot = position.slot;
  const std::uint64_t floor = leaf.hole_first(slot), own = leaf.first[slot] - floor;
  close_slot(leaf, slot);
  latest_ = &leaf;
  if (slot < leaf.count) {
    gain(leaf, floor, leaf.first[slot] - floor);  // larger than the two that it was made of
  } else {
    if (leaf.next != nullptr) {
      leaf.next->floor = floor;
      gain(*leaf.next, floor, leaf.next->first[0] - floor);
    }
    if (leaf.count != 0) lose(leaf, floor, own);
  }
  return leaf.count < kLeafPoor ? tidy(leaf, slot) : normal(&leaf, slot);
}

// Moves all ranges of the right neighbour to the end of `to`; how many there were before.
unsigned RangeTree::move_all(Leaf& from, Leaf& to) {
  const unsigned before = to.count;
  std::copy(from.first, from.first + from.count, to.first + before);
  std::copy(from.rest, from.rest + from.count, to.rest + before);
  to.count += from.count;
  return before;
}

// Joins a leaf that has few ranges left with a neighbour, if they have the same parent; where `slot` is afterwards.
RangeTree::Position RangeTree::tidy(Leaf& leaf, unsigned slot) {
  Leaf *const left = leaf.previous, *const right = leaf.next;
  const auto joins = [&](const Leaf* other) {
    return other != nullptr && other->parent == leaf.parent && other->count + leaf.count <= kLeafJoined;
  };
  if (leaf.count == 0) {
    latest_ = left != nullptr ? left : right;
    remove_leaf(leaf);
    return {right, 0};
  }
  if (joins(right)) {
    const Summary best{std::max(leaf.best.gap, right->best.gap), std::max(leaf.best.order, right->best.order)};
    move_all(*right, leaf);
    publish(leaf, best);
    remove_leaf(*right);
  } else if (joins(left)) {
    const Summary best{std::max(leaf.best.gap, left->best.gap), std::max(leaf.best.order, left->best.order)};
    slot += move_all(leaf, *left);
    publish(*left, best);
    remove_leaf(leaf);
    latest_ = left;
    return normal(left, slot);
  }
  return normal(&leaf, slot);
}

// Its ranges are gone. The neighbour's floor is right already.
void RangeTree::remove_leaf(Leaf& leaf) {
  (leaf.previous != nullptr ? leaf.previous->next : first_) = leaf.next;
  (leaf.next != nullptr ? leaf.next->previous : last_) = leaf.previous;
  const auto* const begin = leaf.parent->child;
  remove_child(*leaf.parent, static_cast<unsigned>(std::find(begin, begin + leaf.parent->count, &leaf) - begin));
  leaves_.give(&leaf);
}

// What the child held is its left neighbour's from now on; the right one's if it was the first.
void RangeTree::remove_child(Inner& parent, unsigned slot) {
  const unsigned key = std::max(slot, 1U);
  if (parent.count > 1) close_gap(parent.key, key, parent.count);
  close_gap(parent.child, slot, parent.count);
  close_gap(parent.gap, slot, parent.count);
  close_gap(parent.order, slot, parent.count);
  --parent.count;
  parent.key[std::max(parent.count, 1U)] = kUnused;
  if (parent.count == 0) {
    Inner& above = *parent.parent;
    const auto* const begin = above.child;
    remove_child(above, static_cast<unsigned>(std::find(begin, begin + above.count, &parent) - begin));
    inners_.give(&parent);
    return;
  }
  publish(parent, best_of(parent, parent.best));
  tidy_inner(parent);
}

void RangeTree::tidy_inner(Inner& inner) {
  if (inner.parent == nullptr) {
    while (root_->level > 0 && root_->count == 1) {
      auto& old = static_cast<Inner&>(*root_);
      root_ = old.child[0];
      root_->parent = nullptr;
      inners_.give(&old);
    }
    return;
  }
  if (inner.count >= kInnerPoor) return;
  Inner& above = *inner.parent;
  const unsigned slot = slot_of(inner);
  for (const unsigned left_slot : {slot, slot - 1}) {  // with its right neighbour, else with its left one
    if (left_slot >= above.count - 1) continue;
    auto& left = static_cast<Inner&>(*above.child[left_slot]);
    auto& right = static_cast<Inner&>(*above.child[left_slot + 1]);
    if (left.count + right.count > kInnerJoined) continue;
    std::copy(right.key, right.key + right.count, left.key + left.count);
    left.key[left.count] = above.key[left_slot + 1];  // from where on the right one's first child reaches by now
    for (unsigned i = 0; i < right.count; ++i) set_child(left, left.count + i, *right.child[i]);
    left.count += right.count;
    publish(left, {std::max(left.best.gap, right.best.gap), std::max(left.best.order, right.best.order)});
    remove_child(above, left_slot + 1);
    inners_.give(&right);
    return;
  }
}

// --- checks ------------------------------------------------------------------------------------------------------

bool RangeTree::consistent(const Node& node, std::uint64_t low, std::uint64_t high) const {
  if (node.parent == nullptr ? &node != root_ : node.count == 0) return false;
  if (node.level == 0) {
    const auto& leaf = static_cast<const Leaf&>(node);
    const std::uint64_t floor = leaf.previous == nullptr ? 0 : leaf.previous->rest[leaf.previous->count - 1].last + 1;
    bool good = leaf.floor == floor && (leaf.previous == nullptr ? first_ == &leaf : leaf.previous->next == &leaf) &&
                (leaf.next == nullptr ? last_ == &leaf : leaf.next->previous == &leaf);
    for (unsigned i = 0; i < kLeafMost; ++i)
      good = good && (i >= leaf.count ? leaf.first[i] == kUnused
                                      : leaf.first[i] >= leaf.hole_first(i) && leaf.rest[i].last >= leaf.first[i] &&
                                            leaf.first[i] >= low && leaf.first[i] <= high);
    return good && (leaf.parent == nullptr || leaf.best == best_of(leaf));
  }
  const auto& inner = static_cast<const Inner&>(node);
  bool good = inner.best == best_of(inner, {kUnused, kNoOrder}) && low <= inner.key[0] && inner.key[0] <= high;
  for (unsigned i = 0; i < inner.count && good; ++i) {
    const Node& child = *inner.child[i];
    good = child.parent == &inner && child.level + 1 == inner.level && child.best.gap == inner.gap[i] &&
           child.best.order == inner.order[i] &&
           consistent(child, i == 0 ? low : inner.key[i], i + 1 < inner.count ? inner.key[i + 1] - 1 : high);
  }
  for (unsigned i = inner.count; i < kInnerMost; ++i) good = good && inner.key[i] == kUnused;
  return good;
}

bool RangeTree::consistent() const { return root_ == nullptr || consistent(*root_, 0, kUnused); }

}  // namespace softiommu
