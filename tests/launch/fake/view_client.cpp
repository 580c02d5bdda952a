// SPDX-License-Identifier: BSD-3-Clause
// The view as a program sees it.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "shim_client.h"

namespace client {
namespace {

TEST(View, ShowsTheDevice) {
  std::ifstream vendor(std::string(kDevice) + "/vendor");
  std::string text;
  vendor >> text;
  EXPECT_EQ(text, "0x8086");
  EXPECT_EQ(link_of(std::string(kDevice) + "/iommu_group"), "../../../kernel/iommu_groups/0");
}

TEST(View, RealPathsHaveTheProgramsNames) {
  char* real = ::realpath(kDevice, nullptr);
  ASSERT_NE(real, nullptr);
  EXPECT_STREQ(real, "/sys/devices/pci0000:00/0000:00:02.0");
  ::free(real);
}

TEST(View, GoesUpFromWhereALinkLeads) {
  const std::string up = std::string(kDevice) + "/../../../kernel/iommu_groups/0";
  char* real = ::realpath(up.c_str(), nullptr);
  ASSERT_NE(real, nullptr);
  EXPECT_STREQ(real, "/sys/kernel/iommu_groups/0");
  ::free(real);
}

TEST(View, ListsAndGlobs) {
  DIR* folder = ::opendir("/sys/bus/pci/devices");
  ASSERT_NE(folder, nullptr);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(folder);
  EXPECT_EQ(names, std::vector<std::string>{"0000:00:02.0"});
  glob_t found = {};
  ASSERT_EQ(::glob("/sys/bus/pci/devices/*/vendor", 0, nullptr, &found), 0);
  EXPECT_STREQ(found.gl_pathv[0], "/sys/bus/pci/devices/0000:00:02.0/vendor");
  ::globfree(&found);
}

TEST(View, WorksFromAFolderDescriptor) {
  const int folder = ::open("/sys/bus/pci/devices/0000:00:02.0", O_RDONLY | O_DIRECTORY);
  const int vendor = ::openat(folder, "vendor", O_RDONLY);
  EXPECT_GE(vendor, 0);
  EXPECT_EQ(link_of_descriptor(folder), "/sys/devices/pci0000:00/0000:00:02.0");
  ::close(vendor);
  ::close(folder);
  const int outside = ::open("/sys", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(::faccessat(outside, "bus/pci/devices/0000:00:02.0", F_OK, 0), 0);
  ::close(outside);
}

TEST(View, WorksAfterChangingTheFolder) {
  char before[PATH_MAX], inside[PATH_MAX];
  ASSERT_NE(::getcwd(before, sizeof before), nullptr);
  ASSERT_EQ(::chdir("/sys/bus/pci/devices"), 0);
  EXPECT_STREQ(::getcwd(inside, sizeof inside), "/sys/bus/pci/devices");
  EXPECT_EQ(::access("0000:00:02.0/vendor", R_OK), 0);
  ASSERT_EQ(::chdir("/dev/vfio"), 0);
  const int fd = ::open("vfio", O_RDWR);
  EXPECT_EQ(::ioctl(fd, kFakeEcho, 2), 2);
  ::close(fd);
  ASSERT_EQ(::chdir(before), 0);
}

TEST(View, LeavesTheHostAlone) {
  struct stat status;
  EXPECT_EQ(::stat("/dev/null", &status), 0);
  EXPECT_EQ(::access("/sys/kernel", F_OK), 0);
  EXPECT_EQ(::open("/dev/vfio/99", O_RDWR), -1);
  EXPECT_EQ(errno, ENOENT);
}

}  // namespace
}  // namespace client
