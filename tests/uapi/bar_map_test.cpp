// SPDX-License-Identifier: BSD-3-Clause
// MAP_DMA of a device's registers, as type1 allows it: another device's DMA reaches them. An iommufd refuses them.
#include "rig.h"

namespace softiommu::test {
namespace {

class BarMapTest : public VfioTest {
 protected:
  static constexpr std::uint32_t kBar = 2;
  static constexpr std::uint64_t kIova = 16 * kMiB;
  static constexpr std::uint64_t kScratch = 8;  // a register of the gadget that keeps what is written

  void SetUp() override {
    VfioTest::SetUp();
    attach();
    device_ = open_device();
    MmapPlan plan;
    ASSERT_EQ(program_[device_].mmap(abi::region_offset(kBar), kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, plan), 0);
    program_.bar = {bar_.address(), plan};
  }
  void decode_memory(bool on) { set_config(device_, 4, static_cast<std::uint16_t>(on ? 2 : 0)); }

  Pages bar_{1, PROT_NONE};  // as the launcher places it: each access to it would be trapped
  int device_ = -1;
};

TEST_F(BarMapTest, DmaReachesTheRegisters) {
  write_region(device_, kBar, kScratch, std::uint32_t{'w'});
  ASSERT_EQ(map(kIova, bar_.address(), kPageSize), 0);
  EXPECT_EQ(dma_read(kIova + kScratch), 'w');
  EXPECT_TRUE(dma_write(kIova + kScratch, 'x'));
  EXPECT_EQ(dma_read(kIova + kScratch), 'x');
}

TEST_F(BarMapTest, NothingIsPinnedForThem) {
  ASSERT_EQ(map(kIova, bar_.address(), kPageSize), 0);
  EXPECT_EQ(locked_pages(), 0U);
  EXPECT_EQ(unmap(kIova, kPageSize), std::pair(0L, kPageSize));
  EXPECT_EQ(locked_pages(), 0U);
  EXPECT_EQ(dma_read(kIova + kScratch), '-');
}

TEST_F(BarMapTest, AGroupThatJoinsLaterReachesThemToo) {
  write_region(device_, kBar, kScratch, std::uint32_t{'w'});
  ASSERT_EQ(map(kIova, bar_.address(), kPageSize), 0);
  ASSERT_EQ(add("0000:00:03.0"), 0);
  EXPECT_EQ(dma_read(kIova + kScratch, "0000:00:03.0"), 'w');
}

TEST_F(BarMapTest, ADeviceThatDecodesNoMemoryHasNoRegistersToMap) {
  decode_memory(false);
  EXPECT_EQ(map(kIova, bar_.address(), kPageSize), -EFAULT);
  decode_memory(true);
  EXPECT_EQ(map(kIova, bar_.address(), kPageSize), 0);
}

TEST_F(BarMapTest, WhatIsNeitherMemoryNorRegistersIsRefused) {
  const Pages nothing(1, PROT_NONE);
  EXPECT_EQ(map(kIova, nothing.address(), kPageSize), -EFAULT);
  EXPECT_EQ(locked_pages(), 0U);
}

}  // namespace
}  // namespace softiommu::test
