// SPDX-License-Identifier: BSD-3-Clause
// Every size, offset and number of src/vfio/abi.h against the installed <linux/vfio.h>.
//
// Installed headers may be older than 7.2: what they lack (trailing padding of two structures) is compared with
// numbers written by hand.
#include "vfio/abi.h"

#include <gtest/gtest.h>
#include <linux/vfio.h>

namespace softiommu::vfio {
namespace {

TEST(Abi, CommandNumbersAreTheKernels) {
  EXPECT_EQ(abi::kGetApiVersion, VFIO_GET_API_VERSION);
  EXPECT_EQ(abi::kCheckExtension, VFIO_CHECK_EXTENSION);
  EXPECT_EQ(abi::kSetIommu, VFIO_SET_IOMMU);
  EXPECT_EQ(abi::kGroupGetStatus, VFIO_GROUP_GET_STATUS);
  EXPECT_EQ(abi::kGroupSetContainer, VFIO_GROUP_SET_CONTAINER);
  EXPECT_EQ(abi::kGroupUnsetContainer, VFIO_GROUP_UNSET_CONTAINER);
  EXPECT_EQ(abi::kGroupGetDeviceFd, VFIO_GROUP_GET_DEVICE_FD);
  EXPECT_EQ(abi::kDeviceGetInfo, VFIO_DEVICE_GET_INFO);
  EXPECT_EQ(abi::kDeviceGetRegionInfo, VFIO_DEVICE_GET_REGION_INFO);
  EXPECT_EQ(abi::kDeviceGetIrqInfo, VFIO_DEVICE_GET_IRQ_INFO);
  EXPECT_EQ(abi::kDeviceSetIrqs, VFIO_DEVICE_SET_IRQS);
  EXPECT_EQ(abi::kDeviceReset, VFIO_DEVICE_RESET);
  EXPECT_EQ(abi::kDeviceGetPciHotResetInfo, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO);
  EXPECT_EQ(abi::kDevicePciHotReset, VFIO_DEVICE_PCI_HOT_RESET);
  EXPECT_EQ(abi::kDeviceIoeventfd, VFIO_DEVICE_IOEVENTFD);
  EXPECT_EQ(abi::kDeviceFeature, VFIO_DEVICE_FEATURE);
  EXPECT_EQ(abi::kIommuGetInfo, VFIO_IOMMU_GET_INFO);
  EXPECT_EQ(abi::kIommuMapDma, VFIO_IOMMU_MAP_DMA);
  EXPECT_EQ(abi::kIommuUnmapDma, VFIO_IOMMU_UNMAP_DMA);
  EXPECT_EQ(abi::kIommuDirtyPages, VFIO_IOMMU_DIRTY_PAGES);
}

TEST(Abi, ExtensionsAndVersionAreTheKernels) {
  EXPECT_EQ(abi::kApiVersion, VFIO_API_VERSION);
  EXPECT_EQ(static_cast<int>(abi::Extension::type1), VFIO_TYPE1_IOMMU);
  EXPECT_EQ(static_cast<int>(abi::Extension::type1_v2), VFIO_TYPE1v2_IOMMU);
  EXPECT_EQ(static_cast<int>(abi::Extension::dma_cc), VFIO_DMA_CC_IOMMU);
  EXPECT_EQ(static_cast<int>(abi::Extension::type1_nesting), 6);
  EXPECT_EQ(static_cast<int>(abi::Extension::noiommu), VFIO_NOIOMMU_IOMMU);
  EXPECT_EQ(static_cast<int>(abi::Extension::unmap_all), VFIO_UNMAP_ALL);
  EXPECT_EQ(static_cast<int>(abi::Extension::update_vaddr), VFIO_UPDATE_VADDR);
}

#define SAME_SIZE(ours, kernels) EXPECT_EQ(sizeof(abi::ours), sizeof(struct kernels)) << #kernels
#define SAME_PLACE(ours, our_field, kernels, field)                                                  \
  EXPECT_EQ(offsetof(abi::ours, our_field), offsetof(struct kernels, field)) << #kernels "." #field; \
  EXPECT_EQ(sizeof(abi::ours::our_field), sizeof(kernels::field)) << #kernels "." #field

TEST(Abi, GroupAndCapStructuresAreTheKernels) {
  SAME_SIZE(CapHeader, vfio_info_cap_header);
  SAME_PLACE(CapHeader, version, vfio_info_cap_header, version);
  SAME_PLACE(CapHeader, next, vfio_info_cap_header, next);
  SAME_SIZE(GroupStatus, vfio_group_status);
  SAME_PLACE(GroupStatus, flags, vfio_group_status, flags);
  EXPECT_EQ(abi::kGroupViable, VFIO_GROUP_FLAGS_VIABLE);
  EXPECT_EQ(abi::kGroupContainerSet, VFIO_GROUP_FLAGS_CONTAINER_SET);
}

TEST(Abi, DeviceInfoIsTheKernels) {
  EXPECT_EQ(sizeof(abi::DeviceInfo), 24U);  // 7.2 pads to 24; older headers end at 20
  SAME_PLACE(DeviceInfo, num_regions, vfio_device_info, num_regions);
  SAME_PLACE(DeviceInfo, num_irqs, vfio_device_info, num_irqs);
  SAME_PLACE(DeviceInfo, cap_offset, vfio_device_info, cap_offset);
  EXPECT_EQ(abi::kDeviceInfoMinimum, offsetof(struct vfio_device_info, cap_offset));
  EXPECT_EQ(abi::kDeviceFlagReset, VFIO_DEVICE_FLAGS_RESET);
  EXPECT_EQ(abi::kDeviceFlagPci, VFIO_DEVICE_FLAGS_PCI);
  EXPECT_EQ(abi::kDeviceFlagCaps, VFIO_DEVICE_FLAGS_CAPS);
}

TEST(Abi, RegionInfoIsTheKernels) {
  SAME_SIZE(RegionInfo, vfio_region_info);
  SAME_PLACE(RegionInfo, index, vfio_region_info, index);
  SAME_PLACE(RegionInfo, cap_offset, vfio_region_info, cap_offset);
  SAME_PLACE(RegionInfo, size, vfio_region_info, size);
  SAME_PLACE(RegionInfo, offset, vfio_region_info, offset);
  EXPECT_EQ(abi::kRegionRead, VFIO_REGION_INFO_FLAG_READ);
  EXPECT_EQ(abi::kRegionWrite, VFIO_REGION_INFO_FLAG_WRITE);
  EXPECT_EQ(abi::kRegionMmap, VFIO_REGION_INFO_FLAG_MMAP);
  EXPECT_EQ(abi::kRegionCaps, VFIO_REGION_INFO_FLAG_CAPS);
  EXPECT_EQ(abi::kRegionCapSparseMmap, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  EXPECT_EQ(abi::kRegionCapType, VFIO_REGION_INFO_CAP_TYPE);
  EXPECT_EQ(abi::kRegionCapMsixMappable, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
  EXPECT_EQ(abi::kBar0Region, static_cast<unsigned>(VFIO_PCI_BAR0_REGION_INDEX));
  EXPECT_EQ(abi::kBar5Region, static_cast<unsigned>(VFIO_PCI_BAR5_REGION_INDEX));
  EXPECT_EQ(abi::kRomRegion, static_cast<unsigned>(VFIO_PCI_ROM_REGION_INDEX));
  EXPECT_EQ(abi::kConfigRegion, static_cast<unsigned>(VFIO_PCI_CONFIG_REGION_INDEX));
  EXPECT_EQ(abi::kVgaRegion, static_cast<unsigned>(VFIO_PCI_VGA_REGION_INDEX));
  EXPECT_EQ(abi::kPciRegions, static_cast<unsigned>(VFIO_PCI_NUM_REGIONS));
}

TEST(Abi, IrqStructuresAreTheKernels) {
  SAME_SIZE(IrqInfo, vfio_irq_info);
  SAME_PLACE(IrqInfo, index, vfio_irq_info, index);
  SAME_PLACE(IrqInfo, count, vfio_irq_info, count);
  SAME_SIZE(IrqSet, vfio_irq_set);
  SAME_PLACE(IrqSet, index, vfio_irq_set, index);
  SAME_PLACE(IrqSet, start, vfio_irq_set, start);
  SAME_PLACE(IrqSet, count, vfio_irq_set, count);
  EXPECT_EQ(sizeof(abi::IrqSet), offsetof(struct vfio_irq_set, data));
  EXPECT_EQ(abi::kIrqInfoEventfd, VFIO_IRQ_INFO_EVENTFD);
  EXPECT_EQ(abi::kIrqInfoMaskable, VFIO_IRQ_INFO_MASKABLE);
  EXPECT_EQ(abi::kIrqInfoAutomasked, VFIO_IRQ_INFO_AUTOMASKED);
  EXPECT_EQ(abi::kIrqInfoNoresize, VFIO_IRQ_INFO_NORESIZE);
  EXPECT_EQ(abi::kIrqSetDataTypes, VFIO_IRQ_SET_DATA_TYPE_MASK);
  EXPECT_EQ(abi::kIrqSetActions, VFIO_IRQ_SET_ACTION_TYPE_MASK);
  EXPECT_EQ(abi::kIrqSetDataBool, VFIO_IRQ_SET_DATA_BOOL);
  EXPECT_EQ(abi::kIrqSetActionUnmask, VFIO_IRQ_SET_ACTION_UNMASK);
  EXPECT_EQ(abi::kIntxIrq, static_cast<unsigned>(VFIO_PCI_INTX_IRQ_INDEX));
  EXPECT_EQ(abi::kMsiIrq, static_cast<unsigned>(VFIO_PCI_MSI_IRQ_INDEX));
  EXPECT_EQ(abi::kMsixIrq, static_cast<unsigned>(VFIO_PCI_MSIX_IRQ_INDEX));
  EXPECT_EQ(abi::kErrIrq, static_cast<unsigned>(VFIO_PCI_ERR_IRQ_INDEX));
  EXPECT_EQ(abi::kReqIrq, static_cast<unsigned>(VFIO_PCI_REQ_IRQ_INDEX));
  EXPECT_EQ(abi::kPciIrqs, static_cast<unsigned>(VFIO_PCI_NUM_IRQS));
}

TEST(Abi, ResetAndFeatureStructuresAreTheKernels) {
  SAME_SIZE(DependentDevice, vfio_pci_dependent_device);
  SAME_PLACE(DependentDevice, segment, vfio_pci_dependent_device, segment);
  SAME_PLACE(DependentDevice, bus, vfio_pci_dependent_device, bus);
  SAME_PLACE(DependentDevice, devfn, vfio_pci_dependent_device, devfn);
  SAME_SIZE(HotResetInfo, vfio_pci_hot_reset_info);
  SAME_PLACE(HotResetInfo, count, vfio_pci_hot_reset_info, count);
  SAME_SIZE(HotReset, vfio_pci_hot_reset);
  SAME_PLACE(HotReset, count, vfio_pci_hot_reset, count);
  SAME_SIZE(Feature, vfio_device_feature);
  EXPECT_EQ(abi::kFeatureMask, VFIO_DEVICE_FEATURE_MASK);
  EXPECT_EQ(abi::kFeatureGet, VFIO_DEVICE_FEATURE_GET);
  EXPECT_EQ(abi::kFeatureSet, VFIO_DEVICE_FEATURE_SET);
  EXPECT_EQ(abi::kFeatureProbe, VFIO_DEVICE_FEATURE_PROBE);
  EXPECT_EQ(abi::kFeatureLowPowerEntry, static_cast<unsigned>(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
  EXPECT_EQ(abi::kFeatureLowPowerEntryWithWakeup,
            static_cast<unsigned>(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP));
  EXPECT_EQ(abi::kFeatureLowPowerExit, static_cast<unsigned>(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
  SAME_SIZE(LowPowerEntryWithWakeup, vfio_device_low_power_entry_with_wakeup);
  EXPECT_EQ(abi::kFeaturePciVfToken, static_cast<unsigned>(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN));
}

TEST(Abi, Type1InfoIsTheKernels) {
  SAME_PLACE(Type1Info, iova_pgsizes, vfio_iommu_type1_info, iova_pgsizes);
  SAME_PLACE(Type1Info, cap_offset, vfio_iommu_type1_info, cap_offset);
  EXPECT_EQ(sizeof(abi::Type1Info), 24U);
  EXPECT_EQ(abi::kType1InfoMinimum, offsetof(struct vfio_iommu_type1_info, cap_offset));
  EXPECT_EQ(abi::kInfoPgsizes, VFIO_IOMMU_INFO_PGSIZES);
  EXPECT_EQ(abi::kInfoCaps, VFIO_IOMMU_INFO_CAPS);
  EXPECT_EQ(abi::kInfoCapIovaRange, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  EXPECT_EQ(abi::kInfoCapMigration, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION);
  EXPECT_EQ(abi::kInfoCapDmaAvail, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  SAME_SIZE(IovaRangeEntry, vfio_iova_range);
  SAME_SIZE(CapIovaRange, vfio_iommu_type1_info_cap_iova_range);
  SAME_PLACE(CapIovaRange, nr_iovas, vfio_iommu_type1_info_cap_iova_range, nr_iovas);
  SAME_SIZE(CapMigration, vfio_iommu_type1_info_cap_migration);
  SAME_PLACE(CapMigration, pgsize_bitmap, vfio_iommu_type1_info_cap_migration, pgsize_bitmap);
  SAME_PLACE(CapMigration, max_dirty_bitmap_size, vfio_iommu_type1_info_cap_migration, max_dirty_bitmap_size);
  SAME_SIZE(CapDmaAvail, vfio_iommu_type1_info_dma_avail);
  SAME_PLACE(CapDmaAvail, avail, vfio_iommu_type1_info_dma_avail, avail);
}

TEST(Abi, MapAndDirtyStructuresAreTheKernels) {
  SAME_SIZE(DmaMap, vfio_iommu_type1_dma_map);
  SAME_PLACE(DmaMap, vaddr, vfio_iommu_type1_dma_map, vaddr);
  SAME_PLACE(DmaMap, iova, vfio_iommu_type1_dma_map, iova);
  SAME_PLACE(DmaMap, size, vfio_iommu_type1_dma_map, size);
  EXPECT_EQ(abi::kMapRead, VFIO_DMA_MAP_FLAG_READ);
  EXPECT_EQ(abi::kMapWrite, VFIO_DMA_MAP_FLAG_WRITE);
  EXPECT_EQ(abi::kMapVaddr, VFIO_DMA_MAP_FLAG_VADDR);
  SAME_SIZE(DmaUnmap, vfio_iommu_type1_dma_unmap);
  SAME_PLACE(DmaUnmap, iova, vfio_iommu_type1_dma_unmap, iova);
  SAME_PLACE(DmaUnmap, size, vfio_iommu_type1_dma_unmap, size);
  EXPECT_EQ(abi::kUnmapGetDirtyBitmap, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP);
  EXPECT_EQ(abi::kUnmapAll, VFIO_DMA_UNMAP_FLAG_ALL);
  EXPECT_EQ(abi::kUnmapVaddr, VFIO_DMA_UNMAP_FLAG_VADDR);
  SAME_SIZE(Bitmap, vfio_bitmap);
  SAME_PLACE(Bitmap, size, vfio_bitmap, size);
  SAME_PLACE(Bitmap, data, vfio_bitmap, data);
  SAME_SIZE(DirtyPages, vfio_iommu_type1_dirty_bitmap);
  SAME_SIZE(DirtyRange, vfio_iommu_type1_dirty_bitmap_get);
  SAME_PLACE(DirtyRange, bitmap, vfio_iommu_type1_dirty_bitmap_get, bitmap);
  EXPECT_EQ(abi::kDirtyStart, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
  EXPECT_EQ(abi::kDirtyStop, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
  EXPECT_EQ(abi::kDirtyGetBitmap, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP);
}

#undef SAME_SIZE
#undef SAME_PLACE

}  // namespace
}  // namespace softiommu::vfio
