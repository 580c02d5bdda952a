// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/table_use.h"

#include <algorithm>
#include <numeric>

#include "ioas/domain_set.h"

namespace softiommu {

namespace {

constexpr std::uint64_t kChunk = 2 * kMiB;

const IommuUnit* unit_of(Machine& machine, const Device& device) {
  if (device.function() != nullptr) return device.function()->dma().unit();
  return machine.platform_device(device.name())->dma().unit();
}

// Owns all groups while it lives, so that they can be attached.
class Owner {
 public:
  explicit Owner(System& system) : system_(system) {}
  ~Owner() {
    for (std::size_t i = 0; i < claimed_; ++i) system_.groups()[i]->release_dma_owner();
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  Result<> claim() {
    for (; claimed_ < system_.groups().size(); ++claimed_) TRY(system_.groups()[claimed_]->claim_dma_owner(this));
    return {};
  }

 private:
  System& system_;
  std::size_t claimed_ = 0;
};

class Measurement {
 public:
  Measurement(System& system, std::uint64_t bytes)
      : system_(system), tables_(system.machine().memory().tables()), bytes_(bytes), owner_(system), set_(system) {}

  Result<TableUse> run() {
    use_.structures = tables_.allocated_bytes();
    TRY(owner_.claim());
    std::vector<std::uint64_t> empty_tables;
    for (const auto& group : system_.groups()) {
      const std::uint64_t before = tables_.allocated_bytes();
      const auto joined = set_.attach(*group, {}, [](Domain&) -> AttachResult<> { return {}; });
      if (!joined) use_.left_out.push_back(group->device_names());
      if (set_.members().size() > empty_tables.size()) empty_tables.push_back(tables_.allocated_bytes() - before);
    }
    for (std::size_t i = 0; i < set_.members().size(); ++i)
      use_.domains.push_back(TRY(measure(set_.members()[i], empty_tables[i])));
    return std::move(use_);
  }

 private:
  Result<TableUse::Row> measure(const DomainSet::Member& member, std::uint64_t empty_table) {
    TableUse::Row row = describe(member);
    const std::uint64_t before = tables_.allocated_bytes();
    const IovaRange aperture = member.domain->aperture();
    const Iova first{align_down(aperture.first.value + (kChunk - 1), kChunk)};
    const std::uint64_t most = align_down(std::min(bytes_ - 1, aperture.last - first) + 1, kChunk);
    // Out of step by one page: physical addresses that leave only pages of the smallest size.
    const PhysAddr out_of_step{member.domain->page_sizes() & -member.domain->page_sizes()};
    Result<> mapped;
    while (row.mapped < most) {
      mapped = member.domain->map(first + row.mapped, out_of_step, kChunk, {.read = true, .write = true});
      if (!mapped) break;
      row.mapped += kChunk;
      row.tables = empty_table + tables_.allocated_bytes() - before;
      if (row.tables == 0) break;
    }
    if (row.mapped != 0) member.domain->unmap(first, row.mapped);
    if (!mapped) return std::unexpected(mapped.error());
    return row;
  }

  TableUse::Row describe(const DomainSet::Member& member) const {
    TableUse::Row row{.domain = member.domain->id(), .driver = std::string(member.domain->owner().name())};
    for (const Group* group : member.groups) {
      row.devices += group->devices().size();
      for (const Device* device : group->devices()) {
        const std::string name = unit_of(system_.machine(), *device)->name();
        if (std::ranges::find(row.units, name) == row.units.end()) row.units.push_back(name);
      }
    }
    return row;
  }

  System& system_;
  TableMemory& tables_;
  const std::uint64_t bytes_;
  TableUse use_;
  Owner owner_;
  DomainSet set_;  // ends before its groups' owner
};

}  // namespace

std::uint64_t TableUse::tables() const {
  return std::accumulate(domains.begin(), domains.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Row& row) { return sum + row.tables; });
}

Result<TableUse> measure_table_use(System& system, std::uint64_t bytes) {
  if (bytes < kChunk) return fail(EINVAL, "at least 2M");
  return without_throwing([&] { return Measurement(system, bytes).run(); });
}

}  // namespace softiommu
