// SPDX-License-Identifier: BSD-3-Clause
// Arm long descriptors: the engine and the hardware's walk say the same, for each granule, stage and half.
#include "pt/formats/arm_lpae.h"

#include "machine/iommu/walk/arm_lpae.h"
#include "suite.h"

namespace softiommu {

template <class Format, bool kLargeAddresses = false>
class ArmLpaeSuite : public test::WalkSuite<Format> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    const pt::ArmLpaeConfig& config = this->config();
    const walk::ArmStage stage{.table = this->table().root(),
                               .granule_lg2 = Format::kPageShift,
                               .input_bits = config.input_bits,
                               .output_bits = config.output_bits,
                               .start_level = 3 - static_cast<int>(this->shape().top_level),
                               .large_addresses = kLargeAddresses,
                               .upper_half = config.upper_half,
                               .set_access_flag = config.dirty_tracking,
                               .set_dirty = config.dirty_tracking};
    const walk::ArmStages stages =
        config.stage == 1 ? walk::ArmStages{.stage1 = &stage} : walk::ArmStages{.stage2 = &stage};
    return walk::arm_lpae(this->memory(), stages, iova, access);
  }
  // Stage 1 starts where hardware does without being told.
  void expect_usual_start() {
    if (this->config().stage != 1) return;
    EXPECT_EQ(walk::arm_start_level(this->config().input_bits, Format::kPageShift),
              3 - static_cast<int>(this->shape().top_level));
  }
  void run() {
    expect_usual_start();
    this->compare_random_sequences();
    if (this->tracks_dirty()) this->expect_dirty_after_writes();
  }
};

using ArmLpaeWalk = ArmLpaeSuite<pt::ArmLpae>;
using ArmLpae16KWalk = ArmLpaeSuite<pt::ArmLpae16K>;
using ArmLpae64KWalk = ArmLpaeSuite<pt::ArmLpae64K>;
using ArmLpaeLpa2Walk = ArmLpaeSuite<pt::ArmLpaeLpa2, true>;
using ArmLpae16KLpa2Walk = ArmLpaeSuite<pt::ArmLpae16KLpa2, true>;
using ArmLpaeContiguousWalk = ArmLpaeSuite<pt::ArmLpaeContiguous>;
using ArmLpae16KContiguousWalk = ArmLpaeSuite<pt::ArmLpae16KContiguous>;
using ArmLpae64KContiguousWalk = ArmLpaeSuite<pt::ArmLpae64KContiguous>;
using ArmLpaeNsWalk = ArmLpaeSuite<pt::ArmLpaeNs>;
TEST_P(ArmLpaeWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpae16KWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpae64KWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpaeLpa2Walk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpae16KLpa2Walk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpaeContiguousWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpae16KContiguousWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpae64KContiguousWalk, AgreesWithTheEngine) { run(); }
TEST_P(ArmLpaeNsWalk, AgreesWithTheEngine) { run(); }

INSTANTIATE_TEST_SUITE_P(Every, ArmLpaeWalk, test::every_configuration<pt::ArmLpae>(), test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpae16KWalk, test::every_configuration<pt::ArmLpae16K>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpae64KWalk, test::every_configuration<pt::ArmLpae64K>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpaeLpa2Walk, test::every_configuration<pt::ArmLpaeLpa2>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpae16KLpa2Walk, test::every_configuration<pt::ArmLpae16KLpa2>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpaeContiguousWalk, test::every_configuration<pt::ArmLpaeContiguous>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpae16KContiguousWalk, test::every_configuration<pt::ArmLpae16KContiguous>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpae64KContiguousWalk, test::every_configuration<pt::ArmLpae64KContiguous>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ArmLpaeNsWalk, test::every_configuration<pt::ArmLpaeNs>(), test::configuration_number);

class ArmLpaeDirtySets : public ArmLpaeContiguousWalk {};
INSTANTIATE_TEST_SUITE_P(With, ArmLpaeDirtySets,
                         ::testing::Values(pt::ArmLpaeConfig{.dirty_tracking = true},
                                           pt::ArmLpaeConfig{.stage = 2, .dirty_tracking = true}));

TEST_P(ArmLpaeDirtySets, HardwareMarksOneEntryAndTheEngineTellsOfTheWholePage) {
  constexpr std::uint64_t kSet = 64 * kKiB;
  ASSERT_EQ(map(kSet, 0, kSet, {.read = true, .write = true}), 0);
  ASSERT_TRUE(hardware(Iova{kSet + 0x3000}, Access::write));
  EXPECT_TRUE(hardware(Iova{kSet + 0x3000}, Access::read)->write);
  EXPECT_FALSE(hardware(Iova{kSet + 0x4000}, Access::read)->write);
  IovaRange dirty{Iova{0}, Iova{0}};
  table().read_dirty(table().aperture(), true,
                     [&](Iova first, std::uint64_t bytes) { dirty = IovaRange::of(first, bytes); });
  EXPECT_EQ(dirty, IovaRange::of(Iova{kSet}, kSet));
  EXPECT_FALSE(hardware(Iova{kSet + 0x3000}, Access::read)->write);
}

}  // namespace softiommu
