// SPDX-License-Identifier: BSD-3-Clause
// What else than the rules of all commands (iommufd_rules_test.cpp) makes a command of /dev/iommu fail, and with which
// errno: what the tests of each kind of object do not say already.
#include <unistd.h>

#include "mock_rig.h"

namespace softiommu::test {
namespace {

class Errno : public MockTest {
 protected:
  static constexpr std::uint64_t kIova = mabi::kApertureFirst;
  static constexpr std::uint32_t kFixed = kBoth | fd::kMapFixedIova;

  void SetUp() override {
    MockTest::SetUp();
    file_ = memfd_create("errno", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file_, 4 * static_cast<off_t>(kPageSize)), 0);
    ASSERT_EQ(map_fixed(ioas_, kIova, pages_.address(), 2 * kPageSize), 0);
  }
  void TearDown() override {
    MockTest::TearDown();
    close(file_);
  }
  long ask_copy(fd::IoasCopy request) { return command(fd::kIoasCopy, request); }
  long map_file(fd::IoasMapFile request) { return command(fd::kIoasMapFile, request); }
  long option(fd::Option request) { return command(fd::kOption, request); }
  long hw_info(std::uint32_t device, std::uint64_t data, std::uint32_t length) {
    fd::HwInfo request{};
    request.dev_id = device;
    request.data_uptr = data;
    request.data_len = length;
    return command(fd::kGetHwInfo, request);
  }

