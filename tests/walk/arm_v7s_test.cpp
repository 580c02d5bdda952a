// SPDX-License-Identifier: BSD-3-Clause
// Arm short descriptors and MediaTek's: the engine and the hardware's walk say the same.
#include "pt/formats/arm_v7s.h"

#include "machine/iommu/walk/arm_v7s.h"
#include "suite.h"

namespace softiommu {

template <class Format, bool kMediaTek>
class ArmV7sSuite : public test::WalkSuite<Format> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override { return hardware_with(rights_, iova, access); }
  walk::Outcome hardware_with(walk::ArmV7sTable::Rights rights, Iova iova, Access access) {
    return walk::arm_v7s(this->memory(),
                         {.root = this->table().root(),
                          .input_bits = this->config().input_bits,
                          .output_bits = this->config().output_bits,
                          .rights = rights,
                          .mediatek = kMediaTek,
                          .table_addresses = this->config().table_bits > 32},
                         iova, access);
  }

  walk::ArmV7sTable::Rights rights_ = kMediaTek ? walk::ArmV7sTable::Rights::none : walk::ArmV7sTable::Rights::full;
};
using ArmV7sWalk = ArmV7sSuite<pt::ArmV7s, false>;
using MtkV7sWalk = ArmV7sSuite<pt::MtkV7s, true>;

TEST_P(ArmV7sWalk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(MtkV7sWalk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(ArmV7sWalk, NothingIsMappedAtFirst) {
  const auto found = hardware(Iova{kPageSize}, Access::read);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().fault, walk::Fault::not_present);
}

TEST_P(ArmV7sWalk, RightsMeanTheSameWithAnAccessFlag) {
  rights_ = walk::ArmV7sTable::Rights::access_flag;
  compare_random_sequences(1);
}

INSTANTIATE_TEST_SUITE_P(Every, ArmV7sWalk, test::every_configuration<pt::ArmV7s>(), test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, MtkV7sWalk, test::every_configuration<pt::MtkV7s>(), test::configuration_number);

}  // namespace softiommu
