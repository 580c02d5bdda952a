// SPDX-License-Identifier: BSD-3-Clause
// The intel-vtd row of the hardware registry: what a machine file may choose of an Intel VT-d unit, and the
// capability registers that follow from it. The unit itself is in intel_vtd/.
#include <algorithm>
#include <array>
#include <bit>
#include <memory>

#include "hw/vtd.h"
#include "machine/iommu/intel_vtd/intel_vtd.h"
#include "machine/memory.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using namespace hw::vtd;

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

constexpr unsigned kLevels[] = {3, 4, 5};
constexpr unsigned kMegaPageLg2 = 21, kGigaPageLg2 = 30;
constexpr std::uint64_t kWidths = bit(width_of_levels(3)) | bit(width_of_levels(4)) | bit(width_of_levels(5));
constexpr std::uint64_t kLargePages = bit(kMegaPageLg2) | bit(kGigaPageLg2);

// Where the two register groups stand that have no fixed place.
constexpr std::uint32_t kFaultRecordBase = 0x400, kIotlbBase = 0x500;

// clang-format off
constexpr std::array kOptions{
    Option{"address_widths", Option::Kind::list, bit(39) | bit(48), 39, 57, "39|48|57",
           "widths of second-stage tables that the unit walks: 39 (3 levels), 48 (4), 57 (5) (CAP.SAGAW)"},
    Option{"guest_address_width", Option::Kind::integer, 0, 0, 57, {},
           "bits of the largest DMA address (CAP.MGAW); 0: the largest of address_widths"},
    Option{"host_address_width", Option::Kind::integer, 0, 0, 52, {},
           "bits of a physical address; higher ones are reserved in tables. 0: what the machine's memory needs, at least 39"},
    Option{"large_pages", Option::Kind::list, kLargePages, kMegaPageLg2, kGigaPageLg2, "21|30",
           "large second-stage pages, as powers of two: 21 (2 MiB), 30 (1 GiB) (CAP.SLLPS)"},
    Option{"snoop_control", Option::Kind::flag, 1, 0, 1, {},
           "leaf entries can force snooping of the CPU caches (ECAP.SC)"},
    Option{"coherent", Option::Kind::flag, 1, 0, 1, {}, "table walks snoop the CPU caches (ECAP.C)"},
    Option{"pass_through", Option::Kind::flag, 1, 0, 1, {}, "context entries can let addresses pass (ECAP.PT)"},
    Option{"caching_mode", Option::Kind::flag, 0, 0, 1, {},
           "what is not present is cached too, as hypervisors' units do (CAP.CM)"},
    Option{"queued_invalidation", Option::Kind::flag, 1, 0, 1, {}, "invalidation queue (ECAP.QI)"},
    Option{"write_buffer_flush", Option::Kind::flag, 0, 0, 1, {},
           "software must flush write buffers after changing tables (CAP.RWBF)"},
    Option{"page_selective", Option::Kind::flag, 1, 0, 1, {}, "invalidation of single pages (CAP.PSI)"},
    Option{"max_address_mask", Option::Kind::integer, 18, 0, 45, {},
           "a page-selective invalidation covers at most 2^this pages (CAP.MAMV)"},
    Option{"domain_id_bits", Option::Kind::integer, 16, 4, 16, {}, "width of domain ids, even (CAP.ND)"},
    Option{"scalable", Option::Kind::flag, 0, 0, 1, {},
           "scalable mode: PASID tables (ECAP.SMTS); the keys below need it"},
    Option{"first_stage", Option::Kind::flag, 1, 0, 1, {}, "scalable mode: first-stage tables (ECAP.FSTS)"},
    Option{"second_stage", Option::Kind::flag, 1, 0, 1, {}, "scalable mode: second-stage tables (ECAP.SSTS)"},
    Option{"nested", Option::Kind::flag, 1, 0, 1, {}, "scalable mode: a first stage nested on a second (ECAP.NEST)"},
    Option{"dirty", Option::Kind::flag, 1, 0, 1, {},
           "scalable mode: accessed and dirty bits in second-stage entries (ECAP.SSADS)"},
    Option{"first_stage_5_levels", Option::Kind::flag, 0, 0, 1, {},
           "scalable mode: first-stage tables of five levels (CAP.FS5LP)"},
    Option{"pasid_bits", Option::Kind::integer, 20, 0, 20, {},
           "scalable mode: bits of a PASID (ECAP.PSS); 0: no requests with PASID"},
    Option{"device_tlb", Option::Kind::flag, 0, 0, 1, {}, "devices may have TLBs of their own (ECAP.DT)"},
    Option{"page_requests", Option::Kind::flag, 0, 0, 1, {},
           "scalable mode: page request queue (ECAP.PRS); needs device_tlb"},
    Option{"fault_registers", Option::Kind::integer, 8, 1, vtd::EventRegisters::kMostRecords, {},
           "fault recording registers (CAP.NFR)"},
};
// clang-format on

