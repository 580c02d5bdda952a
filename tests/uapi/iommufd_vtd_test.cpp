// SPDX-License-Identifier: BSD-3-Clause
// /dev/iommu on a VT-d unit in scalable mode (machines/intel-scalable.toml): what its information says, PASIDs of a
// VFIO device, dirty state, the program's own first stage, page requests.
#include "hw/edu.h"
#include "hw/pci.h"
#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

constexpr std::uint64_t kIova = 0x10'0000;
constexpr std::uint32_t kPasid = 0x321;
// enum iommu_hw_info_type, iommu_hwpt_data_type and iommu_hwpt_invalidate_data_type, VT-d's.
constexpr std::uint32_t kVtdInfo = 1, kVtdFirstStage = 1, kVtdFirstStageInvalidation = 0;

struct VtdInfo {  // struct iommu_hw_info_vtd
  std::uint32_t flags, reserved;
  std::uint64_t cap, ecap;
};
struct FirstStage {  // struct iommu_hwpt_vtd_s1
  std::uint64_t flags, pgtbl_addr;
  std::uint32_t addr_width, reserved;
};
struct FirstStageInvalidation {  // struct iommu_hwpt_vtd_s1_invalidate
  std::uint64_t addr, npages;
  std::uint32_t flags, reserved;
};

class IommufdVtdTest : public IommufdTest {
 protected:
  static constexpr const char* kEdu = "0000:00:06.0";
  static constexpr const char* kLegacy = "0000:00:08.0";

  void SetUp() override {
    const auto spec = load_machine(SOFTIOMMU_SOURCE_DIR "/machines/intel-scalable.toml");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    start_on(*spec);
    iommufd_ = open_iommufd();
    ioas_ = alloc_ioas();
    device_ = open_cdev(kEdu);
    id_ = static_cast<std::uint32_t>(bind(device_));
    std::memset(pages_.at(), 'p', pages_.bytes());
  }
  std::uint32_t hwpt(std::uint32_t flags, std::uint32_t ioas = 0) {
    const std::int64_t made = alloc_hwpt(id_, ioas != 0 ? ioas : ioas_, flags);
    EXPECT_GT(made, 0);
    return static_cast<std::uint32_t>(made);
  }
  long attach_pasid(std::uint32_t pt, std::uint32_t pasid = kPasid) {
    abi::AttachIommufdPt request{sizeof request, abi::kAttachPasid, pt, pasid};
    return call(device_, abi::kDeviceAttachIommufdPt, &request);
  }
  long detach_pasid(std::uint32_t pasid = kPasid) {
    abi::DetachIommufdPt request{sizeof request, abi::kDetachPasid, pasid};
    return call(device_, abi::kDeviceDetachIommufdPt, &request);
  }
  DmaPort& port() { return system_->device(kEdu)->function()->dma(); }
  char read_as(Pasid pasid, std::uint64_t iova) {
    port().use_pasid(pasid);
    return dma_read(iova, kEdu);
  }
  bool write_as(Pasid pasid, std::uint64_t iova) {
    port().use_pasid(pasid);
    return dma_write(iova, 'w', kEdu);
  }
  VtdInfo info(std::uint32_t id, fd::HwInfo& answer) {
    VtdInfo vtd{};
    answer = {};
    answer.dev_id = id;
    answer.data_len = sizeof vtd;
    answer.data_uptr = address(&vtd);
    EXPECT_EQ(command(fd::kGetHwInfo, answer), 0);
    return vtd;
  }
  static std::uint64_t address(const void* of) { return reinterpret_cast<std::uint64_t>(of); }

  std::uint32_t ioas_ = 0, id_ = 0;
  int device_ = -1;
  Pages pages_{8};
};

TEST_F(IommufdVtdTest, InformationNamesTheCapabilities) {
  fd::HwInfo answer{};
  const VtdInfo vtd = info(id_, answer);
  EXPECT_EQ(answer.data_type, kVtdInfo);
  EXPECT_EQ(answer.out_max_pasid_log2, 20u);
  EXPECT_TRUE((answer.out_capabilities & fd::kHwCapDirtyTracking) != 0);
  EXPECT_EQ(vtd.flags, 1u) << "IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17, as Linux always says";
  EXPECT_EQ(vtd.ecap >> 43 & 1, 1u) << "scalable mode";
  const int legacy = open_cdev(kLegacy);
  const VtdInfo other = info(static_cast<std::uint32_t>(bind(legacy)), answer);
  EXPECT_EQ(other.ecap >> 43 & 1, 0u);
  EXPECT_EQ(answer.out_max_pasid_log2, 0u);
  EXPECT_EQ(answer.out_capabilities & fd::kHwCapDirtyTracking, 0u);
}

