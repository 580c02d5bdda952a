// SPDX-License-Identifier: BSD-3-Clause
// Linux's iommufd ABI as of 7.2, written out: distributions ship older headers than the ABI that is served here.
//
// A test compares every size, offset and number with <linux/iommufd.h> where that is new enough.
// Every structure begins with its size: smaller than what a command must have is EINVAL, larger with anything but zeros
// in the rest is E2BIG.
#pragma once

#include <cstdint>

namespace softiommu::iommufd::abi {

// _IO(';', 0x80 + n): no direction and no size in the number.
constexpr unsigned command(unsigned n) { return unsigned{';'} << 8 | (0x80 + n); }

inline constexpr unsigned kDestroy = command(0);
inline constexpr unsigned kIoasAlloc = command(1);
inline constexpr unsigned kIoasAllowIovas = command(2);
inline constexpr unsigned kIoasCopy = command(3);
inline constexpr unsigned kIoasIovaRanges = command(4);
inline constexpr unsigned kIoasMap = command(5);
inline constexpr unsigned kIoasUnmap = command(6);
inline constexpr unsigned kOption = command(7);
inline constexpr unsigned kVfioIoas = command(8);
inline constexpr unsigned kHwptAlloc = command(9);
inline constexpr unsigned kGetHwInfo = command(10);
inline constexpr unsigned kHwptSetDirtyTracking = command(11);
inline constexpr unsigned kHwptGetDirtyBitmap = command(12);
inline constexpr unsigned kHwptInvalidate = command(13);
inline constexpr unsigned kFaultQueueAlloc = command(14);
inline constexpr unsigned kIoasMapFile = command(15);
inline constexpr unsigned kViommuAlloc = command(16);
inline constexpr unsigned kVdeviceAlloc = command(17);
inline constexpr unsigned kIoasChangeProcess = command(18);
inline constexpr unsigned kVeventqAlloc = command(19);
inline constexpr unsigned kHwQueueAlloc = command(20);
inline constexpr unsigned kLast = kHwQueueAlloc;

struct Destroy {
  std::uint32_t size;
  std::uint32_t id;
};

struct IoasAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t out_ioas_id;
};

struct Range {
  std::uint64_t start;
  std::uint64_t last;  // inclusive
};

struct IoasIovaRanges {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint32_t num_iovas;  // in: room in the array, out: how many there are
  std::uint32_t reserved;
  std::uint64_t allowed_iovas;  // the program's array of Range
  std::uint64_t out_iova_alignment;
};

struct IoasAllowIovas {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint32_t num_iovas;
  std::uint32_t reserved;
  std::uint64_t allowed_iovas;
};

inline constexpr std::uint32_t kMapFixedIova = 1 << 0;
inline constexpr std::uint32_t kMapWriteable = 1 << 1;
inline constexpr std::uint32_t kMapReadable = 1 << 2;

struct IoasMap {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t ioas_id;
  std::uint32_t reserved;
  std::uint64_t user_va;
  std::uint64_t length;
  std::uint64_t iova;  // in with FIXED_IOVA, else out
};

struct IoasMapFile {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t ioas_id;
  std::int32_t fd;  // of a memory file (memfd, tmpfs, hugetlbfs)
  std::uint64_t start;
  std::uint64_t length;
  std::uint64_t iova;
};

struct IoasCopy {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t dst_ioas_id;
  std::uint32_t src_ioas_id;
  std::uint64_t length;
  std::uint64_t dst_iova;
  std::uint64_t src_iova;
};

struct IoasUnmap {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint64_t iova;
  std::uint64_t length;  // 0 to the largest number: everything. Out: bytes unmapped
};

inline constexpr std::uint32_t kOptionRlimitMode = 0;
inline constexpr std::uint32_t kOptionHugePages = 1;
inline constexpr std::uint16_t kOptionSet = 0;
inline constexpr std::uint16_t kOptionGet = 1;

struct Option {
  std::uint32_t size;
  std::uint32_t option_id;
  std::uint16_t op;
  std::uint16_t reserved;
  std::uint32_t object_id;
  std::uint64_t val64;
};

inline constexpr std::uint16_t kVfioIoasGet = 0;
inline constexpr std::uint16_t kVfioIoasSet = 1;
inline constexpr std::uint16_t kVfioIoasClear = 2;

struct VfioIoas {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint16_t op;
  std::uint16_t reserved;
};

inline constexpr std::uint32_t kHwptNestParent = 1 << 0;
inline constexpr std::uint32_t kHwptDirtyTracking = 1 << 1;
inline constexpr std::uint32_t kHwptFaultIdValid = 1 << 2;
inline constexpr std::uint32_t kHwptPasid = 1 << 3;
inline constexpr std::uint32_t kHwptDataNone = 0;

