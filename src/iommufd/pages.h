// SPDX-License-Identifier: BSD-3-Clause
// Memory behind one IOAS_MAP: what areas of several address spaces share after a COPY, and what accesses pin.
//
// A page is pinned once, and counted once, as long as anybody holds it: an area that a domain maps, an access. Holds
// may overlap; where they begin and end the pinned pages are cut into spans, which grow together again when the holds
// are gone. Not thread-safe, but for the references: the context's lock guards it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/file_mapping.h"
#include "base/result.h"
#include "base/types.h"
#include "iommufd/account.h"
#include "iommufd/dma_buf.h"
#include "machine/memory.h"

namespace softiommu::iommufd {

// Physically contiguous pieces, none of which continues the one before it. Most often there is one, which is in place.
class PhysRuns {
 public:
  const PhysRun* begin() const { return more_.empty() ? &one_ : more_.data(); }
  const PhysRun* end() const { return begin() + size(); }
  std::size_t size() const { return more_.empty() ? (one_.bytes != 0 ? 1 : 0) : more_.size(); }
  // The next `count` calls of add() do not throw then.
  void make_room(std::size_t count = 1) {
    const std::size_t wanted = size() + count;
    if (wanted > 1 && wanted > more_.capacity()) more_.reserve(2 * wanted);
  }
  void add(PhysRun run) {
    PhysRun& last = more_.empty() ? one_ : more_.back();
    if (last.bytes == 0) {
      last = run;
    } else if (last.first + last.bytes == run.first) {
      last.bytes += run.bytes;
    } else {
      make_room();
      if (more_.empty()) more_.push_back(one_);
      more_.push_back(run);
    }
  }

 private:
  PhysRun one_{PhysAddr{0}, 0};
  std::vector<PhysRun> more_;  // empty, or all of them
};

class Pages {
 public:
  // `user` is the first byte; `writable`: pinned for writing, so that read-only memory is refused.
  Pages(Account account, Memory& memory, std::uint64_t user, bool writable)
      : account_(std::move(account)), memory_(memory), user_(user), writable_(writable) {}
  // Memory of a file: its bytes, for as long as the pages live.
  Pages(Account account, Memory& memory, std::unique_ptr<FileMapping> file, bool writable)
      : account_(std::move(account)),
        memory_(memory),
        file_(std::move(file)),
        user_(file_->address()),
        writable_(writable) {}
  // Memory that a device's driver exports, from the `start`th byte on. Nobody's to count.
  Pages(Account account, Memory& memory, DmaBufPart part, bool writable)
      : account_(std::move(account)),
        memory_(memory),
        dma_buf_(std::move(part.buffer)),
        exported_(part.first),
        user_(part.start),
        writable_(writable) {}
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  bool writable() const { return writable_; }
  // The address of the first byte (of a DMA-BUF: its offset there): what alignments go by.
  std::uint64_t user() const { return user_; }
  Memory& memory() const { return memory_; }
  bool of_file() const { return file_ != nullptr; }
  const DmaBuf* dma_buf() const { return dma_buf_.get(); }
  // Of a DMA-BUF that was revoked nothing is mapped any more, for good.
  bool revoked() const { return revoked_; }
  void revoke() { revoked_ = true; }

  // Whose memory it is, and who accounts for it.
  Program& program() const { return account_.program(); }
  const Account& account() const { return account_; }
  std::uint64_t pinned_pages() const { return pinned_pages_; }
  // Another process accounts for it from now on. ENOMEM: its limit; nothing changed then.
  Result<> account_to(Account account);
  // Back to who accounted for it a moment ago: whatever the limit.
  void account_again(Account account);

  // Pins what of the bytes [start, start + length) is not pinned yet.
  // EFAULT: not memory that can be pinned; ENOMEM: the limit, or physical space. Nothing changed then.
  Result<> hold(std::uint64_t start, std::uint64_t length);
  // Ends a hold of exactly these bytes.
  void let_go(std::uint64_t start, std::uint64_t length);
  // Calls piece(PhysRun), which answers Result<>, for each physically contiguous piece of held bytes; ends at the first
  // error. Of revoked memory there is none.
  template <class Visitor>
  Result<> for_each_run(std::uint64_t start, std::uint64_t length, Visitor&& piece) const;

