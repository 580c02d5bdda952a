// SPDX-License-Identifier: BSD-3-Clause
// Address spaces of an iommufd, without a device and with one.
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

using IoasTest = IommufdTest;

TEST_F(IoasTest, IdsCountFromOneAndAreUsedAgain) {
  EXPECT_EQ(alloc_ioas(), 1U);
  EXPECT_EQ(alloc_ioas(), 2U);
  EXPECT_EQ(destroy(1), 0);
  EXPECT_EQ(alloc_ioas(), 1U);
}

TEST_F(IoasTest, DestroyKnowsWhatThereIs) {
  EXPECT_EQ(destroy(0), -ENOENT);
  EXPECT_EQ(destroy(7), -ENOENT);
  const auto ioas = alloc_ioas();
  EXPECT_EQ(destroy(ioas), 0);
  EXPECT_EQ(destroy(ioas), -ENOENT);
}

TEST_F(IoasTest, SizesFollowTheRuleOfTheInterface) {
  struct {
    fd::IoasAlloc known;
    std::uint32_t more[3];
  } request{};
  request.known.size = sizeof request.known - 1;
  EXPECT_EQ(call(iommufd_, fd::kIoasAlloc, &request), -EINVAL);
  request.known.size = sizeof request;
  EXPECT_EQ(call(iommufd_, fd::kIoasAlloc, &request), 0) << "zeros that are not known";
  request.more[2] = 1;
  EXPECT_EQ(call(iommufd_, fd::kIoasAlloc, &request), -E2BIG);
  EXPECT_EQ(call(iommufd_, fd::kIoasAlloc, std::uint64_t{8}), -EFAULT);
  request = {};
  request.known = {.size = sizeof request.known, .flags = 1, .out_ioas_id = 0};
  EXPECT_EQ(call(iommufd_, fd::kIoasAlloc, &request), -EOPNOTSUPP);
  EXPECT_EQ(call(iommufd_, fd::command(0x15), &request), -ENOTTY);
  EXPECT_EQ(call(iommufd_, abi::kDeviceGetInfo, &request), -ENOTTY);
}

TEST_F(IoasTest, WithoutADeviceAnyByteCanBeMapped) {
  const auto ioas = alloc_ioas();
  EXPECT_EQ(map_fixed(ioas, 5, 7, 11), 0);
  EXPECT_EQ(iommufd_pages(), 0U) << "nothing is pinned";
  EXPECT_EQ(unmap_range(ioas, 5, 11), 11);
}

TEST_F(IoasTest, MapSaysWhatIsWrong) {
  const auto ioas = alloc_ioas();
  Pages pages(4);
  EXPECT_EQ(map_fixed(ioas, 0, pages.address(), 0), -EINVAL);
  EXPECT_EQ(map_fixed(ioas + 1, 0, pages.address(), kPageSize), -ENOENT);
  EXPECT_EQ(map_fixed(ioas, 0, pages.address(), kPageSize, 0), -EINVAL) << "neither right";
  EXPECT_EQ(map_fixed(ioas, 0, pages.address(), kPageSize, 1 << 3), -EOPNOTSUPP);
  EXPECT_EQ(map_fixed(ioas, kAll, pages.address(), kPageSize), -EOVERFLOW);
  EXPECT_EQ(map_fixed(ioas, kAll - 1, pages.address(), kPageSize), -EOVERFLOW);
  EXPECT_EQ(map_fixed(ioas, 0, kAll - 1, kPageSize), -EOVERFLOW);
  EXPECT_EQ(map_fixed(ioas, kPageSize, pages.address(), 2 * kPageSize), 0);
  EXPECT_EQ(map_fixed(ioas, 2 * kPageSize, pages.address(), kPageSize), -EEXIST);
  EXPECT_EQ(map_fixed(ioas, 0, pages.address(), kPageSize), 0);
}

