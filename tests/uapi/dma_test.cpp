// SPDX-License-Identifier: BSD-3-Clause
// IOMMU_MAP_DMA and IOMMU_UNMAP_DMA.
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

constexpr std::uint64_t kIova = 0x10000;
using Unmapped = std::pair<long, std::uint64_t>;

class DmaTest : public VfioTest {
 protected:
  Pages pages_{8};
  std::uint64_t user(std::size_t page = 0) const { return pages_.address() + page * kPageSize; }
};

TEST_F(DmaTest, WhatIsMappedIsReadAndWrittenByTheDevice) {
  attach();
  pages_.at(5)[0] = 'a';
  ASSERT_EQ(map(kIova, user(), 2 * kPageSize), 0);
  EXPECT_EQ(dma_read(kIova + 5), 'a');
  EXPECT_TRUE(dma_write(kIova + kPageSize, 'b'));
  EXPECT_EQ(pages_.at(kPageSize)[0], 'b');
  EXPECT_EQ(locked_pages(), 2U);
  EXPECT_EQ(unmap(kIova, 2 * kPageSize), Unmapped(0, 2 * kPageSize));
  EXPECT_EQ(dma_read(kIova + 5), '-');
}

TEST_F(DmaTest, RightsAreKept) {
  attach();
  ASSERT_EQ(map(kIova, user(), kPageSize, abi::kMapRead), 0);
  EXPECT_EQ(dma_read(kIova), 0);
  EXPECT_FALSE(dma_write(kIova, 'x'));
}

TEST_F(DmaTest, FlagsAndSizesAreChecked) {
  attach();
  EXPECT_EQ(map(kIova, user(), kPageSize, 0), -EINVAL);
  EXPECT_EQ(map(kIova, user(), kPageSize, 8 | abi::kMapRead), -EINVAL);
  EXPECT_EQ(map(kIova, user(), kPageSize, abi::kMapVaddr | abi::kMapRead), -EINVAL);
  EXPECT_EQ(map(kIova, user(), 0), -EINVAL);
  EXPECT_EQ(map(kIova, user(), 100), -EINVAL);
  EXPECT_EQ(map(kIova + 1, user(), kPageSize), -EINVAL);
  EXPECT_EQ(map(kIova, user() + 1, kPageSize), -EINVAL);
  abi::DmaMap request{sizeof request - 1, abi::kMapRead, user(), kIova, kPageSize};
  EXPECT_EQ(call(container_, abi::kIommuMapDma, &request), -EINVAL);
  EXPECT_EQ(call(container_, abi::kIommuMapDma, std::uint64_t{0}), -EFAULT);
}

TEST_F(DmaTest, AWrapIsAnOverflow) {
  attach();
  constexpr std::uint64_t last_page = ~std::uint64_t{0} - (kPageSize - 1);
  EXPECT_EQ(map(last_page, user(), 2 * kPageSize), -EOVERFLOW);
  EXPECT_EQ(map(kIova, last_page, 2 * kPageSize), -EOVERFLOW);
  EXPECT_EQ(unmap(last_page, 2 * kPageSize).first, -EOVERFLOW);
  EXPECT_EQ(unmap(last_page, kPageSize), Unmapped(0, 0));
}

TEST_F(DmaTest, AnOverlapExistsAlready) {
  attach();
  ASSERT_EQ(map(kIova, user(), 2 * kPageSize), 0);
  EXPECT_EQ(map(kIova + kPageSize, user(), kPageSize), -EEXIST);
  EXPECT_EQ(map(kIova - kPageSize, user(), 2 * kPageSize), -EEXIST);
  EXPECT_EQ(map(kIova, 0x1000, kPageSize), -EEXIST) << "also with memory that cannot be pinned";
}

TEST_F(DmaTest, MemoryThatCannotBePinnedIsAFault) {
  attach();
  Pages read_only(1, PROT_READ);
  EXPECT_EQ(map(kIova, 0x1000, kPageSize), -EFAULT);
  EXPECT_EQ(map(kIova, read_only.address(), kPageSize), -EFAULT);
  EXPECT_EQ(map(kIova, read_only.address(), kPageSize, abi::kMapRead), 0);
  EXPECT_EQ(locked_pages(), 1U);
}

