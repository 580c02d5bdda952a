// SPDX-License-Identifier: BSD-3-Clause
// Linux's VFIO ABI as of 7.2, written out: distributions ship older headers than the ABI that is served here.
//
// A test compares every size, offset and number with the installed <linux/vfio.h>. Numbers 12 to 17 mean
// different things on a container and on a device: dispatch is by the kind of file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace softiommu::vfio::abi {

// _IO(';', 100 + n): no direction and no size in the number.
constexpr unsigned command(unsigned n) { return unsigned{';'} << 8 | (100 + n); }

inline constexpr int kApiVersion = 0;

enum class Extension : std::uint64_t {
  type1 = 1,
  type1_v2 = 3,
  dma_cc = 4,
  type1_nesting = 6,  // gone since 6.13
  noiommu = 8,
  unmap_all = 9,
  update_vaddr = 10,
};

// Container and group.
inline constexpr unsigned kGetApiVersion = command(0);
inline constexpr unsigned kCheckExtension = command(1);
inline constexpr unsigned kSetIommu = command(2);
inline constexpr unsigned kGroupGetStatus = command(3);
inline constexpr unsigned kGroupSetContainer = command(4);
inline constexpr unsigned kGroupUnsetContainer = command(5);
inline constexpr unsigned kGroupGetDeviceFd = command(6);
// Device.
inline constexpr unsigned kDeviceGetInfo = command(7);
inline constexpr unsigned kDeviceGetRegionInfo = command(8);
inline constexpr unsigned kDeviceGetIrqInfo = command(9);
inline constexpr unsigned kDeviceSetIrqs = command(10);
inline constexpr unsigned kDeviceReset = command(11);
inline constexpr unsigned kDeviceGetPciHotResetInfo = command(12);
inline constexpr unsigned kDevicePciHotReset = command(13);
inline constexpr unsigned kDeviceIoeventfd = command(16);
inline constexpr unsigned kDeviceFeature = command(17);
inline constexpr unsigned kDeviceBindIommufd = command(18);
inline constexpr unsigned kDeviceAttachIommufdPt = command(19);
inline constexpr unsigned kDeviceDetachIommufdPt = command(20);
// Type1 container.
inline constexpr unsigned kIommuGetInfo = command(12);
inline constexpr unsigned kIommuMapDma = command(13);
inline constexpr unsigned kIommuUnmapDma = command(14);
inline constexpr unsigned kIommuDirtyPages = command(17);

struct CapHeader {
  std::uint16_t id;
  std::uint16_t version;
  std::uint32_t next;  // offset from the start of the info structure; 0 ends the chain
};

struct GroupStatus {
  std::uint32_t argsz;
  std::uint32_t flags;
};
inline constexpr std::uint32_t kGroupViable = 1 << 0;
inline constexpr std::uint32_t kGroupContainerSet = 1 << 1;

struct DeviceInfo {
  std::uint32_t argsz = 0;
  std::uint32_t flags = 0;
  std::uint32_t num_regions = 0;
  std::uint32_t num_irqs = 0;
  std::uint32_t cap_offset = 0;
  std::uint32_t pad = 0;
};
inline constexpr std::size_t kDeviceInfoMinimum = 16;
inline constexpr std::uint32_t kDeviceFlagReset = 1 << 0;
inline constexpr std::uint32_t kDeviceFlagPci = 1 << 1;
inline constexpr std::uint32_t kDeviceFlagCaps = 1 << 7;

struct RegionInfo {
  std::uint32_t argsz = 0;
  std::uint32_t flags = 0;
  std::uint32_t index = 0;
  std::uint32_t cap_offset = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};
inline constexpr std::uint32_t kRegionRead = 1 << 0;
inline constexpr std::uint32_t kRegionWrite = 1 << 1;
inline constexpr std::uint32_t kRegionMmap = 1 << 2;
inline constexpr std::uint32_t kRegionCaps = 1 << 3;
inline constexpr std::uint16_t kRegionCapSparseMmap = 1;
inline constexpr std::uint16_t kRegionCapType = 2;
inline constexpr std::uint16_t kRegionCapMsixMappable = 3;