TEST_F(IommufdVtdTest, APasidHasAnAddressSpaceOfItsOwn) {
  const std::uint32_t other = alloc_ioas();
  ASSERT_EQ(map_fixed(ioas_, kIova, pages_.address(), kPageSize), 0);
  ASSERT_EQ(map_fixed(other, kIova, pages_.address() + kPageSize, kPageSize), 0);
  std::memset(pages_.at(kPageSize), 'q', kPageSize);
  ASSERT_GT(attach_to(device_, hwpt(fd::kHwptPasid)), 0);
  ASSERT_EQ(attach_pasid(hwpt(fd::kHwptPasid, other)), 0);
  EXPECT_EQ(read_as(0, kIova), 'p');
  EXPECT_EQ(read_as(kPasid, kIova), 'q');
  EXPECT_EQ(unmap_range(other, kIova, kPageSize), static_cast<std::int64_t>(kPageSize));
  EXPECT_EQ(read_as(kPasid, kIova), '-');
  EXPECT_EQ(read_as(0, kIova), 'p');
  EXPECT_EQ(detach_pasid(), 0);
}

TEST_F(IommufdVtdTest, DirtyPagesAreWrittenIntoTheBitmap) {
  ASSERT_EQ(map_fixed(ioas_, kIova, pages_.address(), 8 * kPageSize), 0);
  const std::uint32_t pt = hwpt(fd::kHwptDirtyTracking);
  ASSERT_GT(attach_to(device_, pt), 0);
  fd::HwptSetDirtyTracking track{0, fd::kDirtyTrackingEnable, pt, 0};
  ASSERT_EQ(command(fd::kHwptSetDirtyTracking, track), 0);
  ASSERT_TRUE(write_as(0, kIova + 2 * kPageSize));
  EXPECT_EQ(read_as(0, kIova + 3 * kPageSize), 'p');
  const auto bitmap = [&] {
    std::uint64_t bits = 0;
    fd::HwptGetDirtyBitmap get{0, pt, 0, 0, kIova, 8 * kPageSize, kPageSize, address(&bits)};
    EXPECT_EQ(command(fd::kHwptGetDirtyBitmap, get), 0);
    return bits;
  };
  EXPECT_EQ(bitmap(), 4u);
  EXPECT_EQ(bitmap(), 0u);
  ASSERT_TRUE(write_as(0, kIova + 2 * kPageSize));
  EXPECT_EQ(bitmap(), 4u);
}

TEST_F(IommufdVtdTest, DirtyTrackingIsRefusedInLegacyMode) {
  const int legacy = open_cdev(kLegacy);
  const auto id = static_cast<std::uint32_t>(bind(legacy));
  EXPECT_EQ(alloc_hwpt(id, ioas_, fd::kHwptDirtyTracking), -EOPNOTSUPP);
  EXPECT_EQ(alloc_hwpt(id, ioas_, fd::kHwptNestParent), -EOPNOTSUPP);
}

// The program's memory is the guest's from address 0; its tables are in pages 0 to 3, data in page 5.
class IommufdVtdNestedTest : public IommufdVtdTest {
 protected:
  static constexpr std::uint64_t kGuest = 0x6000;

