// SPDX-License-Identifier: BSD-3-Clause
// The rig with an iommufd: its commands as verbs.
#pragma once

#include "iommufd/abi.h"
#include "rig.h"

namespace softiommu::test {

namespace fd = iommufd::abi;

class IommufdTest : public VfioTest {
 protected:
  static constexpr std::uint64_t kAll = ~std::uint64_t{0};
  static constexpr std::uint32_t kBoth = fd::kMapReadable | fd::kMapWriteable;

  void SetUp() override {
    VfioTest::SetUp();
    iommufd_ = open_iommufd();
  }
  int open_iommufd() { return installed(vfio_->open_iommufd(program_)); }
  int open_cdev(const std::string& name = kName) {
    return installed(vfio_->open_device(program_, system_->device(name)->number()));
  }

  template <class T>
  long command(unsigned number, T& request) {
    request.size = sizeof request;
    return call(iommufd_, number, &request);
  }
  std::uint32_t alloc_ioas() {
    fd::IoasAlloc request{};
    EXPECT_EQ(command(fd::kIoasAlloc, request), 0);
    return request.out_ioas_id;
  }
  long destroy(std::uint32_t id) {
    fd::Destroy request{.size = 0, .id = id};
    return command(fd::kDestroy, request);
  }
  long map_fixed(std::uint32_t ioas, std::uint64_t iova, std::uint64_t user, std::uint64_t bytes,
                 std::uint32_t flags = kBoth) {
    fd::IoasMap request{0, flags | fd::kMapFixedIova, ioas, 0, user, bytes, iova};
    return command(fd::kIoasMap, request);
  }
  // The IOVA, or a negative errno.
  std::int64_t map_anywhere(std::uint32_t ioas, std::uint64_t user, std::uint64_t bytes, std::uint32_t flags = kBoth) {
    fd::IoasMap request{0, flags, ioas, 0, user, bytes, 0};
    const long answer = command(fd::kIoasMap, request);
    return answer == 0 ? static_cast<std::int64_t>(request.iova) : answer;
  }
  // Bytes unmapped, or a negative errno.
  std::int64_t unmap_range(std::uint32_t ioas, std::uint64_t iova, std::uint64_t bytes) {
    fd::IoasUnmap request{0, ioas, iova, bytes};
    const long answer = command(fd::kIoasUnmap, request);
    return answer == 0 ? static_cast<std::int64_t>(request.length) : answer;
  }
  long copy(std::uint32_t from, std::uint64_t from_iova, std::uint32_t to, std::uint64_t to_iova, std::uint64_t bytes,
            std::uint32_t flags = kBoth) {
    fd::IoasCopy request{0, flags | fd::kMapFixedIova, to, from, bytes, to_iova, from_iova};
    return command(fd::kIoasCopy, request);
  }
  std::vector<fd::Range> ranges(std::uint32_t ioas) {
    std::vector<fd::Range> all(16);
    fd::IoasIovaRanges request{0, ioas, 16, 0, reinterpret_cast<std::uint64_t>(all.data()), 0};
    EXPECT_EQ(command(fd::kIoasIovaRanges, request), 0);
    all.resize(request.num_iovas);
    return all;
  }
  long allow(std::uint32_t ioas, std::vector<fd::Range> wanted) {
    fd::IoasAllowIovas request{0, ioas, static_cast<std::uint32_t>(wanted.size()), 0,
                               reinterpret_cast<std::uint64_t>(wanted.data())};
    return command(fd::kIoasAllowIovas, request);
  }
  // The new hardware page table's id, or a negative errno.
  std::int64_t alloc_hwpt(std::uint32_t device, std::uint32_t ioas, std::uint32_t flags = 0) {
    fd::HwptAlloc request{};
    request.flags = flags;
    request.dev_id = device;
    request.pt_id = ioas;
    const long answer = command(fd::kHwptAlloc, request);
    return answer == 0 ? request.out_hwpt_id : answer;
  }
  // The device's id, or a negative errno.
  std::int64_t bind(int device) {
    abi::BindIommufd request{sizeof request, 0, iommufd_, 0, 0};
    const long answer = call(device, abi::kDeviceBindIommufd, &request);
    return answer == 0 ? request.out_devid : answer;
  }
  // The id of the page table that it is on then, or a negative errno.
  std::int64_t attach_to(int device, std::uint32_t pt) {
    abi::AttachIommufdPt request{sizeof request, 0, pt, 0};
    const long answer = call(device, abi::kDeviceAttachIommufdPt, &request);
    return answer == 0 ? request.pt_id : answer;
  }
  long detach(int device) {
    abi::DetachIommufdPt request{sizeof request, 0, 0};
    return call(device, abi::kDeviceDetachIommufdPt, &request);
  }
  // A device file that is bound and attached to the IOAS.
  int attached_device(std::uint32_t ioas, const std::string& name = kName) {
    const int device = open_cdev(name);
    EXPECT_GT(bind(device), 0);
    EXPECT_GT(attach_to(device, ioas), 0);
    return device;
  }

  int iommufd_ = -1;
};

}  // namespace softiommu::test
