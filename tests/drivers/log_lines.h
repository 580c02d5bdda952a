// SPDX-License-Identifier: BSD-3-Clause
// The log's lines while it lives, from warnings up.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include "base/log.h"

namespace softiommu {

class LogLines {
 public:
  LogLines() {
    log::set_threshold(log::Level::warning);
    log::set_sink(take, this);
  }
  ~LogLines() {
    log::set_sink(nullptr, nullptr);
    log::set_threshold(log::Level::error);
  }
  LogLines(const LogLines&) = delete;
  LogLines& operator=(const LogLines&) = delete;
  bool has(std::string_view part) const { return text_.find(part) != std::string::npos; }
  const std::string& all() const { return text_; }

 private:
  static void take(void* self, log::Level /*level*/, std::string_view line) noexcept {
    static_cast<LogLines*>(self)->text_.append(line).append("\n");
  }
  std::string text_;
};

}  // namespace softiommu
