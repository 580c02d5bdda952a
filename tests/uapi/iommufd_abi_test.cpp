// SPDX-License-Identifier: BSD-3-Clause
// Every size, offset and number of src/iommufd/abi.h against <linux/iommufd.h>, where a header as new as 7.2's is
// there; tests/programs/kernel_abi.sh compares with the newest.
#include "iommufd/abi.h"

#include <gtest/gtest.h>

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif

namespace softiommu::iommufd {
namespace {

#ifdef IOMMU_HW_QUEUE_ALLOC

#define SAME_FIELD(ours, our_field, theirs, their_field)                           \
  EXPECT_EQ(offsetof(abi::ours, our_field), offsetof(struct theirs, their_field)); \
  EXPECT_EQ(sizeof(abi::ours::our_field), sizeof(theirs::their_field))
#define SAME_SIZE(ours, theirs) EXPECT_EQ(sizeof(abi::ours), sizeof(struct theirs))

TEST(IommufdAbi, CommandNumbersAreTheKernels) {
  EXPECT_EQ(abi::kDestroy, IOMMU_DESTROY);
  EXPECT_EQ(abi::kIoasAlloc, IOMMU_IOAS_ALLOC);
  EXPECT_EQ(abi::kIoasAllowIovas, IOMMU_IOAS_ALLOW_IOVAS);
  EXPECT_EQ(abi::kIoasCopy, IOMMU_IOAS_COPY);
  EXPECT_EQ(abi::kIoasIovaRanges, IOMMU_IOAS_IOVA_RANGES);
  EXPECT_EQ(abi::kIoasMap, IOMMU_IOAS_MAP);
  EXPECT_EQ(abi::kIoasMapFile, IOMMU_IOAS_MAP_FILE);
  EXPECT_EQ(abi::kIoasUnmap, IOMMU_IOAS_UNMAP);
  EXPECT_EQ(abi::kIoasChangeProcess, IOMMU_IOAS_CHANGE_PROCESS);
  EXPECT_EQ(abi::kOption, IOMMU_OPTION);
  EXPECT_EQ(abi::kVfioIoas, IOMMU_VFIO_IOAS);
  EXPECT_EQ(abi::kHwptAlloc, IOMMU_HWPT_ALLOC);
  EXPECT_EQ(abi::kGetHwInfo, IOMMU_GET_HW_INFO);
  EXPECT_EQ(abi::kHwptSetDirtyTracking, IOMMU_HWPT_SET_DIRTY_TRACKING);
  EXPECT_EQ(abi::kHwptGetDirtyBitmap, IOMMU_HWPT_GET_DIRTY_BITMAP);
  EXPECT_EQ(abi::kHwptInvalidate, IOMMU_HWPT_INVALIDATE);
  EXPECT_EQ(abi::kFaultQueueAlloc, IOMMU_FAULT_QUEUE_ALLOC);
  EXPECT_EQ(abi::kViommuAlloc, IOMMU_VIOMMU_ALLOC);
  EXPECT_EQ(abi::kVdeviceAlloc, IOMMU_VDEVICE_ALLOC);
  EXPECT_EQ(abi::kVeventqAlloc, IOMMU_VEVENTQ_ALLOC);
  EXPECT_EQ(abi::kHwQueueAlloc, IOMMU_HW_QUEUE_ALLOC);
  EXPECT_EQ(abi::kLast, IOMMU_HW_QUEUE_ALLOC);
}

TEST(IommufdAbi, FlagsAreTheKernels) {
  EXPECT_EQ(abi::kMapFixedIova, std::uint32_t{IOMMU_IOAS_MAP_FIXED_IOVA});
  EXPECT_EQ(abi::kMapWriteable, std::uint32_t{IOMMU_IOAS_MAP_WRITEABLE});
  EXPECT_EQ(abi::kMapReadable, std::uint32_t{IOMMU_IOAS_MAP_READABLE});
  EXPECT_EQ(abi::kHwptNestParent, std::uint32_t{IOMMU_HWPT_ALLOC_NEST_PARENT});
  EXPECT_EQ(abi::kHwptDirtyTracking, std::uint32_t{IOMMU_HWPT_ALLOC_DIRTY_TRACKING});
  EXPECT_EQ(abi::kHwptFaultIdValid, std::uint32_t{IOMMU_HWPT_FAULT_ID_VALID});
  EXPECT_EQ(abi::kHwptPasid, std::uint32_t{IOMMU_HWPT_ALLOC_PASID});
  EXPECT_EQ(abi::kOptionRlimitMode, std::uint32_t{IOMMU_OPTION_RLIMIT_MODE});
  EXPECT_EQ(abi::kOptionHugePages, std::uint32_t{IOMMU_OPTION_HUGE_PAGES});
  EXPECT_EQ(abi::kOptionGet, std::uint16_t{IOMMU_OPTION_OP_GET});
  EXPECT_EQ(abi::kVfioIoasClear, std::uint16_t{IOMMU_VFIO_IOAS_CLEAR});
  EXPECT_EQ(abi::kDirtyTrackingEnable, std::uint32_t{IOMMU_HWPT_DIRTY_TRACKING_ENABLE});
  EXPECT_EQ(abi::kDirtyNoClear, std::uint32_t{IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR});
  EXPECT_EQ(abi::kHwCapDirtyTracking, std::uint64_t{IOMMU_HW_CAP_DIRTY_TRACKING});
  EXPECT_EQ(abi::kHwCapAtsNotSupported, std::uint64_t{IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED});
}

TEST(IommufdAbi, StructuresAreTheKernels) {
  SAME_SIZE(Destroy, iommu_destroy);
  SAME_SIZE(IoasAlloc, iommu_ioas_alloc);
  SAME_SIZE(Range, iommu_iova_range);
  SAME_SIZE(IoasIovaRanges, iommu_ioas_iova_ranges);
  SAME_FIELD(IoasIovaRanges, allowed_iovas, iommu_ioas_iova_ranges, allowed_iovas);
  SAME_SIZE(IoasAllowIovas, iommu_ioas_allow_iovas);
  SAME_SIZE(IoasMap, iommu_ioas_map);
  SAME_FIELD(IoasMap, user_va, iommu_ioas_map, user_va);
  SAME_FIELD(IoasMap, iova, iommu_ioas_map, iova);
  SAME_SIZE(IoasMapFile, iommu_ioas_map_file);
  SAME_FIELD(IoasMapFile, fd, iommu_ioas_map_file, fd);
  SAME_FIELD(IoasMapFile, start, iommu_ioas_map_file, start);
  SAME_SIZE(IoasCopy, iommu_ioas_copy);
  SAME_FIELD(IoasCopy, dst_ioas_id, iommu_ioas_copy, dst_ioas_id);
  SAME_FIELD(IoasCopy, dst_iova, iommu_ioas_copy, dst_iova);
  SAME_FIELD(IoasCopy, src_iova, iommu_ioas_copy, src_iova);
  SAME_SIZE(IoasUnmap, iommu_ioas_unmap);
  SAME_SIZE(IoasChangeProcess, iommu_ioas_change_process);
  SAME_SIZE(Option, iommu_option);
  SAME_FIELD(Option, op, iommu_option, op);
  SAME_FIELD(Option, object_id, iommu_option, object_id);
  SAME_SIZE(VfioIoas, iommu_vfio_ioas);
  SAME_FIELD(VfioIoas, op, iommu_vfio_ioas, op);
  SAME_SIZE(HwptAlloc, iommu_hwpt_alloc);
  SAME_FIELD(HwptAlloc, out_hwpt_id, iommu_hwpt_alloc, out_hwpt_id);
  SAME_FIELD(HwptAlloc, data_uptr, iommu_hwpt_alloc, data_uptr);
  SAME_FIELD(HwptAlloc, fault_id, iommu_hwpt_alloc, fault_id);
  SAME_SIZE(HwInfo, iommu_hw_info);
  SAME_FIELD(HwInfo, data_type, iommu_hw_info, out_data_type);
  SAME_FIELD(HwInfo, out_max_pasid_log2, iommu_hw_info, out_max_pasid_log2);
  SAME_FIELD(HwInfo, out_capabilities, iommu_hw_info, out_capabilities);
  SAME_SIZE(HwptSetDirtyTracking, iommu_hwpt_set_dirty_tracking);
  SAME_SIZE(HwptGetDirtyBitmap, iommu_hwpt_get_dirty_bitmap);
  SAME_FIELD(HwptGetDirtyBitmap, page_size, iommu_hwpt_get_dirty_bitmap, page_size);
  SAME_FIELD(HwptGetDirtyBitmap, data, iommu_hwpt_get_dirty_bitmap, data);
}

TEST(IommufdAbi, StructuresOfNestingAreTheKernels) {
  SAME_SIZE(HwptInvalidate, iommu_hwpt_invalidate);
  SAME_FIELD(HwptInvalidate, data_type, iommu_hwpt_invalidate, data_type);
  SAME_FIELD(HwptInvalidate, entry_num, iommu_hwpt_invalidate, entry_num);
  SAME_SIZE(FaultQueueAlloc, iommu_fault_alloc);
  SAME_FIELD(FaultQueueAlloc, out_fault_fd, iommu_fault_alloc, out_fault_fd);
  SAME_SIZE(PageFault, iommu_hwpt_pgfault);
  SAME_FIELD(PageFault, perm, iommu_hwpt_pgfault, perm);
  SAME_FIELD(PageFault, addr, iommu_hwpt_pgfault, addr);
  SAME_FIELD(PageFault, cookie, iommu_hwpt_pgfault, cookie);
  SAME_SIZE(PageResponse, iommu_hwpt_page_response);
  SAME_FIELD(PageResponse, code, iommu_hwpt_page_response, code);
  SAME_SIZE(ViommuAlloc, iommu_viommu_alloc);
  SAME_FIELD(ViommuAlloc, out_viommu_id, iommu_viommu_alloc, out_viommu_id);
  SAME_FIELD(ViommuAlloc, data_uptr, iommu_viommu_alloc, data_uptr);
  SAME_SIZE(VdeviceAlloc, iommu_vdevice_alloc);
  SAME_FIELD(VdeviceAlloc, virt_id, iommu_vdevice_alloc, virt_id);
  SAME_SIZE(VeventqAlloc, iommu_veventq_alloc);
  SAME_FIELD(VeventqAlloc, out_veventq_fd, iommu_veventq_alloc, out_veventq_fd);
  SAME_SIZE(VeventHeader, iommufd_vevent_header);
  SAME_SIZE(HwQueueAlloc, iommu_hw_queue_alloc);
  SAME_FIELD(HwQueueAlloc, nesting_parent_iova, iommu_hw_queue_alloc, nesting_parent_iova);
  EXPECT_EQ(abi::kPageFaultPasidValid, std::uint32_t{IOMMU_PGFAULT_FLAGS_PASID_VALID});
  EXPECT_EQ(abi::kPageFaultLastPage, std::uint32_t{IOMMU_PGFAULT_FLAGS_LAST_PAGE});
  EXPECT_EQ(abi::kPageResponseInvalid, std::uint32_t{IOMMUFD_PAGE_RESP_INVALID});
  EXPECT_EQ(abi::kVeventLostEvents, std::uint32_t{IOMMU_VEVENTQ_FLAG_LOST_EVENTS});
}

#endif

}  // namespace
}  // namespace softiommu::iommufd
