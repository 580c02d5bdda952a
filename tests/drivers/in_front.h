// SPDX-License-Identifier: BSD-3-Clause
// Units that stand between a driver and the model that they are in front of (check/wrapped_unit.h).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "check/wrapped_unit.h"

namespace softiommu::testing {

// The model that `real` makes, each of whose units has a `Front` before it.
template <class Front, UnitModel (*real)()>
UnitModel in_front_of() {
  UnitModel model = real();
  model.create = [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
    return std::make_unique<Front>(context, TRY(real().create(context, options)));
  };
  return model;
}

// Keeps what is written, and loses what it is told to lose.
class WatchedUnit : public check::WrappedUnit {
 public:
  struct Write {
    std::uint64_t offset, value;
    friend bool operator==(const Write&, const Write&) = default;
  };
  using WrappedUnit::WrappedUnit;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    writes.push_back({offset, value});
    if (std::ranges::find(lost, Write{offset, value}) == lost.end()) deliver(offset, bytes, value);
  }

  std::vector<Write> writes, lost;
};

}  // namespace softiommu::testing
