// SPDX-License-Identifier: BSD-3-Clause
// A program as the shim sees it: each test uses plain system interfaces and knows nothing of softiommu but the
// fake file's ioctls.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "fake_abi.h"

namespace {

constexpr const char* kFile = "/dev/vfio/vfio";
constexpr const char* kDevice = "/sys/bus/pci/devices/0000:00:02.0";

std::string link_of(const std::string& path) {
  char text[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), text, sizeof text);
  return n < 0 ? std::string("error ") + std::strerror(errno) : std::string(text, static_cast<std::size_t>(n));
}
std::string link_of_descriptor(int fd) { return link_of("/proc/self/fd/" + std::to_string(fd)); }

class Handle : public testing::Test {
 protected:
  void SetUp() override { ASSERT_GE(fd_, 0) << std::strerror(errno); }
  ~Handle() override { ::close(fd_); }
  long released() { return ::ioctl(fd_, kFakeReleased); }
  int fd_ = ::open(kFile, O_RDWR);
};

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

class Bar : public Handle {
 protected:
  void SetUp() override {
    Handle::SetUp();
    map_ = ::mmap(nullptr, kFakeBarBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    ASSERT_NE(map_, MAP_FAILED);
    words_ = static_cast<volatile std::uint32_t*>(map_);
  }
  ~Bar() override { ::munmap(map_, kFakeBarBytes); }
  void* map_ = nullptr;
  volatile std::uint32_t* words_ = nullptr;
};

TEST_F(Bar, EachAccessReachesTheDevice) {
  words_[4] = 0x12345678;
  EXPECT_EQ(words_[4], 0x12345678u);
  EXPECT_EQ(::ioctl(fd_, kFakeAccesses), 2);
}

TEST_F(Bar, LibraryCopiesWork) {
  std::vector<unsigned char> from(5000), to(5000);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<unsigned char>(i * 7);
  std::memcpy(static_cast<char*>(map_) + 3, from.data(), from.size());
  std::memcpy(to.data(), static_cast<char*>(map_) + 3, to.size());
  EXPECT_EQ(from, to);
}

TEST_F(Bar, IsAnAddressForSystemCallsOfOurs) {
  words_[0] = 41;
  words_[1] = 0;
  EXPECT_EQ(::ioctl(fd_, kFakeCopy, map_), 0);
  EXPECT_EQ(words_[0], 42u);
}

TEST_F(Bar, KeepsTheFileOpen) {
  const int other = ::open(kFile, O_RDWR);
  const long before = released();
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
  ::close(other);
  *static_cast<volatile int*>(page) = 5;
  EXPECT_EQ(released(), before);
  ::munmap(page, 4096);
  EXPECT_EQ(released(), before + 1);
}

TEST_F(Bar, MapsOverAReservation) {
  auto* room = static_cast<char*>(::mmap(nullptr, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  void* at = ::mmap(room + 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_, 4096);
  ASSERT_EQ(at, room + 4096);
  words_[1024] = 99;
  EXPECT_EQ(*reinterpret_cast<volatile std::uint32_t*>(at), 99u);
  ::munmap(room, 3 * 4096);
}

sigjmp_buf escape;
std::atomic<int> got_signal{0};
void jump_out(int signal) {
  got_signal = signal;
  siglongjmp(escape, 1);
}
int signal_of(volatile std::uint32_t* address) {
  got_signal = 0;
  struct sigaction action = {}, segv, bus;
  action.sa_handler = jump_out;
  ::sigaction(SIGSEGV, &action, &segv);
  ::sigaction(SIGBUS, &action, &bus);
  if (sigsetjmp(escape, 1) == 0) [[maybe_unused]]
    const std::uint32_t value = *address;
  ::sigaction(SIGSEGV, &segv, nullptr);
  ::sigaction(SIGBUS, &bus, nullptr);
  return got_signal;
}

TEST_F(Bar, IsSigbusWhileMemoryDecodeIsOff) {
  ::ioctl(fd_, kFakeEnable, 0);
  EXPECT_EQ(signal_of(words_), SIGBUS);
  ::ioctl(fd_, kFakeEnable, 1);
  EXPECT_EQ(signal_of(words_), 0);
}

TEST_F(Bar, OneThatWasMappedBeforeForkWorksInTheChild) {
  auto* words =
      static_cast<volatile std::uint32_t*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 4096));
  ASSERT_NE(words, MAP_FAILED);
  words[3] = 5;
  EXPECT_EQ(in_child([&] {
              ::close(fd_);
              if (words[3] != 5) return false;
              words[1024] = 9;
              return true;
            }),
            0);
  EXPECT_EQ(words[1024], 9u);
}

TEST_F(Bar, OneThatAChildMapsIsTheSameDevice) {
  EXPECT_EQ(in_child([&] {
              auto* words = static_cast<volatile std::uint32_t*>(
                  ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
              if (words == MAP_FAILED) return false;
              words[2] = 11;
              return words[2] == 11;
            }),
            0);
  auto* words = static_cast<volatile std::uint32_t*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd_, 0));
  EXPECT_EQ(words[2], 11u);
}

