// SPDX-License-Identifier: BSD-3-Clause
// What the machine noticed that a program or driver did wrong: stale translations (paranoid mode), DMA to
// memory that is gone, what the DMA sanitizer sees. Each cause is told once, as text for people, also written to the
// log as an error; then it is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"

namespace softiommu {

struct Finding {
  std::string text;
  std::uint64_t count = 1;
};

class Findings {
 public:
  // The text is the cause.
  void add(const std::string& line) {
    add(line, [&] { return line; });
  }
  // `compose` makes the text when the cause is new.
  template <class Compose>
  void add(const std::string& cause, Compose&& compose) {
    if (count_again(cause)) return;
    const std::string text = compose();
    {
      const std::scoped_lock lock(mutex_);
      if (count_again_locked(cause) || by_cause_.size() >= kMost) return;  // another thread was faster
      by_cause_.try_emplace(cause, list_.size());
      list_.push_back({text});
    }
    log::write(log::Level::error, text);
    if (on_new_) on_new_();
  }
  std::vector<std::string> all() const {
    std::vector<std::string> texts;
    for (const Finding& finding : counted()) texts.push_back(finding.text);
    return texts;
  }
  std::vector<Finding> counted() const {
    const std::scoped_lock lock(mutex_);
    return list_;
  }
  // Called after each new finding, on the thread that found it. Before the first one.
  void on_new(std::function<void()> called) { on_new_ = std::move(called); }

 private:
  // False: the cause is new.
  bool count_again(const std::string& cause) {
    const std::scoped_lock lock(mutex_);
    return count_again_locked(cause);
  }
  bool count_again_locked(const std::string& cause) {
    const auto known = by_cause_.find(cause);
    if (known == by_cause_.end()) return false;
    ++list_[known->second].count;
    return true;
  }

  static constexpr std::size_t kMost = 1000;
  mutable std::mutex mutex_;
  std::vector<Finding> list_;
  std::map<std::string, std::size_t> by_cause_;  // position in list_
  std::function<void()> on_new_;
};

}  // namespace softiommu
