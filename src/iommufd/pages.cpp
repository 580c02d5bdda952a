// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/pages.h"

#include <algorithm>

namespace softiommu::iommufd {

Result<std::vector<PhysRun>> Pages::pin(std::uint64_t start, std::uint64_t length) {
  TRY(account_.program().check_pinnable(user_ + start, length, writable_));
  return without_throwing([&]() -> Result<std::vector<PhysRun>> {
    std::vector<PhysRun> runs;
    const Covered piece{start, start + (length - 1)};
    const std::uint64_t before = covered_pages();
    covered_.insert(std::ranges::upper_bound(covered_, start, {}, &Covered::first), piece);
    const std::uint64_t more = covered_pages() - before;
    if (const auto charged = account_.charge(more); !charged) {
      uncover(piece);
      return std::unexpected(charged.error());
    }
    const auto undo = [&] {
      for (const PhysRun& run : runs) memory_.unpin(run);
      account_.uncharge(more);
      uncover(piece);
    };
    for (std::uint64_t done = 0; done < length;) {
      try {
        runs.reserve(runs.size() + 1);
      } catch (...) {
        undo();
        throw;
      }
      const auto run = memory_.pin(user_ + start + done, length - done);
      if (!run) {
        undo();
        return std::unexpected(run.error());
      }
      done += run->bytes;
      if (!runs.empty() && runs.back().first + runs.back().bytes == run->first) {
        runs.back().bytes += run->bytes;
      } else {
        runs.push_back(*run);
      }
    }
    return runs;
  });
}

void Pages::unpin(std::uint64_t start, const std::vector<PhysRun>& runs) {
  std::uint64_t length = 0;
  for (const PhysRun& run : runs) {
    memory_.unpin(run);
    length += run.bytes;
  }
  const std::uint64_t before = covered_pages();
  uncover({start, start + (length - 1)});
  account_.uncharge(before - covered_pages());
}

// In the union of all pieces.
std::uint64_t Pages::covered_pages() const {
  std::uint64_t pages = 0, next = 0;  // bytes below `next` are counted
  for (const Covered& piece : covered_) {
    const std::uint64_t first = std::max(piece.first, next);
    if (first > piece.last) continue;
    next = piece.last + 1;
    pages += (next - first) >> kPageShift;
  }
  return pages;
}

void Pages::uncover(Covered piece) {
  covered_.erase(
      std::ranges::find_if(covered_, [&](const Covered& c) { return c.first == piece.first && c.last == piece.last; }));
}

}  // namespace softiommu::iommufd
