// SPDX-License-Identifier: BSD-3-Clause
#include "pt/entries.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET_AVX2 __attribute__((target("avx2")))
#endif

namespace softiommu::pt::entries {

namespace scalar {

void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step) {
  for (std::size_t i = 0; i < count; ++i, first += step)
    std::atomic_ref(entries[i]).store(first, std::memory_order_relaxed);
}

bool any_in_use(const std::uint64_t* entries, std::size_t count) {
  std::uint64_t some = 0;
  for (std::size_t i = 0; i < count; ++i) some |= load_entry(entries[i]);
  return some != 0;
}

std::size_t clear(std::uint64_t* entries, std::size_t count) {
  std::size_t in_use = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (load_entry(entries[i]) == 0) continue;
    std::atomic_ref(entries[i]).store(0, std::memory_order_relaxed);
    ++in_use;
  }
  return in_use;
}

std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value) {
  std::uint64_t found = 0;
  for (unsigned i = 0; i < 64; ++i) found |= std::uint64_t{(load_entry(entries[i]) & mask) == value} << i;
  return found;
}

}  // namespace scalar

namespace avx2 {

#if defined(__x86_64__)

namespace {

constexpr std::size_t kLanes = 4;

__m256i* lanes(std::uint64_t* entries) { return reinterpret_cast<__m256i*>(entries); }
const __m256i* lanes(const std::uint64_t* entries) { return reinterpret_cast<const __m256i*>(entries); }

// Entries before the first one on a vector boundary.
std::size_t unaligned_head(const std::uint64_t* entries, std::size_t count) {
  const std::size_t place = (reinterpret_cast<std::uintptr_t>(entries) / sizeof(std::uint64_t)) % kLanes;
  const std::size_t head = (kLanes - place) % kLanes;
  return head < count ? head : count;
}

}  // namespace

bool supported() { return __builtin_cpu_supports("avx2") != 0; }

TARGET_AVX2 void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step) {
  std::size_t i = 0;
  for (const std::size_t head = unaligned_head(entries, count); i < head; ++i, first += step) entries[i] = first;
  const auto word = [first, step](unsigned n) { return static_cast<long long>(first + n * step); };
  __m256i low = _mm256_set_epi64x(word(3), word(2), word(1), word(0));
  __m256i high = _mm256_set_epi64x(word(7), word(6), word(5), word(4));
  const __m256i stride = _mm256_set1_epi64x(static_cast<long long>(2 * kLanes * step));
  for (; i + 2 * kLanes <= count; i += 2 * kLanes, first += 2 * kLanes * step) {
    _mm256_store_si256(lanes(entries + i), low);
    _mm256_store_si256(lanes(entries + i + kLanes), high);
    low = _mm256_add_epi64(low, stride);
    high = _mm256_add_epi64(high, stride);
  }
  for (; i < count; ++i, first += step) entries[i] = first;
}

TARGET_AVX2 bool any_in_use(const std::uint64_t* entries, std::size_t count) {
  std::size_t i = 0;
  std::uint64_t some = 0;
  for (const std::size_t head = unaligned_head(entries, count); i < head; ++i) some |= entries[i];
  __m256i low = _mm256_setzero_si256(), high = low;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    low = _mm256_or_si256(low, _mm256_load_si256(lanes(entries + i)));
    high = _mm256_or_si256(high, _mm256_load_si256(lanes(entries + i + kLanes)));
  }
  for (; i < count; ++i) some |= entries[i];
  const __m256i both = _mm256_or_si256(low, high);
  return some != 0 || _mm256_testz_si256(both, both) == 0;
}

TARGET_AVX2 std::size_t clear(std::uint64_t* entries, std::size_t count) {
  std::size_t i = 0, in_use = 0;
  for (const std::size_t head = unaligned_head(entries, count); i < head; ++i) {
    in_use += entries[i] != 0;
    entries[i] = 0;
  }
  const __m256i zero = _mm256_setzero_si256();
  __m256i unused = zero;  // per lane: minus the number of entries that were 0
  const std::size_t vectors = (count - i) / kLanes;
  for (std::size_t n = 0; n < vectors; ++n, i += kLanes) {
    unused = _mm256_add_epi64(unused, _mm256_cmpeq_epi64(_mm256_load_si256(lanes(entries + i)), zero));
    _mm256_store_si256(lanes(entries + i), zero);
  }
  alignas(32) std::uint64_t sums[kLanes];
  _mm256_store_si256(lanes(sums), unused);
  in_use += vectors * kLanes + static_cast<std::size_t>(sums[0] + sums[1] + sums[2] + sums[3]);
  for (; i < count; ++i) {
    in_use += entries[i] != 0;
    entries[i] = 0;
  }
  return in_use;
}

TARGET_AVX2 std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value) {
  const __m256i masks = _mm256_set1_epi64x(static_cast<long long>(mask));
  const __m256i values = _mm256_set1_epi64x(static_cast<long long>(value));
  std::uint64_t found = 0;
  for (unsigned i = 0; i < 64; i += kLanes) {
    const __m256i masked = _mm256_and_si256(_mm256_loadu_si256(lanes(entries + i)), masks);
    const int bits = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(masked, values)));
    found |= static_cast<std::uint64_t>(bits) << i;
  }
  return found;
}

#else

bool supported() { return false; }
void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step) {
  scalar::fill(entries, count, first, step);
}
bool any_in_use(const std::uint64_t* entries, std::size_t count) { return scalar::any_in_use(entries, count); }
std::size_t clear(std::uint64_t* entries, std::size_t count) { return scalar::clear(entries, count); }
std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value) {
  return scalar::match64(entries, mask, value);
}

#endif

}  // namespace avx2

namespace {

// The race detector understands atomic stores only, so it gets the scalar path.
bool choose_vectors() {
#if defined(__SANITIZE_THREAD__)
  return false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return false;
#else
  return avx2::supported();
#endif
#else
  return avx2::supported();
#endif
}

const bool vectors = choose_vectors();  // scalar until it is set: right at any time

}  // namespace

void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step) {
  return vectors ? avx2::fill(entries, count, first, step) : scalar::fill(entries, count, first, step);
}
bool any_in_use(const std::uint64_t* entries, std::size_t count) {
  return vectors ? avx2::any_in_use(entries, count) : scalar::any_in_use(entries, count);
}
std::size_t clear(std::uint64_t* entries, std::size_t count) {
  return vectors ? avx2::clear(entries, count) : scalar::clear(entries, count);
}
std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value) {
  return vectors ? avx2::match64(entries, mask, value) : scalar::match64(entries, mask, value);
}

}  // namespace softiommu::pt::entries
