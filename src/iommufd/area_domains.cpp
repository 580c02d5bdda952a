// SPDX-License-Identifier: BSD-3-Clause
// Areas in domains: an area in all of them, all areas in a new one, and the alignment that this needs.
#include <algorithm>
#include <limits>

#include "iommufd/io_pagetable.h"
#include "machine/dma_watch.h"

namespace softiommu::iommufd {

namespace {

std::uint64_t smallest_page(const Domain& domain) { return domain.page_sizes() & (~domain.page_sizes() + 1); }

}  // namespace

// How much of a run one call maps.
std::uint64_t IoPagetable::step_of(const Domain& domain, std::uint64_t run) const {
  return large_pages_ ? run : smallest_page(domain);
}

// ---- one area

Result<> IoPagetable::map_in(Domain& domain, const Area& area) const {
  Iova iova = area.range.first;
  const auto mapped = area.pages->for_each_run(area.start, area.range.bytes(), [&](PhysRun run) -> Result<> {
    const std::uint64_t step = step_of(domain, run.bytes);
    for (std::uint64_t done = 0; done < run.bytes; done += step) {
      TRY(domain.map(iova, run.first + done, step, area.prot));
      iova += step;
    }
    return {};
  });
  if (!mapped && iova != area.range.first) domain.unmap(area.range.first, iova - area.range.first);
  return mapped;
}

// What a watch hears: who has mapped what, by domain.
void IoPagetable::tell_mapped(const Domain& domain, const Area& area) {
  DmaWatch* const watch = area.pages->memory().watch();
  if (watch == nullptr) [[likely]]
    return;
  watch->mapped(
      {.domain = domain.id(), .range = area.range, .user = area.pages->user() + area.start, .prot = area.prot});
}

void IoPagetable::tell_unmapping(const Domain& domain, const Area& area) {
  if (DmaWatch* const watch = area.pages->memory().watch()) watch->unmapping(domain.id(), area.range);
}

void IoPagetable::unmap_in(Domain& domain, const Area& area) {
  tell_unmapping(domain, area);
  domain.unmap(area.range.first, area.range.bytes());
}

Result<> IoPagetable::fill(Area& area) {
  TRY(area.pages->hold(area.start, area.range.bytes()));
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    const auto mapped = map_in(*domains_[i], area);
    if (mapped) continue;
    while (i-- > 0) domains_[i]->unmap(area.range.first, area.range.bytes());
    area.pages->let_go(area.start, area.range.bytes());
    return mapped;
  }
  for (const Domain* domain : domains_) tell_mapped(*domain, area);
  area.held = true;
  return {};
}

void IoPagetable::unfill(Area& area) {
  if (!area.held) return;
  for (Domain* domain : domains_) unmap_in(*domain, area);
  area.pages->let_go(area.start, area.range.bytes());
  area.held = false;
}

void IoPagetable::revoke(const DmaBuf& buffer) {
  for (auto at = tree_.first(); at; at = RangeTree::after(at)) {
    Area& area = area_at(at);
    if (area.pages->dma_buf() != &buffer) continue;
    for (Domain* domain : domains_) unmap_in(*domain, area);
  }
  for_each_pages([&](Pages& pages) {
    if (pages.dma_buf() == &buffer) pages.revoke();
  });
}

// ---- all areas in a new domain

// Gathers what touches, in IOVA and in memory, into one call of map.
class IoPagetable::Filler {
 public:
  Filler(const IoPagetable& table, Domain& domain) : table_(table), domain_(domain) {}

  Result<> add(const Area& area) {
    Iova iova = area.range.first;
    return area.pages->for_each_run(area.start, area.range.bytes(), [&](PhysRun run) -> Result<> {
      const bool joins = bytes_ != 0 && iova_ + bytes_ == iova && pa_ + bytes_ == run.first && prot_ == area.prot;
      if (!joins) {
        TRY(flush());
        iova_ = iova;
        pa_ = run.first;
        bytes_ = 0;
        prot_ = area.prot;
      }
      bytes_ += run.bytes;
      iova += run.bytes;
      return {};
    });
  }
  Result<> flush() {
    if (bytes_ == 0) return {};
    const std::uint64_t step = table_.step_of(domain_, bytes_);
    for (std::uint64_t done = 0; done < bytes_; done += step) TRY(domain_.map(iova_ + done, pa_ + done, step, prot_));
    bytes_ = 0;
    return {};
  }

