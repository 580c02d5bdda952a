// SPDX-License-Identifier: BSD-3-Clause
#include "launch/shim/entry.h"

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
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
  // With this dynamic linker; "" for none.
  static std::string program(const std::string& linker, std::uint16_t machine = EM_X86_64) {
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_type = ET_DYN;
    head.e_machine = machine;
    head.e_phoff = sizeof head;
    head.e_phentsize = sizeof(Elf64_Phdr);
    head.e_phnum = 1;
    Elf64_Phdr part{};
    part.p_type = linker.empty() ? PT_LOAD : PT_INTERP;
    part.p_offset = sizeof head + sizeof part;
    part.p_filesz = linker.size() + 1;
    std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
    bytes.append(reinterpret_cast<const char*>(&part), sizeof part);
    return bytes + linker + std::string(1, '\0');
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
  EXPECT_FALSE(needs(file("a", program("/lib64/ld-linux-x86-64.so.2"))).supervisor);
  EXPECT_FALSE(needs("/proc/self/exe").supervisor);
  EXPECT_STREQ(needs("/proc/self/exe").runtime, "");
  EXPECT_FALSE(needs(file("ld-linux-x86-64.so.2", program(""))).supervisor) << "the linker itself";
}

TEST_F(Entry, AProgramOfNoLinkerOrAnotherNeedsTheSupervisor) {
  EXPECT_TRUE(needs(file("static", program(""))).supervisor);
  EXPECT_TRUE(needs(file("musl", program("/lib/ld-musl-x86_64.so.1"))).supervisor);
}

TEST_F(Entry, ValgrindsToolsLoadWhatIsPreloadedThemselves) {
  file("vgpreload_core-amd64-linux.so", "");
  EXPECT_FALSE(needs(file("memcheck-amd64-linux", program(""))).supervisor);
}

TEST_F(Entry, WhatIsNoProgramHereIsLeftToTheKernel) {
  EXPECT_FALSE(needs(file("arm", program("", EM_AARCH64))).supervisor);
  EXPECT_FALSE(needs(file("cut", program("").substr(0, 70))).supervisor);
  EXPECT_FALSE(needs(file("text", "hello")).supervisor);
  EXPECT_FALSE(needs(file("empty", "")).supervisor);
  EXPECT_FALSE(needs(folder_ / "absent").supervisor);
  EXPECT_FALSE(needs_of(AT_FDCWD, nullptr).supervisor);
  const std::string forbidden = file("forbidden", program(""));
  fs::permissions(forbidden, fs::perms::owner_read);
  EXPECT_FALSE(needs(forbidden).supervisor);
}

TEST_F(Entry, AnyBeginningOfAProgramIsReadWithoutHarm) {
  const std::string all = self();
  for (std::size_t bytes = 0; bytes < all.size(); bytes += 1 + bytes / 3)
    EXPECT_STREQ(needs(file("part", all.substr(0, bytes))).runtime, "");
}

TEST_F(Entry, AScriptNeedsWhatItsInterpreterNeeds) {
  const std::string shell = file("shell", program(""));
  const std::string script = file("script", "#! " + shell + " -e\nexit 0\n");
  EXPECT_TRUE(needs(script).supervisor);
  EXPECT_TRUE(needs(file("outer", "#!" + script + "\n")).supervisor);
  EXPECT_FALSE(needs(file("other", "#!/bin/sh\n")).supervisor);
  EXPECT_FALSE(needs(file("loop", "#!" + (folder_ / "loop").string() + "\n")).supervisor);
  EXPECT_FALSE(needs(file("nameless", "#!\n")).supervisor);
}

TEST_F(Entry, AnOpenProgramAndOneInAFolderAreLookedAtToo) {
  const int open_program = ::open(file("static", program("")).c_str(), O_RDONLY | O_CLOEXEC);
  const int folder = ::open(folder_.c_str(), O_PATH | O_CLOEXEC);
  EXPECT_TRUE(needs_of(open_program, "").supervisor);
  EXPECT_TRUE(needs_of(folder, "static").supervisor);
  ::close(open_program);
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
