// SPDX-License-Identifier: BSD-3-Clause
// Tegra SMMU tables: the engine and the hardware's walk, and the rights that a directory has.
#include "machine/iommu/walk/tegra_smmu.h"

#include "pt/formats/tegra_smmu.h"
#include "suite.h"

namespace softiommu {

class TegraSmmuWalk : public test::WalkSuite<pt::TegraSmmu> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::tegra_smmu(memory(), {.root = table().root(), .output_bits = config().output_bits}, iova, access);
  }
  std::uint32_t& directory(unsigned index) { return memory().tables().as<std::uint32_t>(table().root())[index]; }
  walk::Fault fault_of(Access access) { return hardware(Iova{0}, access).error().fault; }
};

TEST_P(TegraSmmuWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(TegraSmmuWalk, ADirectoryEntryLimitsItsPages) {
  ASSERT_EQ(map(0, 0x2000, 0x1000, {.read = true, .write = true}), 0);
  const std::uint32_t whole = directory(0);
  directory(0) = whole & ~0x4000'0000u;
  EXPECT_TRUE(hardware(Iova{0}, Access::read));
  EXPECT_EQ(fault_of(Access::write), walk::Fault::permission);
  directory(0) = whole & ~0x8000'0000u;
  EXPECT_TRUE(hardware(Iova{0}, Access::write));
  EXPECT_EQ(fault_of(Access::read), walk::Fault::permission);
}

TEST_P(TegraSmmuWalk, ARootLimitsItsDirectory) {
  ASSERT_EQ(map(0, 0x2000, 0x1000, {.read = true, .write = true}), 0);
  const auto found = walk::tegra_smmu(memory(), {.root = table().root(), .write = false}, Iova{0}, Access::read);
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->write);
  const auto secure = walk::tegra_smmu(memory(), {.root = table().root(), .nonsecure = false}, Iova{0}, Access::read);
  EXPECT_EQ(secure.error().fault, walk::Fault::permission);
}

TEST_P(TegraSmmuWalk, SecurePagesAreNotForOthers) {
  directory(0) = 0xc000'0400;
  EXPECT_EQ(fault_of(Access::read), walk::Fault::permission);
}

TEST_P(TegraSmmuWalk, EntriesWithoutRightsMapNothing) {
  directory(0) = 0x2000'0400;
  EXPECT_EQ(fault_of(Access::read), walk::Fault::not_present);
}

TEST_P(TegraSmmuWalk, PageNumbersAreNoWiderThanTheChip) {
  directory(0) = 0xe030'0000;
  const auto found = hardware(Iova{0}, Access::read);
  ASSERT_EQ(found.has_value(), config().output_bits == 34);
  EXPECT_TRUE(found || found.error().fault == walk::Fault::output_range);
}

INSTANTIATE_TEST_SUITE_P(Every, TegraSmmuWalk, test::every_configuration<pt::TegraSmmu>(), test::configuration_number);

}  // namespace softiommu
