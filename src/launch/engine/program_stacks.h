// SPDX-License-Identifier: BSD-3-Clause
// The program's call stacks, taken on its own threads while they are in one of our calls.
//
// Taking one unwinds with the tables that every module carries (.eh_frame), so that no frame pointers are needed; names
// are looked up when a stack is told, in the modules' files.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "base/mutex.h"
#include "launch/stack_traces.h"

namespace softiommu::launch {

class ProgramStacks final : public StackTraces {
 public:
  // `elsewhere`: is the calling thread serving a call of another process?
  explicit ProgramStacks(bool (*elsewhere)()) : elsewhere_(elsewhere) {}
  StackId take() noexcept override;
  std::string describe(StackId stack) const override;

 private:
  using Frames = std::vector<std::uintptr_t>;  // return addresses, innermost first; ours are among them
  static constexpr std::size_t kMostTold = 12, kMostStacks = 65'536;
  bool (*const elsewhere_)();
  mutable Mutex mutex_;
  std::map<Frames, StackId> ids_ GUARDED_BY(mutex_);
  std::deque<const Frames*> stacks_ GUARDED_BY(mutex_);  // by id - 1; keys of ids_
};

}  // namespace softiommu::launch
