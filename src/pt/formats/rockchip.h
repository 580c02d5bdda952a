// SPDX-License-Identifier: BSD-3-Clause
// Rockchip IOMMU tables: a directory of 1024 entries, tables of 1024 pages of 4 KiB. Two formats: v1 (32-bit physical
// addresses) and v2 (40-bit ones, whose high bits stand in the low bits of the words).
//
// Linux offers all sizes from 4K to 4M for this hardware; they are runs of 4 KiB pages, which the engine maps in one
// go.
#pragma once

#include "hw/rockchip_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct RockchipConfig {};

struct RockchipV1Words {
  static constexpr std::string_view kName = "rockchip_v1";
  static constexpr unsigned kOutputBits = 32;
  static constexpr std::uint64_t put_address(PhysAddr pa) { return hw::rockchip_v1::kPte["ADDR"].in_place(pa.value); }
  static constexpr PhysAddr get_address(std::uint64_t word) {
    return PhysAddr{hw::rockchip_v1::kPte["ADDR"].in_place(word)};
  }
};

struct RockchipV2Words {
  static constexpr std::string_view kName = "rockchip_v2";
  static constexpr unsigned kOutputBits = 40;
  static constexpr std::uint64_t put_address(PhysAddr pa) { return hw::rockchip_v2::put_address(pa); }
  static constexpr PhysAddr get_address(std::uint64_t word) { return hw::rockchip_v2::get_address(word); }
};

template <class Words>
struct Rockchip {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = Words::kName;
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{10u, 10u};

  using Config = RockchipConfig;

  static constexpr Result<Shape> shape(const Config& /*config*/) {
    return Shape{.top_level = 1,
                 .input_bits = 32,
                 .output_bits = Words::kOutputBits,
                 .table_bits = Words::kOutputBits,
                 .page_sizes = kPageSize};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.coherent || prot.execute) return fail(EINVAL, "Rockchip entries know neither snooping nor execution");
    return kValid.put(1) | kRead.put(prot.read) | kWrite.put(prot.write);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(attributes | Words::put_address(pa));
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return static_cast<Entry>(kValid.put(1) | Words::put_address(pa));
  }
  static constexpr bool is_table(Entry /*entry*/, unsigned /*level*/) { return true; }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) { return Words::get_address(entry); }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) { return Words::get_address(entry); }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = kRead.is_set(entry), .write = kWrite.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {{}};

 private:
  // At one place in the words of both versions.
  static constexpr hw::Field kValid = hw::rockchip_v1::kPte["VALID"], kRead = hw::rockchip_v1::kPte["READ"],
                             kWrite = hw::rockchip_v1::kPte["WRITE"];
};

using RockchipV1 = Rockchip<RockchipV1Words>;
using RockchipV2 = Rockchip<RockchipV2Words>;

static_assert(PageTableFormat<RockchipV1>);
static_assert(PageTableFormat<RockchipV2>);

}  // namespace softiommu::pt
