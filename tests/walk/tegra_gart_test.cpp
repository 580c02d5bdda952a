// SPDX-License-Identifier: BSD-3-Clause
// The entries of a GART: the engine's table, taken as registers, and the hardware's look-up in its window.
#include "machine/iommu/walk/tegra_gart.h"

#include "pt/formats/tegra_gart.h"
#include "suite.h"

namespace softiommu {

class TegraGartWalk : public test::WalkSuite<pt::TegraGart> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    const auto* words = memory().tables().as<std::uint32_t>(table().root());
    return walk::tegra_gart({.words = {words, kEntries}, .window = Iova{config().window}}, iova, access);
  }
  static constexpr std::size_t kEntries = 8192;
};

TEST_P(TegraGartWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(TegraGartWalk, TheWindowHas32MiB) {
  EXPECT_EQ(table().aperture(), IovaRange::of(Iova{0x5800'0000}, 32 * kMiB));
  EXPECT_EQ(hardware(Iova{0x5a00'0000}, Access::read).error().fault, walk::Fault::input_range);
  EXPECT_EQ(hardware(Iova{0x57ff'ffff}, Access::read).error().fault, walk::Fault::input_range);
}

TEST_P(TegraGartWalk, EntriesFollowEachOther) {
  ASSERT_EQ(map(0x5800'2000, 0x1000'0000, 0x2000, {.read = true, .write = true}), 0);
  const auto* words = memory().tables().as<std::uint32_t>(table().root());
  EXPECT_EQ(words[1], 0u);
  EXPECT_EQ(words[2], 0x9000'0000u);
  EXPECT_EQ(words[3], 0x9000'1000u);
}

INSTANTIATE_TEST_SUITE_P(Every, TegraGartWalk, test::every_configuration<pt::TegraGart>(), test::configuration_number);

}  // namespace softiommu
