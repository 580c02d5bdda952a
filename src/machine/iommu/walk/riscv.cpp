// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/riscv.h"

#include "hw/riscv_paging.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

using hw::riscv_paging::kEntry;
constexpr unsigned kIndexBits = 9, kNapotLg2 = 4;

constexpr unsigned span_lg2(unsigned level) { return kPageShift + kIndexBits * level; }

// Bits above the input's highest are copies of it.
bool is_sign_extended(std::uint64_t address, unsigned levels) {
  const std::uint64_t upper = bits_from(span_lg2(levels) - 1);
  return (address & upper) == 0 || (address & upper) == upper;
}

bool is_table(std::uint64_t entry) {
  return !kEntry["R"].is_set(entry) && !kEntry["W"].is_set(entry) && !kEntry["X"].is_set(entry);
}

// Of an entry that is valid, step 3 and what the extensions add: does it have a reserved bit or code?
bool is_reserved(const Riscv& tables, std::uint64_t entry, unsigned level) {
  if ((entry & kEntry.unnamed()) != 0) return true;
  if (!tables.napot && kEntry["N"].is_set(entry)) return true;
  const std::uint64_t type = kEntry["PBMT"].get(entry);
  if (type == hw::riscv_paging::kPbmtReserved || (type != 0 && !tables.memory_types)) return true;
  if (is_table(entry)) {
    return level == 0 || kEntry["A"].is_set(entry) || kEntry["D"].is_set(entry) || kEntry["U"].is_set(entry) ||
           kEntry["N"].is_set(entry) || type != 0;
  }
  if (!kEntry["R"].is_set(entry) && kEntry["W"].is_set(entry)) return true;
  const std::uint64_t page = kEntry["PPN"].get(entry);
  if (kEntry["N"].is_set(entry)) return level != 0 || (page & low_bits(kNapotLg2)) != hw::riscv_paging::kNapot64K;
  return (page & low_bits(kIndexBits * level)) != 0;  // step 6: a misaligned superpage
}

Page page_of(std::uint64_t entry, unsigned level) {
  const unsigned lg2 = kEntry["N"].is_set(entry) ? kPageShift + kNapotLg2 : span_lg2(level);
  const bool user = kEntry["U"].is_set(entry);
  return {.first = PhysAddr{kEntry["PPN"].get(entry) << kPageShift & bits_from(lg2)},
          .lg2 = lg2,
          .read = user && kEntry["R"].is_set(entry),
          .write = user && kEntry["W"].is_set(entry),
          .execute = user && kEntry["X"].is_set(entry)};
}

}  // namespace

Outcome riscv(Memory& memory, const Riscv& tables, Iova iova, Access access) {
  if (!is_sign_extended(iova.value, tables.levels)) return std::unexpected(Failure{.fault = Fault::input_range});
  const bool writes = access == Access::write;
  PhysAddr table = tables.root;
  for (unsigned level = tables.levels - 1;;) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(kIndexBits);
    const TableWord<std::uint64_t> place(memory, table + index * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    if (!kEntry["V"].is_set(entry)) return fail(Fault::not_present, entry);
    if (is_reserved(tables, entry, level)) return fail(Fault::reserved, entry);
    const std::uint64_t output = kEntry["PPN"].get(entry) << kPageShift;
    if ((output & bits_from(tables.output_bits)) != 0) return fail(Fault::output_range, entry);
    if (is_table(entry)) {
      table = PhysAddr{output};
      --level;
      continue;
    }
    Page page = page_of(entry, level);
    if (writes ? page.write : page.read) {  // step 9: only of an access that is allowed
      const std::uint64_t needed = kEntry["A"].mask() | (writes ? kEntry["D"].mask() : 0);
      if ((entry & needed) != needed && !tables.update_accessed) return fail(Fault::access_flag, entry);
      if (!place.set(entry, needed)) continue;  // changed under us: look again
    }
    page.write = page.write && (writes || kEntry["D"].is_set(entry));
    return page;
  }
}

}  // namespace softiommu::walk
