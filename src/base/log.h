// SPDX-License-Identifier: BSD-3-Clause
// Log lines as the kernel writes them ("vfio-pci 0000:00:02.0: Adding to iommu group 1").
//
// Lines go to one sink per process: by default nowhere but errors to standard error. A test installs a
// sink of its own to prove that an incompatible attach logs nothing. Never called with a lock held that
// the sink could need; never throws.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace softiommu::log {

enum class Level : std::uint8_t { error, warning, info, debug };

using Sink = void (*)(void* context, Level, std::string_view line) noexcept;

// Replaces the sink; nullptr restores the default (levels above `threshold` are dropped before it).
void set_sink(Sink sink, void* context) noexcept;
void set_threshold(Level least_important) noexcept;
void write(Level level, std::string_view line) noexcept;
bool wanted(Level level) noexcept;

// The same as print() for arguments that are packed already. A line that there is no memory for is lost, and says so.
void vprint(Level level, fmt::string_view text, fmt::format_args args) noexcept;

template <typename... Args>
void print(Level level, fmt::format_string<Args...> text, Args&&... args) noexcept {
  if (wanted(level)) vprint(level, text, fmt::make_format_args(args...));
}

template <typename... Args>
void error(fmt::format_string<Args...> text, Args&&... args) noexcept {
  print(Level::error, text, std::forward<Args>(args)...);
}
template <typename... Args>
void warning(fmt::format_string<Args...> text, Args&&... args) noexcept {
  print(Level::warning, text, std::forward<Args>(args)...);
}
template <typename... Args>
void info(fmt::format_string<Args...> text, Args&&... args) noexcept {
  print(Level::info, text, std::forward<Args>(args)...);
}
template <typename... Args>
void debug(fmt::format_string<Args...> text, Args&&... args) noexcept {
  print(Level::debug, text, std::forward<Args>(args)...);
}

}  // namespace softiommu::log
