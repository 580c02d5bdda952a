// SPDX-License-Identifier: BSD-3-Clause
// Golden words of configuration space, written out by hand, and a comparison with <linux/pci_regs.h>.
#include "hw/pci.h"

#include <gtest/gtest.h>
#include <linux/pci_regs.h>

namespace softiommu::hw::pci {
namespace {

TEST(PciHeader, RegistersAreWhereTheKernelHasThem) {
  EXPECT_EQ(kVendor.offset, PCI_VENDOR_ID);
  EXPECT_EQ(kCommand.offset, PCI_COMMAND);
  EXPECT_EQ(kStatus.offset, PCI_STATUS);
  EXPECT_EQ(kClass.offset, PCI_CLASS_REVISION);
  EXPECT_EQ(kHeaderType.offset, PCI_HEADER_TYPE);
  EXPECT_EQ(kBar0.offset, PCI_BASE_ADDRESS_0);
  EXPECT_EQ(kSubsystemVendor.offset, PCI_SUBSYSTEM_VENDOR_ID);
  EXPECT_EQ(kCapabilities.offset, PCI_CAPABILITY_LIST);
  EXPECT_EQ(kInterruptLine.offset, PCI_INTERRUPT_LINE);
  EXPECT_EQ(kInterruptPin.offset, PCI_INTERRUPT_PIN);
}

TEST(PciHeader, BitsAreTheKernels) {
  EXPECT_EQ(kCommand["IO"].mask(), PCI_COMMAND_IO);
  EXPECT_EQ(kCommand["MEM"].mask(), PCI_COMMAND_MEMORY);
  EXPECT_EQ(kCommand["MASTER"].mask(), PCI_COMMAND_MASTER);
  EXPECT_EQ(kCommand["INTX_DISABLE"].mask(), PCI_COMMAND_INTX_DISABLE);
  EXPECT_EQ(kStatus["INTX"].mask(), PCI_STATUS_INTERRUPT);
  EXPECT_EQ(kStatus["CAP_LIST"].mask(), PCI_STATUS_CAP_LIST);
  EXPECT_EQ(kBar0["TYPE"].put(kBarType64), PCI_BASE_ADDRESS_MEM_TYPE_64);
  EXPECT_EQ(kBar0["PREFETCH"].mask(), PCI_BASE_ADDRESS_MEM_PREFETCH);
}

TEST(PciCapabilities, IdsAreTheKernels) {
  EXPECT_EQ(capability::kPowerManagement, PCI_CAP_ID_PM);
  EXPECT_EQ(capability::kMsi, PCI_CAP_ID_MSI);
  EXPECT_EQ(capability::kExpress, PCI_CAP_ID_EXP);
  EXPECT_EQ(capability::kMsix, PCI_CAP_ID_MSIX);
  EXPECT_EQ(extended::kAdvancedErrorReporting, PCI_EXT_CAP_ID_ERR);
  EXPECT_EQ(extended::kAccessControlServices, PCI_EXT_CAP_ID_ACS);
  EXPECT_EQ(extended::kAddressTranslationServices, PCI_EXT_CAP_ID_ATS);
  EXPECT_EQ(extended::kPasid, PCI_EXT_CAP_ID_PASID);
}

TEST(PciCapabilities, BitsAreTheKernels) {
  EXPECT_EQ(pm::kControl.offset, PCI_PM_CTRL);
  EXPECT_EQ(pm::kControl["NO_SOFT_RESET"].mask(), PCI_PM_CTRL_NO_SOFT_RESET);
  EXPECT_EQ(msi::kControl["ADDRESS_64"].mask(), PCI_MSI_FLAGS_64BIT);
  EXPECT_EQ(msi::kControl["MULTIPLE"].mask(), PCI_MSI_FLAGS_QSIZE);
  EXPECT_EQ(msi::kData.offset, PCI_MSI_DATA_64);
  EXPECT_EQ(msix::kControl["ENABLE"].mask(), PCI_MSIX_FLAGS_ENABLE);
  EXPECT_EQ(msix::kControl["MASK"].mask(), PCI_MSIX_FLAGS_MASKALL);
  EXPECT_EQ(msix::kPba.offset, PCI_MSIX_PBA);
  EXPECT_EQ(express::kDeviceCaps["FLR"].mask(), PCI_EXP_DEVCAP_FLR);
  EXPECT_EQ(express::kDeviceControl["FLR"].mask(), PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(express::kDeviceControl.offset, PCI_EXP_DEVCTL);
  EXPECT_EQ(express::kLinkStatus.offset, PCI_EXP_LNKSTA);
  EXPECT_EQ(aer::kUncorrectableStatus["UNSUPPORTED"].mask(), PCI_ERR_UNC_UNSUP);
  EXPECT_EQ(aer::kCorrectableStatus.offset, PCI_ERR_COR_STATUS);
  EXPECT_EQ(acs::kCapabilities["REQUEST"].mask(), PCI_ACS_RR);
  EXPECT_EQ(acs::kControlOffset, PCI_ACS_CTRL);
}

TEST(PciGoldenWords, Encode) {
  EXPECT_EQ(kExtendedHeader["ID"].put(1) | kExtendedHeader["VERSION"].put(2) | kExtendedHeader["NEXT"].put(0x150),
            0x15020001u);
  EXPECT_EQ(kCapabilityHeader["ID"].put(0x11) | kCapabilityHeader["NEXT"].put(0x50), 0x5011u);
  EXPECT_EQ(msix::kTable["BAR"].put(4) | msix::kTable["OFFSET"].put(0x2000 >> 3), 0x2004u);
  EXPECT_EQ(kClass["BASE"].put(8) | kClass["SUBCLASS"].put(0x80) | kClass["REVISION"].put(4), 0x08800004u);
}

}  // namespace
}  // namespace softiommu::hw::pci
