// SPDX-License-Identifier: BSD-3-Clause
// What the parts of the client share: a handle on the fake file, links of /proc, checks in a child.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "fake_abi.h"

namespace client {

inline constexpr const char* kFile = "/dev/vfio/vfio";
inline constexpr const char* kDevice = "/sys/bus/pci/devices/0000:00:02.0";

inline std::string link_of(const std::string& path) {
  char text[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), text, sizeof text);
  return n < 0 ? std::string("error ") + std::strerror(errno) : std::string(text, static_cast<std::size_t>(n));
}
inline std::string link_of_descriptor(int fd) { return link_of("/proc/self/fd/" + std::to_string(fd)); }

class Handle : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GE(fd_, 0) << std::strerror(errno);
    // What children of the test before held is released some time after they end.
    for (int i = 0; i < 500 && open_files() != 1; ++i) ::usleep(10'000);
    ASSERT_EQ(open_files(), 1) << "the test before left files open";
  }
  ~Handle() override { ::close(fd_); }
  long open_files() { return ::ioctl(fd_, kFakeOpen); }
  long released() { return ::ioctl(fd_, kFakeReleased); }
  int fd_ = ::open(kFile, O_RDWR);
};

// Runs `check` in a child; what it answers is the child's status.
template <typename Check>
int in_child(Check&& check) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    _exit(check() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace client
