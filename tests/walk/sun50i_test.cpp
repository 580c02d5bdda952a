// SPDX-License-Identifier: BSD-3-Clause
// Allwinner H6 tables: the engine and the hardware's walk, with the rights that the driver puts into registers.
#include "machine/iommu/walk/sun50i.h"

#include "pt/formats/sun50i.h"
#include "suite.h"

namespace softiommu {

class Sun50iWalk : public test::WalkSuite<pt::Sun50i> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::sun50i(memory(), {.root = table().root(), .authorities = authorities_}, iova, access);
  }
  std::array<walk::Authority, 16> authorities_ = [] {
    std::array<walk::Authority, 16> all{};
    all[pt::Sun50i::kAuthorityRead] = {.read = true};
    all[pt::Sun50i::kAuthorityWrite] = {.write = true};
    all[pt::Sun50i::kAuthorityReadWrite] = {.read = true, .write = true};
    return all;
  }();
};

TEST_P(Sun50iWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(Sun50iWalk, RightsAreThoseOfTheRegisters) {
  ASSERT_EQ(map(0x1000, 0x2000, 0x1000, {.read = true, .write = true}), 0);
  authorities_[pt::Sun50i::kAuthorityReadWrite].write = false;
  EXPECT_TRUE(hardware(Iova{0x1000}, Access::read));
  EXPECT_EQ(hardware(Iova{0x1000}, Access::write).error().fault, walk::Fault::permission);
}

TEST_P(Sun50iWalk, DirectoryEntriesNeedTypeOne) {
  ASSERT_EQ(map(0x1000, 0x2000, 0x1000, {.read = true}), 0);
  memory().tables().as<std::uint32_t>(table().root())[0] |= 2;
  expect_hole(0x1000);
}

INSTANTIATE_TEST_SUITE_P(Every, Sun50iWalk, test::every_configuration<pt::Sun50i>(), test::configuration_number);

}  // namespace softiommu
