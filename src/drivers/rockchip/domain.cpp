// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/rockchip/domain.h"

#include "pt/formats/rockchip.h"
#include "pt/page_table.h"

namespace softiommu::rockchip {

namespace {

// A directory entry is 4 MiB; Linux offers every size up to it, and the engine maps runs of pages in one go.
constexpr std::uint64_t kPageSizes = 0x7f'f000;

template <class Format>
class TableDomain final : public PagingDomain {
 public:
  using Table = pt::PageTable<Format>;
  TableDomain(Driver& owner, TableMemory& memory, Table table)
      : PagingDomain(owner), memory_(memory), table_(std::move(table)) {
    aperture_ = table_.aperture();
    page_sizes_ = kPageSizes;
  }

  PhysAddr root() const override { return table_.root(); }
  bool wide() const override { return std::is_same_v<Format, pt::RockchipV2>; }

  // The MMUs cache whole lines of words, so the first and the last page may be known to be not present. The lines
  // between held nothing that was used, and so are not cached.
  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override {
    TRY(table_.map(iova, pa, bytes, prot));
    const IovaRange range = IovaRange::of(iova, bytes);
    const Iova last_page{align_down(range.last.value, kPageSize)};
    each_unit([&](Unit& unit) {
      unit.zap(IovaRange::of(iova, kPageSize));
      if (last_page != iova) unit.zap(IovaRange::of(last_page, kPageSize));
    });
    return {};
  }

  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override {
    return pt::unmap_and(table_, memory_, iova, bytes,
                         [&](const pt::Gather& gather) { each_unit([&](Unit& unit) { unit.zap(gather.range()); }); });
  }

  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_.iova_to_phys(iova); }

 private:
  TableMemory& memory_;
  Table table_;
};

template <class Format>
Result<std::unique_ptr<PagingDomain>> make(Driver& owner, Unit& unit) {
  using Domain = TableDomain<Format>;
  return std::make_unique<Domain>(owner, unit.tables(), TRY(Domain::Table::create(unit.tables(), {})));
}

}  // namespace

Result<std::unique_ptr<PagingDomain>> make_domain(Driver& owner, Unit& unit) {
  return unit.wide() ? make<pt::RockchipV2>(owner, unit) : make<pt::RockchipV1>(owner, unit);
}

}  // namespace softiommu::rockchip
