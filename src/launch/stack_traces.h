// SPDX-License-Identifier: BSD-3-Clause
// Call stacks of the program, as numbers: the same stack has the same number.
#pragma once

#include <cstdint>
#include <string>

namespace softiommu::launch {

using StackId = std::uint32_t;

class StackTraces {
 public:
  static constexpr StackId kNone = 0;
  virtual ~StackTraces() = default;
  // The calling thread's, seen from the program. Not from signal handlers.
  virtual StackId take() noexcept = 0;
  // "    #0 main+0x2a in program+0x1234\n" and so on.
  virtual std::string describe(StackId stack) const = 0;
};

}  // namespace softiommu::launch
