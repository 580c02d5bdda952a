// SPDX-License-Identifier: BSD-3-Clause
// VT-d second stage: the engine's tables as the hardware walks them. What the walk makes of odd ones in legacy mode is
// told by the unit's own tests (tests/machine/intel_vtd_test.cpp).
#include "machine/iommu/walk/vtd_second_stage.h"

#include "pt/formats/vtd_second_stage.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

class VtdSecondStageWalk : public test::WalkSuite<pt::VtdSecondStage> {
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::vtd_second_stage(
        memory(),
        {.root = table().root(),
         .levels = table().top_level() + 1,
         .host_address_width = config().output_bits,
         .large_pages = (config().page_sizes >> 21 & 1) | (config().page_sizes >> 30 & 1) << 1,
         .snoop_control = config().snoop_control,
         .accessed_dirty = true},
        iova, access);
  }
};
INSTANTIATE_TEST_SUITE_P(Every, VtdSecondStageWalk, test::every_configuration<pt::VtdSecondStage>(),
                         test::configuration_number);

TEST_P(VtdSecondStageWalk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(VtdSecondStageWalk, WritesMakePagesDirty) { expect_dirty_after_writes(); }

class VtdSecondStageByHand : public test::TablesByHand {
 protected:
  PhysAddr root = table(), leaves = table();
  walk::VtdSecondStage tables{.root = root, .levels = 2, .accessed_dirty = true};
};

TEST_F(VtdSecondStageByHand, HardwareMarksAllLevels) {
  put(root, 0, leaves.value | 3);
  put(leaves, 1, 0x5003);
  EXPECT_FALSE(walk::vtd_second_stage(memory(), tables, Iova{0x1000}, Access::read)->write);
  EXPECT_EQ(word(root, 0), leaves.value | 0x103);
  EXPECT_EQ(word(leaves, 1), 0x5103u);
  EXPECT_TRUE(walk::vtd_second_stage(memory(), tables, Iova{0x1000}, Access::write)->write);
  EXPECT_EQ(word(leaves, 1), 0x5303u);
}

TEST_F(VtdSecondStageByHand, LegacyModeMarksNothing) {
  tables.accessed_dirty = false;
  put(root, 0, leaves.value | 3);
  put(leaves, 1, 0x5003);
  EXPECT_TRUE(walk::vtd_second_stage(memory(), tables, Iova{0x1000}, Access::read)->write);
  EXPECT_EQ(word(leaves, 1), 0x5003u);
}

}  // namespace softiommu
