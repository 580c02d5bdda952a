// SPDX-License-Identifier: BSD-3-Clause
// What is said of a file that is no driver plugin of this release. One that is: tests/programs/custom_driver.sh.
#include "check/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace softiommu::check {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refused(const std::string& path) {
  const auto driver = load_plugin(path);
  EXPECT_FALSE(driver);
  return driver ? "" : driver.error();
}

std::string plugin(std::string_view name) { return std::string(SOFTIOMMU_TEST_PLUGINS "/lib").append(name) + ".so"; }

TEST(PluginFile, ThatIsNotThereIsNamed) {
  EXPECT_EQ(refused("/nowhere/libdriver.so"), "/nowhere/libdriver.so: there is no such file");
}

TEST(PluginFile, WithoutAFolderIsOneHere) { EXPECT_EQ(refused("libm.so.6"), "libm.so.6: there is no such file"); }

TEST(PluginFile, ThatIsNoLibraryCannotBeLoaded) {
  const std::string path = ::testing::TempDir() + "softiommu-text-" + std::to_string(::getpid()) + ".so";
  std::ofstream(path) << "text\n";
  EXPECT_THAT(refused(path), StartsWith(path + ": it cannot be loaded: "));
  std::remove(path.c_str());
}

TEST(PluginFile, WithoutTheSymbolIsNoPlugin) {
  EXPECT_THAT(refused(plugin("no_plugin")),
              HasSubstr("it is no driver plugin: there is no symbol softiommu_driver_plugin"));
}

TEST(PluginFile, OfAnotherReleaseIsToBeBuiltAgain) {
  EXPECT_THAT(refused(plugin("other_release")),
              AllOf(HasSubstr("built for softiommu 0.0.1"), HasSubstr("build it against this release")));
}

TEST(PluginFile, ThatBringsNothingIsRefused) { EXPECT_THAT(refused(plugin("empty")), HasSubstr("makes no driver")); }

}  // namespace
}  // namespace softiommu::check
