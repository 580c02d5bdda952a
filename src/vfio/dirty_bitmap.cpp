// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/dirty_bitmap.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace softiommu::vfio {

namespace {

constexpr std::uint64_t kAllOnes = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kBits = 64, kWordBytes = sizeof(std::uint64_t);

}  // namespace

Result<> check_user_bitmap(Program& program, const abi::Bitmap& bitmap, std::uint64_t bytes) {
  if (bitmap.pgsize == 0) return fail(EINVAL, "the bitmap's page size is 0");
  if (bitmap.size != 0 && bitmap.data + (bitmap.size - 1) < bitmap.data) return fail(EINVAL, "the bitmap wraps");
  const std::uint64_t pages = bytes >> std::countr_zero(bitmap.pgsize);
  TRY(check_bitmap(pages, bitmap.size));
  const std::uint64_t first = align_down(bitmap.data, kPageSize);
  const std::uint64_t last = bitmap.data + (pages + kBits - 1) / kBits * kWordBytes - 1;
  return program.check_pinnable(first, align_down(last, kPageSize) + kPageSize - first, true);
}

Result<> write_dirty(Program& program, std::uint64_t data, const DirtyPagesRun& run) {
  std::array<std::uint64_t, 512> words;
  std::uint64_t at = data + run.first / kBits * kWordBytes;
  std::uint64_t kept = run.first % kBits;  // bits of the first word that are not ours
  std::uint64_t left = run.count;
  while (left != 0) {
    const std::uint64_t bits = std::min<std::uint64_t>(left, words.size() * kBits - kept);
    const std::uint64_t used = (kept + bits + kBits - 1) / kBits;
    std::fill_n(words.begin(), used, kAllOnes);
    if (kept != 0) {
      std::uint64_t before = 0;
      TRY(program.copy_in(&before, at, sizeof before));
      words[0] = kAllOnes << kept | (before & ~(kAllOnes << kept));
    }
    if (const std::uint64_t tail = (kept + bits) % kBits; tail != 0) words[used - 1] &= ~(kAllOnes << tail);
    TRY(program.copy_out(at, words.data(), used * kWordBytes));
    at += used * kWordBytes;
    left -= bits;
    kept = 0;
  }
  return {};
}

}  // namespace softiommu::vfio
