// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/pages.h"

#include <algorithm>
#include <cassert>

#include "base/fault.h"

namespace softiommu::iommufd {

Result<> Pages::account_to(Account account) {
  TRY(account.charge(pinned_pages_));
  account_.uncharge(pinned_pages_);
  account_ = std::move(account);
  return {};
}

void Pages::account_again(Account account) {
  account_.uncharge(pinned_pages_);
  account_ = std::move(account);
  account_.charge_in_any_case(pinned_pages_);
}

// The first span that ends at or behind `page`.
std::size_t Pages::place_of(std::uint64_t page) const {
  const auto place = std::ranges::lower_bound(spans_, page, {}, [](const Span& span) { return span.pages.last; });
  return static_cast<std::size_t>(place - spans_.begin());
}

Result<> Pages::hold(std::uint64_t start, std::uint64_t length) {
  if (dma_buf_ != nullptr) return {};
  return without_throwing([&]() -> Result<> {
    const PageRange range = range_of(start, length);
    cut_before(range.first);
    cut_before(range.last + 1);
    if (const auto pinned = without_throwing([&] { return pin_missing(range); }); !pinned) {
      drop_unheld(range);
      return pinned;
    }
    const std::size_t first = place_of(range.first);
    ++spans_[first].begin_here;
    for (std::size_t at = first;; ++at) {
      ++spans_[at].holds;
      if (spans_[at].pages.last != range.last) continue;
      ++spans_[at].end_here;
      return {};
    }
  });
}

void Pages::let_go(std::uint64_t start, std::uint64_t length) {
  if (dma_buf_ != nullptr) return;
  const PageRange range = range_of(start, length);
  const std::size_t first = place_of(range.first);
  assert(first < spans_.size() && spans_[first].pages.first == range.first && spans_[first].begin_here != 0);
  --spans_[first].begin_here;
  for (std::size_t at = first;; ++at) {
    --spans_[at].holds;
    if (spans_[at].pages.last != range.last) continue;
    --spans_[at].end_here;
    break;
  }
  drop_unheld(range);
}

// Every page of the range is in a span then; what is new is held by nobody yet. May throw; who calls drops what is not
// held.
Result<> Pages::pin_missing(PageRange range) {
  for (std::uint64_t next = range.first; next <= range.last;) {
    const std::size_t at = place_of(next);
    const bool none = at == spans_.size() || spans_[at].pages.first > range.last;
    if (!none && spans_[at].pages.first <= next) {
      next = spans_[at].pages.last + 1;
      continue;
    }
    const PageRange missing{next, none ? range.last : spans_[at].pages.first - 1};
    spans_.reserve(spans_.size() + 1);
    spans_.insert(spans_.begin() + static_cast<std::ptrdiff_t>(at), TRY(pin(missing)));
    next = missing.last + 1;
  }
  return {};
}

Result<Pages::Span> Pages::pin(PageRange range) {
  const std::uint64_t user = address_of(range.first), bytes = range.count() << kPageShift;
  TRY(fault::pass("iommufd.pin"));
  // A file's mapping is this process's; an alias of another process's memory is needed until its pages are pinned.
  const ProgramMemory memory =
      file_ != nullptr ? ProgramMemory{user, nullptr} : TRY(account_.program().borrow(user, bytes, writable_));
  TRY(account_.charge(range.count()));
  Span span{.pages = range};
  const auto pinned = without_throwing([&]() -> Result<> {
    for (std::uint64_t done = 0; done < bytes;) {
      span.runs.make_room();
      const PhysRun run = TRY(memory_.pin(memory.address + done, bytes - done));
      done += run.bytes;
      span.runs.add(run);
    }
    return {};
  });
  if (!pinned) {
    for (const PhysRun& run : span.runs) memory_.unpin(run);
    account_.uncharge(range.count());
    return std::unexpected(pinned.error());
  }
  pinned_pages_ += range.count();
  return span;
}

void Pages::unpin(const Span& span) {
  for (const PhysRun& run : span.runs) memory_.unpin(run);
  account_.uncharge(span.pages.count());
  pinned_pages_ -= span.pages.count();
}

// Unpins what of the range nobody holds, and joins what the range has cut.
void Pages::drop_unheld(PageRange range) {
  const auto first = spans_.begin() + static_cast<std::ptrdiff_t>(place_of(range.first));
  const auto end = std::find_if(first, spans_.end(), [&](const Span& span) { return span.pages.last > range.last; });
  const auto left = std::remove_if(first, end, [&](const Span& span) {
    if (span.holds == 0) unpin(span);
    return span.holds == 0;
  });
  spans_.erase(left, end);
  join_before(range.last + 1);
  join_before(range.first);
}

// A span begins at `page`, if it is in one. May throw: nothing changed then.
void Pages::cut_before(std::uint64_t page) {
  if (spans_.empty()) return;
  const std::size_t at = place_of(page);
  if (at == spans_.size() || spans_[at].pages.first >= page) return;
  spans_.reserve(spans_.size() + 1);
  Span upper{{page, spans_[at].pages.last}, spans_[at].holds, 0, spans_[at].end_here, {}};
  PhysRuns lower_runs;
  std::uint64_t left = (page - spans_[at].pages.first) << kPageShift;  // the lower one's bytes
  for (const PhysRun& run : spans_[at].runs) {
    const std::uint64_t lower = std::min(run.bytes, left);
    if (lower != 0) lower_runs.add({run.first, lower});
    if (lower != run.bytes) upper.runs.add({run.first + lower, run.bytes - lower});
    left -= lower;
  }
  Span& lower = spans_[at];
  lower.pages.last = page - 1;
  lower.end_here = 0;
  lower.runs = std::move(lower_runs);
  spans_.insert(spans_.begin() + static_cast<std::ptrdiff_t>(at) + 1, std::move(upper));
}

// The opposite, where no hold begins or ends. Without memory they stay two.
void Pages::join_before(std::uint64_t page) {
  if (spans_.size() < 2) return;
  const std::size_t at = place_of(page);
  if (at == 0 || at == spans_.size() || spans_[at].pages.first != page) return;
  Span &lower = spans_[at - 1], &upper = spans_[at];
  if (lower.pages.last + 1 != page || lower.end_here != 0 || upper.begin_here != 0) return;
  const auto room = without_throwing([&]() -> Result<> {
    lower.runs.make_room(upper.runs.size());
    return {};
  });
  if (!room) return;
  for (const PhysRun& run : upper.runs) lower.runs.add(run);
  lower.pages.last = upper.pages.last;
  lower.end_here = upper.end_here;
  spans_.erase(spans_.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace softiommu::iommufd