  Pages pages_{4};
  int file_ = -1;
};

TEST_F(Errno, OfDestroy) {
  const MockDevice device = mock_device(ioas_);
  EXPECT_EQ(destroy(ioas_), -EBUSY) << "a page table is on it";
  EXPECT_EQ(destroy(device.hwpt), -EBUSY) << "a device is on it";
  EXPECT_EQ(destroy(device.id), -EBUSY) << "its driver uses it";
  EXPECT_EQ(destroy(device.object), 0);
  EXPECT_EQ(destroy(ioas_), 0);
}

TEST_F(Errno, OfIoasAllowIovas) {
  fd::IoasAllowIovas request{0, ioas_, 1, 0, 8};
  EXPECT_EQ(command(fd::kIoasAllowIovas, request), -EFAULT);
  EXPECT_EQ(allow(ioas_, {{2, 1}}), -EINVAL);
  EXPECT_EQ(allow(ioas_, {{0x1000, 0x2000}, {0, 0x1000}}), -EINVAL) << "they share a byte, whatever their order";
  EXPECT_EQ(allow(ioas_, {{0x1000, 0x1fff}, {0, 0xfff}}), 0);
}

// The ranges before it are looked at first, and no memory is taken for those behind it.
TEST_F(Errno, OfIoasAllowIovasIsThatOfTheFirstWrongRangeHoweverManyAreSaidToFollow) {
  const Pages page(2);
  ASSERT_EQ(munmap(page.at(kPageSize), kPageSize), 0);
  auto* const last = reinterpret_cast<fd::Range*>(page.at(kPageSize)) - 1;
  const fd::IoasAllowIovas request{0, ioas_, ~0U, 0, reinterpret_cast<std::uint64_t>(last)};
  const auto answer = [&](fd::Range range) {
    *last = range;
    fd::IoasAllowIovas asked = request;
    return command(fd::kIoasAllowIovas, asked);
  };
  EXPECT_EQ(answer({2, 1}), -EINVAL);
  EXPECT_EQ(answer({1, 2}), -EFAULT);
}

TEST_F(Errno, OfIoasIovaRanges) {
  fd::IoasIovaRanges request{0, ioas_, 1, 0, 8, 0};
  EXPECT_EQ(command(fd::kIoasIovaRanges, request), -EFAULT);
  request.num_iovas = 0;
  EXPECT_EQ(command(fd::kIoasIovaRanges, request), -EMSGSIZE) << "no room is no fault";
  EXPECT_EQ(request.num_iovas, 1U);
}

TEST_F(Errno, OfIoasCopy) {
  const fd::IoasCopy good{0, kFixed, ioas_, ioas_, kPageSize, kIova + 16 * kPageSize, kIova};
  const auto with = [&](auto change) {
    fd::IoasCopy request = good;
    change(request);
    return ask_copy(request);
  };
  EXPECT_EQ(with([](auto& r) { r.flags = fd::kMapFixedIova; }), -EINVAL) << "neither right";
  EXPECT_EQ(with([](auto& r) { r.length = kAll; }), -EOVERFLOW);
  EXPECT_EQ(with([](auto& r) { r.src_iova = kAll; }), -EOVERFLOW);
  EXPECT_EQ(with([](auto& r) { r.dst_iova = kAll; }), -EOVERFLOW);
  EXPECT_EQ(with([](auto& r) { r.src_iova = kAll - 1; }), -EOVERFLOW) << "the source wraps";
  EXPECT_EQ(with([](auto& r) { r.dst_iova = kAll - 1; }), -EOVERFLOW) << "the destination wraps";
  EXPECT_EQ(with([](auto& r) { r.length = 0; }), -EINVAL);
  EXPECT_EQ(with([](auto& r) { r.src_iova += kPageSize + 1; }), -ENOENT) << "it reaches out of the mapping";
  EXPECT_EQ(with([](auto& r) { r.dst_iova = kIova; }), -EEXIST);
  ASSERT_EQ(allow(ioas_, {{0x1000, 0x1fff}}), 0);
  const auto anywhere = [](auto& r) { r.flags = kBoth, r.length = 2 * kPageSize; };
  EXPECT_EQ(with(anywhere), -ENOSPC);
  EXPECT_EQ(with([](auto&) {}), 0);
}

TEST_F(Errno, OfIoasMapFile) {
  const fd::IoasMapFile good{0, kFixed, ioas_, file_, 0, kPageSize, kIova + 16 * kPageSize};
  const auto with = [&](auto change) {
    fd::IoasMapFile request = good;
    change(request);
    return map_file(request);
  };
  EXPECT_EQ(with([](auto& r) { r.flags = fd::kMapFixedIova; }), -EINVAL) << "neither right";
  EXPECT_EQ(with([](auto& r) { r.length = kAll; }), -EOVERFLOW);
  EXPECT_EQ(with([](auto& r) { r.iova = kAll; }), -EOVERFLOW);
  EXPECT_EQ(with([](auto& r) {
              r.start = kAll;
              r.length = 2;
            }),
            -EOVERFLOW)
      << "the part of the file wraps";
  EXPECT_EQ(with([](auto& r) { r.fd = -1; }), -EBADF);
  EXPECT_EQ(with([](auto& r) { r.iova = kIova; }), -EEXIST);
  EXPECT_EQ(with([](auto&) {}), 0);
}

TEST_F(Errno, OfIoasUnmap) {
  EXPECT_EQ(unmap_range(ioas_, kIova, 0), -EINVAL);
  EXPECT_EQ(unmap_range(ioas_, kAll, 2), -EOVERFLOW);
  EXPECT_EQ(unmap_range(ioas_, kIova, kPageSize), -ENOENT) << "a part of a mapping";
  const MockDevice device = mock_device(ioas_);
  const auto guest = static_cast<std::uint32_t>(viommu(device, nest_parent(device)));
  ASSERT_GT(hw_queue(guest, 0, kIova, kPageSize), 0);
  EXPECT_EQ(unmap_range(ioas_, 0, kAll), -EBUSY) << "a queue of hardware is there";
}

TEST_F(Errno, OfOption) {
  EXPECT_EQ(option({0, fd::kOptionRlimitMode, fd::kOptionSet, 0, 0, 1}), -EBUSY) << "there are objects";
  EXPECT_EQ(option({0, fd::kOptionRlimitMode, 7, 0, 0, 1}), -EOPNOTSUPP);
  EXPECT_EQ(option({0, fd::kOptionHugePages, 7, 0, ioas_, 1}), -EOPNOTSUPP);
  EXPECT_EQ(option({0, 2, fd::kOptionGet, 0, ioas_, 0}), -EOPNOTSUPP);
  const MockDevice device = mock_device(ioas_);
  EXPECT_EQ(option({0, fd::kOptionHugePages, fd::kOptionSet, 0, ioas_, 0}), -EINVAL) << "a domain is filled";
  ASSERT_EQ(destroy(device.object), 0);
  ASSERT_EQ(destroy(ioas_), 0);
  EXPECT_EQ(option({0, fd::kOptionRlimitMode, fd::kOptionSet, 0, 0, 2}), -EINVAL);
  EXPECT_EQ(option({0, fd::kOptionRlimitMode, fd::kOptionSet, 0, 0, 1}), 0);
}

TEST_F(Errno, OfHwptAlloc) {
  const MockDevice plain = mock_device(ioas_, mabi::kDeviceNoDirty);
  EXPECT_EQ(alloc_hwpt(plain.id, ioas_, fd::kHwptDirtyTracking), -EOPNOTSUPP) << "the device tracks none";
  const std::uint32_t odd = alloc_ioas();
  ASSERT_EQ(map_fixed(odd, kIova + 1, pages_.address() + 1, 100), 0);
  EXPECT_EQ(alloc_hwpt(plain.id, odd), -EADDRINUSE) << "a mapping does not fit its pages";
  const std::uint32_t below = alloc_ioas();
  ASSERT_EQ(map_fixed(below, kIova - kPageSize, pages_.address(), kPageSize), 0);
  EXPECT_EQ(alloc_hwpt(plain.id, below), -EADDRINUSE) << "a mapping is outside its aperture";
  const std::uint32_t missing = alloc_ioas();
  ASSERT_EQ(map_fixed(missing, kIova, kPageSize, kPageSize), 0);
  EXPECT_EQ(alloc_hwpt(plain.id, missing), -EFAULT) << "a mapping is of no memory";
}

TEST_F(Errno, OfGetHwInfo) {
  const MockDevice device = mock_device(ioas_);
  mabi::HwInfo info{};
  EXPECT_EQ(hw_info(device.id, 8, sizeof info), -EFAULT);
  EXPECT_EQ(hw_info(device.id, 8, 0), 0) << "nothing is copied";
  Pages page(2);
  ASSERT_EQ(mprotect(page.at(kPageSize), kPageSize, PROT_NONE), 0);
  EXPECT_EQ(hw_info(device.id, page.address() + kPageSize - sizeof info, sizeof info), 0);
  EXPECT_EQ(hw_info(device.id, page.address() + kPageSize - sizeof info, sizeof info + 1), -EFAULT)
      << "the rest of the room cannot be cleared";
}

TEST_F(Errno, OfHwptGetDirtyBitmap) {
  const MockDevice device = mock_device(ioas_);
  const auto made = static_cast<std::uint32_t>(alloc_hwpt(device.id, ioas_, fd::kHwptDirtyTracking));
  fd::HwptGetDirtyBitmap request{0, made, 0, 0, kIova, 2 * kPageSize, kPageSize, 8};
  EXPECT_EQ(command(fd::kHwptGetDirtyBitmap, request), -EFAULT);
  request.iova += 1;
  EXPECT_EQ(command(fd::kHwptGetDirtyBitmap, request), -EINVAL);
}

TEST_F(Errno, OfVfioIoas) {
  fd::VfioIoas request{0, ioas_, fd::kVfioIoasGet, 0};
  EXPECT_EQ(command(fd::kVfioIoas, request), -ENODEV);
  request.op = fd::kVfioIoasClear;
  EXPECT_EQ(command(fd::kVfioIoas, request), 0) << "of nothing";
  request.op = 3;
  EXPECT_EQ(command(fd::kVfioIoas, request), -EOPNOTSUPP);
}

TEST_F(Errno, OfViommuAlloc) {
  const MockDevice device = mock_device(ioas_);
  fd::ViommuAlloc request{0, 0, mabi::kViommuType, device.id, nest_parent(device), 0, sizeof(mabi::ViommuData), 0, 8};
  EXPECT_EQ(command(fd::kViommuAlloc, request), -EFAULT) << "its data cannot be read";
}

}  // namespace
}  // namespace softiommu::test