TEST_F(IoasTest, UnmapTakesWholeMappingsOnly) {
  const auto ioas = alloc_ioas();
  Pages pages(4);
  ASSERT_EQ(map_fixed(ioas, 0x10000, pages.address(), 2 * kPageSize), 0);
  ASSERT_EQ(map_fixed(ioas, 0x20000, pages.address(), kPageSize), 0);
  EXPECT_EQ(unmap_range(ioas, 0x10000, kPageSize), -ENOENT);
  EXPECT_EQ(unmap_range(ioas, 0x11000, 2 * kPageSize), -ENOENT);
  EXPECT_EQ(unmap_range(ioas, 0x40000, kPageSize), -ENOENT) << "nothing is there";
  EXPECT_EQ(unmap_range(ioas, 0x10000, 0), -EINVAL);
  EXPECT_EQ(unmap_range(ioas, kPageSize, kAll), -EOVERFLOW);
  EXPECT_EQ(unmap_range(ioas, 0, 0x40000), static_cast<std::int64_t>(3 * kPageSize));
  EXPECT_EQ(unmap_range(ioas, 0, kAll), 0) << "everything, of nothing";
}

TEST_F(IoasTest, AFreshSpaceIsWhole) {
  const auto all = ranges(alloc_ioas());
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].start, 0U);
  EXPECT_EQ(all[0].last, kAll);
}

