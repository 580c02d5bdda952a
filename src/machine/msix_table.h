// SPDX-License-Identifier: BSD-3-Clause
// The MSI-X table and pending bits of one function (PCI 3.0, 6.8.2), as they stand in a BAR. Takes no lock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace softiommu {

class MsixTable {
 public:
  explicit MsixTable(unsigned vectors);

  std::uint64_t table_bytes() const { return bytes_.size(); }
  std::uint64_t pba_bytes() const { return pending_.size() * sizeof(std::uint64_t); }
  // Any naturally aligned access inside.
  std::uint64_t read_table(std::uint64_t offset, unsigned bytes) const;
  void write_table(std::uint64_t offset, unsigned bytes, std::uint64_t value);
  std::uint64_t read_pba(std::uint64_t offset, unsigned bytes) const;

  bool masked(unsigned vector) const;
  void set_pending(unsigned vector);
  // A vector that is pending and not masked; take_ also clears its pending bit.
  std::optional<unsigned> deliverable() const;
  std::optional<unsigned> take_deliverable();
  void reset();

 private:
  std::vector<std::uint8_t> bytes_;
  std::vector<std::uint64_t> pending_;
};

}  // namespace softiommu
