// SPDX-License-Identifier: BSD-3-Clause
// The search for a hole: from one end to the other over the leaves, skipping every subtree that promises nothing.
//
// A node's summary says what its holes surely do not have (too small, no aligned block) and what one of them surely
// has. The first is enough for requests that are aligned to their own size or to nothing; for others it may send the
// search into holes that lie wrong, so that after a while the second is asked for.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "ioas/range_tree.h"

namespace softiommu {

class RangeTree::HoleSearch {
 public:
  HoleSearch(const RangeTree& tree, const HoleRequest& request)
      : tree_(tree), request_(request), low_(request.within.first.value), high_(request.within.last.value) {
    const int alignment_lg2 = std::countr_zero(request.alignment);
    const int bytes_lg2 = static_cast<int>(std::bit_width(request.bytes)) - 1;
    const bool power = std::has_single_bit(request.bytes);
    // A hole of n bytes has an aligned power of two of at least half of the largest one that is not above n.
    needed_order_ = std::max(request.offset == 0 ? std::min(alignment_lg2, bytes_lg2) + 1 : 1, bytes_lg2);
    sure_order_ = request.offset == 0 ? std::max(alignment_lg2, bytes_lg2 + (power ? 0 : 1)) + 1 : kNever;
    const std::uint64_t most = request.bytes + (request.alignment - 1);
    sure_gap_ = most < request.bytes ? std::numeric_limits<std::uint64_t>::max() : most;
  }

  std::optional<Iova> run() {
    constexpr Pass kPasses[] = {{.sure = false, .limited = true}, {.sure = true, .limited = false}, {}};
    for (const Pass pass : kPasses) {
      pass_ = pass;
      misfits_left_ = kMisfits;
      const auto found = request_.prefer == HoleRequest::Prefer::lowest ? upwards() : downwards();
      if (found || (pass.limited && misfits_left_ > 0)) return found;
    }
    return std::nullopt;
  }

 private:
  struct Pass {
    bool sure = false;     // only holes that fit wherever they lie
    bool limited = false;  // stops after kMisfits
  };
  struct Hole {
    std::uint64_t first = 1, last = 0;  // closed; first > last: none
  };
  static constexpr int kMisfits = 64, kNever = 255;

  bool promises(std::uint64_t gap, int order) const {
    return pass_.sure ? gap >= sure_gap_ || order >= sure_order_ : gap >= request_.bytes && order >= needed_order_;
  }
  bool promises(const Leaf& leaf, unsigned slot) const {
    const std::uint64_t first = leaf.hole_first(slot), bytes = leaf.first[slot] - first;
    return bytes >= request_.bytes && promises(bytes, order_of(first, bytes));
  }
  // The hole that ends at `position`, cut to what is asked for.
  Hole hole_at(Position position) const {
    Hole hole{low_, high_};
    if (position) {
      if (position.range().first <= request_.within.first) return {};
      hole.first = std::max(low_, position.leaf->hole_first(position.slot));
      hole.last = std::min(high_, position.range().first.value - 1);
    } else if (!tree_.empty()) {
      const std::uint64_t used = tree_.last_->rest[tree_.last_->count - 1].last;
      if (used >= high_) return {};
      hole.first = std::max(low_, used + 1);
    }
    return hole;
  }
  std::optional<Iova> place(Hole hole) const {
    if (hole.first > hole.last || hole.last - hole.first < request_.bytes - 1) return std::nullopt;
    const std::uint64_t mask = request_.alignment - 1, most = hole.last - (request_.bytes - 1);
    if (request_.prefer == HoleRequest::Prefer::highest) {
      const std::uint64_t down = (most - request_.offset) & mask;
      if (most - hole.first < down) return std::nullopt;
      return Iova{most - down};
    }
    const std::uint64_t up = (request_.offset - hole.first) & mask;
    if (most - hole.first < up) return std::nullopt;
    return Iova{hole.first + up};
  }
  bool given_up() const { return pass_.limited && misfits_left_ <= 0; }