enum PciRegion : std::uint32_t {
  kBar0Region = 0,
  kBar5Region = 5,
  kRomRegion = 6,
  kConfigRegion = 7,
  kVgaRegion = 8,
  kPciRegions = 9,
};
// A region's index stands above this bit of the file offset.
inline constexpr unsigned kRegionShift = 40;
inline constexpr std::uint64_t kRegionOffsetMask = (std::uint64_t{1} << kRegionShift) - 1;
constexpr std::uint64_t region_offset(std::uint32_t index) { return std::uint64_t{index} << kRegionShift; }

struct IrqInfo {
  std::uint32_t argsz = 0;
  std::uint32_t flags = 0;
  std::uint32_t index = 0;
  std::uint32_t count = 0;
};
inline constexpr std::uint32_t kIrqInfoEventfd = 1 << 0;
inline constexpr std::uint32_t kIrqInfoMaskable = 1 << 1;
inline constexpr std::uint32_t kIrqInfoAutomasked = 1 << 2;
inline constexpr std::uint32_t kIrqInfoNoresize = 1 << 3;

enum PciIrq : std::uint32_t { kIntxIrq, kMsiIrq, kMsixIrq, kErrIrq, kReqIrq, kPciIrqs };

struct IrqSet {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint32_t index;
  std::uint32_t start;
  std::uint32_t count;
  // data follows: nothing, a byte or a descriptor for each interrupt
};
inline constexpr std::uint32_t kIrqSetDataNone = 1 << 0;
inline constexpr std::uint32_t kIrqSetDataBool = 1 << 1;
inline constexpr std::uint32_t kIrqSetDataEventfd = 1 << 2;
inline constexpr std::uint32_t kIrqSetActionMask = 1 << 3;
inline constexpr std::uint32_t kIrqSetActionUnmask = 1 << 4;
inline constexpr std::uint32_t kIrqSetActionTrigger = 1 << 5;
inline constexpr std::uint32_t kIrqSetDataTypes = kIrqSetDataNone | kIrqSetDataBool | kIrqSetDataEventfd;
inline constexpr std::uint32_t kIrqSetActions = kIrqSetActionMask | kIrqSetActionUnmask | kIrqSetActionTrigger;

struct DependentDevice {
  std::uint32_t group_id;  // of a device file that is bound to an iommufd: the device's id there (kHotResetDevId)
  std::uint16_t segment;
  std::uint8_t bus;
  std::uint8_t devfn;
};
struct HotResetInfo {
  std::uint32_t argsz = 0;
  std::uint32_t flags = 0;
  std::uint32_t count = 0;
  // count DependentDevice follow
};
inline constexpr std::uint32_t kHotResetDevId = 1 << 0;
inline constexpr std::uint32_t kHotResetDevIdOwned = 1 << 1;
inline constexpr std::uint32_t kDevIdOwned = 0;
inline constexpr std::uint32_t kDevIdNotOwned = ~std::uint32_t{0};
struct HotReset {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint32_t count;
  // count group descriptors follow
};

// Of a device file (/dev/vfio/devices/vfioN).
struct BindIommufd {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::int32_t iommufd;
  std::uint32_t out_devid;
  std::uint64_t token_uuid_ptr;
};
inline constexpr std::size_t kBindIommufdMinimum = offsetof(BindIommufd, token_uuid_ptr);
inline constexpr std::uint32_t kBindToken = 1 << 0;
struct AttachIommufdPt {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint32_t pt_id;
  std::uint32_t pasid;
};
inline constexpr std::size_t kAttachIommufdPtMinimum = offsetof(AttachIommufdPt, pasid);
inline constexpr std::uint32_t kAttachPasid = 1 << 0;
struct DetachIommufdPt {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint32_t pasid;
};
inline constexpr std::size_t kDetachIommufdPtMinimum = offsetof(DetachIommufdPt, pasid);
inline constexpr std::uint32_t kDetachPasid = 1 << 0;

struct Feature {
  std::uint32_t argsz;
  std::uint32_t flags;
  // the feature's data follow
};
inline constexpr std::uint32_t kFeatureMask = 0xffff;
inline constexpr std::uint32_t kFeatureGet = 1 << 16;
inline constexpr std::uint32_t kFeatureSet = 1 << 17;
inline constexpr std::uint32_t kFeatureProbe = 1 << 18;
inline constexpr std::uint32_t kFeaturePciVfToken = 0;
inline constexpr std::uint32_t kFeatureLowPowerEntry = 3, kFeatureLowPowerEntryWithWakeup = 4, kFeatureLowPowerExit = 5;
inline constexpr std::uint32_t kFeatureDmaBuf = 11;

