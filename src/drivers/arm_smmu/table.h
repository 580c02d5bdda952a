// SPDX-License-Identifier: BSD-3-Clause
// The page table of a domain, in whichever format the hardware walks, and what a unit compares of it.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "pt/formats/arm_lpae.h"
#include "pt/formats/arm_v7s.h"
#include "pt/page_table.h"

namespace softiommu::arm_smmu {

enum class TableKind : std::uint8_t { aarch64, long_descriptors, short_descriptors };

struct TableShape {
  TableKind kind = TableKind::aarch64;
  unsigned stage = 1;
  unsigned granule_lg2 = 12;
  unsigned input_bits = 0, output_bits = 0;
  friend bool operator==(const TableShape&, const TableShape&) = default;
};

class Table {
 public:
  // ENOMEM; EINVAL: the format has no such sizes.
  static Result<Table> create(TableMemory& memory, const TableShape& shape);

  const TableShape& shape() const { return shape_; }
  IovaRange aperture() const {
    return std::visit([](const auto& t) { return t.aperture(); }, table_);
  }
  std::uint64_t page_sizes() const {
    return std::visit([](const auto& t) { return t.page_sizes(); }, table_);
  }
  PhysAddr root() const {
    return std::visit([](const auto& t) { return t.root(); }, table_);
  }
  unsigned levels() const {
    return std::visit([](const auto& t) { return t.top_level(); }, table_) + 1;
  }
  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
    return std::visit([&](auto& t) { return t.map(iova, pa, bytes, prot); }, table_);
  }
  std::uint64_t unmap(Iova iova, std::uint64_t bytes, pt::Gather& gather) {
    return std::visit([&](auto& t) { return t.unmap(iova, bytes, gather); }, table_);
  }
  std::optional<PhysAddr> iova_to_phys(Iova iova) const {
    return std::visit([&](const auto& t) { return t.iova_to_phys(iova); }, table_);
  }

 private:
  using AnyTable = std::variant<pt::PageTable<pt::ArmLpae>, pt::PageTable<pt::ArmLpae16K>,
                                pt::PageTable<pt::ArmLpae64K>, pt::PageTable<pt::ArmV7s>>;
  template <class Format>
  static Result<Table> make(TableMemory& memory, const TableShape& shape, const typename Format::Config& config) {
    return Table(TRY(pt::PageTable<Format>::create(memory, config)), shape);
  }
  Table(AnyTable table, const TableShape& shape) : table_(std::move(table)), shape_(shape) {}

  AnyTable table_;
  TableShape shape_;
};

}  // namespace softiommu::arm_smmu