TEST_F(IoasTest, ADeviceNarrowsTheSpaceAndGivesItBack) {
  const auto ioas = alloc_ioas();
  const int device = attached_device(ioas);
  const auto narrow = ranges(ioas);
  ASSERT_EQ(narrow.size(), 2U) << "the interrupt range is in the middle";
  EXPECT_EQ(narrow[0].last, 0xfedf'ffffU);
  EXPECT_EQ(narrow[1].start, 0xfef0'0000U);
  EXPECT_EQ(map_fixed(ioas, 0xfee0'0000, 0, kPageSize), -EINVAL);
  EXPECT_EQ(detach(device), 0);
  EXPECT_EQ(ranges(ioas).size(), 1U);
}

TEST_F(IoasTest, RangesThatDoNotFitAreCounted) {
  const auto ioas = alloc_ioas();
  attached_device(ioas);
  fd::Range one{};
  fd::IoasIovaRanges request{0, ioas, 1, 0, reinterpret_cast<std::uint64_t>(&one), 0};
  EXPECT_EQ(command(fd::kIoasIovaRanges, request), -EMSGSIZE);
  EXPECT_EQ(request.num_iovas, 2U);
  EXPECT_EQ(one.last, 0xfedf'ffffU);
  EXPECT_EQ(request.out_iova_alignment, kPageSize);
}

TEST_F(IoasTest, AllowedRangesKeepDevicesOut) {
  const auto ioas = alloc_ioas();
  EXPECT_EQ(allow(ioas, {{5, 5}}), -EINVAL);
  EXPECT_EQ(allow(ioas, {{0, 10}, {10, 20}}), -EINVAL);
  EXPECT_EQ(allow(ioas, {{0xfee0'0000, 0xfee0'ffff}}), 0);
  const int device = open_cdev();
  ASSERT_GT(bind(device), 0);
  EXPECT_EQ(attach_to(device, ioas), -EADDRINUSE);
  EXPECT_EQ(allow(ioas, {}), 0);
  EXPECT_GT(attach_to(device, ioas), 0);
  EXPECT_EQ(allow(ioas, {{0xfee0'0000, 0xfee0'ffff}}), -EADDRINUSE);
}

TEST_F(IoasTest, PlacementKeepsToAllowedRangesAndAlignment) {
  const auto ioas = alloc_ioas();
  EXPECT_EQ(allow(ioas, {{0x100'0000, 0x100'2fff}}), 0);
  Pages pages(4);
  EXPECT_EQ(map_anywhere(ioas, pages.address(), kPageSize), 0x100'0000);
  EXPECT_EQ(map_anywhere(ioas, pages.address() + 0x10, 0x20), 0x100'1010) << "the offset within the page stays";
  EXPECT_EQ(map_anywhere(ioas, pages.address(), 2 * kPageSize), -ENOSPC);
  EXPECT_EQ(map_anywhere(ioas, pages.address(), kPageSize), 0x100'2000);
  EXPECT_EQ(map_anywhere(ioas, pages.address(), kAll / 2), -EOVERFLOW);
}

TEST_F(IoasTest, ACopySharesThePagesAndThePin) {
  const auto from = alloc_ioas(), to = alloc_ioas();
  Pages pages(2);
  *pages.at() = 'x';
  ASSERT_EQ(map_fixed(from, 0x10000, pages.address(), 2 * kPageSize), 0);
  attached_device(to);
  EXPECT_EQ(copy(from, 0x10000, to, 0x50000, 2 * kPageSize), 0);
  EXPECT_EQ(copy(from, 0x10000, to, 0x60000, kPageSize), 0);
  EXPECT_EQ(iommufd_pages(), 2U) << "counted once";
  EXPECT_EQ(unmap_range(from, 0, kAll), static_cast<std::int64_t>(2 * kPageSize));
  EXPECT_EQ(dma_read(0x50000), 'x');
  EXPECT_EQ(dma_read(0x60000), 'x');
  EXPECT_EQ(unmap_range(to, 0x50000, 2 * kPageSize), static_cast<std::int64_t>(2 * kPageSize));
  EXPECT_EQ(iommufd_pages(), 1U);
}

TEST_F(IoasTest, ACopyNeedsASourceWithoutHolesAndTheRights) {
  const auto from = alloc_ioas(), to = alloc_ioas();
  Pages pages(2);
  ASSERT_EQ(map_fixed(from, 0x10000, pages.address(), kPageSize, fd::kMapReadable), 0);
  EXPECT_EQ(copy(from, 0x10000, to, 0, 2 * kPageSize), -ENOENT);
  EXPECT_EQ(copy(from, 0x10000, to, 0, 0), -EINVAL);
  EXPECT_EQ(copy(from, 0x10000, to, 0, kPageSize), -EPERM) << "the pages are for reading";
  EXPECT_EQ(copy(from, 0x10000, to, 0, kPageSize, fd::kMapReadable), 0);
  EXPECT_EQ(copy(9, 0x10000, to, 0, kPageSize), -ENOENT);
  EXPECT_EQ(copy(from, 0x10000, 9, 0, kPageSize), -ENOENT);
}

TEST_F(IoasTest, MemoryThatIsNotThereIsFoundWhenItIsPinned) {
  const auto ioas = alloc_ioas();
  Pages unreadable(1, PROT_NONE), read_only(1, PROT_READ);
  ASSERT_EQ(map_fixed(ioas, 0, unreadable.address(), kPageSize), 0);
  const int device = open_cdev();
  ASSERT_GT(bind(device), 0);
  EXPECT_EQ(attach_to(device, ioas), -EFAULT);
  ASSERT_EQ(unmap_range(ioas, 0, kAll), static_cast<std::int64_t>(kPageSize));
  ASSERT_GT(attach_to(device, ioas), 0);
  EXPECT_EQ(map_fixed(ioas, 0, unreadable.address(), kPageSize), -EFAULT);
  EXPECT_EQ(map_fixed(ioas, 0, read_only.address(), kPageSize), -EFAULT);
  EXPECT_EQ(map_fixed(ioas, 0, read_only.address(), kPageSize, fd::kMapReadable), 0);
}

TEST_F(IoasTest, UnalignedMappingsKeepDevicesOut) {
  const auto ioas = alloc_ioas();
  Pages pages(1);
  ASSERT_EQ(map_fixed(ioas, 0x10000, pages.address(), 100), 0);
  const int device = open_cdev();
  ASSERT_GT(bind(device), 0);
  EXPECT_EQ(attach_to(device, ioas), -EADDRINUSE);
  EXPECT_EQ(iommufd_pages(), 0U);
}

TEST_F(IoasTest, OptionsAreReadAndSet) {
  const auto ioas = alloc_ioas();
  fd::Option huge{0, fd::kOptionHugePages, fd::kOptionGet, 0, ioas, 7};
  EXPECT_EQ(command(fd::kOption, huge), 0);
  EXPECT_EQ(huge.val64, 1U);
  huge.op = fd::kOptionSet;
  huge.val64 = 2;
  EXPECT_EQ(command(fd::kOption, huge), -EINVAL);
  huge.val64 = 0;
  EXPECT_EQ(command(fd::kOption, huge), 0);
  fd::Option mode{0, fd::kOptionRlimitMode, fd::kOptionGet, 0, 0, 7};
  EXPECT_EQ(command(fd::kOption, mode), 0);
  EXPECT_EQ(mode.val64, 0U);
  mode.object_id = ioas;
  EXPECT_EQ(command(fd::kOption, mode), -EOPNOTSUPP);
  mode.option_id = 9;
  EXPECT_EQ(command(fd::kOption, mode), -EOPNOTSUPP);
}

TEST_F(IoasTest, WithoutLargePagesEverythingIsMappedPageByPage) {
  const auto ioas = alloc_ioas();
  fd::Option huge{0, fd::kOptionHugePages, fd::kOptionSet, 0, ioas, 0};
  ASSERT_EQ(command(fd::kOption, huge), 0);
  attached_device(ioas);
  Pages pages(1024);
  const std::uint64_t user = (pages.address() + 2 * kMiB - 1) & ~(2 * kMiB - 1);
  const auto tables = machine_->memory().tables().allocated_pages();
  ASSERT_EQ(map_fixed(ioas, 4 * kMiB, user, 2 * kMiB), 0);
  EXPECT_GT(machine_->memory().tables().allocated_pages(), tables) << "a leaf table, not a large page";
}

// A memfd of some pages; what is written at its start is what a device finds there.
class MemoryFile {
 public:
  explicit MemoryFile(std::size_t pages) : descriptor_(memfd_create("test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(descriptor_, static_cast<off_t>(pages * kPageSize)), 0);
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int descriptor() const { return descriptor_; }
  void put(char value, off_t offset) { EXPECT_EQ(pwrite(descriptor_, &value, 1, offset), 1); }
  char get(off_t offset) {
    char value = 0;
    EXPECT_EQ(pread(descriptor_, &value, 1, offset), 1);
    return value;
  }

 private:
  int descriptor_;
};

TEST_F(IoasTest, AMemoryFileIsMappedByItsDescriptor) {
  const auto ioas = alloc_ioas();
  MemoryFile file(4);
  file.put('f', 2 * kPageSize);
  fd::IoasMapFile request{0, kBoth | fd::kMapFixedIova, ioas, file.descriptor(), 2 * kPageSize, kPageSize, 0x10000};
  ASSERT_EQ(command(fd::kIoasMapFile, request), 0);
  attached_device(ioas);
  EXPECT_EQ(dma_read(0x10000), 'f');
  EXPECT_TRUE(dma_write(0x10001, 'w'));
  EXPECT_EQ(file.get(2 * kPageSize + 1), 'w');
  request.iova = 0x20000;
  request.fd = 4000;
  EXPECT_EQ(command(fd::kIoasMapFile, request), -EBADF);
  request.fd = iommufd_;
  EXPECT_EQ(command(fd::kIoasMapFile, request), -EINVAL);
  Event event;
  request.fd = event.descriptor();
  EXPECT_EQ(command(fd::kIoasMapFile, request), -EINVAL) << "not a memory file";
  request.fd = file.descriptor();
  request.length = 0;
  EXPECT_EQ(command(fd::kIoasMapFile, request), -EINVAL);
}

TEST_F(IoasTest, OnlyMemoryOfFilesChangesItsProcess) {
  const auto ioas = alloc_ioas();
  MemoryFile file(1);
  fd::IoasMapFile request{0, kBoth | fd::kMapFixedIova, ioas, file.descriptor(), 0, kPageSize, 0x10000};
  ASSERT_EQ(command(fd::kIoasMapFile, request), 0);
  fd::IoasChangeProcess change{0, 0};
  EXPECT_EQ(command(fd::kIoasChangeProcess, change), 0);
  Pages pages(1);
  ASSERT_EQ(map_fixed(ioas, 0x20000, pages.address(), kPageSize), 0);
  EXPECT_EQ(command(fd::kIoasChangeProcess, change), -EINVAL);
  change.reserved = 1;
  EXPECT_EQ(command(fd::kIoasChangeProcess, change), -EOPNOTSUPP);
}

}  // namespace
}  // namespace softiommu::test
