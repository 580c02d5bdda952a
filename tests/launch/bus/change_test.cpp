// SPDX-License-Identifier: BSD-3-Clause
#include "launch/control/change.h"

#include <gtest/gtest.h>

namespace softiommu::launch {
namespace {

TEST(ChangeTest, EveryChangeIsReadAsItWasWritten) {
  for (const char* text : {"bind vfio-pci 0000:00:04.0", "unbind nvme 0000:00:08.0", "num_vfs 0000:00:04.0 3",
                           "remove 0000:00:04.0", "rescan", "unplug 0000:00:04.0", "plug 0000:00:04.0",
                           "reset 0000:00:04.0", "token 0000:00:04.0 52ac9bff-3a88-4fbd-901a-0d767c3b6c97"}) {
    const auto change = Change::parse(text);
    ASSERT_TRUE(change) << text;
    EXPECT_EQ(change->text(), text);
  }
}

TEST(ChangeTest, OtherTextIsRefused) {
  for (const char* text : {"", " ", "explode", "bind vfio-pci", "bind vfio-pci 0000:00:04.0 now", "rescan 1",
                           "num_vfs 0000:00:04.0 many", "num_vfs 0000:00:04.0 -1", "num_vfs 0000:00:04.0 2x"}) {
    const auto change = Change::parse(text);
    EXPECT_EQ(change ? 0 : change.error().code, EINVAL) << text;
  }
}

TEST(ChangeTest, BindAndVirtualFunctionsCanBeTakenBack) {
  EXPECT_EQ(Change::parse("bind vfio-pci a")->inverse()->text(), "unbind vfio-pci a");
  EXPECT_EQ(Change::parse("num_vfs a 2")->inverse()->text(), "num_vfs a 0");
  EXPECT_FALSE(Change::parse("num_vfs a 0")->inverse());
  EXPECT_FALSE(Change::parse("remove a")->inverse());
}

}  // namespace
}  // namespace softiommu::launch
