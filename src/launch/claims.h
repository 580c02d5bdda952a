// SPDX-License-Identifier: BSD-3-Clause
// One page that all processes of a run share: which group is open, and by whom.
//
// A slot holds the process id; a dead owner's claim is taken over.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace softiommu::launch {

class Claims {
 public:
  static constexpr unsigned kSlots = 1024;

  static Result<> create(const std::string& path);  // by the launcher
  // Maps the page; without one every claim of this process is granted.
  explicit Claims(const std::string& path);
  ~Claims();
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;

  // EBUSY: another living process has it.
  Result<> claim(unsigned slot);
  void release(unsigned slot);
  // A claim of this process, or of its keeper, becomes that process's.
  void hand_over(unsigned slot, std::int32_t process);

 private:
  std::atomic<std::int32_t>* slots_ = nullptr;
};

}  // namespace softiommu::launch
