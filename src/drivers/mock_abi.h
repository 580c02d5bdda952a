// SPDX-License-Identifier: BSD-3-Clause
// What the mock IOMMU and a program tell each other through iommufd: Linux 7.2's iommufd_test.h, the driver's part.
#pragma once

#include <cstdint>

namespace softiommu::mock::abi {

// GET_HW_INFO.
inline constexpr std::uint32_t kHwInfoType = 0xfeedbeef;
inline constexpr std::uint32_t kHwInfoRegister = 0xdeadbeef;
struct HwInfo {
  std::uint32_t flags;
  std::uint32_t test_reg;
};

// HWPT_ALLOC, paging and nested.
inline constexpr std::uint32_t kHwptDataType = 0xdead;
inline constexpr std::uint32_t kTableDefault = 0, kTableHuge = 1;
struct HwptData {
  std::uint32_t iotlb;       // nested: what the mock's IOTLB holds at first
  std::uint32_t table_type;  // paging
};

// What a mock device can do, at its creation.
inline constexpr std::uint32_t kDeviceNoDirty = 1 << 0, kDevicePasid = 1 << 2;

// The aperture of default paging domains, and their pages.
inline constexpr std::uint64_t kApertureFirst = std::uint64_t{1} << 24, kApertureLast = (std::uint64_t{1} << 31) - 1;
inline constexpr std::uint64_t kPage = 2048, kHugePage = 512 * kPage;

inline constexpr unsigned kPasidBits = 20;
// Of this PASID every second switch to a domain fails: tests look at the way back.
inline constexpr std::uint32_t kPasidThatFails = 1024;

// HWPT_INVALIDATE, of a nested domain and of a virtual IOMMU.
inline constexpr std::uint32_t kHwptInvalidateType = 0xdeadbeef, kViommuInvalidateType = 0xdeadbeef;
inline constexpr std::uint32_t kInvalidateAll = 1 << 0;
inline constexpr unsigned kIotlbEntries = 4, kDeviceCaches = 4;
inline constexpr std::uint32_t kDeviceCacheDefault = 0xbaddad;
struct HwptInvalidate {
  std::uint32_t flags;
  std::uint32_t iotlb_id;
};
struct ViommuInvalidate {
  std::uint32_t flags;
  std::uint32_t vdev_id;
  std::uint32_t cache_id;
};

// VIOMMU_ALLOC, VEVENTQ_ALLOC, HW_QUEUE_ALLOC.
inline constexpr std::uint32_t kViommuType = 0xdeadbeef, kVeventqType = 0xbeefbeef, kHwQueueType = 0xdeadbeef;
inline constexpr unsigned kHwQueues = 2;
struct ViommuData {
  std::uint32_t in_data;
  std::uint32_t out_data;
  std::uint64_t out_mmap_offset;
  std::uint64_t out_mmap_length;
};
struct ViommuEvent {
  std::uint32_t virt_id;
};

}  // namespace softiommu::mock::abi
