// SPDX-License-Identifier: BSD-3-Clause
// The lines of the log while it lives, in fixed storage: it runs while allocations fail. One at a time.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/log.h"

namespace softiommu::check {

class LogCapture {
 public:
  explicit LogCapture(log::Level least_important = log::Level::warning);
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;
  unsigned lines() const { return count_; }
  bool has(std::string_view part) const;
  std::string all() const;
  void clear() { count_ = 0; }

 private:
  static void take(void* self, log::Level level, std::string_view line) noexcept;
  std::array<std::array<char, 256>, 64> lines_{};
  unsigned count_ = 0;
};

}  // namespace softiommu::check
