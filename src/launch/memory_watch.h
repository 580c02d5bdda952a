// SPDX-License-Identifier: BSD-3-Clause
// Who hears what the program does to memory that its devices may still reach. Not from signal handlers.
#pragma once

#include <cstdint>

namespace softiommu::launch {

class MemoryWatch {
 public:
  virtual ~MemoryWatch() = default;
  // The program gives memory up; `how` lives for ever ("munmap").
  virtual void gave_up(std::uint64_t user, std::uint64_t bytes, const char* how) noexcept = 0;
  virtual void moved(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) noexcept = 0;
  // True: a device can reach the block, which stays out of the heap until none can: see take_freed().
  virtual bool keep_freed(std::uint64_t block, std::uint64_t bytes) noexcept = 0;
  // A block that no device reaches any more, for the program's heap; 0: none. Looks at a few.
  virtual std::uint64_t take_freed() noexcept = 0;
};

}  // namespace softiommu::launch
