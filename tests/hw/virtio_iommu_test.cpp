// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/virtio_iommu.h, written out by hand from virtio 1.2.
#include "hw/virtio_iommu.h"

#include <gtest/gtest.h>

namespace softiommu::hw::virtio_iommu {
namespace {

TEST(VirtioIommuRegisters, StandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kMagicValue.offset, 0x00u);
  EXPECT_EQ(kDeviceFeatures.offset, 0x10u);
  EXPECT_EQ(kDriverFeatures.offset, 0x20u);
  EXPECT_EQ(kQueueSel.offset, 0x30u);
  EXPECT_EQ(kQueueNum.offset, 0x38u);
  EXPECT_EQ(kQueueReady.offset, 0x44u);
  EXPECT_EQ(kQueueNotify.offset, 0x50u);
  EXPECT_EQ(kInterruptStatus.offset, 0x60u);
  EXPECT_EQ(kInterruptAck.offset, 0x64u);
  EXPECT_EQ(kStatus.offset, 0x70u);
  EXPECT_EQ(kQueueDesc.offset, 0x80u);
  EXPECT_EQ(kQueueDriver.offset, 0x90u);
  EXPECT_EQ(kQueueDevice.offset, 0xa0u);
  EXPECT_EQ(kPageSizeMask.offset, 0x100u);
  EXPECT_EQ(kInputEnd.offset, 0x110u);
  EXPECT_EQ(kDomainEnd.offset, 0x11cu);
  EXPECT_EQ(kProbeSize.offset, 0x120u);
  EXPECT_EQ(kBypass.offset, 0x124u);
}

TEST(VirtioIommuWords, MatchThoseWrittenByHand) {
  EXPECT_EQ(kStatus["ACKNOWLEDGE"].put(1) | kStatus["DRIVER"].put(1) | kStatus["FEATURES_OK"].put(1) |
                kStatus["DRIVER_OK"].put(1),
            0xfu);
  EXPECT_EQ(kFeatures["MAP_UNMAP"].put(1) | kFeatures["PROBE"].put(1) | kFeatures["BYPASS_CONFIG"].put(1) |
                kFeatures["VERSION_1"].put(1),
            0x1'0000'0054u);
  EXPECT_EQ(kDescriptor1["LEN"].put(24) | kDescriptor1["NEXT"].put(1) | kDescriptor1["WRITE"].put(1) |
                kDescriptor1["INDEX"].put(2),
            0x0002'0003'0000'0018u);
  EXPECT_EQ(kMapFlags["READ"].put(1) | kMapFlags["WRITE"].put(1), 3u);
  EXPECT_EQ(kProperty["TYPE"].put(kReservedMemory) | kProperty["LENGTH"].put(20), 0x0014'0001u);
  EXPECT_EQ(kFaultFlags["WRITE"].put(1) | kFaultFlags["ADDRESS"].put(1), 0x102u);
}

}  // namespace
}  // namespace softiommu::hw::virtio_iommu
