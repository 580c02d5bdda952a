// SPDX-License-Identifier: BSD-3-Clause
#include "launch/shim/entry.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace softiommu::shim {
namespace {

namespace fs = std::filesystem;

class Entry : public ::testing::Test {
 protected:
  Entry() {
    std::string name = fs::temp_directory_path() / "entry-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~Entry() override { fs::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) const {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }
  static std::string self() {
    std::ifstream program("/proc/self/exe", std::ios::binary);
    return {std::istreambuf_iterator<char>(program), {}};
  }
  static Needs needs(const std::string& path) { return needs_of(AT_FDCWD, path.c_str()); }

  fs::path folder_;
};

// LD_PRELOAD afterwards; "": as it was.
std::string preload(const char* value, const char* runtime) {
  char out[200] = "";
  return runtime_first(value, runtime, out, sizeof out) ? out : "";
}
#define SHIM "/x/libsoftiommu-shim.so"

TEST_F(Entry, AProgramOfGlibcsLinkerNeedsNothing) {
  EXPECT_FALSE(needs("/proc/self/exe").supervisor);
  EXPECT_STREQ(needs("/proc/self/exe").runtime, "");
  EXPECT_FALSE(needs(file("text", "no program")).supervisor);
  EXPECT_FALSE(needs(folder_ / "nothing").supervisor);
}

TEST_F(Entry, AnyBeginningOfAProgramIsReadWithoutHarm) {
  const std::string all = self();
  for (std::size_t bytes = 0; bytes < all.size(); bytes += 1 + bytes / 3)
    EXPECT_STREQ(needs(file("part", all.substr(0, bytes))).runtime, "");
}

TEST_F(Entry, AProgramOfAnotherLinkerNeedsTheSupervisorAndAScriptWhatItsInterpreterNeeds) {
  std::string other = self();
  other.replace(other.find("/lib64/ld-linux"), 15, "/lib64/ld-other");
  const std::string program = file("other", other);
  EXPECT_TRUE(needs(program).supervisor);
  EXPECT_TRUE(needs(file("script", "#! " + program + " -e\n")).supervisor);
  EXPECT_TRUE(needs(file("script-of-a-script", "#!" + (folder_ / "script").string() + "\n")).supervisor);
  EXPECT_FALSE(needs(file("endless", "#!" + (folder_ / "endless").string() + "\n")).supervisor);
  EXPECT_FALSE(needs(file("nameless", "#!\n")).supervisor);
}

TEST_F(Entry, AnOpenProgramAndOneInAFolderAreLookedAtToo) {
  std::string other = self();
  other.replace(other.find("/lib64/ld-linux"), 15, "/lib64/ld-other");
  const int program = ::open(file("other", other).c_str(), O_RDONLY | O_CLOEXEC);
  const int folder = ::open(folder_.c_str(), O_PATH | O_CLOEXEC);
  EXPECT_TRUE(needs_of(program, "").supervisor);
  EXPECT_TRUE(needs_of(folder, "other").supervisor);
  ::close(program);
  ::close(folder);
}

TEST_F(Entry, ANameIsLookedForInTheFoldersOfThePath) {
  const std::string before = std::getenv("PATH");
  file("tool", "#!/bin/sh\n");
  ::setenv("PATH", ("/nowhere:" + folder_.string()).c_str(), 1);
  char found[PATH_MAX] = "";
  EXPECT_TRUE(find_in_path("tool", found));
  EXPECT_EQ(found, (folder_ / "tool").string());
  EXPECT_FALSE(find_in_path("another", found));
  EXPECT_FALSE(find_in_path("./tool", found)) << "a name with a slash is a place";
  ::setenv("PATH", before.c_str(), 1);
}

TEST_F(Entry, ARuntimeStandsBeforeTheShimForWhoNeedsIt) {
  EXPECT_EQ(preload(SHIM, "libasan.so.8"), "libasan.so.8:" SHIM);
  EXPECT_EQ(preload(SHIM ":other.so", "libtsan.so.2"), "libtsan.so.2:" SHIM ":other.so");
}

TEST_F(Entry, ARuntimeIsTakenAwayForWhoDoesNot) {
  EXPECT_EQ(preload("libasan.so.8:" SHIM, ""), SHIM);
  EXPECT_EQ(preload("libasan.so.8:" SHIM, "libtsan.so.2"), "libtsan.so.2:" SHIM);
}

TEST_F(Entry, WhatIsRightInLdPreloadStays) {
  EXPECT_EQ(preload(SHIM, ""), "");
  EXPECT_EQ(preload("libasan.so.8:" SHIM, "libasan.so.8"), "");
  EXPECT_EQ(preload("mine.so:" SHIM, "libasan.so.8"), "") << "the user's own order";
  EXPECT_EQ(preload("nothing.so", "libasan.so.8"), "") << "not of a run";
}

}  // namespace
}  // namespace softiommu::shim
