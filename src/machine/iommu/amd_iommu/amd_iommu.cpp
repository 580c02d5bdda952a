// SPDX-License-Identifier: BSD-3-Clause
// The AMD IOMMU model's face: what the machine file may say, and its registers (AMD 48882 3.4).
#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "machine/iommu/amd_iommu/model.h"
#include "machine/registry.h"

namespace softiommu {
namespace amd_iommu {

using namespace hw::amd;

namespace {

// Choices, as the options' words are numbered.
constexpr std::uint64_t kNoLevels = 0, kAccessedBits = 1, kDirtyBits = 2;

// clang-format off
constexpr Option kOptions[] = {
    {"host_levels",  Option::Kind::choice,  3, 0, 3, "none|4|5|6",
     "most levels of host (v1) tables; none: only guest tables (EFR.HATS)"},
    {"guest_levels", Option::Kind::choice,  1, 0, 2, "none|4|5",
     "most levels of guest (v2) tables (EFR.GTSup, GATS)"},
    {"gcr3_levels",  Option::Kind::integer, 2, 1, 3, "",
     "most levels of GCR3 tables, 512 PASIDs, 2^18, 2^20 (EFR.GLXSup)"},
    {"pasid_bits",   Option::Kind::integer, 16, 1, kPasidBits, "", "bits of a PASID (EFR.PASmax)"},
    {"guest_io",     Option::Kind::flag,    1, 0, 1, "",
     "requests without a PASID may use a guest table (EFR.GIoSup)"},
    {"gcr3_system_address", Option::Kind::flag, 1, 0, 1, "",
     "beside a host table the GCR3 table can stand at a system address (EFR2.GCR3TRPModeSup)"},
    {"no_execute",   Option::Kind::flag,    1, 0, 1, "", "guest tables can forbid execution (EFR.NXSup)"},
    {"dirty",        Option::Kind::choice,  kNoLevels, 0, 2, "none|access|dirty",
     "what hardware updates in host tables (EFR.HASup, HDSup)"},
    {"page_requests", Option::Kind::flag,   1, 0, 1, "",
     "peripheral page requests and their log (EFR.PPRSup)"},
    {"prefetch",     Option::Kind::flag,    1, 0, 1, "", "PREFETCH_IOMMU_PAGES (EFR.PreFSup)"},
    {"invalidate_all", Option::Kind::flag,  1, 0, 1, "", "INVALIDATE_IOMMU_ALL (EFR.IASup)"},
    {"hypertransport", Option::Kind::flag,  1, 0, 1, "",
     "addresses 0xfd00000000 to 0xffffffffff are no memory (not EFR2.HTRangeIgnore)"},
    {"domain_ids",   Option::Kind::integer, 0, 0, 1u << kDomainIdBits, "",
     "domain ids that the unit can tell apart, two of them the driver's own; 0: all 65536. "
     "A register that real units have not"},
    {"exclusion_base", Option::Kind::size,  0, 0, std::uint64_t{1} << 52, "",
     "a range that firmware has put into the exclusion registers: it is mapped 1:1 for all devices"},
    {"exclusion_bytes", Option::Kind::size, 0, 0, std::uint64_t{1} << 40, "", "its size; 0: there is none"},
};

// Registers that keep what was written: which of their bits.
struct Kept {
  std::uint32_t offset;
  std::uint64_t writable;
};
constexpr Kept kRegisters[] = {
    {kDeviceTable.offset,    kDeviceTable.layout.named()},
    {kCommandBase.offset,    kCommandBase.layout.named()},
    {kEventBase.offset,      kEventBase.layout.named()},
    {kControl.offset,        kControl.layout.named()},
    {kExclusionBase.offset,  kExclusionBase.layout.named()},
    {kExclusionLimit.offset, kExclusionLimit.layout.named()},
    {kFeatures.offset,       0},
    {kPprBase.offset,        kPprBase.layout.named()},
    {kFeatures2.offset,      0},
    {kCommandHead.offset,    kCommandHead.layout.named()},
    {kCommandTail.offset,    kCommandTail.layout.named()},
    {kDomainIds.offset,      0},
};
// clang-format on

std::uint64_t make_features(const Options& options) {
  const std::uint64_t host = options["host_levels"], guest = options["guest_levels"];
  const bool walks_guest = guest != kNoLevels;
  return kFeatures["PreFSup"].put(options["prefetch"]) | kFeatures["PPRSup"].put(options["page_requests"]) |
         kFeatures["NXSup"].put(options["no_execute"]) | kFeatures["GTSup"].put(walks_guest) |
         kFeatures["IASup"].put(options["invalidate_all"]) |
         kFeatures["HATS"].put(host == kNoLevels ? kNoHostTables : host - 1) |
         kFeatures["GATS"].put(walks_guest ? guest - 1 : 0) |
         kFeatures["GLXSup"].put(walks_guest ? options["gcr3_levels"] - 1 : 0) |
         kFeatures["PASmax"].put(walks_guest ? options["pasid_bits"] - 1 : 0) |
         kFeatures["GIoSup"].put(walks_guest && options.flag("guest_io")) |
         kFeatures["HASup"].put(options["dirty"] >= kAccessedBits) |
         kFeatures["HDSup"].put(options["dirty"] >= kDirtyBits);
}

std::uint64_t make_features2(const Options& options) {
  return kFeatures2["GCR3TRPModeSup"].put(options["gcr3_system_address"]) |
         kFeatures2["HTRangeIgnore"].put(!options.flag("hypertransport"));
}

Result<> check(const Options& options) {
  if (options["host_levels"] == kNoLevels && options["guest_levels"] == kNoLevels)
    return fail(EINVAL, "guest_levels: without host tables there must be guest tables");
  if (!is_aligned(options["exclusion_base"], kPageSize)) return fail(EINVAL, "exclusion_base: must be whole pages");
  if (!is_aligned(options["exclusion_bytes"], kPageSize)) return fail(EINVAL, "exclusion_bytes: must be whole pages");
  constexpr std::uint64_t kReserved = 2;
  if (const std::uint64_t ids = options["domain_ids"]; ids != 0 && ids <= kReserved)
    return fail(EINVAL, "domain_ids: two are the driver's own; 0, or 3 and more");
  return {};
}

constexpr unsigned kHalf = 4, kWhole = 8;
constexpr std::uint64_t kLowHalf = 0xffff'ffff;

unsigned queue_lg2(std::uint64_t field) { return std::max(static_cast<unsigned>(field), kLeastQueueLg2); }

}  // namespace

AmdIommu::AmdIommu(const UnitContext& context, const Options& options)
    : IommuUnit(context),
      features_(make_features(options)),
      features2_(make_features2(options)),
      domain_ids_(options["domain_ids"]),
      exclusion_base_(options["exclusion_bytes"] == 0
                          ? 0
                          : kExclusionBase["Ex"].put(1) | kExclusionBase["Allow"].put(1) | options["exclusion_base"]),
      exclusion_limit_(options["exclusion_bytes"] == 0
                           ? 0
                           : align_down(options["exclusion_base"] + options["exclusion_bytes"] - 1, kPageSize)),
      events_(context.memory),
      page_requests_(context.memory) {
  const MutexLock lock(commands_);
  reset_locked();
}

void AmdIommu::reset() {
  const MutexLock lock(commands_);
  reset_locked();
  wait_for_dma();
}

void AmdIommu::reset_locked() {
  for (auto& word : kept_) word.store(0, std::memory_order_release);
  put(kFeaturesAt, features_);
  put(kFeatures2At, features2_);
  put(kDomainIdsAt, domain_ids_);
  put(kExclusionBaseAt, exclusion_base_);
  put(kExclusionLimitAt, exclusion_limit_);
  commands_run_ = wait_completed_ = false;
  events_.reset();
  page_requests_.reset();
  invalidate_all({});
}

std::uint64_t AmdIommu::status() const {
  const LogRing::Flags events = events_.flags(), pages = page_requests_.flags();
  return kStatus["EventOverflow"].put(events.overflow) | kStatus["EventLogInt"].put(events.interrupt) |
         kStatus["ComWaitInt"].put(wait_completed_) | kStatus["EventLogRun"].put(events.running) |
         kStatus["CmdBufRun"].put(commands_run_) | kStatus["PprOverflow"].put(pages.overflow) |
         kStatus["PprInt"].put(pages.interrupt) | kStatus["PprLogRun"].put(pages.running);
}

void AmdIommu::acknowledge(std::uint64_t status) {
  events_.acknowledge(kStatus["EventOverflow"].is_set(status), kStatus["EventLogInt"].is_set(status));
  page_requests_.acknowledge(kStatus["PprOverflow"].is_set(status), kStatus["PprInt"].is_set(status));
  if (kStatus["ComWaitInt"].is_set(status)) wait_completed_ = false;
}

std::uint64_t AmdIommu::read_register(std::uint64_t offset) const {
  switch (offset) {
    case kStatus.offset:
      return status();
    case kEventHead.offset:
      return events_.head();
    case kEventTail.offset:
      return events_.tail();
    case kPprHead.offset:
      return page_requests_.head();
    case kPprTail.offset:
      return page_requests_.tail();
    default:
      break;
  }
  const Kept* const row = std::ranges::find(kRegisters, offset, &Kept::offset);
  return row == std::end(kRegisters) ? 0 : get(static_cast<Index>(row - kRegisters));
}

std::uint64_t AmdIommu::read(std::uint64_t offset, unsigned bytes) {
  if ((bytes != kHalf && bytes != kWhole) || !is_aligned(offset, bytes)) return 0;
  const std::uint64_t word = read_register(align_down(offset, kWhole));
  if (bytes == kWhole) return word;
  return is_aligned(offset, kWhole) ? word & kLowHalf : word >> 32;
}

void AmdIommu::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if ((bytes != kHalf && bytes != kWhole) || !is_aligned(offset, bytes)) return;
  const std::uint64_t whole = align_down(offset, kWhole);
  if (bytes == kHalf) {
    // Of a register whose ones clear, the other half is left alone.
    const std::uint64_t rest = whole == kStatus.offset ? 0 : read_register(whole);
    value = is_aligned(offset, kWhole) ? (rest & ~kLowHalf) | (value & kLowHalf) : (rest & kLowHalf) | value << 32;
  }
  raise(write_register(whole, value));
}

AmdIommu::Lines AmdIommu::write_register(std::uint64_t offset, std::uint64_t value) {
  switch (offset) {
    case kStatus.offset:
      acknowledge(value);
      return 0;
    case kEventHead.offset:
      events_.set_head(kEventHead["Ptr"].in_place(value));
      return 0;
    case kEventTail.offset:
      events_.set_tail(kEventTail["Ptr"].in_place(value));
      return 0;
    case kPprHead.offset:
      page_requests_.set_head(kPprHead["Ptr"].in_place(value));
      return 0;
    case kPprTail.offset:
      page_requests_.set_tail(kPprTail["Ptr"].in_place(value));
      return 0;
    default:
      break;
  }
  const Kept* const row = std::ranges::find(kRegisters, offset, &Kept::offset);
  if (row == std::end(kRegisters) || row->writable == 0) return 0;
  const MutexLock lock(commands_);
  return write_kept(static_cast<Index>(row - kRegisters), value & row->writable);
}

AmdIommu::Lines AmdIommu::write_kept(Index index, std::uint64_t value) {
  const std::uint64_t before = get(index);
  put(index, value);
  switch (index) {
    case kControlAt:
      return set_control(before, value);
    case kCommandTailAt:
      return run_commands();
    case kCommandBaseAt:  // the pointers start anew (3.4.1)
      put(kCommandHeadAt, 0);
      put(kCommandTailAt, 0);
      return 0;
    case kEventBaseAt:
      events_.place(PhysAddr{kEventBase["EventBase"].in_place(value)}, queue_lg2(kEventBase["EventLen"].get(value)));
      return 0;
    case kPprBaseAt:
      page_requests_.place(PhysAddr{kPprBase["PprLogBase"].in_place(value)},
                           queue_lg2(kPprBase["PprLogLen"].get(value)));
      return 0;
    case kExclusionBaseAt:
    case kExclusionLimitAt:
      bump_generation();
      return 0;
    default:
      return 0;
  }
}

// What runs starts where its enable bit comes up, and stops where it goes down; all of it needs IommuEn.
AmdIommu::Lines AmdIommu::set_control(std::uint64_t before, std::uint64_t now) {
  const auto works = [](std::uint64_t control, const hw::Field& enable) {
    return kControl["IommuEn"].is_set(control) && enable.is_set(control);
  };
  const auto changed = [&](const hw::Field& enable) { return works(before, enable) != works(now, enable); };
  if (changed(kControl["EventLogEn"])) events_.enable(works(now, kControl["EventLogEn"]));
  if (changed(kControl["PprLogEn"])) page_requests_.enable(works(now, kControl["PprLogEn"]));
  if (changed(kControl["CmdBufEn"])) commands_run_ = works(now, kControl["CmdBufEn"]);
  constexpr std::uint64_t kTranslation =
      kControl["IommuEn"].mask() | kControl["GTEn"].mask() | kControl["GCR3TRPMode"].mask();
  if (((before ^ now) & kTranslation) != 0) bump_generation();
  return run_commands();
}

void AmdIommu::raise(Lines lines) {
  for (unsigned line = 0; lines >> line != 0; ++line)
    if ((lines >> line & 1) != 0) interrupt(line);
}

// ---- Logs -------------------------------------------------------------------------------------------------------

AmdIommu::Lines AmdIommu::log_event(const Words& event) {
  return events_.append(event) && controls(kControl["EventIntEn"]) ? Lines{1} << kGeneralLine : 0;
}

bool AmdIommu::log_page_request(const PageRequest& request) {
  const auto id = static_cast<DeviceId>(request.stream);
  const std::uint64_t pasid = request.pasid;
  const std::uint64_t low = kPpr0["PASID_15_0"].put(pasid & kPpr0["PASID_15_0"].max()),
                      high = pasid >> 16 & kPpr0["PASID_19_16"].max();
  const Device device = device_of(id);
  if (!controls(kControl["PprEn"]) || device.kind != Device::Kind::translates || !device.may_request_pages) {
    // 2.5.11: the event has the form of the request, with a code of its own.
    raise(log_event({kPpr0["DeviceID"].put(id) | low | kPpr0["Tag"].put(request.tag) | kPpr0["PASID_19_16"].put(high) |
                         kEvent0["EventCode"].put(std::to_underlying(Event::invalid_ppr_request)),
                     request.page.value}));
    return false;
  }
  if (!page_requests_.flags().running) return false;
  const bool is_news = page_requests_.append(
      {kPpr0["DeviceID"].put(id) | low | kPpr0["Tag"].put(request.tag) | kPpr0["PASID_19_16"].put(high) |
           kPpr0["Read"].put(request.read) | kPpr0["Write"].put(request.write) | kPpr0["US"].put(1) |
           kPpr0["GN"].put(request.pasid != 0) | kPpr0["Code"].put(kPageServiceRequest),
       kPpr1["Address"].in_place(request.page.value)});
  if (is_news && controls(kControl["PprIntEn"])) interrupt(kPprLine);
  return page_requests_.flags().running;
}

}  // namespace amd_iommu

UnitModel amd_iommu_unit_model() {
  return {"amd-iommu", "AMD IOMMU with host (v1) and guest (v2) tables", amd_iommu::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              TRY(amd_iommu::check(options));
              return std::make_unique<amd_iommu::AmdIommu>(context, options);
            });
          },
          amd_iommu::check};
}

}  // namespace softiommu