TEST_F(Bar, ADisabledOneIsSIGBUSInTheChildToo) {
  void* page = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd_, 0);
  EXPECT_EQ(in_child([&] {
              return ::ioctl(fd_, kFakeEnable, 0) == 0 &&
                     signal_of(static_cast<volatile std::uint32_t*>(page)) == SIGBUS;
            }),
            0);
  ::ioctl(fd_, kFakeEnable, 1);
  ::munmap(page, 4096);
}

TEST_F(Bar, AnUnmappedOneIsTheProgramsOwnFault) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  ::munmap(page, 4096);
  EXPECT_EQ(signal_of(static_cast<volatile std::uint32_t*>(page)), SIGSEGV);
}

TEST_F(Bar, AProgramsWildPointerStillKillsIt) {
  const pid_t child = ::fork();
  if (child == 0) {
    volatile int* volatile wild = reinterpret_cast<volatile int*>(16);
    *wild = 1;
    _exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

// ---- whose signal it is

// The program's own handler, with all that it is told, and where it ran.
struct Told {
  int signal = 0, code = 0;
  void* address = nullptr;
  void* stack = nullptr;
};
Told told;
void note_and_jump(int signal, siginfo_t* info, void*) {
  int here;
  told = {signal, info->si_code, info->si_addr, &here};
  siglongjmp(escape, 1);
}

template <typename Do>
Told told_of(int signal, int flags, Do&& action) {
  told = {};
  struct sigaction ours = {}, before;
  ours.sa_flags = SA_SIGINFO | flags;
  ours.sa_sigaction = note_and_jump;
  ::sigaction(signal, &ours, &before);
  if (sigsetjmp(escape, 1) == 0) action();
  ::sigaction(signal, &before, nullptr);
  return told;
}

// A signal stack with nothing below it; its pages say how much of it was used.
class SignalStack {
 public:
  explicit SignalStack(std::size_t bytes) : bytes_(bytes) {
    pages_ = static_cast<char*>(::mmap(nullptr, kGuard + bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::mprotect(pages_ + kGuard, bytes, PROT_READ | PROT_WRITE);
    const stack_t stack = {pages_ + kGuard, 0, bytes};
    ::sigaltstack(&stack, &before_);
  }
  ~SignalStack() {
    ::sigaltstack(&before_, nullptr);
    ::munmap(pages_, kGuard + bytes_);
  }
  bool holds(const void* address) const { return address >= pages_ + kGuard && address < pages_ + kGuard + bytes_; }

 private:
  static constexpr std::size_t kGuard = 4096;
  std::size_t bytes_;
  char* pages_;
  stack_t before_ = {};
};

TEST_F(Bar, OnlyItsOwnFaultsReachTheProgramsHandler) {
  EXPECT_EQ(told_of(SIGSEGV, 0, [&] { words_[1] = words_[2]; }).signal, 0);
  void* none = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto touch = [&] { *static_cast<volatile int*>(none) = 1; };
  Told t = told_of(SIGSEGV, 0, touch);
  EXPECT_EQ(t.signal, SIGSEGV);
  EXPECT_EQ(t.code, SEGV_ACCERR);
  EXPECT_EQ(t.address, none);
  ::munmap(none, 4096);
  t = told_of(SIGSEGV, 0, touch);
  EXPECT_EQ(t.code, SEGV_MAPERR);
  EXPECT_EQ(t.address, none);
}

TEST_F(Bar, AStoreToAReadOnlyMappingIsTheProgramsFault) {
  auto* page = static_cast<volatile int*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd_, 0));
  const Told t = told_of(SIGSEGV, 0, [&] { page[5] = 1; });
  EXPECT_EQ(t.signal, SIGSEGV);
  EXPECT_EQ(t.code, SEGV_ACCERR);
  EXPECT_EQ(t.address, const_cast<int*>(page + 5));
  ::munmap(const_cast<int*>(page), 4096);
}

TEST_F(Bar, AnInstructionThatCannotBeDoneIsTheProgramsFaultToo) {
  const Told t = told_of(SIGSEGV, 0, [&] { __asm__ volatile("fxsave 512(%0)" : : "r"(map_) : "memory"); });
  EXPECT_EQ(t.signal, SIGSEGV);
  EXPECT_GE(t.address, static_cast<char*>(map_) + 512);
  EXPECT_LT(t.address, static_cast<char*>(map_) + 1024);
}

int divided_by(volatile std::uint32_t* words) {
  int low = 100, high = 0;
  __asm__ volatile("idivl (%2)" : "+a"(low), "+d"(high) : "r"(words) : "cc", "memory");
  return low;
}

TEST_F(Bar, ADivisionByARegisterThatIsZeroIsTheProgramsException) {
  words_[0] = 7;
  EXPECT_EQ(divided_by(words_), 14);
  words_[0] = 0;
  const Told t = told_of(SIGFPE, 0, [&] { divided_by(words_); });
  EXPECT_EQ(t.signal, SIGFPE);
  EXPECT_EQ(t.code, FPE_INTDIV);
  volatile int zero = 0;
  EXPECT_EQ(told_of(SIGFPE, 0, [&] { zero = 100 / zero; }).code, FPE_INTDIV) << "without a device";
  const pid_t child = ::fork();
  if (child == 0) {
    divided_by(words_);
    _exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status & 0x7f, SIGFPE);
}

TEST_F(Bar, AValueThatARegisterCannotTakeIsTheProgramsFault) {
  words_[0] = ~0u;
  const Told t = told_of(SIGSEGV, 0, [&] { __asm__ volatile("ldmxcsr (%0)" : : "r"(words_)); });
  EXPECT_EQ(t.signal, SIGSEGV);
  EXPECT_EQ(t.code, SI_KERNEL);
  EXPECT_EQ(t.address, nullptr);
}

TEST_F(Bar, AnIllegalInstructionIsStillOne) {
  const Told t = told_of(SIGILL, 0, [] { __asm__ volatile("ud2"); });
  EXPECT_EQ(t.signal, SIGILL);
  EXPECT_EQ(t.code, ILL_ILLOPN);
}

TEST_F(Bar, IsReachedFromASmallSignalStack) {
  std::thread([&] {
    const SignalStack stack(8192);
    words_[3] = 7;
    words_[4] = words_[3] + 1;
    unsigned char* to = static_cast<unsigned char*>(map_) + 64;
    __asm__ volatile("movups (%0), %%xmm1\naddps (%0), %%xmm1\nmovups %%xmm1, 16(%0)" : : "r"(to) : "xmm1", "memory");
    std::memset(static_cast<char*>(map_) + 128, 1, 100);
    EXPECT_EQ(words_[3], 7u);
    EXPECT_EQ(words_[40], 0x01010101u);
  }).join();
}

TEST_F(Bar, AProgramsHandlerRunsOnItsSignalStack) {
  const SignalStack stack(65536);
  const Told t = told_of(SIGSEGV, SA_ONSTACK, [] {
    volatile int* volatile wild = reinterpret_cast<volatile int*>(16);
    *wild = 1;
  });
  EXPECT_TRUE(stack.holds(t.stack));
}

TEST_F(Bar, IsReachedWithEverySignalBlocked) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  words_[6] = 66;
  const std::uint32_t got = words_[6];
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(got, 66u);
}

TEST_F(Bar, AccessesDoNotWakeAThreadThatWaitsForSignals) {
  sigset_t all, user;
  ::sigfillset(&all);
  ::sigemptyset(&user);
  ::sigaddset(&user, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &user, nullptr);
  std::atomic<int> got{0};
  std::thread waiting([&] {
    int signal = 0;
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    ::sigwait(&all, &signal);
    got = signal;
  });
  for (std::uint32_t i = 0; i < 1000; ++i) words_[7] = i;
  EXPECT_EQ(got, 0);
  ::pthread_kill(waiting.native_handle(), SIGUSR1);
  waiting.join();
  EXPECT_EQ(got, SIGUSR1);
  ::pthread_sigmask(SIG_UNBLOCK, &user, nullptr);
}

TEST_F(Bar, TheProgramSeesTheHandlersThatItInstalled) {
  struct sigaction mine = {}, seen = {}, before;
  mine.sa_handler = jump_out;
  mine.sa_flags = SA_NODEFER;
  ::sigaddset(&mine.sa_mask, SIGUSR2);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGUSR1}) {
    ::sigaction(signal, &mine, &before);
    words_[1] = 1;
    ::sigaction(signal, &before, &seen);
    EXPECT_EQ(seen.sa_handler, jump_out);
    EXPECT_NE(seen.sa_flags & SA_NODEFER, 0);
    EXPECT_EQ(seen.sa_flags & (SA_SIGINFO | SA_ONSTACK), 0);
    EXPECT_EQ(::sigismember(&seen.sa_mask, SIGUSR2), 1);
    EXPECT_EQ(::sigismember(&seen.sa_mask, SIGUSR1), 0);
  }
}

