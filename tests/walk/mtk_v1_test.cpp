// SPDX-License-Identifier: BSD-3-Clause
// The flat table of a MediaTek M4U: the engine and the hardware's look-up.
#include "machine/iommu/walk/mtk_v1.h"

#include "pt/formats/mtk_v1.h"
#include "suite.h"

namespace softiommu {

class MtkV1Walk : public test::WalkSuite<pt::MtkV1> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::mtk_v1(memory(), {.first = table().root()}, iova, access);
  }
};

TEST_P(MtkV1Walk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(MtkV1Walk, ReachesTheLastPage) {
  ASSERT_EQ(map(0xffff'f000, 0x8000'0000, 0x1000, {.read = true, .write = true}), 0);
  EXPECT_EQ(hardware(Iova{0xffff'ffff}, Access::write)->first, PhysAddr{0x8000'0000});
  EXPECT_EQ(hardware(Iova{1ull << 32}, Access::write).error().fault, walk::Fault::input_range);
}

INSTANTIATE_TEST_SUITE_P(Every, MtkV1Walk, test::every_configuration<pt::MtkV1>(), test::configuration_number);

}  // namespace softiommu
