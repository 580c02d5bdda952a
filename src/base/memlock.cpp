// SPDX-License-Identifier: BSD-3-Clause
#include "base/memlock.h"

#include <sys/resource.h>

#include <charconv>
#include <limits>

#include "base/types.h"

namespace softiommu {

namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::uint64_t pages_of(const MemlockLimit& limit) {
  switch (limit.kind) {
    case MemlockLimit::Kind::unlimited:
      return kNoLimit;
    case MemlockLimit::Kind::bytes:
      return limit.bytes >> kPageShift;
    case MemlockLimit::Kind::rlimit:
      break;
  }
  rlimit present{};
  if (getrlimit(RLIMIT_MEMLOCK, &present) != 0 || present.rlim_cur == RLIM_INFINITY) return kNoLimit;
  return present.rlim_cur >> kPageShift;
}

// The power of two that a suffix stands for; 0: not a suffix.
unsigned shift_of(char suffix) {
  switch (suffix) {
    case 'K':
      return 10;
    case 'M':
      return 20;
    case 'G':
      return 30;
    case 'T':
      return 40;
    default:
      return 0;
  }
}

}  // namespace

Result<MemlockLimit> MemlockLimit::parse(std::string_view text) {
  if (text == "unlimited") return MemlockLimit{};
  if (text == "rlimit") return MemlockLimit{Kind::rlimit, 0};
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
  if (error != std::errc{} || rest.size() > 1) return fail(EINVAL, "expected unlimited, rlimit or a size like 64M");
  if (rest.empty()) return MemlockLimit{Kind::bytes, value};
  const unsigned shift = shift_of(rest[0]);
  if (shift == 0 || value > kNoLimit >> shift) return fail(EINVAL, "expected unlimited, rlimit or a size like 64M");
  return MemlockLimit{Kind::bytes, value << shift};
}

Result<> LockedMemory::check(const MemlockLimit& limit, std::uint64_t before, std::uint64_t pages) {
  const std::uint64_t most = pages_of(limit);
  if (pages <= most && before <= most - pages) return {};
  uncharge(pages);
  return fail(ENOMEM, "the limit of locked memory (RLIMIT_MEMLOCK or --memlock) is exceeded");
}

}  // namespace softiommu
