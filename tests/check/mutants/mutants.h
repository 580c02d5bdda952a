// SPDX-License-Identifier: BSD-3-Clause
// Broken drivers, each with one mistake that IOMMU drivers or their core have really made, and the law that must name
// it. The checker is good if it finds them all.
#pragma once

#include <ostream>
#include <span>
#include <string_view>
#include <vector>

#include "check/check.h"

namespace softiommu::testing {

struct Mutant {
  std::string_view name;
  std::string_view breaks;  // the driver that it is made of
  MakeDriver make;
  check::Law law;            // that it breaks
  std::string_view mistake;  // one line
  std::string_view history;  // where that was seen
};

std::span<const Mutant> mutants();
// With the first machine of the driver that it breaks.
check::CheckedDriver checked(const Mutant& mutant);

// For INSTANTIATE_TEST_SUITE_P.
void PrintTo(const Mutant& mutant, std::ostream* out);

// One function for each way to be wrong; each makes a good driver with one call that is not (answers.cpp, steps.cpp).
std::unique_ptr<Driver> make_over_intel();  // with no mistake: what a mutant is without its mutation
std::unique_ptr<Driver> make_busy_for_incompatible();
std::unique_ptr<Driver> make_einval_of_runtime_power();
std::unique_ptr<Driver> make_einval_for_enomem();
std::unique_ptr<Driver> make_line_beside_einval();
std::unique_ptr<Driver> make_raw_timeout();
std::unique_ptr<Driver> make_einval_after_the_check();
std::unique_ptr<Driver> make_grudge();
std::unique_ptr<Driver> make_domain_of_the_bus();
std::unique_ptr<Driver> make_wrong_group();
std::unique_ptr<Driver> make_detach_before_check();
std::unique_ptr<Driver> make_no_way_back();
std::unique_ptr<Driver> make_leaked_id();
std::unique_ptr<Driver> make_forgotten_invalidation();
std::unique_ptr<Driver> make_success_of_refusal();
std::unique_ptr<Driver> make_half_an_alias();
std::unique_ptr<Driver> make_ignored_result();

}  // namespace softiommu::testing
