// SPDX-License-Identifier: BSD-3-Clause
// The checker finds every broken driver, names the law that it breaks, and can show it again in one short sequence.
#include "check/mutants/mutants.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

namespace softiommu::testing {
namespace {

using check::Breach;
using check::CheckedDriver;
using check::CheckOptions;
using check::Law;

// The matrix alone must find them.
constexpr unsigned kSequences = 0, kProcesses = 2;

std::vector<Breach> breaches(const CheckedDriver& driver, std::string_view steps = {}) {
  const auto report = check::check({&driver, 1}, {.sequences = kSequences, .jobs = kProcesses, .steps = steps});
  if (!report) throw std::runtime_error(report.error().why);
  return report->drivers.front().breaches;
}

const Breach* of_law(std::span<const Breach> all, Law law) {
  const auto found = std::ranges::find(all, law, &Breach::law);
  return found != all.end() ? &*found : nullptr;
}

std::string text(std::span<const Breach> all) {
  std::string lines;
  for (const Breach& breach : all)
    lines += std::string(check::name_of(breach.law)) + " [" + breach.steps + "] " + breach.what + "\n";
  return lines;
}

class Mutants : public ::testing::TestWithParam<Mutant> {};

TEST_P(Mutants, AreFoundAndTheirLawIsNamedAndTheReproductionReproducesIt) {
  const CheckedDriver driver = checked(GetParam());
  const auto found = breaches(driver);
  const Breach* const breach = of_law(found, GetParam().law);
  ASSERT_NE(breach, nullptr) << text(found);
  const auto again = breaches(driver, breach->steps);
  EXPECT_NE(of_law(again, GetParam().law), nullptr) << breach->steps << "\n" << text(again);
}

INSTANTIATE_TEST_SUITE_P(All, Mutants, ::testing::ValuesIn(mutants().begin(), mutants().end()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Mutants, AreAtLeastTwelveAndEachHasAName) {
  EXPECT_GE(mutants().size(), 12u);
  for (const Mutant& mutant : mutants()) EXPECT_EQ(std::ranges::count(mutants(), mutant.name, &Mutant::name), 1);
}

TEST(Mutants, AreListedInTheDocument) {
  std::ifstream file(SOFTIOMMU_SOURCE_DIR "/docs/check.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const Mutant& mutant : mutants()) {
    const std::string row = fmt::format("\n| `{}` | {} | {} | {} | {} |\n", mutant.name, mutant.breaks,
                                        check::name_of(mutant.law), mutant.mistake, mutant.history);
    EXPECT_NE(text.find(row), std::string::npos) << row;
  }
}

TEST(WithoutAMutation, TheSameDriverBreaksNoLaw) {
  const auto found = breaches(checked({"over_intel", "intel", make_over_intel, Law::code, "", ""}));
  EXPECT_TRUE(found.empty()) << text(found);
}

}  // namespace
}  // namespace softiommu::testing
