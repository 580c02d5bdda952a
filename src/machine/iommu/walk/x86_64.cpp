// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/x86_64.h"

#include <algorithm>
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

bool is_within(const X86_64& tables, std::uint64_t address) {
  if (!tables.sign_extended) return (address & bits_from(span_lg2(tables.levels))) == 0;
  const std::uint64_t upper = bits_from(span_lg2(tables.levels) - 1);
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

// Where the next stage puts an address of the first; the address itself if there is none.
std::expected<PhysAddr, Failure> host_address(const X86_64& tables, PhysAddr guest, Access access) {
  if (tables.next == nullptr) return guest;
  const Outcome page = tables.next->translate(Iova{guest.value}, access);
  if (page && (access == Access::write ? page->write : page->read))
    return page->first + (guest.value & low_bits(page->lg2));
  Failure failure = page ? Failure{.fault = Fault::permission} : page.error();
  failure.stage = 2;
  failure.input = Iova{guest.value};
  failure.of_table = true;
  return std::unexpected(failure);
}

// The page of both stages that serves the access.
Outcome through_next_stage(const X86_64& tables, const Page& page, Iova iova, Access access) {
  if (tables.next == nullptr) return page;
  const Iova guest{page.first.value + (iova.value & low_bits(page.lg2))};
  Outcome host = tables.next->translate(guest, access);
  if (!host) {
    host.error().stage = 2;
    host.error().input = guest;
    return host;
  }
  const unsigned lg2 = std::min(page.lg2, host->lg2);
  return Page{.first = align_down(host->first + (guest.value & low_bits(host->lg2)), lg2),
              .lg2 = lg2,
              .read = page.read && host->read,
              .write = page.write && host->write,
              .execute = page.execute};
}

std::expected<Path, Failure> descend(Memory& memory, const X86_64& tables, Iova iova) {
  Path path;
  bool user = true, write = true, execute = true;
  PhysAddr table = tables.root;
  for (unsigned level = tables.levels - 1;; --level) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(kIndexBits);
    const auto at = host_address(tables, table + index * sizeof(std::uint64_t),
                                 tables.accessed_dirty ? Access::write : Access::read);
    if (!at) return std::unexpected(at.error());
    const TableWord<std::uint64_t> place(memory, *at);
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
  if (!is_within(tables, iova.value)) return std::unexpected(Failure{.fault = Fault::input_range});
  for (;;) {
    auto path = descend(memory, tables, iova);
    if (!path) return std::unexpected(path.error());
    Page page = path->page;
    if (!tables.accessed_dirty) return through_next_stage(tables, page, iova, access);
    const bool writes = access == Access::write, allowed = writes ? page.write : page.read;
    if (allowed && !mark(memory, tables, *path, access)) continue;
    page.write = page.write && (writes || kEntry["D"].is_set(path->entries[path->leaf_level].word));
    return through_next_stage(tables, page, iova, access);
  }
}

}  // namespace softiommu::walk