 private:
  const IoPagetable& table_;
  Domain& domain_;
  Iova iova_{};
  PhysAddr pa_{};
  std::uint64_t bytes_ = 0;
  Prot prot_{};
};

Result<> IoPagetable::fill_domain(Domain& domain) {
  const bool first = domains_.empty();
  Filler filler(*this, domain);
  Result<> done;
  for (auto at = tree_.first(); at && done; at = RangeTree::after(at)) {
    Area& area = area_at(at);
    if (first) {
      done = area.pages->hold(area.start, area.range.bytes());
      if (!done) break;
      area.held = true;
    }
    done = filler.add(area);
  }
  if (done) done = filler.flush();
  if (done) {
    for (auto at = tree_.first(); at; at = RangeTree::after(at)) tell_mapped(domain, area_at(at));
    return {};
  }
  empty_domain(domain);
  return done;
}

// While it is not one of domains_. Without any, nothing is held.
void IoPagetable::empty_domain(Domain& domain) {
  if (tree_.empty()) return;
  const Iova first = tree_.first().range().first;
  Iova last = first;
  for (auto at = tree_.first(); at; at = RangeTree::after(at)) {
    tell_unmapping(domain, area_at(at));
    last = at.range().last;
  }
  domain.unmap(first, last - first + 1);
  if (!domains_.empty()) return;
  for (auto at = tree_.first(); at; at = RangeTree::after(at)) {
    Area& area = area_at(at);
    if (area.held) area.pages->let_go(area.start, area.range.bytes());
    area.held = false;
  }
}

Result<> IoPagetable::add_domain(Domain& domain) {
  const std::uint64_t alignment = std::max(smallest_page(domain), alignment_);
  if (alignment > kPageSize) return fail(EINVAL, "the domain's smallest page is larger than the CPU's");
  if (alignment != alignment_) TRY(check_alignment(alignment));
  const IovaRange aperture = domain.aperture();
  return without_throwing([&]() -> Result<> {
    domains_.reserve(domains_.size() + 1);
    Result<> done;
    constexpr Iova kMost{std::numeric_limits<std::uint64_t>::max()};
    if (aperture.first.value != 0) done = reserve({Iova{0}, aperture.first - 1}, &domain);
    if (done && aperture.last != kMost) done = reserve({aperture.last + 1, kMost}, &domain);
    if (done) done = fill_domain(domain);
    if (!done) {
      release_reserved(&domain);
      return done;
    }
    domains_.push_back(&domain);
    alignment_ = alignment;
    return {};
  });
}

void IoPagetable::remove_domain(Domain& domain) {
  std::erase(domains_, &domain);
  empty_domain(domain);
  release_reserved(&domain);
  alignment_ = needed_alignment();
}

// ---- alignment

Result<> IoPagetable::check_alignment(std::uint64_t alignment) const {
  for (auto at = tree_.first(); at; at = RangeTree::after(at)) {
    const Area& area = area_at(at);
    const std::uint64_t memory = (area.pages->user() + area.start) % kPageSize;
    if (!is_aligned(area.range.first.value | area.range.bytes() | memory, alignment))
      return fail(EADDRINUSE, "a mapping is not aligned as needed");
  }
  return {};
}

std::uint64_t IoPagetable::needed_alignment() const {
  std::uint64_t alignment = large_pages_ ? 1 : kPageSize;
  for (const Domain* domain : domains_) alignment = std::max(alignment, smallest_page(*domain));
  for (const AccessUse& access : accesses_) alignment = std::max(alignment, access.alignment);
  return alignment;
}

Result<> IoPagetable::disable_large_pages() {
  if (!large_pages_) return {};
  if (!domains_.empty() && !tree_.empty()) return fail(EINVAL, "domains hold mappings already");
  if (alignment_ < kPageSize) TRY(check_alignment(kPageSize));
  large_pages_ = false;
  alignment_ = needed_alignment();
  return {};
}

void IoPagetable::enable_large_pages() {
  large_pages_ = true;
  alignment_ = needed_alignment();
}

}  // namespace softiommu::iommufd
