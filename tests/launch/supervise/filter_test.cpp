// SPDX-License-Identifier: BSD-3-Clause
// The filters, executed by a small interpreter of classic BPF (linux/filter.h) on calls made up here.
#include "launch/supervise/filter.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstring>
#include <initializer_list>

namespace softiommu::launch {
namespace {

constexpr std::uint64_t kWindow = kBarWindowFirst + 0x5000;

std::uint32_t jump(const sock_filter& code, std::uint32_t a) {
  switch (BPF_OP(code.code)) {
    case BPF_JEQ:
      return a == code.k ? code.jt : code.jf;
    case BPF_JGE:
      return a >= code.k ? code.jt : code.jf;
    case BPF_JSET:
      return (a & code.k) != 0 ? code.jt : code.jf;
    default:
      return 0xffff;
  }
}

// What the filter answers; 0xbad: it ran out of itself, or holds what the interpreter does not know.
std::uint32_t judge(const std::vector<sock_filter>& filter, const seccomp_data& call) {
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < filter.size(); ++at) {
    const sock_filter& code = filter[at];
    switch (BPF_CLASS(code.code)) {
      case BPF_LD:
        std::memcpy(&a, reinterpret_cast<const char*>(&call) + code.k, sizeof a);
        break;
      case BPF_ALU:
        a = BPF_OP(code.code) == BPF_RSH ? a >> code.k : a & code.k;
        break;
      case BPF_JMP:
        at += jump(code, a);
        break;
      case BPF_RET:
        return code.k;
      default:
        return 0xbad;
    }
  }
  return 0xbad;
}

seccomp_data call_of(int number, std::initializer_list<std::uint64_t> arguments) {
  seccomp_data call{};
  call.nr = number;
  call.arch = AUDIT_ARCH_X86_64;
  std::size_t at = 0;
  for (const std::uint64_t argument : arguments) call.args[at++] = argument;
  return call;
}

bool stops(const std::vector<sock_filter>& filter, int number, std::initializer_list<std::uint64_t> arguments = {}) {
  const std::uint32_t answer = judge(filter, call_of(number, arguments));
  EXPECT_TRUE(answer == SECCOMP_RET_TRACE || answer == SECCOMP_RET_ALLOW) << answer;
  return answer == SECCOMP_RET_TRACE;
}
bool stops(int number, std::initializer_list<std::uint64_t> arguments = {}) {
  return stops(program_filter(), number, arguments);
}

TEST(Filter, CallsWithAPathStop) {
  for (const int number : {SYS_openat, SYS_open, SYS_newfstatat, SYS_statx, SYS_readlink, SYS_access, SYS_chdir})
    EXPECT_TRUE(stops(number)) << number;
}

TEST(Filter, CallsWithoutAnythingOfOursPass) {
  for (const int number : {SYS_getpid, SYS_futex, SYS_clone, SYS_execve, SYS_exit_group, SYS_close, SYS_poll})
    EXPECT_FALSE(stops(number, {0, 0, 0})) << number;
}

TEST(Filter, ReadsStopFromTheLowestHandleOn) {
  EXPECT_FALSE(stops(SYS_pread64, {kLowestHandle - 1}));
  EXPECT_TRUE(stops(SYS_pread64, {kLowestHandle}));
  EXPECT_TRUE(stops(SYS_write, {kLowestHandle + 5000}));
  EXPECT_FALSE(stops(SYS_write, {static_cast<std::uint32_t>(-1)}));
}

TEST(Filter, OnlyIoctlsOfVfiosTypeStop) {
  EXPECT_TRUE(stops(SYS_ioctl, {3, ';' << 8 | 100}));
  EXPECT_FALSE(stops(SYS_ioctl, {3, TCGETS}));
}

TEST(Filter, OnlyMappingsOfHandlesStop) {
  EXPECT_TRUE(stops(SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, kLowestHandle, 0}));
  EXPECT_FALSE(stops(SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, 3, 0}));
  EXPECT_FALSE(stops(SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, static_cast<std::uint32_t>(-1), 0}));
  EXPECT_FALSE(stops(SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, kLowestHandle, 0}));
}

TEST(Filter, AddressesInTheWindowOfBarsStop) {
  EXPECT_TRUE(stops(SYS_munmap, {kWindow, 4096}));
  EXPECT_TRUE(stops(SYS_mmap, {kWindow, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0, 0}));
  EXPECT_FALSE(stops(SYS_mmap, {kWindow, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 0, 0}));
  EXPECT_FALSE(stops(SYS_munmap, {0x7f0000000000, 4096}));
  EXPECT_FALSE(stops(SYS_mprotect, {kWindow + (1ull << 32), 4096}));
}

TEST(Filter, AWindowThatIsAddedStopsToo) {
  const auto added = window_filter(0x7f12);
  EXPECT_TRUE(stops(added, SYS_munmap, {0x7f1200001000, 4096}));
  EXPECT_FALSE(stops(added, SYS_munmap, {0x7f1300001000, 4096}));
  EXPECT_FALSE(stops(added, SYS_openat));
}

TEST(Filter, ForLowHandlesEveryReadStops) {
  EXPECT_TRUE(stops(low_handle_filter(), SYS_pread64, {3}));
  EXPECT_TRUE(stops(low_handle_filter(), SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, 3, 0}));
  EXPECT_FALSE(stops(low_handle_filter(), SYS_openat));
}

TEST(Filter, OnlyWaitsThatDoNotWaitStop) {
  EXPECT_TRUE(stops(SYS_wait4, {0, 0, WNOHANG}));
  EXPECT_FALSE(stops(SYS_wait4, {0, 0, WUNTRACED}));
  EXPECT_TRUE(stops(SYS_waitid, {0, 0, 0, WNOHANG | WEXITED}));
}

TEST(Filter, AForeignArchitecturePasses) {
  seccomp_data call = call_of(SYS_openat, {});
  call.arch = AUDIT_ARCH_I386;
  EXPECT_EQ(judge(program_filter(), call), SECCOMP_RET_ALLOW);
}

TEST(Filter, AProgramThatInstallsOneStops) {
  EXPECT_TRUE(stops(SYS_seccomp, {SECCOMP_SET_MODE_FILTER}));
  EXPECT_TRUE(stops(SYS_prctl, {PR_SET_SECCOMP, SECCOMP_MODE_FILTER}));
  EXPECT_FALSE(stops(SYS_prctl, {PR_SET_NAME}));
}

TEST(Filter, TheExemptionIsForOneInstruction) {
  const sock_filter kill[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
  seccomp_data call = call_of(SYS_socketpair, {});
  call.instruction_pointer = kCallPage + kCallBytes;
  EXPECT_EQ(judge(with_exemption(kill), call), SECCOMP_RET_ALLOW);
  call.instruction_pointer += 1ull << 32;
  EXPECT_EQ(judge(with_exemption(kill), call), SECCOMP_RET_KILL_PROCESS);
  call.instruction_pointer = kCallPage;
  EXPECT_EQ(judge(with_exemption(kill), call), SECCOMP_RET_KILL_PROCESS);
}

}  // namespace
}  // namespace softiommu::launch
