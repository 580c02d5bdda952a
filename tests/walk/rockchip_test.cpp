// SPDX-License-Identifier: BSD-3-Clause
// Rockchip tables of both kinds: the engine and the hardware's walk.
#include "machine/iommu/walk/rockchip.h"

#include "pt/formats/rockchip.h"
#include "suite.h"

namespace softiommu {

template <class Format, bool kWide>
class RockchipSuite : public test::WalkSuite<Format> {
 protected:
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::rockchip(this->memory(), {.root = this->table().root(), .wide = kWide}, iova, access);
  }
};
using RockchipV1Walk = RockchipSuite<pt::RockchipV1, false>;
using RockchipV2Walk = RockchipSuite<pt::RockchipV2, true>;

TEST_P(RockchipV1Walk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(RockchipV2Walk, AgreesWithTheEngine) { compare_random_sequences(); }

// The words of a run that crosses 4 GiB, 64 GiB or both do not differ by one number.
TEST_P(RockchipV2Walk, RunsMayCrossThePiecesOfAnAddress) {
  for (const std::uint64_t border : {0x1'0000'0000u, 0x10'0000'0000u, 0xf0'0000'0000u}) {
    ASSERT_EQ(map(0x1000, border - 0x8000, 0x10000, {.read = true, .write = true}), 0);
    for (std::uint64_t at = 0; at < 0x10000; at += 0x1000)
      ASSERT_EQ(hardware(Iova{0x1000 + at}, Access::write)->first, PhysAddr{border - 0x8000 + at});
    ASSERT_EQ(unmap(0x1000, 0x10000), 0x10000u);
  }
}

TEST_P(RockchipV1Walk, CacheHintsAreNoAddressBits) {
  ASSERT_EQ(map(0, 0x1234'5000, 0x1000, {.read = true}), 0);
  const auto directory = memory().tables().as<std::uint32_t>(table().root())[0];
  memory().tables().as<std::uint32_t>(PhysAddr{directory & 0xffff'f000})[0] |= 0x1f8;
  EXPECT_EQ(hardware(Iova{0}, Access::read)->first, PhysAddr{0x1234'5000});
}

INSTANTIATE_TEST_SUITE_P(Every, RockchipV1Walk, test::every_configuration<pt::RockchipV1>(),
                         test::configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, RockchipV2Walk, test::every_configuration<pt::RockchipV2>(),
                         test::configuration_number);

}  // namespace softiommu
