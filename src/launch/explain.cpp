// SPDX-License-Identifier: BSD-3-Clause
#include "launch/explain.h"

#include <fmt/format.h>

namespace softiommu::launch {
std::string explain(const Journal& journal) {
  std::string text;
  for (const AttachRecord& record : journal.all()) {
    text += fmt::format("{} ({} ns)\n", describe(record), record.nanoseconds);
  }
  return text.empty() ? "no group was attached\n" : text;
}

}  // namespace softiommu::launch
