// SPDX-License-Identifier: BSD-3-Clause
// How the differential test reads page tables: a third reading of each format, next to Linux's and ours, that knows
// only enough to walk: which words are tables, where they point, how much a leaf maps, what makes it dirty.
// It reads no layout of src/hw, so that a wrong row there cannot hide here: bits are spelled out on purpose.
#pragma once

#include <bit>
#include <cstdint>

#include "peer.h"

namespace differential {

constexpr std::uint64_t bits(unsigned high, unsigned low) { return (~0ull >> (63 - (high - low))) << low; }
constexpr std::uint64_t bit(unsigned n) { return 1ull << n; }

enum class Word { empty, leaf, table };

// What a leaf looks like when hardware has written through it: word & mask == dirty; `flip` makes it clean again.
struct Dirty {
  std::uint64_t mask = 0, dirty = 0, flip = 0;
};

// Of one configuration.
class Words {
 public:
  explicit Words(const peer_config& config) : config_(config) {}

  unsigned bytes() const { return config_.format == PEER_V7S ? 4 : 8; }
  // Of a table's index that is not the root.
  unsigned index_bits(unsigned level) const {
    switch (config_.format) {
      case PEER_V7S:
        return level == 0 ? 8 : config_.input_bits - 20;
      case PEER_AMDV1:
        return level == 5 ? 7 : 9;
      default:
        return config_.page_lg2 - 3;
    }
  }
  unsigned shift(unsigned level) const {
    unsigned lg2 = config_.page_lg2;
    for (unsigned below = 0; below < level; ++below) lg2 += index_bits(below);
    return lg2;
  }
  // Entries of the root, together if there are several: Arm's are as many as the input bits need.
  std::uint64_t root_entries(const peer_root& root) const {
    if (config_.format == PEER_ARM_S1 || config_.format == PEER_ARM_S2)
      return 1ull << (config_.input_bits - shift(root.level));
    return std::uint64_t{root.count} << index_bits(root.level);
  }

  Word kind(std::uint64_t word, unsigned level) const {
    switch (config_.format) {
      case PEER_VTDSS:  // readable or writable is present; bit 7 is a page
        return (word & bits(1, 0)) == 0 ? Word::empty : level == 0 || (word & bit(7)) != 0 ? Word::leaf : Word::table;
      case PEER_X86_64:
        return (word & bit(0)) == 0 ? Word::empty : level == 0 || (word & bit(7)) != 0 ? Word::leaf : Word::table;
      case PEER_AMDV1: {
        const std::uint64_t next = (word & bits(11, 9)) >> 9;
        return (word & bit(0)) == 0 ? Word::empty : next == 0 || next == 7 ? Word::leaf : Word::table;
      }
      case PEER_RISCV64:
        return (word & bit(0)) == 0 ? Word::empty : (word & bits(3, 1)) != 0 ? Word::leaf : Word::table;
      case PEER_ARM_S1:
      case PEER_ARM_S2:
        return (word & bit(0)) == 0 ? Word::empty : level > 0 && (word & bit(1)) != 0 ? Word::table : Word::leaf;
      case PEER_V7S:
        return (word & bits(1, 0)) == 0                ? Word::empty
               : level > 0 && (word & bits(1, 0)) == 1 ? Word::table
                                                       : Word::leaf;
      default:  // DART
        return (word & bit(0)) == 0 ? Word::empty : level > 0 ? Word::table : Word::leaf;
    }
  }

  // The address field of a word that points to a table.
  std::uint64_t table_field() const {
    switch (config_.format) {
      case PEER_RISCV64:
        return bits(53, 10);
      case PEER_V7S:
        return bits(31, 10);
      case PEER_DART2:
        return bits(37, 10);
      case PEER_DART1:
        return bits(35, 12);
      default:
        return bits(51, 12);
    }
  }
  std::uint64_t table_address(std::uint64_t word) const {
    const std::uint64_t field = word & table_field();
    if (config_.format == PEER_RISCV64) return field << 2;
    if (config_.format == PEER_DART2) return field << 4;
    if (config_.page_lg2 == 16) return (field & bits(47, 16)) | (field & bits(15, 12)) << 36;
    return field;
  }

  // How much the page maps that a leaf belongs to.
  unsigned leaf_lg2(std::uint64_t word, unsigned level) const {
    switch (config_.format) {
      case PEER_AMDV1:
        if ((word & bits(11, 9)) == 0) return shift(level);
        return 12 + static_cast<unsigned>(std::countr_one((word & bits(51, 12)) >> 12)) + 1;
      case PEER_RISCV64:
        return (word & bit(63)) != 0 ? 16 : shift(level);
      case PEER_V7S:
        if (level > 0) return (word & bit(18)) != 0 ? 24 : 20;
        return (word & bits(1, 0)) == 1 ? 16 : 12;
      default:
        return shift(level);
    }
  }

  Dirty dirty() const {
    if (config_.format == PEER_VTDSS) return {bit(9), bit(9), bit(9)};
    if (config_.format == PEER_AMDV1) return {bit(6), bit(6), bit(6)};
    // Writable by the dirty bit modifier, and not read-only any more.
    if (config_.format == PEER_ARM_S1 && (config_.flags & PEER_TRACK_DIRTY) != 0)
      return {bit(51) | bit(7), bit(51), bit(7)};
    return {};
  }

 private:
  const peer_config& config_;
};

}  // namespace differential
