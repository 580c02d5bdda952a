// SPDX-License-Identifier: BSD-3-Clause
// Accesses: drivers that pin and copy a program's memory themselves, through the test command.
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class AccessTest : public MockTest {
 protected:
  static constexpr std::uint64_t kIova = mabi::kApertureFirst;

  std::string read_bytes(std::int64_t access, std::uint64_t iova, std::size_t bytes, std::uint32_t flags = 0) {
    std::string text(bytes, '?');
    EXPECT_EQ(copy_bytes(access, iova, text, flags), 0);
    return text;
  }
  // Is every page of it pinned `times`?
  bool pinned(const Pages& pages, unsigned times) {
    tabi::Command ask{};
    ask.check_refs = {pages.bytes(), pages.address(), times};
    return test(tabi::Op::md_check_refs, ask) == 0;
  }
  void close(std::int64_t descriptor) { program_.close(static_cast<int>(descriptor)); }
};

TEST_F(AccessTest, PinsPagesOnceForAll) {
  Pages pages(4);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes()), 0);
  EXPECT_TRUE(pinned(pages, 0)) << "lazily";
  const auto access = open_access();
  const auto first = pin(access, kIova, pages.bytes(), pages.address());
  ASSERT_GE(first, 0);
  const auto second = pin(access, kIova, pages.bytes(), pages.address());
  EXPECT_TRUE(pinned(pages, 1));
  EXPECT_EQ(iommufd_pages(), 4U);
  mock_device(ioas_);
  EXPECT_TRUE(pinned(pages, 1)) << "a domain and two pins share them";
  EXPECT_EQ(unpin(access, first), 0);
  EXPECT_EQ(unpin(access, first), -ENOENT);
  EXPECT_EQ(unpin(access, second), 0);
  EXPECT_TRUE(pinned(pages, 1)) << "the domain's";
}

TEST_F(AccessTest, PagesStayPinnedWhenTheDomainGoes) {
  Pages pages(4);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes()), 0);
  const auto device = mock_device(ioas_);
  const auto access = open_access();
  ASSERT_GE(pin(access, kIova + kPageSize, kPageSize, pages.address() + kPageSize), 0);
  EXPECT_EQ(iommufd_pages(), 4U);
  EXPECT_EQ(destroy(device.object), 0);
  EXPECT_EQ(iommufd_pages(), 1U);
  close(access);
  EXPECT_EQ(iommufd_pages(), 0U);
}

TEST_F(AccessTest, PinSaysWhatIsWrong) {
  Pages pages(2);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes(), fd::kMapReadable), 0);
  const auto access = open_access();
  EXPECT_EQ(pin(access, kIova, 0), -EINVAL);
  EXPECT_EQ(pin(access, ~std::uint64_t{0}, 2), -EOVERFLOW);
  EXPECT_EQ(pin(access, kIova, 3 * kPageSize), -ENOENT) << "it reaches out";
  EXPECT_EQ(pin(access, kIova, kPageSize, 0, tabi::kAccessWrite), -EPERM);
  EXPECT_EQ(pin(access, kIova + 1, 1), -EINVAL) << "not a page";
  EXPECT_EQ(pin(access, kIova, kPageSize, pages.address() + kPageSize), -EBADE) << "not the page that is expected";
  EXPECT_EQ(pin(access, kIova, kPageSize, 0, 1 << 5), -EOPNOTSUPP);
  EXPECT_EQ(pin(iommufd_, kIova, kPageSize), -EBADFD);
  EXPECT_EQ(pin(open_access(0), kIova, kPageSize), -EOPNOTSUPP) << "it only copies";
  EXPECT_EQ(iommufd_pages(), 0U);
}

TEST_F(AccessTest, MemoryThatIsNotThereCannotBePinned) {
  ASSERT_EQ(map_fixed(ioas_, kIova, kPageSize, kPageSize), 0);
  const auto access = open_access();
  EXPECT_EQ(pin(access, kIova, kPageSize), -EFAULT);
  EXPECT_EQ(unmap_range(ioas_, kIova, kPageSize), static_cast<std::int64_t>(kPageSize));
}

TEST_F(AccessTest, AnUnmapTakesItsPinsAway) {
  Pages pages(2);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes()), 0);
  const auto access = open_access();
  const auto number = pin(access, kIova, kPageSize, pages.address());
  ASSERT_GE(number, 0);
  EXPECT_EQ(unmap_range(ioas_, 0, kAll), static_cast<std::int64_t>(pages.bytes()));
  EXPECT_EQ(unpin(access, number), -ENOENT) << "it was asked to let go";
  EXPECT_TRUE(pinned(pages, 0));
}

