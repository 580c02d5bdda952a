// SPDX-License-Identifier: BSD-3-Clause
// What a sequence is run on, and what came of it.
#pragma once

#include <optional>
#include <string>

#include "check/check.h"
#include "check/steps.h"
#include "check/trial.h"

namespace softiommu::check {

struct Bench {
  const CheckedDriver& driver;
  const CheckedMachine& machine;
  const MachineSpec& spec;
  std::span<const UnitModel> models;  // faulty
};

struct Outcome {
  std::optional<Finding> finding = {};
  std::size_t at = 0;                                // the step that broke the law; their number: the end
  std::array<std::uint64_t, kFailureKinds> asked{};  // steps that had something to do, by what failed in them
  // Of the last step.
  bool struck = false;
  FailureKind struck_as = FailureKind::none;
};

// On a fresh machine; at the end everything is given back.
Outcome run_steps(const Bench& bench, const Steps& steps);

// A shorter sequence that breaks the same law, in the same way as far as that can be seen.
Steps shrink(const Bench& bench, Steps steps, const Finding& finding);

}  // namespace softiommu::check
