// SPDX-License-Identifier: BSD-3-Clause
// IOMMU_DIRTY_PAGES, and UNMAP_DMA with GET_DIRTY_BITMAP. Type1 tells every pinned page as dirty, each time.
#include <array>

#include "uapi/rig.h"

namespace softiommu::test {
namespace {

class DirtyTest : public VfioTest {
 protected:
  using Words = std::array<std::uint64_t, 4>;

  long dirty(std::uint32_t flags) {
    const abi::DirtyPages request{sizeof request, flags};
    return call(container_, abi::kIommuDirtyPages, &request);
  }
  long get(std::uint64_t iova, std::uint64_t bytes, std::uint64_t bitmap_bytes = sizeof(Words),
           std::uint64_t pgsize = kPageSize) {
    struct {
      abi::DirtyPages head;
      abi::DirtyRange range;
    } const request{{sizeof request, abi::kDirtyGetBitmap},
                    {iova, bytes, {pgsize, bitmap_bytes, reinterpret_cast<std::uint64_t>(words_.data())}}};
    return call(container_, abi::kIommuDirtyPages, &request);
  }

  Pages pages_{80};
  Words words_{};
};

TEST_F(DirtyTest, V1HasNone) {
  attach(abi::Extension::type1);
  EXPECT_EQ(dirty(abi::kDirtyStart), -EACCES);
}

TEST_F(DirtyTest, ExactlyOneFlag) {
  attach();
  EXPECT_EQ(dirty(0), -EINVAL);
  EXPECT_EQ(dirty(abi::kDirtyStart | abi::kDirtyStop), -EINVAL);
  EXPECT_EQ(dirty(8), -EINVAL);
  EXPECT_EQ(dirty(abi::kDirtyStop), 0);
  EXPECT_EQ(dirty(abi::kDirtyStart), 0);
  EXPECT_EQ(dirty(abi::kDirtyStart), 0);
}

TEST_F(DirtyTest, TheBitmapNeedsTrackingAndAFittingRange) {
  attach();
  ASSERT_EQ(map(0, pages_.address(), 4 * kPageSize), 0);
  EXPECT_EQ(get(0, 4 * kPageSize), -EINVAL) << "tracking is off";
  ASSERT_EQ(dirty(abi::kDirtyStart), 0);
  EXPECT_EQ(get(0, 4 * kPageSize, sizeof(Words), 2 * kPageSize), -EINVAL);
  EXPECT_EQ(get(0, 4 * kPageSize, 4), -EINVAL) << "no room";
  EXPECT_EQ(get(0, 4 * kPageSize, abi::kDirtyBitmapMost + 8), -EINVAL);
  EXPECT_EQ(get(1, 4 * kPageSize), -EINVAL);
  EXPECT_EQ(get(0, 0), -EINVAL);
  EXPECT_EQ(get(0, 2 * kPageSize), -EINVAL) << "splits a mapping";
  EXPECT_EQ(get(kPageSize, 8 * kPageSize), -EINVAL) << "splits a mapping";
  EXPECT_EQ(dirty(abi::kDirtyGetBitmap), -EINVAL) << "argsz without a range";
  EXPECT_EQ(get(0, 4 * kPageSize), 0);
}

TEST_F(DirtyTest, EveryPinnedPageIsDirtyEachTime) {
  attach();
  ASSERT_EQ(map(0, pages_.address(), 4 * kPageSize), 0);
  ASSERT_EQ(map(6 * kPageSize, pages_.address(), 70 * kPageSize), 0);
  ASSERT_EQ(dirty(abi::kDirtyStart), 0);
  for (int round = 0; round < 2; ++round) {
    words_ = {0, 0, 0, 0x5555};
    ASSERT_EQ(get(0, 128 * kPageSize), 0);
    EXPECT_EQ(words_[0], ~std::uint64_t{0x30});
    EXPECT_EQ(words_[1], 0xfffU);
    EXPECT_EQ(words_[3], 0x5555U) << "not asked for";
  }
}

TEST_F(DirtyTest, ABadBitmapIsAFault) {
  attach();
  ASSERT_EQ(map(0, pages_.address(), kPageSize), 0);
  ASSERT_EQ(dirty(abi::kDirtyStart), 0);
  struct {
    abi::DirtyPages head;
    abi::DirtyRange range;
  } const request{{sizeof request, abi::kDirtyGetBitmap}, {0, kPageSize, {kPageSize, 8, 0x1000}}};
  EXPECT_EQ(call(container_, abi::kIommuDirtyPages, &request), -EFAULT);
}

TEST_F(DirtyTest, UnmapTellsWhatWasDirty) {
  attach();
  ASSERT_EQ(map(0, pages_.address(), 4 * kPageSize), 0);
  struct {
    abi::DmaUnmap head;
    abi::Bitmap bitmap;
  } request{{sizeof request, abi::kUnmapGetDirtyBitmap, 0, 8 * kPageSize},
            {kPageSize, sizeof words_, reinterpret_cast<std::uint64_t>(words_.data())}};
  EXPECT_EQ(call(container_, abi::kIommuUnmapDma, &request), -EINVAL) << "tracking is off";
  ASSERT_EQ(dirty(abi::kDirtyStart), 0);
  request.head.argsz = sizeof(abi::DmaUnmap);
  EXPECT_EQ(call(container_, abi::kIommuUnmapDma, &request), -EINVAL);
  request.head.argsz = sizeof request;
  request.head.flags |= abi::kUnmapAll;
  EXPECT_EQ(call(container_, abi::kIommuUnmapDma, &request), -EINVAL);
  request.head.flags = abi::kUnmapGetDirtyBitmap;
  EXPECT_EQ(call(container_, abi::kIommuUnmapDma, &request), 0);
  EXPECT_EQ(request.head.size, 4 * kPageSize);
  EXPECT_EQ(words_[0], 0xfU);
}

}  // namespace
}  // namespace softiommu::test
