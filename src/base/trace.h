// SPDX-License-Identifier: BSD-3-Clause
// Everything worth knowing, as records: under the kernel's tracepoint names where it has one ("map",
// "unmap", "attach_device_to_domain", "add_device_to_group"). A disabled trace costs a predicted branch.
//
//   if (trace::on()) trace::event("group 3", "attach_device_to_domain", {{"device", name}, {"result", 0}});
//
// Records are kept in memory (a bounded ring of the latest) and written by write_chrome_json.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace softiommu::trace {

namespace detail {
extern constinit std::atomic<bool> enabled;
}

inline bool on() { return detail::enabled.load(std::memory_order_relaxed); }

struct Arg {
  std::string_view name;
  std::variant<std::uint64_t, std::string_view> value;
};

// Starts recording; at most `capacity` records are kept, the oldest are dropped and counted.
void start(std::size_t capacity = std::size_t{1} << 18);
void stop() noexcept;

// One instant on `track` (one per process, group, device and IOMMU). Copies its arguments; never throws.
void event(std::string_view track, std::string_view name, std::initializer_list<Arg> args = {}) noexcept;

// A span that began at `begin_ns` (from now_ns) and ends now.
std::uint64_t now_ns() noexcept;
void span(std::string_view track, std::string_view name, std::uint64_t begin_ns,
          std::initializer_list<Arg> args = {}) noexcept;

// The records as Chrome trace JSON (opens in Perfetto). EIO when the file cannot be written.
Result<> write_chrome_json(const std::string& path);

}  // namespace softiommu::trace
