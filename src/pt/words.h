// SPDX-License-Identifier: BSD-3-Clause
// Entries in memory: native words here, the format's byte order there, "not in use" as the format spells it.
//
// Hardware and lock-free readers look at the same entries, so each changes with one aligned store. Runs of 64-bit
// little-endian entries whose empty word is 0 take the vector loops of entries.h.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "pt/entries.h"
#include "pt/facts.h"

namespace softiommu::pt {

template <PageTableFormat F>
struct Words {
  using Entry = typename F::Entry;
  static constexpr bool kVectors = Facts<F>::kVectors;

  static Entry load(const Entry& entry) {
    return swap(std::atomic_ref(const_cast<Entry&>(entry)).load(std::memory_order_acquire));
  }
  static void store(Entry& entry, Entry word) { std::atomic_ref(entry).store(swap(word), std::memory_order_release); }
  // Stores `word` if the entry still is `expected`; else says in `expected` what it is.
  static bool replace(Entry& entry, Entry& expected, Entry word) {
    Entry raw = swap(expected);
    const bool done = std::atomic_ref(entry).compare_exchange_strong(raw, swap(word), std::memory_order_acq_rel);
    expected = swap(raw);
    return done;
  }
  static void flip(Entry& entry, std::uint64_t bits) {
    std::atomic_ref(entry).fetch_xor(swap(static_cast<Entry>(bits)), std::memory_order_relaxed);
  }
  static bool in_use(Entry word, unsigned level) { return word != empty_entry<F>(level); }

  // Writes first, first + step, ... to `count` entries.
  static void fill(Entry* entries, std::size_t count, Entry first, std::uint64_t step) {
    if constexpr (kVectors) {
      entries::fill(entries, count, first, step);
    } else {
      for (std::size_t i = 0; i < count; ++i, first = static_cast<Entry>(first + step)) put(entries[i], first);
    }
  }
  // Is one of them in use?
  static bool any_in_use(const Entry* entries, std::size_t count, unsigned level) {
    if constexpr (kVectors) {
      return entries::any_in_use(entries, count);
    } else {
      for (std::size_t i = 0; i < count; ++i)
        if (in_use(load(entries[i]), level)) return true;
      return false;
    }
  }
  // Makes them empty and says how many were in use.
  static std::size_t clear(Entry* entries, std::size_t count, unsigned level) {
    if constexpr (kVectors) {
      return entries::clear(entries, count);
    } else {
      std::size_t used = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (!in_use(load(entries[i]), level)) continue;
        put(entries[i], empty_entry<F>(level));
        ++used;
      }
      return used;
    }
  }
  // Bit n: entries[n] & mask == value. For `count` entries, at most 64.
  static std::uint64_t match(const Entry* entries, unsigned count, std::uint64_t mask, std::uint64_t value) {
    if constexpr (kVectors) {
      if (count == 64) return entries::match64(entries, mask, value);
    }
    std::uint64_t found = 0;
    for (unsigned i = 0; i < count; ++i) found |= std::uint64_t{(load(entries[i]) & mask) == value} << i;
    return found;
  }

 private:
  static constexpr Entry swap(Entry word) {
    if constexpr (!big_endian<F>()) return word;
    if constexpr (sizeof(Entry) == 8) return __builtin_bswap64(word);
    return static_cast<Entry>(__builtin_bswap32(static_cast<std::uint32_t>(word)));
  }
  static void put(Entry& entry, Entry word) { std::atomic_ref(entry).store(swap(word), std::memory_order_relaxed); }
};

}  // namespace softiommu::pt
