// SPDX-License-Identifier: BSD-3-Clause
// Attach decisions in plain words, for `softiommu run --explain`.
#pragma once

#include <string>

#include "core/journal.h"

namespace softiommu::launch {

// One line each: which group, which domain was tried, the answer and its reason, what it cost.
std::string explain(const Journal& journal);

}  // namespace softiommu::launch
