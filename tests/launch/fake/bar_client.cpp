// SPDX-License-Identifier: BSD-3-Clause
// A mapped BAR as a program sees it, and whose the signals are.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "shim_client.h"

namespace client {
namespace {

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
  ::munmap(const_cast<std::uint32_t*>(words), 8192);
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
  ::munmap(const_cast<std::uint32_t*>(words), 4096);
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

}  // namespace
}  // namespace client