TEST_F(AccessTest, ItMovesToAnotherSpace) {
  Pages pages(1);
  const auto other = alloc_ioas();
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes()), 0);
  const auto access = open_access();
  ASSERT_GE(pin(access, kIova, kPageSize), 0);
  EXPECT_EQ(destroy(ioas_), -EBUSY) << "the access uses it";
  EXPECT_EQ(move_access(access, 99), -ENOENT);
  EXPECT_EQ(move_access(access, other), 0);
  EXPECT_EQ(iommufd_pages(), 0U);
  EXPECT_EQ(pin(access, kIova, kPageSize), -ENOENT);
  EXPECT_EQ(destroy(ioas_), 0);
}

TEST_F(AccessTest, ItsSpaceIsAlignedToWholePages) {
  ASSERT_EQ(map_fixed(ioas_, 5, 7, 11), 0);
  EXPECT_EQ(open_access(), -EADDRINUSE);
  EXPECT_GE(open_access(0), 0) << "copies need no alignment";
  EXPECT_EQ(unmap_range(ioas_, 5, 11), 11);
  const auto access = open_access();
  ASSERT_GE(access, 0);
  EXPECT_EQ(map_fixed(ioas_, 5, 7, 11), -EINVAL);
  close(access);
  EXPECT_EQ(map_fixed(ioas_, 5, 7, 11), 0);
}

TEST_F(AccessTest, CopiesWhatIsMapped) {
  Pages pages(2);
  const auto access = open_access(0);
  ASSERT_EQ(map_fixed(ioas_, kIova + 3, pages.address(), pages.bytes()), 0);
  std::string text = "across two pages";
  for (const std::uint32_t path : {std::uint32_t{0}, tabi::kRwSlow}) {
    EXPECT_EQ(copy_bytes(access, kIova + 3 + kPageSize - 8, text, tabi::kRwWrite | path), 0);
    EXPECT_EQ(std::string(pages.at(kPageSize - 8), text.size()), text);
    EXPECT_EQ(read_bytes(access, kIova + 3 + kPageSize - 8, text.size(), path), text);
  }
  EXPECT_EQ(iommufd_pages(), 0U);
}

TEST_F(AccessTest, ACopySaysWhatIsWrong) {
  Pages pages(1);
  const auto access = open_access(0);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes(), fd::kMapReadable), 0);
  std::string text = "text", none;
  EXPECT_EQ(copy_bytes(access, kIova, text, tabi::kRwWrite), -EPERM);
  EXPECT_EQ(copy_bytes(access, kIova + kPageSize, text, 0), -ENOENT);
  EXPECT_EQ(copy_bytes(access, kIova, none, 0), -EINVAL);
  EXPECT_EQ(copy_bytes(access, kAll, text, 0), -EOVERFLOW);
  EXPECT_EQ(copy_bytes(access, kIova, text, 1 << 7), -EOPNOTSUPP);
}

TEST_F(AccessTest, ItsFileKeepsTheContext) {
  Pages pages(1);
  ASSERT_EQ(map_fixed(ioas_, kIova, pages.address(), pages.bytes()), 0);
  const auto access = open_access();
  ASSERT_GE(pin(access, kIova, kPageSize), 0);
  program_.close(iommufd_);
  EXPECT_EQ(iommufd_pages(), 1U);
  close(access);
  EXPECT_EQ(iommufd_pages(), 0U);
}

// ---- DMA-BUFs

class DmaBufTest : public AccessTest {
 protected:
  // Is something mapped there in the page table?
  bool translates(std::uint32_t hwpt, std::uint64_t iova) {
    tabi::Command ask{};
    ask.id = hwpt;
    Pages somewhere(1);
    ask.check_map = {iova, kPageSize, somewhere.address()};
    EXPECT_EQ(test(tabi::Op::md_check_map, ask), -EINVAL) << "unmapped, or another page";
    return system_mapped(hwpt, iova);
  }
  // Dirty state can be set where something is mapped.
  bool system_mapped(std::uint32_t hwpt, std::uint64_t iova) {
    std::uint64_t bit = 1, found = 0;
    tabi::Command ask{};
    ask.id = hwpt;
    ask.dirty = {0, iova, kPageSize, kPageSize, address(&bit), 0};
    EXPECT_EQ(test(tabi::Op::dirty, ask), 0);
    fd::HwptGetDirtyBitmap get{0, hwpt, 0, 0, iova, kPageSize, kPageSize, address(&found)};
    EXPECT_EQ(command(fd::kHwptGetDirtyBitmap, get), 0);
    return found != 0;
  }
  std::uint32_t tracking(const MockDevice& device) {
    const auto made = static_cast<std::uint32_t>(alloc_hwpt(device.id, ioas_, fd::kHwptDirtyTracking));
    fd::HwptSetDirtyTracking on{0, fd::kDirtyTrackingEnable, made, 0};
    EXPECT_EQ(command(fd::kHwptSetDirtyTracking, on), 0);
    return made;
  }
};

