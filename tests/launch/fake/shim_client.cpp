// SPDX-License-Identifier: BSD-3-Clause
// A program as the shim sees it: each test uses plain system interfaces and knows nothing of softiommu but the
// fake file's ioctls. Here: descriptors, also of other processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "shim_client.h"

namespace client {
namespace {

TEST_F(Handle, AnswersIoctls) {
  EXPECT_EQ(::ioctl(fd_, kFakeEcho, 1234), 1234);
  EXPECT_EQ(::ioctl(fd_, 0x1), -1);
  EXPECT_EQ(errno, ENOTTY);
}

TEST_F(Handle, LeavesErrnoUntouchedOnSuccess) {
  errno = EXDEV;
  ::ioctl(fd_, kFakeEcho, 1);
  ::close(::open(kFile, O_RDWR));
  EXPECT_EQ(errno, EXDEV);
}

TEST_F(Handle, IsACharacterDevice) {
  struct stat by_fd, by_path;
  ASSERT_EQ(::fstat(fd_, &by_fd), 0);
  ASSERT_EQ(::stat(kFile, &by_path), 0);
  EXPECT_TRUE(S_ISCHR(by_fd.st_mode));
  EXPECT_TRUE(S_ISCHR(by_path.st_mode));
  EXPECT_EQ(by_fd.st_rdev, makedev(10, 196));
  EXPECT_EQ(by_path.st_rdev, by_fd.st_rdev);
}

TEST_F(Handle, StatxSaysTheSame) {
  struct statx x;
  ASSERT_EQ(::statx(fd_, "", AT_EMPTY_PATH, STATX_ALL, &x), 0);
  EXPECT_TRUE(S_ISCHR(x.stx_mode));
  ASSERT_EQ(::statx(AT_FDCWD, "/dev/vfio/7", 0, STATX_ALL, &x), 0);
  EXPECT_EQ(x.stx_rdev_major, 511u);
  EXPECT_EQ(x.stx_rdev_minor, 7u);
}

TEST_F(Handle, ShowsItsPathUnderProc) { EXPECT_EQ(link_of_descriptor(fd_), kFile); }

// What stands for the kernel's VFIO device, and no virtual machine: calls of KVM's that only look as if they were ours.
TEST_F(Handle, IsNoBusinessOfKvmWhereItIsNoGroup) {
  const int device = ::memfd_create("kvm-vfio", MFD_CLOEXEC);
  kvm_device_attr add = {0, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, reinterpret_cast<std::uint64_t>(&fd_)};
  EXPECT_EQ(::ioctl(device, KVM_HAS_DEVICE_ATTR, &add), 0);
  EXPECT_EQ(::ioctl(device, KVM_SET_DEVICE_ATTR, &add), -1) << "a container";
  void* bar = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd_, 0);
  kvm_userspace_memory_region slot = {0, 0, 0, 4096, reinterpret_cast<std::uint64_t>(bar)};
  EXPECT_EQ(::ioctl(device, KVM_SET_USER_MEMORY_REGION, &slot), -1);
  EXPECT_EQ(errno, ENOTTY) << "no virtual machine";
  ::munmap(bar, 4096);
  ::close(device);
}

TEST_F(Handle, IsAlwaysReady) {
  pollfd ask = {fd_, POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&ask, 1, -1), 1);
  EXPECT_EQ(ask.revents, POLLIN | POLLOUT);
}

TEST_F(Handle, CannotBeAddedToAnEpoll) {
  const int ep = ::epoll_create1(0);
  epoll_event event = {};
  EXPECT_EQ(::epoll_ctl(ep, EPOLL_CTL_ADD, fd_, &event), -1);
  EXPECT_EQ(errno, EPERM);
  ::close(ep);
}

TEST_F(Handle, IsReleasedWithItsLastDuplicate) {
  const int other = ::open(kFile, O_RDWR);
  const long before = released();
  const int copy = ::dup(other), third = ::fcntl(other, F_DUPFD_CLOEXEC, 100);
  EXPECT_GE(third, 100);
  ::close(other);
  ::close(copy);
  EXPECT_EQ(::ioctl(third, kFakeEcho, 5), 5);
  EXPECT_EQ(released(), before);
  ::close(third);
  EXPECT_EQ(released(), before + 1);
}

