// SPDX-License-Identifier: BSD-3-Clause
// Whose answers an attach gives.
#pragma once

#include <cstdint>

namespace softiommu {

enum class Rules : std::uint8_t {
  contract,  // the attach contract as documented
  linux7,    // Linux 7.2's answers where they differ (docs/differences.md)
};

}  // namespace softiommu
