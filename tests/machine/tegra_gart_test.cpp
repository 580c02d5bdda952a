// SPDX-License-Identifier: BSD-3-Clause
// The register rules of the GART in a Tegra20 memory controller.
#include "hw/tegra_gart.h"
#include "machine/soc_unit_fixture.h"

namespace softiommu {
namespace {

using namespace hw::tegra_gart;

constexpr std::uint32_t kIova = 0x5800'3000, kPage = 0x4000'0000, kValid = 0x8000'0000;

class TegraGartUnit : public SocUnit {
 protected:
  void SetUp() override { make("tegra-gart"); }
  void set(std::uint32_t iova, std::uint32_t word) {
    write(kEntryAddr.offset, iova);
    write(kEntryData.offset, word);
  }
  void turn_on() {
    write(kConfig.offset, 1);
    write(kIntMask.offset, 0x80);
  }
};

TEST_F(TegraGartUnit, RemapsPagesOfTheWindowAndPassesWhatIsOutside) {
  turn_on();
  set(kIova, kPage | kValid);
  read(kConfig.offset);
  EXPECT_EQ(reach(kIova + 8, Access::write), kPage + 8u);
  EXPECT_EQ(reach(0x57ff'f008), 0x57ff'f008u);
  EXPECT_EQ(reach(0x5a00'0008), 0x5a00'0008u);
  EXPECT_EQ(reach(0x1'0000'0000), kRefused);
}

TEST_F(TegraGartUnit, TheWindowIsOutOfBoundsWhileItIsOff) {
  set(kIova, kPage | kValid);
  read(kConfig.offset);
  EXPECT_EQ(reach(kIova), kRefused);
  EXPECT_EQ(reach(0x4000'0000), 0x4000'0000u);
}

TEST_F(TegraGartUnit, EntriesAreReadBack) {
  set(0x59ff'f000, kPage | kValid);
  set(kIova, 0x7fff'f000);
  write(kEntryAddr.offset, 0x59ff'f000);
  EXPECT_EQ(read(kEntryData.offset), kPage | kValid);
  EXPECT_EQ(read(kEntryAddr.offset), 0x01ff'f000u) << "which page of the window";
}

TEST_F(TegraGartUnit, AWriteIsInForceWhenARegisterIsReadBack) {
  turn_on();
  set(kIova, kPage | kValid);
  EXPECT_EQ(reach(kIova), kRefused);
  read(kConfig.offset);
  EXPECT_EQ(reach(kIova), kPage);
  set(kIova, 0);
  EXPECT_EQ(reach(kIova), kPage);
  read(kConfig.offset);
  EXPECT_EQ(reach(kIova), kRefused);
}

TEST_F(TegraGartUnit, AFullBufferOfWritesDrainsByItself) {
  turn_on();
  for (std::uint32_t i = 0; i < 8; ++i) set(kIova + (i << 12), (kPage + (i << 12)) | kValid);
  EXPECT_EQ(reach(kIova + 0x7000), kPage + 0x7000u);
}

TEST_F(TegraGartUnit, AClientThatIsSwitchedOffReachesNothing) {
  turn_on();
  write(kClientCtrl.offset, ~std::uint32_t{1u << 5});
  EXPECT_EQ(reach(0x4000'0000, Access::read, 5), kRefused);
  EXPECT_EQ(reach(0x4000'0000, Access::read, 6), 0x4000'0000u);
  write(kClientCtrlHigh.offset, 0);
  EXPECT_EQ(reach(0x4000'0000, Access::read, 40), kRefused);
  EXPECT_EQ(reach(0x4000'0000, Access::read, 64), kRefused) << "nobody";
}

TEST_F(TegraGartUnit, AFaultSaysWhoWhereAndHow) {
  turn_on();
  reach(kIova, Access::write, 3);
  EXPECT_THAT(lines_, ::testing::ElementsAre(0u));
  EXPECT_EQ(read(kIntStatus.offset), 0x80u);
  EXPECT_EQ(read(kErrorAddr.offset), kIova);
  EXPECT_EQ(read(kErrorReq.offset), 3u << 1 | 1u);
  reach(kIova + 0x1000, Access::read, 4);
  EXPECT_EQ(read(kErrorAddr.offset), kIova) << "the first one is kept";
  write(kIntStatus.offset, 0x80);
  EXPECT_EQ(read(kIntStatus.offset), 0u);
}

TEST_F(TegraGartUnit, AMaskedFaultRaisesNothing) {
  reach(kIova);
  EXPECT_TRUE(lines_.empty());
  EXPECT_EQ(read(kIntStatus.offset), 0x80u);
}

}  // namespace
}  // namespace softiommu
