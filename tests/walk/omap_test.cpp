// SPDX-License-Identifier: BSD-3-Clause
// OMAP tables: the engine and the hardware's walk, and words that the engine does not write.
#include "machine/iommu/walk/omap.h"

#include "pt/formats/omap.h"
#include "suite.h"

namespace softiommu {

class OmapWalk : public test::WalkSuite<pt::Omap> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::omap(memory(), {.root = table().root()}, iova, access);
  }
  // Puts a word into the first level.
  void set_first_level(unsigned index, std::uint32_t word) {
    memory().tables().as<std::uint32_t>(table().root())[index] = word;
  }
};

TEST_P(OmapWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(OmapWalk, TypeThreeIsAFaultOfTheFirstLevel) {
  set_first_level(5, 0x8000'0003);
  expect_hole(0x50'0000);
}

TEST_P(OmapWalk, SupersectionsTakeEightAddressBits) {
  set_first_level(0x12, 0x81ff'0002 | 1u << 18);
  const auto found = hardware(Iova{0x123'4567}, Access::write);
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, (walk::Page{PhysAddr{0x8100'0000}, 24, true, true, false}));
}

TEST_P(OmapWalk, SmallPagesNeedOnlyTypeBitOne) {
  const PhysAddr second = memory().tables().allocate().value();
  set_first_level(0, static_cast<std::uint32_t>(second.value) | 1);
  memory().tables().as<std::uint32_t>(second)[7] = 0x8123'4003;
  const auto found = hardware(Iova{0x7123}, Access::read);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->first, PhysAddr{0x8123'4000});
}

TEST_P(OmapWalk, ATableWhereNoMemoryIsStopsTheWalk) {
  set_first_level(0, 0xffff'fc01);
  EXPECT_EQ(hardware(Iova{0}, Access::read).error().fault, walk::Fault::memory);
}

TEST_P(OmapWalk, TranslatesThirtyTwoBits) {
  EXPECT_EQ(hardware(Iova{1ull << 32}, Access::read).error().fault, walk::Fault::input_range);
}

INSTANTIATE_TEST_SUITE_P(Every, OmapWalk, test::every_configuration<pt::Omap>(), test::configuration_number);

}  // namespace softiommu
