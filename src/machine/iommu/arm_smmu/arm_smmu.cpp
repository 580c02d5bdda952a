// SPDX-License-Identifier: BSD-3-Clause
// The SMMUv1/v2 model's face: what the machine file may say, and the way of one transaction.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "machine/findings.h"
#include "machine/iommu/arm_smmu/model.h"
#include "machine/registry.h"

namespace softiommu {
namespace smmu {

using namespace hw::smmu;

namespace {

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

// clang-format off
constexpr std::string_view kSizes = "32|36|40|42|44|48";
constexpr Option kOptions[] = {
    {"version",         Option::Kind::choice,  1, 0, 1, "1|2", "of the architecture; 1 has no AArch64 tables, 8-bit VMIDs, and invalidates stage 2 by VMID only"},
    {"stages",          Option::Kind::choice,  3, 0, 3, "1|2|both|nested", "stages of translation; `nested`: both, also one over the other (S1TS, S2TS, NTS)"},
    {"aarch32",         Option::Kind::choice,  2, 0, 2, "none|long|both", "AArch32 tables: long descriptors, and short ones (PTFS)"},
    {"granules",        Option::Kind::list,    bit(12) | bit(16), 12, 16, "12|14|16", "log2 of the granules of AArch64 tables: 12, 14, 16; version 1 has none (PTFSv8)"},
    {"input_bits",      Option::Kind::choice,  5, 0, 5, kSizes, "IAS: bits of an address that stage 2 takes and stage 1 puts out"},
    {"output_bits",     Option::Kind::choice,  5, 0, 5, kSizes, "OAS: bits of an output address"},
    {"upstream_bits",   Option::Kind::choice,  5, 0, 5, kSizes, "UBS: bits of an address that stage 1 takes (version 1: as input_bits)"},
    {"stream_matching", Option::Kind::flag,    1, 0, 1, "", "SMS: streams are matched with ids and masks; else the stream id is the entry's number"},
    {"stream_id_bits",  Option::Kind::integer, 15, 1, 16, "", "NUMSIDB: bits of a stream id; 16 are extended ids (EXIDS), for version 2 with stream matching"},
    {"stream_entries",  Option::Kind::integer, 128, 1, kMostStreamEntries, "", "NUMSMRG: stream mapping entries, with stream matching"},
    {"context_banks",   Option::Kind::integer, 64, 1, kMostContextBanks, "", "NUMCB: context banks: so many domains can be in use"},
    {"stage2_banks",    Option::Kind::integer, 0, 0, kMostContextBanks, "", "NUMS2CB: of them, those that do stage 2 only"},
    {"context_interrupts", Option::Kind::integer, 1, 1, kMostContextBanks, "", "NUMIRPT of version 1: interrupts that context banks share; version 2 has one for each bank"},
    {"vmid_bits",       Option::Kind::choice,  0, 0, 1, "8|16", "VMID16S: bits of a virtual machine id"},
    {"coherent",        Option::Kind::flag,    1, 0, 1, "", "CTTW: table walks snoop the caches"},
    {"address_translation", Option::Kind::flag, 1, 0, 1, "", "ATOSNS: software may ask for translations (version 1 always has it)"},
    {"register_page",   Option::Kind::choice,  0, 0, 1, "4K|64K", "PAGESIZE: pages of the register space"},
};
// clang-format on

enum Stages : std::uint64_t { kStage1Only, kStage2Only, kBoth, kNested };

Result<> check(const Options& options) {
  const bool old = options["version"] == 0;
  const bool wide = options["stream_id_bits"] == 16, matching = options.flag("stream_matching");
  if (options["stage2_banks"] > options["context_banks"]) return fail(EINVAL, "stage2_banks: more than context_banks");
  if (options["stages"] == kStage1Only && options["stage2_banks"] != 0)
    return fail(EINVAL, "stage2_banks: there is no stage 2");
  if (options["stages"] != kStage2Only && options["stage2_banks"] == options["context_banks"])
    return fail(EINVAL, "stage2_banks: no bank is left for stage 1");
  if (wide && (old || !matching)) return fail(EINVAL, "stream_id_bits: 16 need version 2 and stream_matching");
  if (!matching && bit(static_cast<unsigned>(options["stream_id_bits"])) > kMostStreamEntries)
    return fail(EINVAL, "stream_id_bits: at most 7 without stream_matching");
  if (old && options["vmid_bits"] != 0) return fail(EINVAL, "vmid_bits: version 1 has 8");
  if (old && options["aarch32"] == 0) return fail(EINVAL, "aarch32: version 1 has no other tables");
  if (!old && options["granules"] == 0 && options["aarch32"] == 0)
    return fail(EINVAL, "granules: there are no tables at all");
  if (!old && options["granules"] == 0 && options["upstream_bits"] == 0)
    return fail(EINVAL, "upstream_bits: 32 without AArch64 tables is version 1");
  return {};
}

std::uint64_t make_idr0(const Options& options) {
  const std::uint64_t stages = options["stages"];
  const bool matching = options.flag("stream_matching"), old = options["version"] == 0;
  const std::uint64_t ids = options["stream_id_bits"];
  // "No AArch32" and "no short descriptors" are a bit each (PTFS).
  constexpr std::uint64_t kFormats[] = {3, 1, 0};
  return kIdr0["NUMSMRG"].put(matching ? options["stream_entries"] : 0) | kIdr0["EXIDS"].put(ids == 16) |
         kIdr0["NUMSIDB"].put(std::min<std::uint64_t>(ids, 15)) | kIdr0["CTTW"].put(options["coherent"]) |
         kIdr0["NUMIRPT"].put(old ? options["context_interrupts"] : options["context_banks"]) |
         kIdr0["PTFS"].put(kFormats[options["aarch32"]]) |
         kIdr0["ATOSNS"].put(!old && !options.flag("address_translation")) | kIdr0["SMS"].put(matching) |
         kIdr0["NTS"].put(stages == kNested) | kIdr0["S2TS"].put(stages != kStage1Only) |
         kIdr0["S1TS"].put(stages != kStage2Only);
}

std::uint64_t make_idr1(const Options& options) {
  const std::uint64_t banks = options["context_banks"];
  // NUMPAGE is 2^(n+1), and no less than the banks.
  const auto half_lg2 = std::max(std::uint64_t{1}, static_cast<std::uint64_t>(std::bit_width(banks - 1)));
  return kIdr1["NUMCB"].put(banks) | kIdr1["SMCD"].put(1) | kIdr1["NUMS2CB"].put(options["stage2_banks"]) |
         kIdr1["NUMPAGENDXB"].put(half_lg2 - 1) | kIdr1["PAGESIZE"].put(options["register_page"]);
}

std::uint64_t make_idr2(const Options& options) {
  const std::uint64_t sizes = kIdr2["IAS"].put(options["input_bits"]) | kIdr2["OAS"].put(options["output_bits"]);
  if (options["version"] == 0) return sizes;
  const auto has = [&](unsigned granule) { return options["granules"] >> granule & 1; };
  return sizes | kIdr2["UBS"].put(options["upstream_bits"]) | kIdr2["PTFSV8_4K"].put(has(12)) |
         kIdr2["PTFSV8_16K"].put(has(14)) | kIdr2["PTFSV8_64K"].put(has(16)) |
         kIdr2["VMID16S"].put(options["vmid_bits"]);
}

}  // namespace

ArmSmmu::ArmSmmu(const UnitContext& context, const Options& options)
    : IommuUnit(context),
      version_(static_cast<unsigned>(options["version"]) + 1),
      idr0_(make_idr0(options)),
      idr1_(make_idr1(options)),
      idr2_(make_idr2(options)),
      entries_(static_cast<unsigned>(kIdr0["SMS"].is_set(idr0_) ? kIdr0["NUMSMRG"].get(idr0_)
                                                                : bit(kIdr0["NUMSIDB"].get(idr0_) & 7))),
      banks_count_(static_cast<unsigned>(kIdr1["NUMCB"].get(idr1_))),
      stage2_banks_(static_cast<unsigned>(kIdr1["NUMS2CB"].get(idr1_))),
      interrupts_(static_cast<unsigned>(kIdr0["NUMIRPT"].get(idr0_))),
      input_bits_(kAddressBits[options["input_bits"]]),
      output_bits_(kAddressBits[options["output_bits"]]),
      upstream_bits_(is_version2() ? kAddressBits[options["upstream_bits"]] : input_bits_),
      pages_(Pages::of(idr1_)) {
  reset();
}

void ArmSmmu::reset() {
  {
    const std::scoped_lock lock(mutex_);
    global_ = {.cr0 = kCr0.reset};
    smr_.fill(0);
    s2cr_.fill(0);
    banks_.fill({});
  }
  iotlb_.invalidate_all();
  bump_generation();
}

// ---- One transaction ------------------------------------------------------------------------------------------

ArmSmmu::Plan ArmSmmu::plan_for(StreamId stream) const {
  const std::scoped_lock lock(mutex_);
  Plan plan{.route = route_of(stream)};
  if (plan.route.kind != Route::Kind::translate) return plan;
  if (const auto context = context_of(plan.route.bank)) {
    plan.context = *context;
  } else {
    plan.route = {.kind = Route::Kind::fault, .gfsr = context.error()};
  }
  return plan;
}

std::optional<Translation> ArmSmmu::pass(const Transaction& transaction) {
  if (transaction.iova.value >> output_bits_ != 0) return refuse(transaction, kGfsr["UUT"].mask());
  return Translation{PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true, true};
}

std::optional<Translation> ArmSmmu::translate(const Transaction& transaction) {
  constexpr unsigned kMostTries = 8;  // of a transaction that stalls and is resumed
  for (unsigned attempt = 0; attempt < kMostTries; ++attempt) {
    // Taken before the registers are read: an invalidation in between makes the insert below a no-op.
    const Iotlb::Ticket ticket = iotlb_.ticket();
    const Plan plan = plan_for(transaction.stream);
    if (plan.route.kind == Route::Kind::fault) return refuse(transaction, plan.route.gfsr);
    if (transaction.pasid != 0) return refuse(transaction, kGfsr["UUT"].mask());  // there are no substreams
    const Context& context = plan.context;
    if (plan.route.kind == Route::Kind::bypass || context.passes()) return pass(transaction);
    {
      const std::scoped_lock lock(mutex_);
      if (is_held_up(context)) return std::nullopt;
    }
    if (const auto hit = iotlb_.look_up(context.space, transaction.iova))
      if (transaction.access == Access::read ? hit->read : hit->write)
        return context_.paranoid ? checked_hit(transaction, context, *hit) : hit;

    const WalkResult page = walk(context, transaction.iova, transaction.access);
    if (page) {
      const Translation translation{page->first, static_cast<std::uint8_t>(page->lg2), page->read, page->write,
                                    !context_.paranoid};
      iotlb_.insert(ticket, context.space, transaction.iova, translation);
      return translation;
    }
    if (!context_fault(transaction, context, page.error())) return std::nullopt;
  }
  return std::nullopt;
}

// Paranoid mode: a hit that the tables no longer say is a missing invalidation.
std::optional<Translation> ArmSmmu::checked_hit(const Transaction& transaction, const Context& context,
                                                Translation hit) {
  hit.cacheable = false;
  const WalkResult now = walk(context, transaction.iova, transaction.access);
  const auto place = [&](PhysAddr page, unsigned lg2) {
    return page.value + (transaction.iova.value & (bit(lg2) - 1));
  };
  const std::uint64_t cached = place(hit.page, hit.page_lg2), walked = now ? place(now->first, now->lg2) : 0;
  if (now && walked == cached) return hit;
  const std::string tables =
      now ? fmt::format("the tables say {:#x}", walked) : std::string("the tables say not present");
  const bool stage1 = context.has_stage1();
  context_.findings.add(fmt::format(
      "{}: stale translation: stream {:#x}, bank {}, {} {}, iova {:#x}: the TLB says {:#x} but {}; missing: {}", name(),
      transaction.stream, context.bank, stage1 ? "ASID" : "VMID",
      stage1 ? context.space & kAsidMask : (context.space & kVmidMask) >> 16, transaction.iova.value, cached, tables,
      stage1          ? "SMMU_CBn_TLBIVA or SMMU_CBn_TLBIASID"
      : is_version2() ? "SMMU_CBn_TLBIIPAS2 or SMMU_TLBIVMID"
                      : "SMMU_TLBIVMID"));
  return hit;
}

}  // namespace smmu

UnitModel arm_smmu_unit_model() {
  return {"arm-smmu", "Arm System MMU version 1 or 2", smmu::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              TRY(smmu::check(options));
              return std::make_unique<smmu::ArmSmmu>(context, options);
            });
          },
          smmu::check};
}

}  // namespace softiommu
