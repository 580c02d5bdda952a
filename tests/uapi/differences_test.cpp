// SPDX-License-Identifier: BSD-3-Clause
// One test per row of docs/differences.md that a VFIO program can see.
#include "ioas/search_rows.h"
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

constexpr std::uint64_t kIova = 0x10000;

class VfioDifferences : public VfioTest, public ::testing::WithParamInterface<Rules> {
 protected:
  void start_with(std::string_view model, std::string_view keys, std::string_view machine_keys = "") {
    const std::string toml = "[machine]\n" + std::string(machine_keys) + "\n[[iommu]]\nname = \"u0\"\nmodel = \"" +
                             std::string(model) + "\"\n" + std::string(keys) + "\n[[device]]\naddress = \"" + kName +
                             "\"\nmodel = \"edu\"\n";
    const auto spec = parse_machine(toml, "text");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    start_on(*spec, {}, GetParam());
    system_->journal().clear();
  }
  Pages pages_{1};
};

INSTANTIATE_TEST_SUITE_P(Rules, VfioDifferences, ::testing::Values(Rules::contract, Rules::linux7),
                         [](const auto& test) {
                           return std::string(test.param == Rules::linux7 ? "Linux" : "Contract");
                         });

// Such an entry can always be read: a mapping that the program did not allow to be read would be readable.
TEST_P(VfioDifferences, AWriteOnlyMappingIsRefusedWhereStage1WouldWidenIt) {
  start_with("arm-smmu-v3", "stages = \"1\"");
  attach();
  EXPECT_EQ(map(kIova, pages_.address(), kPageSize, abi::kMapWrite), -EINVAL);
  EXPECT_FALSE(dma_write(kIova, 'x'));
  EXPECT_EQ(locked_pages(), 0U);
  EXPECT_EQ(map(kIova, pages_.address(), kPageSize), 0) << "the range is free";
}

TEST_P(VfioDifferences, AWriteOnlyMappingIsKeptWhereTheTablesCanSayIt) {
  for (const auto& [model, keys] : {std::pair{"intel-vtd", ""}, std::pair{"arm-smmu-v3", "stages = \"2\""}}) {
    start_with(model, keys);
    attach();
    ASSERT_EQ(map(kIova, pages_.address(), kPageSize, abi::kMapWrite), 0);
    EXPECT_TRUE(dma_write(kIova, 'w'));
    EXPECT_EQ(pages_.at()[0], 'w');
    EXPECT_EQ(dma_read(kIova), '-') << model;
    EXPECT_EQ(unmap(kIova, kPageSize).first, 0);
  }
}

TEST_P(VfioDifferences, MessagesThatAreNotIsolatedAreRefusedBeforeAnyAttach) {
  start_with("intel-vtd", "", "isolated_msi = false");
  container_ = open_container();
  group_ = open_group(kName);
  ASSERT_EQ(set_container(group_, container_), 0);
  EXPECT_EQ(call(container_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1_v2)), -EPERM);
  const auto cost = testing::search_cost(*system_, {});
  EXPECT_EQ(cost, testing::SearchCost{});
  EXPECT_EQ(system_->device(kName)->group()->domain()->type(), DomainType::blocked);
}

TEST_P(VfioDifferences, TwoSmmusWithEqualPropertiesShareADomainButNotOnLinux) {
  start_on(testing::search_machine("smmuv3.toml"), {}, GetParam());
  attach(abi::Extension::type1_v2, "0000:00:04.0");
  ASSERT_EQ(add("0000:00:05.0"), 0);  // behind the other instance
  EXPECT_EQ(system_->device("0000:00:04.0")->group()->domain() == system_->device("0000:00:05.0")->group()->domain(),
            GetParam() == Rules::contract);
  ASSERT_EQ(map(kIova, pages_.address(), kPageSize), 0);
  EXPECT_TRUE(dma_write(kIova, 's', "0000:00:04.0"));
  EXPECT_EQ(dma_read(kIova, "0000:00:05.0"), 's');
}

}  // namespace
}  // namespace softiommu::test