TEST_F(Handle, IsReleasedWhenReplacedByDup2) {
  const int other = ::open(kFile, O_RDWR), null = ::open("/dev/null", O_RDONLY);
  const long before = released();
  ASSERT_EQ(::dup2(null, other), other);
  EXPECT_EQ(released(), before + 1);
  EXPECT_EQ(link_of_descriptor(other), "/dev/null");
  ::close(other);
  ::close(null);
}

TEST_F(Handle, AClosedDescriptorIsBad) {
  const int other = ::open(kFile, O_RDWR);
  ::close(other);
  EXPECT_EQ(::ioctl(other, kFakeEcho, 1), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST_F(Handle, LivesOnInAChildUntilItClosesIt) {
  const int other = ::open(kFile, O_RDWR);
  const long before = released();
  int hold[2];
  ASSERT_EQ(::pipe(hold), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(hold[1]);
    [[maybe_unused]] const ssize_t n = ::read(hold[0], &byte, 1);
    _exit(0);
  }
  ::close(other);
  EXPECT_EQ(released(), before);
  ::close(hold[1]);
  ::close(hold[0]);
  ::waitpid(child, nullptr, 0);
  for (int i = 0; i < 500 && released() == before; ++i) ::usleep(10'000);
  EXPECT_EQ(released(), before + 1);
}

TEST_F(Handle, AnInheritedOneIsServedInTheChild) {
  EXPECT_EQ(in_child([&] { return ::ioctl(fd_, kFakeEcho, 77) == 77; }), 0);
  EXPECT_EQ(::ioctl(fd_, kFakeEcho, 78), 78);
}

TEST_F(Handle, AServedCallReadsAndWritesTheChildsMemory) {
  std::uint64_t word = 1;
  EXPECT_EQ(in_child([&] {
              word = 41;
              return ::ioctl(fd_, kFakeCopy, &word) == 0 && word == 42;
            }),
            0);
  EXPECT_EQ(word, 1u);
}

TEST_F(Handle, AServedCallOnABadAddressIsEFAULT) {
  EXPECT_EQ(in_child([&] { return ::ioctl(fd_, kFakeCopy, 16) == -1 && errno == EFAULT; }), 0);
}

TEST_F(Handle, AServedCallTakesTheChildsEventfd) {
  EXPECT_EQ(in_child([&] {
              const int event = ::eventfd(0, EFD_NONBLOCK);
              std::uint64_t value = 0;
              return ::ioctl(fd_, kFakeSignal, event) == 0 && ::read(event, &value, 8) == 8 && value == 1;
            }),
            0);
}

TEST_F(Handle, AServedCallInstallsADescriptorInTheChild) {
  EXPECT_EQ(in_child([&] {
              const long made = ::ioctl(fd_, kFakeInstall, 0);
              return made > fd_ && ::ioctl(static_cast<int>(made), kFakeEcho, 5) == 5 &&
                     link_of_descriptor(static_cast<int>(made)) == kFile && ::close(static_cast<int>(made)) == 0;
            }),
            0);
}

TEST_F(Handle, WhatTheChildGotIsReleasedWhenTheChildEnds) {
  const long before = released();
  EXPECT_EQ(in_child([&] { return ::ioctl(fd_, kFakeInstall, 0) > 0; }), 0);
  for (int i = 0; i < 500 && released() == before; ++i) ::usleep(10'000);
  EXPECT_EQ(released(), before + 1);
}

TEST_F(Handle, AnInheritedOneReadsAtTheCommonPosition) {
  char byte = 0;
  EXPECT_EQ(in_child([&] { return ::read(fd_, &byte, 1) == 1 && byte == 0; }), 0);
  EXPECT_EQ(::read(fd_, &byte, 1), 1);
  EXPECT_EQ(byte, 1);
}

TEST_F(Handle, AnInheritedOneIsACharacterDeviceInTheChild) {
  EXPECT_EQ(in_child([&] {
              struct stat status;
              return ::fstat(fd_, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(10, 196);
            }),
            0);
}

TEST_F(Handle, AGrandchildIsServedToo) {
  EXPECT_EQ(in_child([&] { return in_child([&] { return ::ioctl(fd_, kFakeEcho, 3) == 3; }) == 0; }), 0);
}

// A pair of sockets, and a descriptor sent over it.
class Sent : public Handle {
 protected:
  void SetUp() override {
    Handle::SetUp();
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_), 0);
  }
  ~Sent() override {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  union Space {
    cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  };
  bool send(int fd) {
    char byte = 'x';
    iovec part{&byte, 1};
    Space space{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &space;
    message.msg_controllen = sizeof space;
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(control), &fd, sizeof fd);
    return ::sendmsg(ends_[0], &message, 0) == 1;
  }
  int receive() {
    char byte;
    iovec part{&byte, 1};
    Space space{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &space;
    message.msg_controllen = sizeof space;
    if (::recvmsg(ends_[1], &message, 0) != 1 || CMSG_FIRSTHDR(&message) == nullptr) return -1;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
  }
  int ends_[2] = {-1, -1};
};

TEST_F(Sent, ComesBackAsTheSameFile) {
  ASSERT_TRUE(send(fd_));
  const int copy = receive();
  ASSERT_GE(copy, 0);
  EXPECT_EQ(::ioctl(copy, kFakeEcho, 6), 6);
  const long before = released();
  ::close(copy);
  EXPECT_EQ(released(), before);
}

TEST_F(Sent, IsServedInTheProcessThatGetsIt) {
  const int other = ::open(kFile, O_RDWR);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(other);
    ::close(fd_);
    const int got = receive();
    _exit(::ioctl(got, kFakeEcho, 8) == 8 ? 0 : 1);
  }
  ASSERT_TRUE(send(other));
  ::close(other);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Handle, IsServedAfterExec) {
  const std::string number = std::to_string(fd_);
  ASSERT_EQ(::fcntl(fd_, F_SETFD, 0), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/proc/self/exe", "shim_client", "--holds", number.c_str(), nullptr);
    _exit(9);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Handle, IsServedByAKeeperWhenTheOwnerExecs) {
  EXPECT_EQ(in_child([] {
              const int own = ::open(kFile, O_RDWR);
              const std::string number = std::to_string(own);
              if (::ioctl(own, kFakeEcho, 1) != 1) return false;
              ::execl("/proc/self/exe", "shim_client", "--holds", number.c_str(), nullptr);
              return false;
            }),
            0);
}

TEST_F(Handle, IsTheOwnersStillWhenItsExecFails) {
  EXPECT_EQ(in_child([] {
              const int own = ::open(kFile, O_RDWR);
              if (::execl("/nonexistent", "x", nullptr) != -1 || errno != ENOENT) return false;
              return ::ioctl(own, kFakeEcho, 2) == 2 && in_child([&] { return ::ioctl(own, kFakeEcho, 4) == 4; }) == 0;
            }),
            0);
}

// A child that opens a file, forks a grandchild that uses it, and ends in its own way before that.
template <typename End>
char what_is_left(End&& end) {
  int result[2];
  if (::pipe(result) != 0) return '?';
  const pid_t child = ::fork();
  if (child == 0) {
    int go[2];
    const int own = ::open(kFile, O_RDWR);
    if (::pipe(go) != 0 || ::ioctl(own, kFakeEcho, 1) != 1) _exit(9);
    if (::fork() == 0) {
      char byte;
      ::close(go[1]);
      ::alarm(20);
      while (::read(go[0], &byte, 1) < 0) {
      }
      const bool served = ::ioctl(own, kFakeEcho, 7) == 7;
      byte = served ? 'y' : errno == ENODEV ? 'n' : '?';
      _exit(::write(result[1], &byte, 1) == 1 ? 0 : 1);
    }
    end();
  }
  ::close(result[1]);
  char answer = '?';
  if (::read(result[0], &answer, 1) != 1) answer = '-';
  ::close(result[0]);
  ::waitpid(child, nullptr, 0);
  return answer;
}

TEST_F(Handle, OutlivesAnOwnerThatExits) {
  EXPECT_EQ(what_is_left([] { _exit(0); }), 'y');
}
TEST_F(Handle, OutlivesAnOwnerThatEndsByExit) {
  EXPECT_EQ(what_is_left([] { ::exit(0); }), 'y');
}
TEST_F(Handle, IsGoneWithAnOwnerThatWasKilled) {
  EXPECT_EQ(what_is_left([] { ::raise(SIGKILL); }), 'n');
}

TEST_F(Handle, AChildMayOpenItsOwn) {
  const pid_t child = ::fork();
  if (child == 0) _exit(::ioctl(::open(kFile, O_RDWR), kFakeEcho, 9) == 9 ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Handle, CloseRangeClosesItAndNothingOfTheEngine) {
  const int other = ::open(kFile, O_RDWR);
  const long before = released();
  ASSERT_EQ(::close_range(static_cast<unsigned>(other), ~0u, 0), 0);
  EXPECT_EQ(released(), before + 1);
  EXPECT_EQ(::ioctl(fd_, kFakeEcho, 3), 3);
  const int again = ::open(kFile, O_RDWR);
  EXPECT_GE(again, 0);
  ::close(again);
}

TEST_F(Handle, ACloseLoopDoesNotReachTheEngine) {
  for (int fd = fd_ + 1; fd < 2000; ++fd) ::close(fd);
  EXPECT_EQ(::ioctl(fd_, kFakeEcho, 3), 3);
}

TEST_F(Handle, ReadsAtAnOffset) {
  unsigned char bytes[4];
  ASSERT_EQ(::pread(fd_, bytes, 4, 16), 4);
  EXPECT_EQ(bytes[3], 19);
  ASSERT_EQ(::read(fd_, bytes, 4), 4);
  ASSERT_EQ(::read(fd_, bytes, 4), 4);
  EXPECT_EQ(bytes[0], 4);
  EXPECT_EQ(::lseek(fd_, 0, SEEK_SET), -1);
  EXPECT_EQ(errno, ESPIPE);
}

TEST_F(Handle, ABadPointerIsEfault) {
  EXPECT_EQ(::ioctl(fd_, kFakeCopy, 8), -1);
  EXPECT_EQ(errno, EFAULT);
  void* volatile nowhere = reinterpret_cast<void*>(8);
  EXPECT_EQ(::pread(fd_, nowhere, 4, 0), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST_F(Handle, SeesWhatMemoryCanBePinned) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(::ioctl(fd_, kFakePinnable, page), 0);
  ::mprotect(page, 4096, PROT_READ);
  EXPECT_EQ(::ioctl(fd_, kFakePinnable, page), -1);
  ::munmap(page, 4096);
  EXPECT_EQ(::ioctl(fd_, kFakePinnable, page), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST_F(Handle, TakesEventfdsAndNothingElse) {
  const int event = ::eventfd(0, 0);
  EXPECT_GE(::ioctl(fd_, kFakeEventfd, event), 0);
  EXPECT_EQ(::ioctl(fd_, kFakeEventfd, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(::ioctl(fd_, kFakeEventfd, 999), -1);
  EXPECT_EQ(errno, EBADF);
  ::close(event);
}

TEST(FirstOpen, WorksFromSeveralThreadsAtOnce) {
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        const int fd = ::open(kFile, O_RDWR);
        good += ::ioctl(fd, kFakeEcho, 1) == 1;
        ::close(fd);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 800);
}

TEST_F(Handle, SurvivesRacesOfCloseAndIoctl) {
  std::atomic<int> shared{-1};
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) {
      const int fd = shared.load();
      const int got = ::ioctl(fd, kFakeEcho, 7);
      if (got != 7 && errno != EBADF && errno != ENOTTY) ADD_FAILURE() << std::strerror(errno);
    }
  });
  for (int i = 0; i < 3000; ++i) {
    const int fd = ::open(kFile, O_RDWR);
    shared = fd;
    ::close(fd);
  }
  stop = true;
  caller.join();
}

}  // namespace
}  // namespace client

// A program that was started with a handle: 0 if it is one, else which look at it says that it is not.
int holds(const char* number) {
  const int fd = std::atoi(number);
  ::alarm(20);
  std::uint64_t word = 6;
  struct stat status;
  if (::ioctl(fd, kFakeEcho, 21) != 21) return 1;
  if (::ioctl(fd, kFakeCopy, &word) != 0 || word != 7) return 2;
  if (::fstat(fd, &status) != 0 || !S_ISCHR(status.st_mode)) return 3;
  return client::link_of_descriptor(fd) == client::kFile ? 0 : 4;
}

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--holds") == 0) return holds(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
