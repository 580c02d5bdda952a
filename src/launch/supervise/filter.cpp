// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstddef>
#include <initializer_list>

namespace softiommu::launch {
namespace {

constexpr std::uint32_t kForeignAbi = 0x40000000;     // the x32 calls
constexpr std::uint32_t kNegative = 0x80000000;       // as descriptor: none
constexpr unsigned kTypeShift = 8, kTypeMask = 0xff;  // of an ioctl's command (asm-generic/ioctl.h)
constexpr std::uint32_t kVfioType = ';';              // iommufd's, too

constexpr std::uint32_t low_half(unsigned argument) {
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
}
constexpr std::uint32_t high_half(unsigned argument) { return low_half(argument) + sizeof(std::uint32_t); }

// A filter is a row of rules: "this call, under these conditions, stops". A rule whose call is another is skipped.
class FilterRules {
 public:
  FilterRules() {
    load(offsetof(seccomp_data, arch));
    emit(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    allow();
    load(offsetof(seccomp_data, nr));
    emit(BPF_JMP | BPF_JGE | BPF_K, kForeignAbi, 0, 1);
    allow();
  }

  void always(std::initializer_list<int> numbers) {
    for (const int number : numbers) rule(number, {});
  }
  // Argument `argument` may be a handle.
  void on_handle(int number, unsigned argument) {
    rule(number, {{low_half(argument), BPF_JGE, kLowestHandle, true}, {low_half(argument), BPF_JGE, kNegative, false}});
  }
  void on_address(int number, std::uint32_t upper) { rule(number, {{high_half(0), BPF_JEQ, upper, true}}); }
  void ioctls() { rule(SYS_ioctl, {{low_half(1), BPF_JEQ, kVfioType, true, kTypeShift, kTypeMask}}); }
  // A file's mapping, by a descriptor that may be a handle; the other one: by any descriptor.
  void mappings_of_handles() {
    constexpr unsigned kFlags = 3, kDescriptor = 4;
    rule(SYS_mmap, {{low_half(kFlags), BPF_JSET, MAP_ANONYMOUS, false},
                    {low_half(kDescriptor), BPF_JGE, kLowestHandle, true},
                    {low_half(kDescriptor), BPF_JGE, kNegative, false}});
  }
  void mappings_of_files() { rule(SYS_mmap, {{low_half(3), BPF_JSET, MAP_ANONYMOUS, false}}); }
  void own_filters() {
    rule(SYS_seccomp, {{low_half(0), BPF_JEQ, SECCOMP_SET_MODE_FILTER, true}});
    rule(SYS_prctl, {{low_half(0), BPF_JEQ, PR_SET_SECCOMP, true}, {low_half(1), BPF_JEQ, SECCOMP_MODE_FILTER, true}});
  }
  void waits_that_do_not_wait() {
    rule(SYS_wait4, {{low_half(2), BPF_JSET, WNOHANG, true}});
    rule(SYS_waitid, {{low_half(3), BPF_JSET, WNOHANG, true}});
  }
  void fresh_pages() {
    for (const unsigned advice : {unsigned{MADV_DONTNEED}, unsigned{MADV_FREE}})
      rule(SYS_madvise, {{low_half(2), BPF_JEQ, advice, true}});
  }
  void mappings_onto(std::uint32_t upper) {
    rule(SYS_mmap, {{low_half(3), BPF_JSET, MAP_FIXED, true}, {high_half(0), BPF_JEQ, upper, true}});
  }

  std::vector<sock_filter> finish() {
    allow();
    return std::move(code_);
  }

 private:
  struct Condition {
    std::uint32_t field;
    unsigned test;  // BPF_JEQ, BPF_JGE, BPF_JSET
    std::uint32_t value;
    bool holds;  // which answer lets the rule go on
    unsigned shift = 0;
    std::uint32_t mask = 0;
  };

  void emit(unsigned code, std::uint32_t value, std::uint8_t yes = 0, std::uint8_t no = 0) {
    code_.push_back({static_cast<std::uint16_t>(code), yes, no, value});
  }
  void load(std::size_t field) { emit(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(field)); }
  void allow() { emit(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }

  // The accumulator holds the number before and after it.
  void rule(int number, std::initializer_list<Condition> conditions) {
    std::size_t body = 1;  // the return
    for (const Condition& c : conditions) body += c.mask != 0 ? 4 : 2;
    if (conditions.size() != 0) ++body;  // the number is loaded again where a condition fails
    const std::size_t end = code_.size() + 1 + body;
    emit(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, static_cast<std::uint8_t>(body));
    for (const Condition& c : conditions) {
      load(c.field);
      if (c.mask != 0) {
        emit(BPF_ALU | BPF_RSH | BPF_K, c.shift);
        emit(BPF_ALU | BPF_AND | BPF_K, c.mask);
      }
      const auto to_reload = static_cast<std::uint8_t>(end - 1 - (code_.size() + 1));
      emit(BPF_JMP | c.test | BPF_K, c.value, c.holds ? 0 : to_reload, c.holds ? to_reload : 0);
    }
    emit(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    if (conditions.size() != 0) load(offsetof(seccomp_data, nr));
  }

  std::vector<sock_filter> code_;
};

constexpr int kOnDescriptor[] = {SYS_read,   SYS_write,   SYS_readv,   SYS_writev,   SYS_pread64, SYS_pwrite64,
                                 SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_fstat};

void add_window(FilterRules& rules, std::uint32_t upper) {
  for (const int number : {SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise}) rules.on_address(number, upper);
  rules.mappings_onto(upper);
}

}  // namespace

std::vector<sock_filter> program_filter() {
  FilterRules rules;
  rules.ioctls();
  for (const int number : kOnDescriptor) rules.on_handle(number, 0);
  for (const int number : {SYS_fcntl, SYS_dup, SYS_dup2, SYS_dup3}) rules.on_handle(number, 0);
  rules.on_handle(SYS_epoll_ctl, 2);
  rules.mappings_of_handles();
  add_window(rules, kBarWindow);
  rules.fresh_pages();
  rules.own_filters();
  rules.waits_that_do_not_wait();
  rules.always({SYS_mremap, SYS_openat, SYS_newfstatat, SYS_statx, SYS_readlinkat, SYS_faccessat, SYS_faccessat2,
                SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_chdir, SYS_statfs, SYS_getcwd, SYS_openat2,
                SYS_creat});
  return rules.finish();
}

std::vector<sock_filter> window_filter(std::uint32_t upper) {
  FilterRules rules;
  add_window(rules, upper);
  return rules.finish();
}

std::vector<sock_filter> low_handle_filter() {
  FilterRules rules;
  for (const int number : kOnDescriptor) rules.always({number});
  rules.always({SYS_fcntl, SYS_dup, SYS_dup2, SYS_dup3});
  rules.mappings_of_files();
  return rules.finish();
}

std::vector<sock_filter> with_exemption(std::span<const sock_filter> filter) {
  constexpr std::uint64_t kBehind = kCallPage + kCallBytes;
  constexpr auto kLow = static_cast<std::uint32_t>(offsetof(seccomp_data, instruction_pointer));
  std::vector<sock_filter> code = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kLow),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(kBehind), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kLow + sizeof(std::uint32_t)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(kBehind >> 32), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  code.insert(code.end(), filter.begin(), filter.end());
  return code;
}

}  // namespace softiommu::launch
