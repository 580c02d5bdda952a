// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/x86_64.h"

#include <array>

#include "hw/x86_64_paging.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

using hw::x86_64_paging::kEntry;
constexpr unsigned kIndexBits = 9, kMostLevels = 5;
// In an entry of a large page the lowest address bit chooses a memory type.
constexpr std::uint64_t kLargePat = std::uint64_t{1} << 12;

constexpr unsigned span_lg2(unsigned level) { return kPageShift + kIndexBits * level; }

// The bits above the input's highest are copies of it.
bool is_canonical(std::uint64_t address, unsigned levels) {
  const std::uint64_t upper = bits_from(span_lg2(levels) - 1);
  return (address & upper) == 0 || (address & upper) == upper;
}

std::uint64_t reserved_bits(const X86_64& tables, unsigned level, bool leaf) {
  std::uint64_t reserved = bits_from(tables.output_bits) & kEntry["ADDR"].mask();
  if (level > 2 || (level == 2 && !tables.large_1g)) reserved |= kEntry["PS"].mask();
  if (leaf && level > 0) reserved |= kEntry["ADDR"].mask() & low_bits(span_lg2(level)) & ~kLargePat;
  if (!tables.execute_disable) reserved |= kEntry["XD"].mask();
  return reserved;
}

// An entry on the way, for the marks that are set when the whole walk is known to be good.
struct Visited {
  PhysAddr place;
  std::uint64_t word = 0;
};

struct Path {
  std::array<Visited, kMostLevels> entries{};  // by level
  unsigned leaf_level = 0;
  Page page;
};

std::expected<Path, Failure> descend(Memory& memory, const X86_64& tables, Iova iova) {
  Path path;
  bool user = true, write = true, execute = true;
  PhysAddr table = tables.root;
  for (unsigned level = tables.levels - 1;; --level) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(kIndexBits);
    const TableWord<std::uint64_t> place(memory, table + index * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    path.entries[level] = {place.address(), entry};
    if (!kEntry["P"].is_set(entry)) return fail(Fault::not_present, entry);
    const bool leaf = level == 0 || kEntry["PS"].is_set(entry);
    if ((entry & reserved_bits(tables, level, leaf)) != 0) return fail(Fault::reserved, entry);
    user = user && kEntry["US"].is_set(entry);
    write = write && kEntry["RW"].is_set(entry);
    execute = execute && !kEntry["XD"].is_set(entry);
    table = PhysAddr{kEntry["ADDR"].in_place(entry)};
    if (!leaf) continue;

    const bool reach = user || tables.supervisor;
    const bool may_write = write || (tables.supervisor && !tables.write_protect);
    path.leaf_level = level;
    path.page = {.first = PhysAddr{table.value & bits_from(span_lg2(level))},
                 .lg2 = span_lg2(level),
                 .read = reach,
                 .write = reach && may_write,
                 .execute = reach && execute && tables.execute_disable};
    return path;
  }
}

// False: software has changed an entry meanwhile.
bool mark(Memory& memory, const X86_64& tables, const Path& path, Access access) {
  for (unsigned level = tables.levels; level-- > path.leaf_level;) {
    const bool dirties = level == path.leaf_level && access == Access::write;
    const TableWord<std::uint64_t> place(memory, path.entries[level].place);
    if (!place.set(path.entries[level].word, kEntry["A"].mask() | (dirties ? kEntry["D"].mask() : 0))) return false;
  }
  return true;
}

}  // namespace

Outcome x86_64(Memory& memory, const X86_64& tables, Iova iova, Access access) {
  if (!is_canonical(iova.value, tables.levels)) return std::unexpected(Failure{.fault = Fault::input_range});
  for (;;) {
    auto path = descend(memory, tables, iova);
    if (!path) return std::unexpected(path.error());
    Page page = path->page;
    if (!tables.accessed_dirty) return page;
    const bool writes = access == Access::write, allowed = writes ? page.write : page.read;
    if (allowed && !mark(memory, tables, *path, access)) continue;
    page.write = page.write && (writes || kEntry["D"].is_set(path->entries[path->leaf_level].word));
    return page;
  }
}

}  // namespace softiommu::walk