struct LowPowerEntryWithWakeup {
  std::int32_t wakeup_eventfd;
  std::uint32_t reserved;
};

struct DmaRange {
  std::uint64_t offset;  // in the region
  std::uint64_t length;
};
struct FeatureDmaBuf {
  std::uint32_t argsz;
  std::uint32_t feature_flags;
  std::uint32_t region_index;
  std::uint32_t open_flags;
  std::uint32_t flags;
  std::uint32_t nr_ranges;
  // DmaRange[nr_ranges] follows
};

struct Type1Info {
  std::uint32_t argsz = 0;
  std::uint32_t flags = 0;
  std::uint64_t iova_pgsizes = 0;
  std::uint32_t cap_offset = 0;
  std::uint32_t pad = 0;
};
inline constexpr std::size_t kType1InfoMinimum = 16;        // up to iova_pgsizes
inline constexpr std::size_t kType1InfoWithCapOffset = 20;  // up to cap_offset
inline constexpr std::uint32_t kInfoPgsizes = 1 << 0;
inline constexpr std::uint32_t kInfoCaps = 1 << 1;
inline constexpr std::uint16_t kInfoCapIovaRange = 1;
inline constexpr std::uint16_t kInfoCapMigration = 2;
inline constexpr std::uint16_t kInfoCapDmaAvail = 3;

struct IovaRangeEntry {
  std::uint64_t start;
  std::uint64_t end;  // inclusive
};
struct CapIovaRange {
  CapHeader header;
  std::uint32_t nr_iovas;
  std::uint32_t reserved;
  // nr_iovas IovaRangeEntry follow
};
struct CapMigration {
  CapHeader header;
  std::uint32_t flags;
  std::uint32_t pad;
  std::uint64_t pgsize_bitmap;
  std::uint64_t max_dirty_bitmap_size;
};
struct CapDmaAvail {
  CapHeader header;
  std::uint32_t avail;
};

struct DmaMap {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint64_t vaddr;
  std::uint64_t iova;
  std::uint64_t size;
};
inline constexpr std::uint32_t kMapRead = 1 << 0;
inline constexpr std::uint32_t kMapWrite = 1 << 1;
inline constexpr std::uint32_t kMapVaddr = 1 << 2;

struct Bitmap {
  std::uint64_t pgsize;
  std::uint64_t size;  // bytes
  std::uint64_t data;  // the program's address of 64-bit words
};
struct DmaUnmap {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint64_t iova;
  std::uint64_t size;
  // with kUnmapGetDirtyBitmap a Bitmap follows
};
inline constexpr std::uint32_t kUnmapGetDirtyBitmap = 1 << 0;
inline constexpr std::uint32_t kUnmapAll = 1 << 1;
inline constexpr std::uint32_t kUnmapVaddr = 1 << 2;

struct DirtyPages {
  std::uint32_t argsz;
  std::uint32_t flags;
  // with kDirtyGetBitmap a DirtyRange follows
};
struct DirtyRange {
  std::uint64_t iova;
  std::uint64_t size;
  Bitmap bitmap;
};
inline constexpr std::uint32_t kDirtyStart = 1 << 0;
inline constexpr std::uint32_t kDirtyStop = 1 << 1;
inline constexpr std::uint32_t kDirtyGetBitmap = 1 << 2;
// type1 serves at most this many bytes of bitmap in one call: INT_MAX pages, rounded up to words.
inline constexpr std::uint64_t kDirtyBitmapMost = std::uint64_t{1} << 28;

static_assert(sizeof(DeviceInfo) == 24 && sizeof(RegionInfo) == 32 && sizeof(IrqSet) == 20);
static_assert(sizeof(Type1Info) == 24 && sizeof(DmaMap) == 32 && sizeof(DmaUnmap) == 24 && sizeof(DirtyRange) == 40);
static_assert(sizeof(CapIovaRange) == 16 && sizeof(CapMigration) == 32 && sizeof(CapDmaAvail) == 12);

}  // namespace softiommu::vfio::abi