  void SetUp() override {
    IommufdVtdTest::SetUp();
    ASSERT_EQ(map_fixed(ioas_, 0, pages_.address(), 8 * kPageSize), 0);
    std::memset(pages_.at(), 0, 4 * kPageSize);
    for (std::uint64_t level = 0; level < 3; ++level) put(level, 0, (level + 1) * kPageSize);
    put(3, kGuest >> kPageShift, 5 * kPageSize);
    parent_ = hwpt(fd::kHwptNestParent);
  }
  void put(std::uint64_t page, std::uint64_t index, std::uint64_t entry) {
    const std::uint64_t word = entry | 0x67;
    std::memcpy(pages_.at(page * kPageSize + index * sizeof word), &word, sizeof word);
  }
  std::int64_t nest(FirstStage config, std::uint32_t flags = 0, std::uint32_t fault = 0) {
    fd::HwptAlloc request{};
    request.flags = flags;
    request.dev_id = id_;
    request.pt_id = parent_;
    request.data_type = kVtdFirstStage;
    request.data_len = sizeof config;
    request.data_uptr = address(&config);
    request.fault_id = fault;
    const long answer = command(fd::kHwptAlloc, request);
    return answer == 0 ? request.out_hwpt_id : answer;
  }
  long invalidate(std::uint32_t pt, FirstStageInvalidation entry) {
    fd::HwptInvalidate request{0, pt, address(&entry), kVtdFirstStageInvalidation, sizeof entry, 1, 0};
    return command(fd::kHwptInvalidate, request);
  }
  std::uint32_t parent_ = 0;
};

TEST_F(IommufdVtdNestedTest, TheProgramsTablesTranslate) {
  const std::int64_t nested = nest({0, 0, 48, 0});
  ASSERT_GT(nested, 0);
  ASSERT_GT(attach_to(device_, static_cast<std::uint32_t>(nested)), 0);
  EXPECT_EQ(read_as(0, kGuest), 'p');
  std::memset(pages_.at(7 * kPageSize), 'z', kPageSize);
  put(3, kGuest >> kPageShift, 7 * kPageSize);
  EXPECT_EQ(read_as(0, kGuest), 'p') << "cached until the program says so";
  EXPECT_EQ(invalidate(static_cast<std::uint32_t>(nested), {kGuest, 1, 0, 0}), 0);
  EXPECT_EQ(read_as(0, kGuest), 'z');
  EXPECT_EQ(detach(device_), 0);
}

TEST_F(IommufdVtdNestedTest, WrongDataIsRefusedAtTheRightMoment) {
  EXPECT_EQ(nest({0, 0, 48, 0}, fd::kHwptDirtyTracking), -EOPNOTSUPP);
  const std::int64_t narrow = nest({0, 0, 39, 0});
  ASSERT_GT(narrow, 0) << "the width is judged at attach";
  EXPECT_EQ(attach_to(device_, static_cast<std::uint32_t>(narrow)), -EINVAL);
  EXPECT_EQ(invalidate(static_cast<std::uint32_t>(narrow), {1, 1, 0, 0}), -EINVAL);
  EXPECT_EQ(invalidate(static_cast<std::uint32_t>(narrow), {0, 1, 8, 0}), -EOPNOTSUPP);
}

TEST_F(IommufdVtdNestedTest, PageRequestsOfANestedTableAreReadFromItsQueue) {
  fd::FaultQueueAlloc queue{};
  ASSERT_EQ(command(fd::kFaultQueueAlloc, queue), 0);
  const std::int64_t nested = nest({0, 0, 48, 0}, fd::kHwptFaultIdValid, queue.out_fault_id);
  ASSERT_GT(nested, 0);
  ASSERT_GT(attach_to(device_, static_cast<std::uint32_t>(nested)), 0);
  EXPECT_EQ(read_as(0, 0x9000), '-') << "the device waits";
  fd::PageFault fault{};
  const int file = static_cast<int>(queue.out_fault_fd);
  ASSERT_EQ(program_[file].pread(address(&fault), sizeof fault, 0), static_cast<ssize_t>(sizeof fault));
  EXPECT_EQ(fault.addr, 0x9000u);
  EXPECT_EQ(fault.dev_id, id_);
  EXPECT_EQ(fault.perm, 1u);
  EXPECT_EQ(fault.flags, fd::kPageFaultLastPage);
  put(3, 9, 5 * kPageSize);
  const fd::PageResponse answer{fault.cookie, fd::kPageResponseSuccess};
  ASSERT_EQ(program_[file].pwrite(address(&answer), sizeof answer, 0), static_cast<ssize_t>(sizeof answer));
  EXPECT_EQ(read_as(0, 0x9000), 'p');
  EXPECT_EQ(detach(device_), 0);
}

}  // namespace
}  // namespace softiommu::test