 private:
  friend class PagesRef;
  // Pages first..last, by number from that of the first byte.
  struct PageRange {
    std::uint64_t first, last;
    std::uint64_t count() const { return last - first + 1; }
  };
  struct Span {
    PageRange pages;
    std::uint32_t holds = 0;
    std::uint32_t begin_here = 0, end_here = 0;  // holds whose first or last page it has at that end
    PhysRuns runs{};
  };
  using Spans = std::vector<Span>;  // in order, disjoint

  PageRange range_of(std::uint64_t start, std::uint64_t length) const {
    const std::uint64_t offset = user_ % kPageSize;
    return {(offset + start) >> kPageShift, (offset + start + (length - 1)) >> kPageShift};
  }
  std::uint64_t address_of(std::uint64_t page) const { return align_down(user_, kPageSize) + (page << kPageShift); }
  std::size_t place_of(std::uint64_t page) const;
  Result<> pin_missing(PageRange range);
  Result<Span> pin(PageRange range);
  void unpin(const Span& span);
  void drop_unheld(PageRange range);
  void cut_before(std::uint64_t page);
  void join_before(std::uint64_t page);

  Account account_;
  Memory& memory_;
  const std::unique_ptr<FileMapping> file_;  // nullptr: memory of the program
  const std::shared_ptr<DmaBuf> dma_buf_;
  const PhysAddr exported_{};  // of a DMA-BUF: where the first byte is
  const std::uint64_t user_;
  const bool writable_;
  bool revoked_ = false;
  std::atomic<std::uint32_t> references_{0};
  std::uint64_t pinned_pages_ = 0;
  Spans spans_;
};

// A reference that keeps them.
class PagesRef {
 public:
  PagesRef() = default;
  explicit PagesRef(Pages* pages) : pages_(pages) {
    if (pages_ != nullptr) pages_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  PagesRef(const PagesRef& other) : PagesRef(other.pages_) {}
  PagesRef(PagesRef&& other) noexcept : pages_(std::exchange(other.pages_, nullptr)) {}
  PagesRef& operator=(PagesRef other) noexcept {
    std::swap(pages_, other.pages_);
    return *this;
  }
  ~PagesRef() { put(pages_); }

  template <class... Arguments>
  static PagesRef make(Arguments&&... arguments) {
    return PagesRef(new Pages(std::forward<Arguments>(arguments)...));
  }
  // For who keeps a plain pointer: adopt() takes it back.
  Pages* release() { return std::exchange(pages_, nullptr); }
  static void adopt(Pages* pages) { put(pages); }

  Pages& operator*() const { return *pages_; }
  Pages* operator->() const { return pages_; }
  Pages* get() const { return pages_; }

 private:
  static void put(Pages* pages) {
    if (pages != nullptr && pages->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete pages;
  }
  Pages* pages_ = nullptr;
};

template <class Visitor>
Result<> Pages::for_each_run(std::uint64_t start, std::uint64_t length, Visitor&& piece) const {
  if (revoked_) return {};
  if (dma_buf_ != nullptr) return piece(PhysRun{exported_ + start, length});
  PhysRun gathered{PhysAddr{0}, 0};
  std::uint64_t skip = (user_ + start) % kPageSize, left = length;
  const PageRange range = range_of(start, length);
  std::size_t at = place_of(range.first);
  skip += (range.first - spans_[at].pages.first) << kPageShift;
  for (; left != 0; ++at) {
    for (const PhysRun& run : spans_[at].runs) {
      if (skip >= run.bytes) {
        skip -= run.bytes;
        continue;
      }
      const PhysRun part{run.first + skip, std::min(run.bytes - skip, left)};
      skip = 0;
      left -= part.bytes;
      if (gathered.bytes != 0 && gathered.first + gathered.bytes == part.first) {
        gathered.bytes += part.bytes;
      } else {
        if (gathered.bytes != 0) TRY(piece(gathered));
        gathered = part;
      }
      if (left == 0) break;
    }
  }
  return piece(gathered);
}

}  // namespace softiommu::iommufd