  std::optional<Iova> upwards() {
    for (Position at = tree_.seek(request_.within.first);; at = next<1>(at)) {
      if (const auto fits = place(hole_at(at))) return fits;
      if (given_up() || !at || at.range().last.value >= high_) return std::nullopt;
      --misfits_left_;
    }
  }
  std::optional<Iova> downwards() {
    if (tree_.empty()) return place(hole_at({}));
    for (Position at = tree_.seek(request_.within.last);;) {
      if (const auto fits = place(hole_at(at))) return fits;
      if (given_up() || (at && at.leaf->hole_first(at.slot) <= low_)) return std::nullopt;
      --misfits_left_;
      at = next<-1>(at);
      if (!at) return std::nullopt;
    }
  }

  // The first child from `slot` on, in the direction of kStep, that may hold what is wanted; its count or -1: none.
  template <int kStep>
  int next_child(const Inner& inner, int slot) const {
    if (pass_.sure) {
      for (; slot >= 0 && slot < static_cast<int>(inner.count); slot += kStep)
        if (promises(inner.gap[slot], inner.order[slot])) break;
      return slot;
    }
    if (slot < 0 || slot >= static_cast<int>(inner.count)) return slot;
    std::uint64_t worth = with_order(inner);
    if (inner.count < kInnerMost) worth &= (std::uint64_t{1} << inner.count) - 1;
    worth &=
        kStep > 0 ? ~std::uint64_t{0} << slot : ~std::uint64_t{0} >> (kInnerMost - 1 - static_cast<unsigned>(slot));
    while (worth != 0) {
      const int child = kStep > 0 ? std::countr_zero(worth) : std::countl_zero(worth) ^ 63;
      if (inner.gap[child] >= request_.bytes) return child;
      worth &= ~(std::uint64_t{1} << child);
    }
    return kStep > 0 ? static_cast<int>(inner.count) : -1;
  }
  // One bit for each child whose order is large enough. Eight bytes are compared at once: orders are below 128.
  std::uint64_t with_order(const Inner& inner) const {
    constexpr std::uint64_t kOnes = 0x0101'0101'0101'0101, kTops = kOnes << 7;
    constexpr std::uint64_t kGather = 0x0102'0408'1020'4080;  // moves bit 8 * i to bit 56 + i
    const std::uint64_t needed = kOnes * static_cast<unsigned>(needed_order_);
    std::uint64_t children = 0;
    for (unsigned i = 0; i < kInnerMost; i += 8) {
      std::uint64_t orders;
      std::memcpy(&orders, inner.order + i, sizeof orders);
      if constexpr (std::endian::native == std::endian::big) orders = std::byteswap(orders);
      const std::uint64_t enough = ((orders | kTops) - needed) & kTops;
      children |= ((enough >> 7) * kGather >> 56) << i;
    }
    return children;
  }

  // The next position whose hole is worth a look; none: the end (or the misfits are used up).
  template <int kStep>
  Position next(Position from) {
    Node* node = from ? from.leaf : tree_.root_;
    int slot = from ? static_cast<int>(from.slot) + kStep : static_cast<int>(node->count) - 1;
    for (int descents = 0;;) {
      if (node->level == 0) {
        auto& leaf = static_cast<Leaf&>(*node);
        for (; slot >= 0 && slot < static_cast<int>(leaf.count); slot += kStep)
          if (promises(leaf, static_cast<unsigned>(slot))) return {&leaf, static_cast<unsigned>(slot)};
      } else {
        const auto& inner = static_cast<const Inner&>(*node);
        slot = next_child<kStep>(inner, slot);
        if (slot >= 0 && slot < static_cast<int>(inner.count)) {
          node = inner.child[slot];
          slot = kStep > 0 ? 0 : static_cast<int>(node->count) - 1;
          ++descents;
          continue;
        }
      }
      if (node->parent == nullptr) return {};
      if (descents > 0) --descents, --misfits_left_;  // what is below kept none of its promises together
      if (given_up()) return {};
      slot = static_cast<int>(slot_of(*node)) + kStep;
      node = node->parent;
    }
  }

  const RangeTree& tree_;
  const HoleRequest& request_;
  const std::uint64_t low_, high_;
  int needed_order_ = 0, sure_order_ = 0;
  std::uint64_t sure_gap_ = 0;
  Pass pass_;
  int misfits_left_ = 0;
};

std::optional<Iova> RangeTree::find_hole(const HoleRequest& request) const {
  if (request.bytes == 0 || request.within.first > request.within.last) return std::nullopt;
  return HoleSearch(*this, request).run();
}

}  // namespace softiommu
