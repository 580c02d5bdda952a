// SPDX-License-Identifier: BSD-3-Clause
// What the machine noticed that a program or driver did wrong: stale translations (paranoid mode), DMA to
// memory that is gone. Each is one line for people, also written to the log as an error.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"

namespace softiommu {

class Findings {
 public:
  void add(std::string line) {
    log::write(log::Level::error, line);
    const std::scoped_lock lock(mutex_);
    if (lines_.size() < kMost) lines_.push_back(std::move(line));
  }
  std::vector<std::string> all() const {
    const std::scoped_lock lock(mutex_);
    return lines_;
  }

 private:
  static constexpr std::size_t kMost = 1000;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace softiommu
