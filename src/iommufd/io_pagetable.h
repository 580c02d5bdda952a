// SPDX-License-Identifier: BSD-3-Clause
// What an IOAS maps: areas of pages, the domains that hold them, the accesses that use them, and which IOVAs may be
// used.
//
// Without a domain nothing is pinned and any byte can be mapped; with the first domain every area is pinned and mapped.
// Reserved ranges belong to somebody (a device, a domain) and go with it; allowed ranges are the program's promise to
// itself: no device that would reserve part of one can be attached. Not thread-safe: the context's lock guards it.
// Errors and their order are Linux's (core-rules section 14).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "core/domain.h"
#include "ioas/node_pool.h"
#include "ioas/range_tree.h"
#include "iommufd/pages.h"

namespace softiommu::iommufd {

// A piece of pages, by bytes.
struct Piece {
  PagesRef pages;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
};

class IoPagetable {
 public:
  IoPagetable() = default;
  ~IoPagetable();
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

  // An unmapping in progress: accesses are asked to let go of one area after the other.
  struct Unmapping {
    static Result<Unmapping> of(std::uint64_t iova, std::uint64_t length);  // EINVAL: empty; EOVERFLOW
    static Unmapping everything() { return Unmapping{}; }

    IovaRange rest{Iova{0}, Iova{~std::uint64_t{0}}};  // still to do
    std::uint64_t bytes = 0;                           // done
    std::optional<IovaRange> in_the_way{};             // an area that an access has pinned: none may once it was told
    unsigned tries = 0;
  };
  // Unmaps the areas of the range up to one that is in an access's way.
  //   ENOENT  one of them reaches out of the range;  EBUSY  one is pinned for hardware
  //   EDEADLOCK  an access does not let go. Those before it are gone
  Result<> unmap(Unmapping& unmapping);

  // Splits the area that holds `last` behind it (type1 compatibility: only where everything is mapped page by page).
  Result<> cut_behind(std::uint64_t last);

  // The domain is filled with every area. EINVAL: its pages are larger than the CPU's; EADDRINUSE: an area does not
  // fit its alignment or aperture; ENOMEM, EFAULT. On failure nothing changed.
  Result<> add_domain(Domain& domain);
  void remove_domain(Domain& domain);
  std::span<Domain* const> domains() const { return domains_; }

  // ---- accesses
  // Areas stay aligned to `alignment` as long as `owner` is there. EADDRINUSE: one is not; ENOMEM.
  Result<> add_access(const void* owner, std::uint64_t alignment);
  void remove_access(const void* owner);
  struct PinRequest {
    std::uint64_t iova = 0, length = 0;
    bool write = false;
    bool for_hardware = false;  // the area cannot be unmapped while it is pinned
  };
  // Pins the pages of the range and says where they are: one address each. Undone by unpin() of the same.
  //   EINVAL  empty, not whole pages, or being unmapped;  EOVERFLOW;  ENOENT  not mapped;  EPERM  no such right
  Result<std::vector<PhysAddr>> pin(const PinRequest& request);
  void unpin(const PinRequest& request);
  // What a copy of these bytes goes through. Errors as pin(), for any bytes.
  Result<std::vector<Piece>> pieces_to_copy(const PinRequest& request) const;

  // EADDRINUSE: an area or an allowed range is in the way; ENOMEM.
  Result<> reserve(IovaRange range, const void* owner);
  void release_reserved(const void* owner);
  // Replaces the allowed ranges (sorted). EADDRINUSE: one of them is reserved.
  Result<> allow(std::vector<IovaRange> ranges);
  // The IOVAs that nobody reserved, in order.
  std::span<const IovaRange> usable() const { return usable_; }
  std::uint64_t alignment() const { return alignment_; }

  // The DMA-BUF is gone: nothing of it stays in a domain.
  void revoke(const DmaBuf& buffer);
  // The `nth` area; nullopt: there are not so many.
  std::optional<IovaRange> area(std::uint64_t nth) const;
  template <class Visitor>
  void for_each_pages(Visitor&& visit) const {
    for (auto at = tree_.first(); at; at = RangeTree::after(at)) visit(*area_at(at).pages);
  }

  // Maps page by page from now on. EINVAL: domains hold areas already; EADDRINUSE.
  Result<> disable_large_pages();
  void enable_large_pages();
  bool large_pages() const { return large_pages_; }

 private:
  struct Area {
    IovaRange range;
    Pages* pages;         // counted
    std::uint64_t start;  // in the pages
    Prot prot;
    bool held = false;       // for domains
    bool no_access = false;  // it is being unmapped
    std::uint32_t accesses = 0, hardware = 0;
  };
  static_assert(sizeof(Area) <= 64, "one cache line");
  using Position = RangeTree::Position;
  struct Reserved {
    IovaRange range;
    const void* owner;
  };
  struct AccessUse {
    const void* owner;
    std::uint64_t alignment;
  };
  class Filler;

  static Area& area_at(Position position) { return *static_cast<Area*>(position.value()); }
  bool any_area(IovaRange range) const;
  bool any_reserved(IovaRange range) const;
  Result<Iova> find_room(const Piece& front, std::uint64_t length) const;
  Result<> check_place(Iova iova, std::uint64_t length) const;
  Result<> insert(const Area& area, const Piece& piece);
  static void tell_mapped(const Domain& domain, const Area& area);
  static void tell_unmapping(const Domain& domain, const Area& area);
  static void unmap_in(Domain& domain, const Area& area);
  Result<> fill(Area& area);
  void unfill(Area& area);
  Position erase(Position position);
  Result<> map_in(Domain& domain, const Area& area) const;
  Result<> fill_domain(Domain& domain);
  void empty_domain(Domain& domain);
  std::uint64_t step_of(const Domain& domain, std::uint64_t run) const;
  // Calls visit(Area&, first byte of it, bytes) for what areas map of the range, without a hole. ENOENT.
  template <class Visitor>
  Result<> for_each_part(IovaRange range, Visitor&& visit) const;
  Result<> check_alignment(std::uint64_t alignment) const;
  std::uint64_t needed_alignment() const;
  void make_room(std::size_t reserved, std::size_t allowed);
  void refresh_ranges();

  RangeTree tree_;
  NodePool<Area> areas_;
  std::vector<Reserved> reserved_;                                                     // by first IOVA; may overlap
  std::vector<IovaRange> allowed_;                                                     // empty: everything
  std::vector<IovaRange> usable_{{Iova{0}, Iova{~std::uint64_t{0}}}}, free_{usable_};  // not reserved; and allowed
  std::vector<Domain*> domains_;
  std::vector<AccessUse> accesses_;
  std::uint64_t alignment_ = 1;
  bool large_pages_ = true;
};

}  // namespace softiommu::iommufd
