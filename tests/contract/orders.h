// SPDX-License-Identifier: BSD-3-Clause
// The orders in which drivers may come up: every one of up to four, as many shuffled ones of more (the same each time).
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

namespace softiommu::testing {

using Order = std::vector<unsigned>;

inline std::vector<Order> orders_of(std::size_t drivers) {
  constexpr std::size_t kFew = 4, kMost = 24;
  Order order(drivers);
  std::iota(order.begin(), order.end(), 0u);
  std::vector<Order> all{order};
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same orders each time
  while (all.size() < kMost) {
    if (order.size() > kFew) {
      std::ranges::shuffle(order, random);
    } else if (!std::ranges::next_permutation(order).found) {
      break;
    }
    all.push_back(order);
  }
  return all;
}

}  // namespace softiommu::testing
