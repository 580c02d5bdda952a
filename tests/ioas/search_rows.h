// SPDX-License-Identifier: BSD-3-Clause
// Machines, the order in which their groups join one container, and what the search must then have cost.
//
// Both ways into an address space run over these rows: the library's and the VFIO container's.
#pragma once

#include <cstddef>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/journal.h"
#include "core/system.h"
#include "machine/spec.h"

namespace softiommu::testing {

// What a search did, by the journal.
struct SearchCost {
  std::size_t domains = 0;       // in use at the end
  std::size_t attaches = 0;      // attach calls
  std::size_t incompatible = 0;  // of them
  std::size_t allocations = 0;
  friend bool operator==(const SearchCost&, const SearchCost&) = default;
  friend void PrintTo(const SearchCost& cost, std::ostream* out) {
    *out << cost.domains << " domains, " << cost.attaches << " attaches (" << cost.incompatible << " incompatible), "
         << cost.allocations << " allocations";
  }
};

// Each group is attached once. The others' tries: a group that meets a domain that does not fit costs one attach more.
inline constexpr SearchCost kAllShare{.domains = 1, .attaches = 6, .incompatible = 0, .allocations = 1};
inline constexpr SearchCost kEachUnitItsOwn{.domains = 2, .attaches = 9, .incompatible = 3, .allocations = 2};

struct SearchRow {
  std::string_view name;
  std::string machine;                    // "NAME.toml" of machines/, or the text itself
  std::vector<std::string_view> devices;  // each in a group of its own, in the order they join
  SearchCost cost;
  Rules rules = Rules::contract;
  friend void PrintTo(const SearchRow& row, std::ostream* out) { *out << row.name; }
};

// Two units with these keys, and three devices behind each: kOfTwoUnits.
inline const std::vector<std::string_view> kOfTwoUnits = {"0000:00:02.0", "0000:00:03.0", "0000:00:04.0",
                                                          "0000:00:05.0", "0000:00:06.0", "0000:00:07.0"};
inline std::string two_units(std::string_view model, std::string_view first, std::string_view second) {
  std::string toml = "[machine]\nname = \"two-units\"\n";
  for (const auto& [name, keys] : {std::pair{"u0", first}, std::pair{"u1", second}}) {
    toml += "[[iommu]]\nname = \"" + std::string(name) + "\"\nmodel = \"" + std::string(model) + "\"\n" +
            std::string(keys) + "\n";
  }
  for (std::size_t i = 0; i < kOfTwoUnits.size(); ++i) {
    toml += "[[device]]\naddress = \"" + std::string(kOfTwoUnits[i]) + "\"\nmodel = \"edu\"\niommu = \"" +
            (i < kOfTwoUnits.size() / 2 ? "u0" : "u1") + "\"\n";
  }
  return toml;
}
inline std::string two_vtd(std::string_view first, std::string_view second) {
  return two_units("intel-vtd", first, second);
}
inline std::string two_smmu(std::string_view first, std::string_view second) {
  return two_units("arm-smmu-v3", first, second);
}

inline std::string two_amd(std::string_view first, std::string_view second) {
  return two_units("amd-iommu", first, second);
}

inline std::string two_old_smmu(std::string_view first, std::string_view second) {
  return two_units("arm-smmu", first, second);
}

inline std::vector<SearchRow> search_rows() {
  const std::vector<std::string_view> sharing = {"0000:00:04.0", "0000:00:06.0", "0000:00:07.0",
                                                 "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"};
  const std::vector<std::string_view> one_unit(sharing.begin(), sharing.begin() + 3);
  const std::vector<std::string_view> different = {"0000:00:04.0", "0000:00:06.0", "0000:00:07.0",
                                                   "0000:00:08.0", "0000:00:09.0", "0000:00:0a.0"};
  const std::vector<std::string_view> wide_first = {"0000:00:08.0", "0000:00:04.0", "0000:00:09.0",
                                                    "0000:00:06.0", "0000:00:0a.0", "0000:00:07.0"};
  const std::vector<std::string_view> four = {"0000:00:04.0", "0000:00:05.0", "0000:00:06.0", "0000:00:07.0"};
  return {
      {"ThreeGroupsBehindOneVtd", "two-vtd-sharing.toml", one_unit, {1, 3, 0, 1}},
      {"ThreeGroupsBehindOneSmmu", two_smmu("", ""), {kOfTwoUnits.begin(), kOfTwoUnits.begin() + 3}, {1, 3, 0, 1}},
      {"TwoEqualVtds", "two-vtd-sharing.toml", sharing, kAllShare},
      {"TwoDifferentVtds", "two-vtd-different.toml", different, kEachUnitItsOwn},
      {"TwoDifferentVtdsInTurns", "two-vtd-different.toml", wide_first, kEachUnitItsOwn},
      {"TwoEqualSmmus", "smmuv3.toml", four, {1, 4, 0, 1}},
      {"AVtdAndAnSmmuNeverTryEachOthers", "mixed.toml", four, {2, 4, 0, 2}},

      {"FourEqualAmds",
       "amd-server.toml",
       {"0000:00:04.0", "0000:00:05.0", "0000:00:06.0", "0000:00:07.0", "0000:01:00.0"},
       {1, 5, 0, 1}},
      {"AmdHostTablesFirst", "amd-guest-tables.toml", four, {2, 6, 2, 2}},
      {"AmdGuestTablesFirst",
       "amd-guest-tables.toml",
       {"0000:00:05.0", "0000:00:04.0", "0000:00:07.0", "0000:00:06.0"},
       {1, 4, 0, 1}},
      {"ThreeKindsNeverTryEachOthers",
       "three-kinds.toml",
       {"0000:00:04.0", "0000:00:05.0", "0000:00:06.0", "0000:00:07.0", "0000:00:08.0", "0000:00:09.0"},
       {3, 6, 0, 3}},

      // What fits is not symmetric: a domain made for the weaker unit serves the stronger one, not the reverse.
      {"NarrowVtdFirst", two_vtd("address_widths = [39]", ""), kOfTwoUnits, kAllShare},
      {"WideVtdFirst", two_vtd("", "address_widths = [39]"), kOfTwoUnits, kEachUnitItsOwn},
      {"SnoopingVtdFirst", two_vtd("", "snoop_control = false"), kOfTwoUnits, kEachUnitItsOwn},
      {"SnoopingVtdSecond", two_vtd("snoop_control = false", ""), kOfTwoUnits, kAllShare},
      {"VtdWithoutLargePagesFirst", two_vtd("large_pages = []", ""), kOfTwoUnits, kAllShare},
      {"VtdWithoutLargePagesSecond", two_vtd("", "large_pages = []"), kOfTwoUnits, kEachUnitItsOwn},
      {"InvalidationIsAUnitsOwnAffair", two_vtd("caching_mode = true", "queued_invalidation = false"), kOfTwoUnits,
       kAllShare},
      {"SmallSmmuFirst", two_smmu("output_bits = 40", ""), kOfTwoUnits, kAllShare},
      {"SmallSmmuSecond", two_smmu("", "output_bits = 40"), kOfTwoUnits, kEachUnitItsOwn},
      {"CoherentSmmuFirst", two_smmu("", "coherent = false"), kOfTwoUnits, kEachUnitItsOwn},
      {"CoherentSmmuSecond", two_smmu("coherent = false", ""), kOfTwoUnits, kAllShare},
      {"SmmusOfTwoStagesNeverTryEachOthers", two_smmu("stages = \"1\"", "stages = \"2\""), kOfTwoUnits, {2, 6, 0, 2}},
      {"TwoStage2Smmus", two_smmu("stages = \"2\"\nrange_invalidation = false", "stages = \"2\""), kOfTwoUnits,
       kAllShare},

      {"NarrowAmdFirst", two_amd("host_levels = \"4\"", ""), kOfTwoUnits, kAllShare},
      {"WideAmdFirst", two_amd("", "host_levels = \"4\""), kOfTwoUnits, kEachUnitItsOwn},
      {"AmdsWhoseTablesNeverFit", two_amd("guest_levels = \"none\"", "host_levels = \"none\""), kOfTwoUnits,
       kEachUnitItsOwn},
      {"TwoSmmuV2sOfOneServer", "arm-server-smmuv2.toml", four, {1, 4, 0, 1}},
      {"ThreeGroupsBehindOneSmmuV2",
       two_old_smmu("", ""),
       {kOfTwoUnits.begin(), kOfTwoUnits.begin() + 3},
       {1, 3, 0, 1}},
      {"SmmuV2sWithOtherIdsAndBanks", two_old_smmu("stream_id_bits = 16", "context_banks = 4\nstage2_banks = 1"),
       kOfTwoUnits, kAllShare},
      {"SmallSmmuV2First", two_old_smmu("upstream_bits = 40", ""), kOfTwoUnits, kAllShare},
      {"SmallSmmuV2Second", two_old_smmu("", "upstream_bits = 40"), kOfTwoUnits, kEachUnitItsOwn},
      {"SmmuV2AndV1NeverTryEachOthers", two_old_smmu("", "version = \"1\""), kOfTwoUnits, {2, 6, 0, 2}},
      {"TwoSmmuV1s", two_old_smmu("version = \"1\"\nstages = \"2\"", "version = \"1\"\nstages = \"2\""), kOfTwoUnits,
       kAllShare},

      // Linux makes and attaches a domain for each group before it looks at those that are there.
      {"LinuxOneVtd", "two-vtd-sharing.toml", one_unit, {1, 5, 0, 3}, Rules::linux7},
      {"LinuxTwoDifferentVtds", "two-vtd-different.toml", different, {2, 10, 0, 6}, Rules::linux7},
      {"LinuxTwoEqualSmmus", "smmuv3.toml", four, {2, 10, 2, 4}, Rules::linux7},
      {"LinuxFourEqualAmds",
       "amd-server.toml",
       {"0000:00:04.0", "0000:00:05.0", "0000:00:06.0", "0000:01:00.0"},
       {1, 7, 0, 4},
       Rules::linux7},
      {"LinuxTwoSmmuV2s", "arm-server-smmuv2.toml", four, {2, 10, 2, 4}, Rules::linux7},
  };
}

inline MachineSpec search_machine(std::string_view machine) {
  const bool is_file = machine.ends_with(".toml");
  const auto spec =
      is_file ? load_machine(SOFTIOMMU_SOURCE_DIR "/machines/" + std::string(machine)) : parse_machine(machine, "text");
  if (!spec) throw std::runtime_error(spec.error().where + ": " + spec.error().what);
  return *spec;
}

// Since the journal was cleared. Claims of a group, which attach it to its blocking domain, are not the search's.
inline SearchCost search_cost(System& system, const std::vector<std::string_view>& devices) {
  SearchCost cost;
  std::set<const Domain*> domains;
  std::set<std::uint64_t> made;
  for (const std::string_view device : devices) domains.insert(system.device(device)->group()->domain());
  cost.domains = domains.size();
  for (const AttachRecord& record : system.journal().all()) {
    if (record.kind == AttachRecord::Kind::allocate) made.insert(record.domain);
    if (record.kind != AttachRecord::Kind::attach || !made.contains(record.domain)) continue;
    ++cost.attaches;
    cost.incompatible += record.error && record.error->failure == AttachFailure::incompatible;
  }
  cost.allocations = made.size();
  return cost;
}

}  // namespace softiommu::testing
