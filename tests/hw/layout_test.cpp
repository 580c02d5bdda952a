// SPDX-License-Identifier: BSD-3-Clause
#include "hw/layout.h"

#include <gtest/gtest.h>

namespace softiommu::hw {
namespace {

constexpr Layout kWord{"WORD", "nowhere", {{"P", 0, 0, "present"}, {"ADDR", 11, 4, "address"}, {"TOP", 63, 63, "top"}}};

TEST(LayoutTest, AWordIsDescribedByItsFieldsThatAreNotZero) {
  EXPECT_EQ(kWord.describe(0), "WORD 0x0000000000000000");
  EXPECT_EQ(kWord.describe(0x8000'0000'0000'0ab1), "WORD 0x8000000000000ab1 P=0x1 ADDR=0xab TOP=0x1");
}

TEST(LayoutTest, BitsWithoutANameAreDescribedInTheirPlaces) {
  EXPECT_EQ(kWord.describe(0x1'0000'0006), "WORD 0x0000000100000006 UNNAMED=0x100000006");
}

}  // namespace
}  // namespace softiommu::hw
