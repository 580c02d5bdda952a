// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/address_space.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/trace.h"
#include "ioas/page_sizes.h"
#include "machine/dma_watch.h"
#include "machine/machine.h"

namespace softiommu {

namespace {

bool is_forbidding(const ReservedRegion& region) { return region.kind != ReservedRegion::Kind::relaxable; }

// An Error of Domain::map on a fresh domain, as the answer of an attach. EINVAL says that the domain cannot express
// a page that is mapped already (its address width, its page sizes): another address space may suit the group.
std::unexpected<AttachError> fill_failed(const Error& error, const IovaRange& range, const Domain& fresh) {
  switch (error.code) {
    case ENOMEM:
      return driver_says(AttachFailure::no_memory, {"table memory for what is mapped"});
    case ENOSPC:
      return driver_says(AttachFailure::no_space, {"room for what is mapped"});
    case EINVAL:
      return driver_says(AttachFailure::incompatible,
                         {"a page that is mapped", range.first.value, fresh.aperture().last.value});
    default:
      return driver_says(AttachFailure::no_device, {"mapping what is mapped", 0, static_cast<unsigned>(error.code)});
  }
}

}  // namespace

AddressSpace::AddressSpace(System& system, LockedMemory& locked, const MemlockLimit& limit)
    : memory_(system.machine().memory()), locked_(locked), limit_(limit), domains_(system) {}

AddressSpace::~AddressSpace() { unmap_all(); }

inline void AddressSpace::unpin(Area& area) {
  if (area.registers) [[unlikely]]
    return area.clear_runs();
  for (const PhysRun& run : area.runs()) memory_.unpin(run);
  area.clear_runs();
  locked_.uncharge(area.range.bytes() >> kPageShift);
}

inline Result<> AddressSpace::pin(Area& area) {
  const std::uint64_t bytes = area.range.bytes();
  TRY(locked_.charge(bytes >> kPageShift, limit_));
  const auto first = memory_.pin(area.user, bytes);
  if (!first) [[unlikely]] {
    locked_.uncharge(bytes >> kPageShift);
    return std::unexpected(first.error());
  }
  area.add_run(*first);
  return first->bytes == bytes ? Result<>{} : pin_rest(area, first->bytes);
}

// An area that is not one physical run: what lies `done` bytes or more behind its first byte.
Result<> AddressSpace::pin_rest(Area& area, std::uint64_t done) {
  const std::uint64_t bytes = area.range.bytes();
  const auto pinned = without_throwing([&]() -> Result<> {
    while (done < bytes) {
      const PhysRun run = TRY(memory_.pin(area.user + done, bytes - done));
      try {
        area.add_run(run);
      } catch (...) {
        memory_.unpin(run);
        throw;
      }
      done += run.bytes;
    }
    return {};
  });
  if (!pinned) unpin(area);
  return pinned;
}

// The area's runs one by one, or none.
Result<> AddressSpace::map_runs(Domain& domain, const Area& area) {
  Iova iova = area.range.first;
  for (const PhysRun& run : area.runs()) {
    const auto mapped = domain.map(iova, run.first, run.bytes, area.prot);
    if (!mapped) [[unlikely]] {
      if (iova != area.range.first) domain.unmap(area.range.first, iova - area.range.first);
      return mapped;
    }
    iova += run.bytes;
  }
  return {};
}

// ---- what a watch hears: who has mapped what, by domain

void AddressSpace::tell_mapped(const Domain& domain, const Area& area) const {
  if (DmaWatch* const watch = memory_.watch())
    watch->mapped({.domain = domain.id(), .range = area.range, .user = area.user, .prot = area.prot});
}

inline void AddressSpace::tell_unmapping(const Area& area) const {
  DmaWatch* const watch = memory_.watch();
  if (watch == nullptr) [[likely]]
    return;
  for (const auto& member : domains_.members()) watch->unmapping(member.domain->id(), area.range);
}

// Maps the area in every domain, or in none.
Result<> AddressSpace::map_area_everywhere(const Area& area) {
  const auto members = domains_.members();
  for (std::size_t d = 0; d < members.size(); ++d) {
    const auto mapped = map_runs(*members[d].domain, area);
    if (!mapped) [[unlikely]] {
      while (d-- > 0) members[d].domain->unmap(area.range.first, area.range.bytes());
      return mapped;
    }
  }
  return {};
}

inline Result<> AddressSpace::map_area(const Area& area) {
  const auto members = domains_.members();
  const auto runs = area.runs();
  if (members.size() == 1 && runs.size() == 1) [[likely]]
    return members[0].domain->map(area.range.first, runs[0].first, runs[0].bytes, area.prot);
  return map_area_everywhere(area);
}

// An area for the range, without memory yet.
inline Result<Area*> AddressSpace::make_area(IovaRange range, std::uint64_t user, Prot prot) {
  if (!allowed_.allows(range)) [[unlikely]] {
    if (areas_.find(range) != nullptr) return fail(EEXIST, "the range overlaps one that is mapped");
    return fail(EINVAL, "the range is outside of what may be mapped");
  }
  Area* const area = TRY(areas_.insert(range));
  area->user = user;
  area->prot = prot;
  return area;
}

// Its runs, mapped; an area that cannot be is gone.
inline Result<> AddressSpace::map_or_erase(Area& area) {
  const Result<> done = map_area(area);
  if (done) [[likely]] {
    if (memory_.watch() != nullptr) [[unlikely]]
      for (const auto& member : domains_.members()) tell_mapped(*member.domain, area);
    if (trace::on()) {
      trace::event(
          "iommu", "map",
          {{"iova", area.range.first.value}, {"paddr", area.runs()[0].first.value}, {"size", area.range.bytes()}});
    }
    return {};
  }
  unpin(area);
  areas_.erase(areas_.seek(area.range.first));
  return done;
}

Result<> AddressSpace::map(IovaRange range, std::uint64_t user, Prot prot) {
  Area* const area = TRY(make_area(range, user, prot));
  if (const Result<> pinned = pin(*area); !pinned) [[unlikely]] {
    areas_.erase(areas_.seek(range.first));
    return pinned;
  }
  return map_or_erase(*area);
}

Result<> AddressSpace::map_registers(IovaRange range, PhysAddr registers, std::uint64_t user, Prot prot) {
  Area* const area = TRY(make_area(range, user, prot));
  area->registers = true;
  area->add_run({registers, range.bytes()});
  return map_or_erase(*area);
}

AreaMap::Position AddressSpace::unmap(AreaMap::Position position) {
  Area& area = *areas_.at(position);
  tell_unmapping(area);
  for (const auto& member : domains_.members()) {
    const std::uint64_t bytes = member.domain->unmap(area.range.first, area.range.bytes());
    if (trace::on()) {
      trace::event("iommu", "unmap",
                   {{"iova", area.range.first.value}, {"size", area.range.bytes()}, {"unmapped_size", bytes}});
    }
  }
  unpin(area);
  return areas_.erase(position);
}

void AddressSpace::unmap_all() {
  for (auto position = areas_.first(); areas_.at(position) != nullptr;) position = unmap(position);
}

// What is mapped, into a domain that nobody uses yet: pieces that touch go in one call.
AttachResult<> AddressSpace::fill(Domain& fresh) {
  const IovaRange aperture = fresh.aperture();
  if (std::ranges::none_of(allowed_.all(), [&](const IovaRange& r) { return r.overlaps(aperture); })) {
    return driver_says(AttachFailure::incompatible,
                       {"aperture", aperture.last.value, allowed_.all().back().last.value});
  }
  if ((page_sizes_ & fold_small_pages(fresh.page_sizes())) == 0) {
    return driver_says(AttachFailure::incompatible, {"page sizes", fresh.page_sizes(), page_sizes_});
  }
  struct Piece {
    Iova iova;
    PhysAddr pa;
    std::uint64_t bytes = 0;
    Prot prot;
  } piece;
  const auto flush = [&]() -> Result<> {
    return piece.bytes == 0 ? Result<>{} : fresh.map(piece.iova, piece.pa, piece.bytes, piece.prot);
  };
  for (auto position = areas_.first(); Area* const area = areas_.at(position); position = areas_.after(position)) {
    if (!aperture.contains(area->range)) {
      return driver_says(AttachFailure::incompatible, {"aperture", aperture.last.value, area->range.last.value});
    }
    Iova iova = area->range.first;
    for (const PhysRun& run : area->runs()) {
      if (piece.bytes != 0 && piece.iova + piece.bytes == iova && piece.pa + piece.bytes == run.first &&
          piece.prot == area->prot) {
        piece.bytes += run.bytes;
      } else {
        if (const auto mapped = flush(); !mapped) return fill_failed(mapped.error(), area->range, fresh);
        piece = {iova, run.first, run.bytes, area->prot};
      }
      iova += run.bytes;
    }
  }
  if (const auto mapped = flush(); !mapped)
    return fill_failed(mapped.error(), IovaRange::of(piece.iova, piece.bytes), fresh);
  if (memory_.watch() != nullptr) {
    for (auto position = areas_.first(); areas_.at(position) != nullptr; position = areas_.after(position))
      tell_mapped(fresh, *areas_.at(position));
  }
  return {};
}

AttachResult<> AddressSpace::attach(Group& group, std::vector<ReservedRegion> reserved) {
  if (has(group)) return driver_says(AttachFailure::incompatible, {"the group has joined already", group.id()});
  const auto work = [&]() -> AttachResult<> {
    IovaRanges left = allowed_;
    for (const ReservedRegion& region : reserved) {
      if (!is_forbidding(region)) continue;
      if (const Area* const area = areas_.find(region.range)) {
        return driver_says(AttachFailure::incompatible,
                           {"a reserved region", area->range.first.value, region.range.first.value});
      }
      left.exclude(region.range);
    }
    if (left.empty()) return driver_says(AttachFailure::incompatible, {"nothing is left to map"});
    joined_.reserve(joined_.size() + 1);
    TRY(domains_.attach(group, DomainRequest{}, [this](Domain& fresh) { return fill(fresh); }));
    joined_.push_back({&group, std::move(reserved)});
    for (const auto& member : domains_.members()) left.intersect(member.domain->aperture());  // allocates nothing
    allowed_ = std::move(left);
    return {};
  };
  try {
    TRY(work());
  } catch (const std::bad_alloc&) {
    return driver_says(AttachFailure::no_memory, {"memory for the group's record"});
  }
  refresh_page_sizes();
  return {};
}

void AddressSpace::detach(Group& group) {
  domains_.detach(group);
  std::erase_if(joined_, [&](const Joined& joined) { return joined.group == &group; });
  refresh_page_sizes();
  refresh_allowed();
}

bool AddressSpace::has(const Group& group) const {
  return std::ranges::any_of(joined_, [&](const Joined& joined) { return joined.group == &group; });
}

void AddressSpace::refresh_page_sizes() {
  std::uint64_t sizes = ~std::uint64_t{0};
  for (const auto& member : domains_.members()) sizes &= member.domain->page_sizes();
  page_sizes_ = fold_small_pages(sizes);
}

// After a group has left. Without memory for the list, what that group forbade stays forbidden, which is safe.
void AddressSpace::refresh_allowed() {
  try {
    IovaRanges next;
    for (const auto& member : domains_.members()) next.intersect(member.domain->aperture());
    for (const Joined& joined : joined_) {
      for (const ReservedRegion& region : joined.reserved) {
        if (is_forbidding(region)) next.exclude(region.range);
      }
    }
    allowed_ = std::move(next);
  } catch (const std::bad_alloc&) {
    log::error("out of memory: the ranges that may be mapped stay as they were");
  }
}

bool AddressSpace::enforces_cache_coherency() const {
  return std::ranges::all_of(domains_.members(),
                             [](const auto& member) { return member.domain->enforces_cache_coherency(); });
}

}  // namespace softiommu