struct HwptAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t dev_id;
  std::uint32_t pt_id;
  std::uint32_t out_hwpt_id;
  std::uint32_t reserved;
  std::uint32_t data_type;
  std::uint32_t data_len;
  std::uint64_t data_uptr;
  std::uint32_t fault_id;
  std::uint32_t reserved2;
};

inline constexpr std::uint32_t kHwInfoInputType = 1 << 0;
inline constexpr std::uint32_t kHwInfoNone = 0;
inline constexpr std::uint64_t kHwCapDirtyTracking = 1 << 0;
inline constexpr std::uint64_t kHwCapAtsNotSupported = 1 << 3;

struct HwInfo {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t dev_id;
  std::uint32_t data_len;
  std::uint64_t data_uptr;
  std::uint32_t data_type;  // in with INPUT_TYPE, out always
  std::uint8_t out_max_pasid_log2;
  std::uint8_t reserved[3];
  std::uint64_t out_capabilities;
};

inline constexpr std::uint32_t kDirtyTrackingEnable = 1 << 0;
struct HwptSetDirtyTracking {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t hwpt_id;
  std::uint32_t reserved;
};

inline constexpr std::uint32_t kDirtyNoClear = 1 << 0;
struct HwptGetDirtyBitmap {
  std::uint32_t size;
  std::uint32_t hwpt_id;
  std::uint32_t flags;
  std::uint32_t reserved;
  std::uint64_t iova;
  std::uint64_t length;
  std::uint64_t page_size;  // that one bit stands for
  std::uint64_t data;       // the program's bitmap: bits are set in it, never cleared
};

struct HwptInvalidate {
  std::uint32_t size;
  std::uint32_t hwpt_id;  // a nested page table, or a virtual IOMMU
  std::uint64_t data_uptr;
  std::uint32_t data_type;
  std::uint32_t entry_len;
  std::uint32_t entry_num;  // in: how many entries; out: how many of them were done
  std::uint32_t reserved;
};

struct FaultQueueAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t out_fault_id;
  std::uint32_t out_fault_fd;
};

// What is read from a fault queue, and what is written to it.
inline constexpr std::uint32_t kPageFaultPasidValid = 1 << 0;
inline constexpr std::uint32_t kPageFaultLastPage = 1 << 1;
struct PageFault {
  std::uint32_t flags;
  std::uint32_t dev_id;
  std::uint32_t pasid;
  std::uint32_t grpid;
  std::uint32_t perm;
  std::uint32_t reserved;
  std::uint64_t addr;
  std::uint32_t length;
  std::uint32_t cookie;  // of all requests of one index: names them in the response
};

inline constexpr std::uint32_t kPageResponseSuccess = 0;
inline constexpr std::uint32_t kPageResponseInvalid = 1;
struct PageResponse {
  std::uint32_t cookie;
  std::uint32_t code;
};

inline constexpr std::uint32_t kViommuTypeDefault = 0;
struct ViommuAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t type;
  std::uint32_t dev_id;
  std::uint32_t hwpt_id;  // a nest parent
  std::uint32_t out_viommu_id;
  std::uint32_t data_len;
  std::uint32_t reserved;
  std::uint64_t data_uptr;
};

struct VdeviceAlloc {
  std::uint32_t size;
  std::uint32_t viommu_id;
  std::uint32_t dev_id;
  std::uint32_t out_vdevice_id;
  std::uint64_t virt_id;
};

inline constexpr std::uint32_t kVeventqTypeDefault = 0;
struct VeventqAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t viommu_id;
  std::uint32_t type;
  std::uint32_t veventq_depth;
  std::uint32_t out_veventq_id;
  std::uint32_t out_veventq_fd;
  std::uint32_t reserved;
};

// What is read from an event queue: this, and behind it the event, but not behind LOST_EVENTS.
inline constexpr std::uint32_t kVeventLostEvents = 1 << 0;
struct VeventHeader {
  std::uint32_t flags;
  std::uint32_t sequence;
};

inline constexpr std::uint32_t kHwQueueTypeDefault = 0;
struct HwQueueAlloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t viommu_id;
  std::uint32_t type;
  std::uint32_t index;
  std::uint32_t out_hw_queue_id;
  std::uint64_t nesting_parent_iova;
  std::uint64_t length;
};

struct IoasChangeProcess {
  std::uint32_t size;
  std::uint32_t reserved;
};

}  // namespace softiommu::iommufd::abi
