// SPDX-License-Identifier: BSD-3-Clause
// A device's BAR as a DMA-BUF: other devices reach its registers through an IOAS, as long as it lets them.
#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

class BarDmaBufTest : public IommufdTest {
 protected:
  static constexpr std::uint32_t kBar = 2;
  static constexpr std::uint64_t kIova = 16 * kMiB;
  static constexpr std::uint64_t kScratch = 8;  // a register of the gadget that keeps what is written

  void SetUp() override {
    IommufdTest::SetUp();
    ioas_ = alloc_ioas();
    device_ = attached_device(ioas_);
  }
  struct Request {
    abi::FeatureDmaBuf head;
    abi::DmaRange parts[2];
  };
  // A descriptor, or a negative errno.
  int export_bar(std::uint32_t bar, abi::DmaRange part, std::uint32_t count = 1) {
    Request request{{sizeof request, abi::kFeatureGet | abi::kFeatureDmaBuf, bar, 0, 0, count}, {part, part}};
    return static_cast<int>(call(device_, abi::kDeviceFeature, &request));
  }
  long map_buffer(int buffer, std::uint64_t iova = kIova) {
    fd::IoasMapFile request{0, kBoth | fd::kMapFixedIova, ioas_, buffer, 0, kPageSize, iova};
    return command(fd::kIoasMapFile, request);
  }
  void decode_memory(bool on) {
    constexpr std::uint64_t kCommand = 4;
    constexpr unsigned kMemory = 2;
    const unsigned command = config<std::uint16_t>(device_, kCommand);
    set_config(device_, kCommand, static_cast<std::uint16_t>(on ? command | kMemory : command & ~kMemory));
  }
  std::uint32_t ioas_ = 0;
  int device_ = -1;
};

TEST_F(BarDmaBufTest, DmaReachesTheRegisters) {
  write_region(device_, kBar, kScratch, std::uint32_t{'w'});
  const int buffer = export_bar(kBar, {0, kPageSize});
  ASSERT_GE(buffer, 0);
  ASSERT_EQ(map_buffer(buffer), 0);
  EXPECT_EQ(dma_read(kIova + kScratch), 'w');
  EXPECT_EQ(iommufd_pages(), 0U) << "nobody's memory";
}

TEST_F(BarDmaBufTest, WithoutDecodingNothingIsMapped) {
  const int buffer = export_bar(kBar, {0, kPageSize});
  ASSERT_EQ(map_buffer(buffer), 0);
  decode_memory(false);
  EXPECT_EQ(map_buffer(buffer, kIova + kPageSize), -ENODEV);
  decode_memory(true);
  EXPECT_EQ(dma_read(kIova + kScratch), '-') << "what was mapped stays gone";
  EXPECT_EQ(map_buffer(buffer, kIova + kPageSize), 0);
  EXPECT_NE(dma_read(kIova + kPageSize + kScratch), '-');
}

TEST_F(BarDmaBufTest, AResetTakesItAway) {
  const int buffer = export_bar(kBar, {0, kPageSize});
  ASSERT_EQ(map_buffer(buffer), 0);
  EXPECT_EQ(call(device_, abi::kDeviceReset), 0);
  EXPECT_EQ(unmap_range(ioas_, kIova, kPageSize), static_cast<std::int64_t>(kPageSize)) << "the area stays";
  EXPECT_EQ(map_buffer(buffer), 0);
}

TEST_F(BarDmaBufTest, InLowPowerItIsAway) {
  const int buffer = export_bar(kBar, {0, kPageSize});
  ASSERT_EQ(feature(device_, abi::kFeatureSet | abi::kFeatureLowPowerEntry), 0);
  EXPECT_EQ(map_buffer(buffer), -ENODEV);
  ASSERT_EQ(feature(device_, abi::kFeatureSet | abi::kFeatureLowPowerExit), 0);
  EXPECT_EQ(map_buffer(buffer), 0);
}

TEST_F(BarDmaBufTest, AClosedDeviceIsGone) {
  const int buffer = export_bar(kBar, {0, kPageSize});
  program_.close(device_);
  EXPECT_EQ(map_buffer(buffer), -ENODEV);
}

TEST_F(BarDmaBufTest, ExportSaysWhatIsWrong) {
  EXPECT_EQ(export_bar(8, {0, kPageSize}), -ENODEV);
  EXPECT_EQ(export_bar(kBar, {0, 0}), -EINVAL);
  EXPECT_EQ(export_bar(kBar, {0, 100}), -EINVAL);
  EXPECT_EQ(export_bar(kBar, {0, 2 * kPageSize}), -EINVAL);
  EXPECT_EQ(export_bar(kBar, {0, kPageSize}, 0), -EINVAL);
  const int two = export_bar(kBar, {0, kPageSize}, 2);
  ASSERT_GE(two, 0);
  EXPECT_EQ(map_buffer(two), -EINVAL) << "an IOAS takes one part";
  EXPECT_EQ(feature(device_, abi::kFeatureProbe | abi::kFeatureGet | abi::kFeatureDmaBuf), 0);
  EXPECT_EQ(feature(device_, abi::kFeatureSet | abi::kFeatureDmaBuf), -EINVAL);
}

}  // namespace
}  // namespace softiommu::test
