// SPDX-License-Identifier: BSD-3-Clause
// What an address space costs in table memory: once for all units that agree, once for each unit where they do not.
#include "ioas/table_use.h"

#include <gtest/gtest.h>

#include "drivers/registry.h"
#include "ioas/search_rows.h"

namespace softiommu::testing {
namespace {

constexpr std::uint64_t kSize = kGiB;
constexpr std::uint64_t kLeaves = kSize / kPageSize * 8;  // 8 bytes for each page

TableUse use_of(const MachineSpec& spec, Rules rules = Rules::contract) {
  const auto machine = *Machine::create(spec, {.time = Executor::Time::virtual_time});
  const auto system = *System::create(*machine, all_drivers(), {.rules = rules});
  const std::uint64_t before = machine->memory().tables().allocated_bytes();
  TableUse use = *measure_table_use(*system, kSize);
  EXPECT_EQ(machine->memory().tables().allocated_bytes(), before) << "all of it is given back";
  EXPECT_EQ(use.structures, before);
  return use;
}
// A machine of four units of one model, a device behind each.
MachineSpec four(std::string_view model, const std::vector<std::string>& keys) {
  std::string toml;
  for (std::size_t n = 0; n < keys.size(); ++n)
    toml +=
        "[[iommu]]\nname = \"u" + std::to_string(n) + "\"\nmodel = \"" + std::string(model) + "\"\n" + keys[n] + "\n";
  for (std::size_t n = 0; n < keys.size(); ++n)
    toml += "[[device]]\naddress = \"00:0" + std::to_string(n + 2) + ".0\"\nmodel = \"edu\"\niommu = \"u" +
            std::to_string(n) + "\"\n";
  return search_machine(toml);
}

class FourUnits : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Servers, FourUnits, ::testing::Values("amd-server", "intel-server", "arm-server-smmuv3"),
                         [](const auto& test) { return std::string(test.param, 3); });

TEST_P(FourUnits, OfTheSamePropertiesTakeTheTablesOfOne) {
  const TableUse use = use_of(search_machine(std::string(GetParam()) + ".toml"));
  ASSERT_EQ(use.domains.size(), 1u);
  EXPECT_EQ(use.domains[0].units.size(), 4u);
  EXPECT_EQ(use.domains[0].mapped, kSize);
  EXPECT_GE(use.tables(), kLeaves);
  EXPECT_LE(use.tables(), kLeaves + kLeaves / 128) << "and the tables above";
}

// Linux's drivers for VT-d and AMD share as well; that for SMMUv3 makes a domain for each instance.
TEST_P(FourUnits, TakeFourTimesAsMuchOnLinuxWhereEachInstanceHasItsOwnDomain) {
  const MachineSpec spec = search_machine(std::string(GetParam()) + ".toml");
  const TableUse ours = use_of(spec), linux = use_of(spec, Rules::linux7);
  const unsigned times = spec.units.front().model == "arm-smmu-v3" ? 4 : 1;
  EXPECT_EQ(linux.domains.size(), times);
  EXPECT_EQ(linux.tables(), times * ours.tables());
}

struct Different {
  const char* model;
  std::vector<std::string> keys;
};
class UnitsThatDiffer : public ::testing::TestWithParam<Different> {};
INSTANTIATE_TEST_SUITE_P(Kinds, UnitsThatDiffer,
                         ::testing::Values(Different{"intel-vtd", {"address_widths = [39]", "address_widths = [48]"}},
                                           Different{"arm-smmu-v3", {"stages = \"1\"", "stages = \"2\""}},
                                           Different{"amd-iommu",
                                                     {"guest_levels = \"none\"", "host_levels = \"none\""}}));

TEST_P(UnitsThatDiffer, TakeATableEach) {
  const TableUse use = use_of(four(GetParam().model, GetParam().keys));
  ASSERT_EQ(use.domains.size(), 2u);
  for (const TableUse::Row& row : use.domains) EXPECT_GE(row.tables, kLeaves) << row.driver;
}

TEST(TableUse, OfTheMuseumIsWhatEachKindNeeds) {
  const TableUse use = use_of(search_machine("museum.toml"));
  EXPECT_TRUE(use.left_out.empty());
  EXPECT_EQ(use.domains.size(), 11u);
  for (const TableUse::Row& row : use.domains) {
    EXPECT_EQ(row.tables == 0, row.driver == "virtio-iommu") << row.driver << ": it has no tables in memory";
    if (row.driver == "tegra_gart") {
      EXPECT_EQ(row.mapped, 32 * kMiB) << "its window";
    }
    if (row.driver == "rockchip") {
      EXPECT_EQ(row.tables, kLeaves / 2 + kPageSize) << "entries of four bytes";
    }
  }
}

TEST(TableUse, OfAnArenaThatIsTooSmallIsNoMemory) {
  MachineSpec spec = search_machine("amd-server.toml");
  spec.memory.table_arena = 16 * kMiB;
  const auto machine = *Machine::create(spec, {.time = Executor::Time::virtual_time});
  const auto system = *System::create(*machine, all_drivers(), {});
  EXPECT_EQ(measure_table_use(*system, 16 * kGiB).error().code, ENOMEM);
  EXPECT_EQ(measure_table_use(*system, kPageSize).error().code, EINVAL);
  EXPECT_TRUE(measure_table_use(*system, 64 * kMiB)) << "the system is as before";
}

}  // namespace
}  // namespace softiommu::testing