TEST_F(DmaBufTest, IsMappedByItsDescriptor) {
  const int buffer = dma_buf(4 * kPageSize);
  ASSERT_GE(buffer, 0);
  EXPECT_EQ(map_buffer(buffer, 0, 0), -EINVAL);
  EXPECT_EQ(map_buffer(buffer, 4 * kPageSize, kPageSize), -EINVAL) << "behind its end";
  EXPECT_EQ(map_buffer(buffer, 0, 4 * kPageSize + 1), -EINVAL);
  EXPECT_EQ(map_buffer(buffer, kPageSize, 2 * kPageSize), 0);
  EXPECT_EQ(dma_buf(0), -EINVAL);
  EXPECT_EQ(dma_buf(513 * kPageSize), -EINVAL);
}

TEST_F(DmaBufTest, NobodyCountsItAndNoAccessReachesIt) {
  ASSERT_EQ(map_buffer(dma_buf(kPageSize), 0, kPageSize), 0);
  mock_device(ioas_);
  EXPECT_EQ(iommufd_pages(), 0U);
  EXPECT_EQ(pin(open_access(), kIova, kPageSize), -EINVAL);
}

TEST_F(DmaBufTest, RevokedItIsMappedNowhere) {
  const int buffer = dma_buf(kPageSize);
  const auto device = mock_device(ioas_);
  const std::uint32_t before = tracking(device);
  ASSERT_EQ(map_buffer(buffer, 0, kPageSize), 0);
  EXPECT_TRUE(translates(before, kIova));
  EXPECT_EQ(revoke(buffer, true), 0);
  EXPECT_FALSE(translates(before, kIova));
  EXPECT_FALSE(translates(tracking(device), kIova)) << "a page table that came later";
  EXPECT_EQ(map_buffer(buffer, 0, kPageSize, kIova + kPageSize), -ENODEV);
}

TEST_F(DmaBufTest, GivenAgainOnlyFreshMappingsHaveIt) {
  const int buffer = dma_buf(kPageSize);
  const std::uint32_t hwpt = tracking(mock_device(ioas_));
  ASSERT_EQ(map_buffer(buffer, 0, kPageSize), 0);
  EXPECT_EQ(revoke(buffer, true), 0);
  EXPECT_EQ(revoke(buffer, false), 0);
  EXPECT_FALSE(translates(hwpt, kIova));
  EXPECT_EQ(unmap_range(ioas_, kIova, kPageSize), static_cast<std::int64_t>(kPageSize));
  EXPECT_EQ(map_buffer(buffer, 0, kPageSize), 0);
  EXPECT_TRUE(translates(hwpt, kIova));
}

TEST_F(DmaBufTest, OnlyATestsOwnIsRevokedByATest) {
  EXPECT_EQ(revoke(77, true), -EBADF);
  EXPECT_EQ(revoke(iommufd_, true), -EINVAL);
}

// ---- mock devices

TEST_F(AccessTest, ReservedRangesAreOfNobodyAndStay) {
  tabi::Command ask{};
  ask.id = ioas_;
  ask.add_reserved = {kIova, kPageSize};
  EXPECT_EQ(test(tabi::Op::add_reserved, ask), 0);
  EXPECT_EQ(map_fixed(ioas_, kIova, kPageSize, kPageSize), -EINVAL);
  EXPECT_EQ(map_fixed(ioas_, kIova + kPageSize, kPageSize, kPageSize), 0);
  ask.add_reserved = {kIova + kPageSize, kPageSize};
  EXPECT_EQ(test(tabi::Op::add_reserved, ask), -EADDRINUSE);
  ask.add_reserved = {kAll, 2};
  EXPECT_EQ(test(tabi::Op::add_reserved, ask), -EOVERFLOW);
}

TEST_F(AccessTest, WhatIsMappedIsThePage) {
  Pages pages(2);
  const auto device = mock_device(ioas_);
  ASSERT_EQ(map_fixed(ioas_, kIova + 2048, pages.address() + 2048, kPageSize), 0) << "it begins inside a page";
  tabi::Command ask{};
  ask.id = device.hwpt;
  ask.check_map = {kIova + 2048, kPageSize, pages.address() + 2048};
  EXPECT_EQ(test(tabi::Op::md_check_map, ask), 0);
  ask.check_map.uptr = pages.address();
  EXPECT_EQ(test(tabi::Op::md_check_map, ask), -EINVAL);
  ask.id = ioas_;
  EXPECT_EQ(test(tabi::Op::md_check_map, ask), -ENOENT);
}

TEST_F(AccessTest, AnOrdinaryRunHasNoTestCommand) {
  vfio_.reset();
  vfio_ = std::make_unique<Vfio>(*system_, VfioOptions{});
  tabi::Command ask{};
  ask.size = sizeof ask;
  ask.op = tabi::Op::mock_domain;
  const int plain = open_iommufd();
  EXPECT_EQ(call(plain, tabi::kTestCommand, &ask), -ENOTTY);
  program_.close(plain);
}

}  // namespace
}  // namespace softiommu::test
