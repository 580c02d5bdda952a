// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/regions.h"

#include <gtest/gtest.h>

namespace softiommu::launch {
namespace {

TrapRegion region(std::uintptr_t first, std::uintptr_t last, std::uint64_t offset = 0) {
  TrapRegion made;
  made.first = first;
  made.last = last;
  made.offset = offset;
  return made;
}

TEST(TrapRegions, FindsWhatCoversTheAddress) {
  TrapRegions regions;
  ASSERT_TRUE(regions.add(region(0x3000, 0x3fff)));
  ASSERT_TRUE(regions.add(region(0x1000, 0x1fff)));
  const TrapRegions::Reader reader(regions);
  EXPECT_EQ(reader.find(0x0fff), nullptr);
  EXPECT_EQ(reader.find(0x1fff)->first, 0x1000u);
  EXPECT_EQ(reader.find(0x2000), nullptr);
  EXPECT_EQ(reader.find(0x3000)->first, 0x3000u);
}

TEST(TrapRegions, AHoleInTheMiddleLeavesBothEndsAtTheirRegisters) {
  TrapRegions regions;
  ASSERT_TRUE(regions.add(region(0x1000, 0x3fff, 0x100)));
  EXPECT_TRUE(regions.remove(0x2000, 0x2fff));
  const TrapRegions::Reader reader(regions);
  EXPECT_EQ(reader.find(0x1fff)->offset, 0x100u);
  EXPECT_EQ(reader.find(0x2000), nullptr);
  EXPECT_EQ(reader.find(0x3000)->offset, 0x2100u);
}

TEST(TrapRegions, ARemovedRegionLetsItsFileGo) {
  TrapRegions regions;
  auto file = std::make_shared<int>(1);
  TrapRegion with_file = region(0x1000, 0x1fff);
  with_file.holds = file;
  ASSERT_TRUE(regions.add(std::move(with_file)));
  EXPECT_EQ(file.use_count(), 2);
  EXPECT_TRUE(regions.remove(0, ~std::uintptr_t{0}));
  EXPECT_EQ(file.use_count(), 1);
}

TEST(TrapRegions, RemovingWhereNothingIsSaysSo) {
  TrapRegions regions;
  EXPECT_FALSE(regions.remove(0x1000, 0x1fff));
}

}  // namespace
}  // namespace softiommu::launch
