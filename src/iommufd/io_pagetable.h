// SPDX-License-Identifier: BSD-3-Clause
// What an IOAS maps: areas of pages, the domains that hold them, and which IOVAs may be used.
//
// Without a domain nothing is pinned and any byte can be mapped; with the first domain every area is pinned and mapped,
// page by page. Reserved ranges belong to somebody (a device, a domain) and go with it; allowed ranges are the
// program's promise to itself: no device that would reserve part of one can be attached. Not thread-safe: the context's
// lock guards it. Errors and their order are Linux's (core-rules section 14).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "core/domain.h"
#include "iommufd/pages.h"

namespace softiommu::iommufd {

// A piece of pages, by bytes.
struct Piece {
  std::shared_ptr<Pages> pages;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
};

class IoPagetable {
 public:
  IoPagetable() = default;
  ~IoPagetable() { (void)unmap_all(); }
  IoPagetable(const IoPagetable&) = delete;
  IoPagetable& operator=(const IoPagetable&) = delete;

  // Maps the pieces one after the other, at `fixed` or where there is room; returns the first IOVA.
  //   EINVAL     alignment, length 0, a reserved range;  EOVERFLOW  the range wraps
  //   EEXIST     an area is there;  ENOSPC  no hole fits
  //   EPERM      writable, but the pages are not;  EFAULT, ENOMEM  pinning and table memory
  // On failure nothing changed.
  Result<Iova> map(std::span<const Piece> pieces, std::optional<Iova> fixed, Prot prot);
  // What is mapped in the range, which areas cover without a hole. EINVAL: empty; EOVERFLOW; ENOENT.
  Result<std::vector<Piece>> pieces(std::uint64_t iova, std::uint64_t length) const;
  // Unmaps the areas of the range and says how many bytes. ENOENT: one of them reaches out of the range (those before
  // it are gone). EINVAL: empty; EOVERFLOW.
  Result<std::uint64_t> unmap(std::uint64_t iova, std::uint64_t length);
  std::uint64_t unmap_all();
  // Splits the area that holds `last` behind it (type1 compatibility: only where everything is mapped page by page).
  Result<> cut_behind(std::uint64_t last);

  // The domain is filled with every area. EINVAL: its pages are larger than the CPU's; EADDRINUSE: an area does not
  // fit its alignment or aperture; ENOMEM, EFAULT. On failure nothing changed.
  Result<> add_domain(Domain& domain);
  void remove_domain(Domain& domain);
  std::span<Domain* const> domains() const { return domains_; }

  // EADDRINUSE: an area or an allowed range is in the way; ENOMEM.
  Result<> reserve(IovaRange range, const void* owner);
  void release_reserved(const void* owner);
  // Replaces the allowed ranges. EADDRINUSE: one of them is reserved.
  Result<> allow(std::vector<IovaRange> ranges);
  // The IOVAs that nobody reserved, in order.
  std::vector<IovaRange> usable() const;
  std::uint64_t alignment() const { return alignment_; }

  // No area is of the program's anonymous memory.
  bool only_files() const;

  // Maps page by page from now on. EINVAL: domains hold areas already.
  Result<> disable_large_pages();
  void enable_large_pages();
  bool large_pages() const { return large_pages_; }

 private:
  struct Area {
    IovaRange range;
    Piece piece;
    Prot prot;
    std::vector<PhysRun> runs;  // while a domain holds it
  };
  struct Reserved {
    IovaRange range;
    const void* owner;
  };
  using Areas = std::map<std::uint64_t, Area>;  // by first IOVA

  Areas::const_iterator first_at_or_after(std::uint64_t iova) const;
  bool any_area(IovaRange range) const;
  bool any_reserved(IovaRange range) const;
  Result<Iova> find_room(std::uint64_t near, std::uint64_t length) const;
  std::optional<Iova> room_in(IovaRange allowed, std::uint64_t length, std::uint64_t alignment,
                              std::uint64_t offset) const;
  Result<> check_place(Iova iova, std::uint64_t length) const;
  Result<> insert(Area area);
  void erase(Areas::iterator at);
  Result<> pin_and_map(Area& area);
  void unmap_and_unpin(Area& area);
  Result<> map_in(Domain& domain, const Area& area) const;
  Result<> check_alignment(std::uint64_t alignment) const;
  void refresh_alignment();

  Areas areas_;
  std::vector<Reserved> reserved_;  // may overlap
  std::vector<IovaRange> allowed_;  // empty: everything
  std::vector<Domain*> domains_;
  std::uint64_t alignment_ = 1;
  bool large_pages_ = true;
};

}  // namespace softiommu::iommufd