Result<> check(const Options& options) {
  const std::uint64_t widths = options["address_widths"], large = options["large_pages"];
  if (widths == 0 || (widths & ~kWidths) != 0) return fail(EINVAL, "address_widths: choose from 39, 48, 57");
  if ((large & ~kLargePages) != 0) return fail(EINVAL, "large_pages: choose from 21 (2 MiB) and 30 (1 GiB)");
  if (options["domain_id_bits"] % 2 != 0) return fail(EINVAL, "domain_id_bits: must be even");
  const std::uint64_t guest = options["guest_address_width"], host = options["host_address_width"];
  if (guest != 0 && guest < 32) return fail(EINVAL, "guest_address_width: must be 0 or 32 to 57");
  const bool scalable = options.flag("scalable");
  if (scalable && !options.flag("queued_invalidation"))
    return fail(EINVAL, "queued_invalidation: scalable mode has no other");
  if (scalable && !options.flag("first_stage") && !options.flag("second_stage"))
    return fail(EINVAL, "second_stage: scalable mode needs tables of one stage at least");
  if (options.flag("page_requests") && !(scalable && options.flag("device_tlb")))
    return fail(EINVAL, "page_requests: needs scalable and device_tlb");
  if (host != 0 && host < 32) return fail(EINVAL, "host_address_width: must be 0 or 32 to 52");
  return {};
}

std::uint64_t cap_of(const Options& options) {
  std::uint64_t sagaw = 0;
  for (const unsigned levels : kLevels)
    if ((options["address_widths"] & bit(width_of_levels(levels))) != 0) sagaw |= bit(aw_of_levels(levels));
  const auto widest = static_cast<std::uint64_t>(std::bit_width(options["address_widths"]) - 1);
  const std::uint64_t guest = options["guest_address_width"] != 0 ? options["guest_address_width"] : widest;
  const std::uint64_t large = options["large_pages"];
  const bool by_page = options.flag("page_selective");
  return kCap["ND"].put((options["domain_id_bits"] - 4) / 2) | kCap["RWBF"].put(options.flag("write_buffer_flush")) |
         kCap["CM"].put(options.flag("caching_mode")) | kCap["SAGAW"].put(sagaw) | kCap["MGAW"].put(guest - 1) |
         kCap["FRO"].put(kFaultRecordBase / kGroupUnit) |
         kCap["SLLPS"].put((large >> kMegaPageLg2 & 1) | (large >> kGigaPageLg2 & 1) << 1) | kCap["PSI"].put(by_page) |
         kCap["NFR"].put(options["fault_registers"] - 1) | kCap["MAMV"].put(by_page ? options["max_address_mask"] : 0) |
         kCap["FS1GP"].put(options.flag("scalable") && options.flag("first_stage") &&
                           (large >> kGigaPageLg2 & 1) != 0) |
         kCap["FS5LP"].put(options.flag("scalable") && options.flag("first_stage_5_levels")) | kCap["DWD"].put(1) |
         kCap["DRD"].put(1);
}

std::uint64_t scalable_ecap_of(const Options& options) {
  const bool first = options.flag("first_stage"), second = options.flag("second_stage");
  const std::uint64_t bits = options["pasid_bits"];
  return kEcap["SMTS"].put(1) | kEcap["FSTS"].put(first) | kEcap["SSTS"].put(second) |
         kEcap["NEST"].put(first && second && options.flag("nested")) |
         kEcap["SSADS"].put(second && options.flag("dirty")) | kEcap["SMPWCS"].put(options.flag("coherent")) |
         kEcap["PASID"].put(bits != 0) | kEcap["PSS"].put(bits != 0 ? bits - 1 : 0) |
         kEcap["PRS"].put(options.flag("page_requests"));
}

std::uint64_t ecap_of(const Options& options) {
  return kEcap["C"].put(options.flag("coherent")) | kEcap["QI"].put(options.flag("queued_invalidation")) |
         kEcap["PT"].put(options.flag("pass_through")) | kEcap["SC"].put(options.flag("snoop_control")) |
         kEcap["DT"].put(options.flag("device_tlb")) | kEcap["IRO"].put(kIotlbBase / kGroupUnit) |
         (options.flag("scalable") ? scalable_ecap_of(options) : 0);
}

Result<std::unique_ptr<IommuUnit>> create(const UnitContext& context, const Options& options) {
  return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
    TRY(check(options));
    vtd::Capabilities capabilities{cap_of(options), ecap_of(options)};
    const auto needed = static_cast<unsigned>(std::bit_width(context.memory.top() - 1));
    const auto chosen = static_cast<unsigned>(options["host_address_width"]);
    capabilities.host_address_width = chosen != 0 ? chosen : std::max(needed, capabilities.host_address_width);
    return std::make_unique<vtd::IntelVtd>(context, capabilities);
  });
}

static_assert(kFaultRecordBase + vtd::EventRegisters::kMostRecords * kGroupUnit <= kIotlbBase);

}  // namespace

UnitModel intel_vtd_unit_model() {
  return {"intel-vtd", "Intel VT-d remapping unit, legacy or scalable mode", kOptions, create, check};
}

}  // namespace softiommu