int timer_fd = -1;
volatile std::uint32_t* timer_words = nullptr;
std::atomic<long> timer_calls{0};
std::atomic<long> timer_bad{0};

TEST_F(Bar, ATimerHandlerMayCallAndAccessUsAnywhere) {
  timer_fd = fd_;
  timer_words = words_;
  struct sigaction action = {}, old;
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int) {
    timer_bad += ::ioctl(timer_fd, kFakeEcho, 77) != 77;
    timer_words[8] = 5;
    timer_bad += timer_words[8] != 5;
    ++timer_calls;
  };
  ::sigaction(SIGALRM, &action, &old);
  const itimerval fast = {{0, 1000}, {0, 1000}}, off = {};
  ::setitimer(ITIMER_REAL, &fast, nullptr);
  for (int i = 0; i < 100'000 || timer_calls < 50; ++i) {
    if (::ioctl(fd_, kFakeEcho, i % 1000) != i % 1000) ++timer_bad;
    if (i % 16 == 0) words_[1] = static_cast<std::uint32_t>(i);
    if (i % 64 == 0) ::close(::open(kFile, O_RDWR));
    delete new std::string(static_cast<std::size_t>(i % 300), 'x');
  }
  ::setitimer(ITIMER_REAL, &off, nullptr);
  ::sigaction(SIGALRM, &old, nullptr);
  EXPECT_EQ(timer_bad, 0);
}

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

// A program that was started with a handle: is it one?
int holds(const char* number) {
  const int fd = std::atoi(number);
  ::alarm(20);
  std::uint64_t word = 6;
  struct stat status;
  const bool served = ::ioctl(fd, kFakeEcho, 21) == 21 && ::ioctl(fd, kFakeCopy, &word) == 0 && word == 7;
  const bool known = ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && link_of_descriptor(fd) == kFile;
  return served && known ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--holds") == 0) return holds(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