TEST_F(DmaTest, TheInterruptWindowCannotBeMapped) {
  attach();
  EXPECT_EQ(map(0xfee00000, user(), kPageSize), -EINVAL);
  EXPECT_EQ(map(0xfee00000 - kPageSize, user(), 2 * kPageSize), -EINVAL);
  EXPECT_EQ(map(0xfee00000 - kPageSize, user(), kPageSize), 0);
  EXPECT_EQ(map(~std::uint64_t{0} - (kPageSize - 1), user(), kPageSize), -EINVAL) << "beyond the address width";
}

TEST_F(DmaTest, MappingsAreCounted) {
  start({.memlock = {}, .dma_entry_limit = 2, .allow_unsafe_interrupts = false});
  attach();
  EXPECT_EQ(map(kIova, user(), kPageSize), 0);
  EXPECT_EQ(map(2 * kIova, user(), kPageSize), 0);
  EXPECT_EQ(map(3 * kIova, user(), kPageSize), -ENOSPC);
  EXPECT_EQ(map(kIova, user(), kPageSize), -EEXIST);
  EXPECT_EQ(unmap(kIova, kPageSize).first, 0);
  EXPECT_EQ(map(3 * kIova, user(), kPageSize), 0);
}

TEST_F(DmaTest, LockedMemoryHasALimit) {
  start({.memlock = {MemlockLimit::Kind::bytes, 3 * kPageSize},
         .dma_entry_limit = 65535,
         .allow_unsafe_interrupts = false});
  attach();
  EXPECT_EQ(map(kIova, user(), 4 * kPageSize), -ENOMEM);
  EXPECT_EQ(map(kIova, user(), 3 * kPageSize), 0);
  EXPECT_EQ(map(2 * kIova, user(), kPageSize), -ENOMEM) << "the same page counts again";
  EXPECT_EQ(unmap(kIova, 3 * kPageSize).first, 0);
  EXPECT_EQ(map(2 * kIova, user(), kPageSize), 0);
}

TEST_F(DmaTest, V2RefusesToSplit) {
  attach();
  ASSERT_EQ(map(kIova, user(), 4 * kPageSize), 0);
  EXPECT_EQ(unmap(kIova, kPageSize).first, -EINVAL);
  EXPECT_EQ(unmap(kIova + kPageSize, 3 * kPageSize).first, -EINVAL);
  EXPECT_EQ(unmap(kIova + kPageSize, kPageSize).first, -EINVAL);
  EXPECT_EQ(dma_read(kIova), 0);
  EXPECT_EQ(unmap(0, 64 * kIova), Unmapped(0, 4 * kPageSize));
}

TEST_F(DmaTest, V1UnmapsWholeWhatBeginsInTheRange) {
  attach(abi::Extension::type1);
  ASSERT_EQ(map(kIova, user(), 4 * kPageSize), 0);
  EXPECT_EQ(unmap(kIova + kPageSize, 8 * kPageSize), Unmapped(0, 0)) << "it begins before the range";
  EXPECT_EQ(unmap(kIova, kPageSize), Unmapped(0, 4 * kPageSize));
  EXPECT_EQ(dma_read(kIova + 3 * kPageSize), '-');
}

TEST_F(DmaTest, UnmapChecksItsFlags) {
  attach();
  EXPECT_EQ(unmap(kIova, 0).first, -EINVAL);
  EXPECT_EQ(unmap(kIova + 1, kPageSize).first, -EINVAL);
  EXPECT_EQ(unmap(kIova, 100).first, -EINVAL);
  EXPECT_EQ(unmap(kIova, kPageSize, 8).first, -EINVAL);
  EXPECT_EQ(unmap(kIova, 0, abi::kUnmapAll).first, -EINVAL);
  EXPECT_EQ(unmap(0, kPageSize, abi::kUnmapAll).first, -EINVAL);
  EXPECT_EQ(unmap(0, 0, abi::kUnmapAll), Unmapped(0, 0));
  EXPECT_EQ(unmap(kIova, kPageSize), Unmapped(0, 0)) << "nothing was there";
}

