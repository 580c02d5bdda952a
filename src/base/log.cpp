// SPDX-License-Identifier: BSD-3-Clause
#include "base/log.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace softiommu::log {

namespace {

void to_standard_error(void*, Level, std::string_view line) noexcept {
  const int saved = errno;
  constexpr std::string_view prefix = "softiommu: ", end = "\n";
  const auto part = [](std::string_view text) { return iovec{const_cast<char*>(text.data()), text.size()}; };
  const iovec parts[] = {part(prefix), part(line), part(end)};
  [[maybe_unused]] const auto written = ::writev(STDERR_FILENO, parts, 3);  // in one: lines of threads do not mix
  errno = saved;
}

constinit std::atomic<Sink> current_sink{to_standard_error};
constinit std::atomic<void*> current_context{nullptr};
constinit std::atomic<Level> threshold{Level::error};

}  // namespace

void set_sink(Sink sink, void* context) noexcept {
  current_context.store(context);
  current_sink.store(sink != nullptr ? sink : to_standard_error);
}

void set_threshold(Level least_important) noexcept { threshold.store(least_important); }

bool wanted(Level level) noexcept { return level <= threshold.load(std::memory_order_relaxed); }

void write(Level level, std::string_view line) noexcept {
  if (!wanted(level)) return;
  current_sink.load()(current_context.load(), level, line);
}

void vprint(Level level, fmt::string_view text, fmt::format_args args) noexcept {
  try {
    fmt::memory_buffer line;
    fmt::vformat_to(fmt::appender(line), text, args);
    write(level, {line.data(), line.size()});
  } catch (...) {
    write(level, "(a line was lost: out of memory)");
  }
}

}  // namespace softiommu::log
