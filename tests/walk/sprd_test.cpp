// SPDX-License-Identifier: BSD-3-Clause
// The flat table of a Spreadtrum IOMMU: the engine and the hardware's look-up in its window.
#include "machine/iommu/walk/sprd.h"

#include "pt/formats/sprd.h"
#include "suite.h"

namespace softiommu {

class SprdWalk : public test::WalkSuite<pt::Sprd> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    const std::uint64_t pages = (std::uint64_t{1} << config().input_bits) / kPageSize;
    return walk::sprd(memory(), {.first = table().root(), .window = window(), .pages = pages}, iova, access);
  }
  Iova window() const { return Iova{config().window}; }
  Iova end() const { return window() + (std::uint64_t{1} << config().input_bits); }
};

TEST_P(SprdWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(SprdWalk, NothingIsFoundOutsideTheWindow) {
  EXPECT_EQ(hardware(end(), Access::read).error().fault, walk::Fault::input_range);
  EXPECT_EQ(hardware(window() - 1, Access::read).error().fault, walk::Fault::input_range);
  EXPECT_EQ(map(end().value, 0x1000, 0x1000, {.read = true, .write = true}), EINVAL);
}

TEST_P(SprdWalk, TheFirstPageOfMemoryCannotBeMapped) {
  EXPECT_EQ(map(window().value, 0, 0x1000, {.read = true, .write = true}), EINVAL);
  EXPECT_EQ(map(window().value, 0x1000, 0x1000, {.read = true, .write = true}), 0);
}

INSTANTIATE_TEST_SUITE_P(Every, SprdWalk, test::every_configuration<pt::Sprd>(), test::configuration_number);

}  // namespace softiommu
