// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/fail_nth_file.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/fault.h"

namespace softiommu::launch {

namespace {

constexpr std::string_view kBefore = "/proc/self/task/", kAfter = "/fail-nth";

bool is_alive(pid_t thread) { return ::syscall(SYS_tgkill, ::getpid(), thread, 0) == 0; }

// As kstrtouint with base 0: one number, a plus sign before and a newline behind it at most. EINVAL, ERANGE.
Result<unsigned> parse_number(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    base = text[1] == 'x' || text[1] == 'X' ? 16 : 8;
    text.remove_prefix(base == 16 ? 2 : 1);
  }
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error == std::errc::result_out_of_range) return fail(ERANGE, "the number is too large");
  if (error != std::errc{} || end != text.data() + text.size()) return fail(EINVAL, "not a number");
  return number;
}

}  // namespace

std::optional<pid_t> FailNthFile::thread_of(const std::string& path) {
  if (!path.starts_with(kBefore) || !path.ends_with(kAfter)) return std::nullopt;
  const char* const end = path.data() + path.size() - kAfter.size();
  pid_t thread = 0;
  const auto [rest, error] = std::from_chars(path.data() + kBefore.size(), end, thread);
  return error == std::errc{} && rest == end ? std::optional(thread) : std::nullopt;
}

std::string FailNthFile::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/task/" + std::to_string(thread_) + std::string(kAfter);
}

long FailNthFile::ioctl(unsigned int /*command*/, std::uint64_t /*argument*/) { return -ENOTTY; }

ssize_t FailNthFile::pread(std::uint64_t user, std::size_t bytes, off_t offset) {
  const fault::Paused own;
  if (!is_alive(thread_)) return -ESRCH;
  const std::string text = std::to_string(fault::left_of_thread(thread_)) + "\n";
  if (offset < 0 || static_cast<std::size_t>(offset) >= text.size()) return offset < 0 ? -EINVAL : 0;
  const auto from = static_cast<std::size_t>(offset);
  const std::size_t part = std::min(bytes, text.size() - from);
  if (!program_.copy_out(user, text.data() + from, part)) return -EFAULT;
  return static_cast<ssize_t>(part);
}

ssize_t FailNthFile::pwrite(std::uint64_t user, std::size_t bytes, off_t /*offset*/) {
  const fault::Paused own;
  std::array<char, 35> text;  // as much as the kernel looks at
  const std::size_t part = std::min(bytes, text.size());
  if (!program_.copy_in(text.data(), user, part)) return -EFAULT;
  const auto number = parse_number({text.data(), part});
  if (!number) return -number.error().code;
  if (!is_alive(thread_)) return -ESRCH;
  const auto armed = fault::arm_thread(thread_, *number);
  return armed ? static_cast<ssize_t>(bytes) : -armed.error().code;
}

}  // namespace softiommu::launch