TEST_F(DmaTest, AllUnmapsAll) {
  attach();
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_EQ(map(i * kIova, user(i % 8), kPageSize), 0);
  EXPECT_EQ(unmap(0, 0, abi::kUnmapAll), Unmapped(0, 200 * kPageSize));
  EXPECT_EQ(dma_read(7 * kIova), '-');
  EXPECT_EQ(locked_pages(), 0U);
}

TEST_F(DmaTest, AddressesCanBeUpdated) {
  attach();
  Pages other(2);
  ASSERT_EQ(map(kIova, user(), 2 * kPageSize), 0);
  EXPECT_EQ(map(kIova, other.address(), 2 * kPageSize, abi::kMapVaddr), -EINVAL) << "not given up yet";
  EXPECT_EQ(unmap(kIova, 2 * kPageSize, abi::kUnmapVaddr), Unmapped(0, 2 * kPageSize));
  EXPECT_EQ(unmap(kIova, 2 * kPageSize, abi::kUnmapVaddr).first, -EINVAL) << "given up already";
  EXPECT_EQ(add("0000:00:03.0"), -EBUSY);
  EXPECT_EQ(map(kIova, other.address(), kPageSize, abi::kMapVaddr), -EINVAL) << "not the whole mapping";
  EXPECT_EQ(map(4 * kIova, other.address(), kPageSize, abi::kMapVaddr), -ENOENT);
  EXPECT_EQ(map(kIova, other.address(), 2 * kPageSize, abi::kMapVaddr), 0);
  EXPECT_EQ(dma_read(kIova), 0) << "mapped all the time";
}

TEST_F(DmaTest, MappingsMadeBeforeAndAfterAnAttachReachEveryDevice) {
  attach();
  pages_.at(0)[0] = 'x';
  pages_.at(kPageSize)[0] = 'y';
  ASSERT_EQ(map(kIova, user(0), kPageSize), 0);
  ASSERT_EQ(add("0000:00:03.0"), 0);
  ASSERT_EQ(map(2 * kIova, user(1), kPageSize), 0);
  for (const char* device : {"0000:00:02.0", "0000:00:03.0"}) {
    EXPECT_EQ(dma_read(kIova, device), 'x');
    EXPECT_EQ(dma_read(2 * kIova, device), 'y');
  }
}

TEST_F(DmaTest, MemoryInPiecesIsOneMapping) {
  start({}, "[memory]\nfragmented = true\n");
  attach();
  for (std::size_t page = 0; page < 8; ++page) pages_.at(page * kPageSize)[0] = static_cast<char>('a' + page);
  ASSERT_EQ(map(kIova, user(), 8 * kPageSize), 0);
  ASSERT_EQ(add("0000:00:03.0"), 0);
  for (std::size_t page = 0; page < 8; ++page) {
    EXPECT_EQ(dma_read(kIova + page * kPageSize, "0000:00:03.0"), static_cast<char>('a' + page));
  }
  EXPECT_EQ(unmap(kIova, 8 * kPageSize), Unmapped(0, 8 * kPageSize));
}

TEST_F(DmaTest, AnUnmapWhoseAnswerCannotBeWrittenIsNotDone) {
  attach();
  ASSERT_EQ(map(kIova, user(), kPageSize), 0);
  Pages locked(1);
  const abi::DmaUnmap request{sizeof request, 0, kIova, kPageSize};
  std::memcpy(locked.at(), &request, sizeof request);
  ASSERT_EQ(mprotect(locked.at(), kPageSize, PROT_READ), 0);
  EXPECT_EQ(call(container_, abi::kIommuUnmapDma, locked.address()), -EFAULT);
  EXPECT_EQ(dma_read(kIova), 0) << "still mapped";
  EXPECT_EQ(unmap(kIova, kPageSize), Unmapped(0, kPageSize));
}

}  // namespace
}  // namespace softiommu::test
