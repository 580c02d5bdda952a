// SPDX-License-Identifier: BSD-3-Clause
// Exynos tables of both kinds: the engine and the hardware's walk, and words that the engine does not write.
#include "machine/iommu/walk/exynos.h"

#include "pt/formats/exynos.h"
#include "suite.h"

namespace softiommu {

template <class Format, bool kWide>
class ExynosSuite : public test::WalkSuite<Format> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::exynos(this->memory(), {.root = this->table().root(), .wide = kWide}, iova, access);
  }
  void set_first_level(unsigned index, std::uint32_t word) {
    this->memory().tables().template as<std::uint32_t>(this->table().root())[index] = word;
  }
  walk::Fault fault_of(Access access) { return hardware(Iova{0}, access).error().fault; }
};
using ExynosV1Walk = ExynosSuite<pt::ExynosV1, false>;
using ExynosV5Walk = ExynosSuite<pt::ExynosV5, true>;

TEST_P(ExynosV1Walk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(ExynosV5Walk, AgreesWithTheEngine) { compare_random_sequences(); }

TEST_P(ExynosV1Walk, ASectionWithoutApAllowsNothing) {
  set_first_level(0, 0x4000'8002);
  EXPECT_EQ(fault_of(Access::read), walk::Fault::permission);
  EXPECT_EQ(fault_of(Access::write), walk::Fault::permission);
}

TEST_P(ExynosV1Walk, TypeThreeIsAFaultOfTheFirstLevel) {
  set_first_level(0, 0x4000'0403);
  EXPECT_EQ(fault_of(Access::read), walk::Fault::not_present);
}

TEST_P(ExynosV5Walk, PagesMayBeOnlyWritten) {
  set_first_level(0, 0xf400'0022);
  EXPECT_EQ(fault_of(Access::read), walk::Fault::permission);
  EXPECT_EQ(hardware(Iova{0x1234}, Access::write)->first, PhysAddr{0xf'4000'0000});
}

TEST_P(ExynosV5Walk, TypeThreeOfTheSecondLevelIsReserved) {
  const PhysAddr second = memory().tables().allocate().value();
  set_first_level(0, static_cast<std::uint32_t>(second.value >> 4) | 1);
  memory().tables().as<std::uint32_t>(second)[0] = 0x4000'000f;
  EXPECT_EQ(fault_of(Access::read), walk::Fault::reserved);
}

INSTANTIATE_TEST_SUITE_P(Every, ExynosV1Walk, test::every_configuration<pt::ExynosV1>(), test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, ExynosV5Walk, test::every_configuration<pt::ExynosV5>(), test::configuration_number);

}  // namespace softiommu
