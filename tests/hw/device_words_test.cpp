// SPDX-License-Identifier: BSD-3-Clause
// Golden words of the device models' registers and descriptors, written out by hand from their documents.
#include <gtest/gtest.h>

#include "hw/edu.h"
#include "hw/ioat.h"
#include "hw/nvme.h"

namespace softiommu::hw {
namespace {

TEST(EduWords, RegistersAreWhereTheDocumentHasThem) {
  EXPECT_EQ(edu::kIdentification.reset, 0x010000edu);
  EXPECT_EQ(edu::kLiveness.offset, 0x04u);
  EXPECT_EQ(edu::kFactorial.offset, 0x08u);
  EXPECT_EQ(edu::kStatus.offset, 0x20u);
  EXPECT_EQ(edu::kInterruptStatus.offset, 0x24u);
  EXPECT_EQ(edu::kRaise.offset, 0x60u);
  EXPECT_EQ(edu::kAcknowledge.offset, 0x64u);
  EXPECT_EQ(edu::kDmaSource.offset, 0x80u);
  EXPECT_EQ(edu::kDmaDestination.offset, 0x88u);
  EXPECT_EQ(edu::kDmaCount.offset, 0x90u);
  EXPECT_EQ(edu::kDmaCommand.offset, 0x98u);
}

TEST(EduWords, Bits) {
  EXPECT_EQ(edu::kStatus["COMPUTING"].mask(), 0x01u);
  EXPECT_EQ(edu::kStatus["IRQ"].mask(), 0x80u);
  EXPECT_EQ(edu::kInterruptStatus["FACTORIAL"].mask(), 0x001u);
  EXPECT_EQ(edu::kInterruptStatus["DMA"].mask(), 0x100u);
  EXPECT_EQ(edu::kDmaCommand["START"].mask(), 1u);
  EXPECT_EQ(edu::kDmaCommand["TO_MEMORY"].mask(), 2u);
  EXPECT_EQ(edu::kDmaCommand["IRQ"].mask(), 4u);
}

TEST(IoatWords, RegistersAreWhereDriversHaveThem) {
  EXPECT_EQ(ioat::kTransferCap.offset, 0x01u);
  EXPECT_EQ(ioat::kInterruptControl.offset, 0x03u);
  EXPECT_EQ(ioat::kVersion.offset, 0x08u);
  EXPECT_EQ(ioat::kCapability.offset, 0x10u);
  EXPECT_EQ(ioat::kChannelControl.offset, 0x80u);
  EXPECT_EQ(ioat::kChannelCommand.offset, 0x84u);
  EXPECT_EQ(ioat::kDmaCount.offset, 0x86u);
  EXPECT_EQ(ioat::kChannelStatus.offset, 0x88u);
  EXPECT_EQ(ioat::kChainAddress.offset, 0x90u);
  EXPECT_EQ(ioat::kCompletionAddress.offset, 0x98u);
  EXPECT_EQ(ioat::kChannelError.offset, 0xa8u);
  EXPECT_EQ(ioat::kChannelErrorMask.offset, 0xacu);
}

TEST(IoatWords, Bits) {
  EXPECT_EQ(ioat::kChannelCommand["RESET"].mask(), 0x20u);
  EXPECT_EQ(ioat::kChannelCommand["RESUME"].mask(), 0x10u);
  EXPECT_EQ(ioat::kChannelCommand["SUSPEND"].mask(), 0x04u);
  EXPECT_EQ(ioat::kChannelControl["IN_USE"].mask(), 0x0100u);
  EXPECT_EQ(ioat::kChannelControl["ANY_ERR_ABORT"].mask(), 0x0008u);
  EXPECT_EQ(ioat::kChannelControl["ERR_COMPLETION"].mask(), 0x0004u);
  EXPECT_EQ(ioat::kChannelError["READ"].mask(), 0x100u);
  EXPECT_EQ(ioat::kChannelError["LENGTH"].mask(), 0x800u);
  EXPECT_EQ(ioat::kInterruptControl["MSIX_VECTOR"].mask(), 0x08u);
  EXPECT_EQ(ioat::kCapability["FILL"].mask(), 0x40u);
}

TEST(IoatWords, ADescriptorsControlIsTheUpperHalfOfItsFirstWord) {
  const std::uint64_t fill = ioat::kControlWord["SIZE"].put(0x1000) | ioat::kControlWord["COMPLETION"].put(1) |
                             ioat::kControlWord["FENCE"].put(1) | ioat::kControlWord["OP"].put(ioat::kOpFill);
  EXPECT_EQ(fill, 0x01000018'00001000u);
  EXPECT_EQ(ioat::kControlWord["INT"].mask() | ioat::kControlWord["NULL"].mask(), 0x21'00000000u);
}

TEST(NvmeWords, RegistersAreWhereTheSpecificationHasThem) {
  EXPECT_EQ(nvme::kVersion.offset, 0x08u);
  EXPECT_EQ(nvme::kMaskSet.offset, 0x0cu);
  EXPECT_EQ(nvme::kMaskClear.offset, 0x10u);
  EXPECT_EQ(nvme::kConfiguration.offset, 0x14u);
  EXPECT_EQ(nvme::kStatus.offset, 0x1cu);
  EXPECT_EQ(nvme::kAdminAttributes.offset, 0x24u);
  EXPECT_EQ(nvme::kAdminSubmission.offset, 0x28u);
  EXPECT_EQ(nvme::kAdminCompletion.offset, 0x30u);
}

TEST(NvmeWords, Bits) {
  EXPECT_EQ(nvme::kCapabilities["TO"].mask(), 0xff00'0000u);
  EXPECT_EQ(nvme::kCapabilities["MPSMAX"].mask(), 0x00f0'0000'0000'0000u);
  EXPECT_EQ(nvme::kConfiguration["SHN"].mask(), 0xc000u);
  EXPECT_EQ(nvme::kConfiguration["IOCQES"].mask(), 0xf0'0000u);
  EXPECT_EQ(nvme::kStatus["SHST"].mask(), 0xcu);
  EXPECT_EQ(nvme::kCommandWord["CID"].mask(), 0xffff'0000u);
  EXPECT_EQ(nvme::kCompletionWord["P"].mask(), 0x1'0000'0000'0000u);
  EXPECT_EQ(nvme::kCompletionWord["SC"].mask(), 0x1fe'0000'0000'0000u);
  EXPECT_EQ(nvme::kSglWord["TYPE"].mask(), 0xf000'0000'0000'0000u);
}

}  // namespace
}  // namespace softiommu::hw
