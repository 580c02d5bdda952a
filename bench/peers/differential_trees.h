// SPDX-License-Identifier: BSD-3-Clause
// A page table in memory, walked from its root as hardware would, and the comparison of two of them word by word.
// Tables stand at different addresses, so trees are compared by their shape.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>

#include "peer_api.h"
#include "table_words.h"

namespace differential {

struct Leaf {
  std::uint64_t iova, lg2;  // of the whole page
  void* at;                 // the word that the walk ended at
  std::uint64_t word;
};

class Tree {
 public:
  Tree(const PeerApi& api, void* table, const Words& words) : api_(api), table_(table), words_(words) {}

  peer_root root() const {
    peer_root root{};
    api_.root_of(table_, &root);
    return root;
  }
  // Entry `index` of the root, or of the table at `pa`.
  void* entry(const peer_root& root, std::uint64_t index) const {
    const std::uint64_t each = std::uint64_t{1} << words_.index_bits(root.level);
    if (root.count == 1) return entry(root.pa[0], index);
    return entry(root.pa[index / each], index % each);
  }
  void* entry(std::uint64_t pa, std::uint64_t index) const {
    return static_cast<char*>(api_.words(pa)) + index * words_.bytes();
  }
  std::uint64_t load(const void* at) const {
    return words_.bytes() == 4 ? *static_cast<const std::uint32_t*>(at) : *static_cast<const std::uint64_t*>(at);
  }
  void store(void* at, std::uint64_t word) const { *static_cast<std::uint64_t*>(at) = word; }

  std::optional<Leaf> find(std::uint64_t iova) const {
    const peer_root top = root();
    unsigned level = top.level;
    if (shift_out(iova, words_.shift(level)) >= words_.root_entries(top)) return std::nullopt;
    void* at = entry(top, shift_out(iova, words_.shift(level)));
    for (;;) {
      const std::uint64_t word = load(at);
      switch (words_.kind(word, level)) {
        case Word::empty:
          return std::nullopt;
        case Word::leaf: {
          const unsigned lg2 = words_.leaf_lg2(word, level);
          return Leaf{iova >> lg2 << lg2, lg2, at, word};
        }
        case Word::table:
          --level;
          at = entry(words_.table_address(word),
                     shift_out(iova, words_.shift(level)) & ((std::uint64_t{1} << words_.index_bits(level)) - 1));
      }
    }
  }

  bool is_empty(std::uint64_t table, unsigned level) const {
    for (std::uint64_t i = 0; i < std::uint64_t{1} << words_.index_bits(level); ++i) {
      const std::uint64_t word = load(entry(table, i));
      const Word kind = words_.kind(word, level);
      if (kind == Word::leaf || (kind == Word::table && !is_empty(words_.table_address(word), level - 1))) return false;
    }
    return true;
  }

 private:
  static std::uint64_t shift_out(std::uint64_t value, unsigned count) { return count < 64 ? value >> count : 0; }

  const PeerApi& api_;
  void* const table_;
  const Words& words_;
};

// Calls `differs(level, iova, Linux's word, ours)` for each pair of words that are not the same but for table
// addresses, and `empty_table()` where Linux has a table without entries and ours has none.
class Comparison {
 public:
  using Differs = std::function<void(unsigned level, std::uint64_t iova, std::uint64_t linux, std::uint64_t ours)>;

  Comparison(const Tree& linux, const Tree& ours, const Words& words) : linux_(linux), ours_(ours), words_(words) {}

  // False: the roots are of different levels.
  bool run(const Differs& differs, const std::function<void()>& empty_table) {
    differs_ = &differs;
    empty_table_ = &empty_table;
    const peer_root a = linux_.root(), b = ours_.root();
    if (a.level != b.level) return false;
    for (std::uint64_t i = 0; i < words_.root_entries(a); ++i)
      compare(linux_.entry(a, i), ours_.entry(b, i), a.level,
              words_.shift(a.level) < 64 ? i << words_.shift(a.level) : 0);
    return true;
  }

 private:
  void compare(const void* a_at, const void* b_at, unsigned level, std::uint64_t iova) {
    const std::uint64_t a = linux_.load(a_at), b = ours_.load(b_at);
    if (a == b && a == 0) return;
    const Word kind = words_.kind(a, level);
    if (kind == Word::table && words_.kind(b, level) == Word::table) {
      if (((a ^ b) & ~words_.table_field()) != 0) (*differs_)(level, iova, a, b);
      for (std::uint64_t i = 0; i < std::uint64_t{1} << words_.index_bits(level - 1); ++i)
        compare(linux_.entry(words_.table_address(a), i), ours_.entry(words_.table_address(b), i), level - 1,
                iova + (i << words_.shift(level - 1)));
      return;
    }
    if (kind == Word::table && b == 0 && linux_.is_empty(words_.table_address(a), level - 1)) return (*empty_table_)();
    if (a != b) (*differs_)(level, iova, a, b);
  }

  const Tree& linux_;
  const Tree& ours_;
  const Words& words_;
  const Differs* differs_ = nullptr;
  const std::function<void()>* empty_table_ = nullptr;
};

}  // namespace differential
