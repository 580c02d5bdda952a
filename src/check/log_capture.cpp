// SPDX-License-Identifier: BSD-3-Clause
#include "check/log_capture.h"

#include <algorithm>
#include <span>

namespace softiommu::check {

LogCapture::LogCapture(log::Level least_important) {
  log::set_threshold(least_important);
  log::set_sink(take, this);
}

LogCapture::~LogCapture() {
  log::set_sink(nullptr, nullptr);
  log::set_threshold(log::Level::error);
}

void LogCapture::take(void* self, log::Level, std::string_view line) noexcept {
  auto& capture = *static_cast<LogCapture*>(self);
  if (capture.count_ < capture.lines_.size()) {
    auto& to = capture.lines_[capture.count_];
    to[line.copy(to.data(), to.size() - 1)] = '\0';
  }
  ++capture.count_;
}

bool LogCapture::has(std::string_view part) const {
  return std::ranges::any_of(std::span(lines_).first(std::min<std::size_t>(count_, lines_.size())),
                             [&](const auto& line) { return std::string_view(line.data()).contains(part); });
}

std::string LogCapture::all() const {
  std::string text;
  for (unsigned i = 0; i < std::min<std::size_t>(count_, lines_.size()); ++i)
    text += lines_[i].data() + std::string("\n");
  return text;
}

}  // namespace softiommu::check
