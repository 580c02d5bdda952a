// SPDX-License-Identifier: BSD-3-Clause
// For continuous integration: a suite for each driver, a test case for each law and kind of failure.
#include <fmt/format.h>

#include <algorithm>

#include "check/markup.h"
#include "check/report.h"

namespace softiommu::check {

namespace {

std::string test_case(const CheckReport& report, const DriverReport& driver, const FailureRow& row) {
  std::string failures;
  for (const Breach& breach : driver.breaches) {
    if (breach.failure != row.kind) continue;
    failures += fmt::format("      <failure type=\"{}\" message=\"{}\">{}</failure>\n", name_of(breach.law),
                            escaped(breach.what), escaped(command_for(report, driver.name, breach)));
  }
  const std::string open =
      fmt::format("    <testcase classname=\"softiommu.check.{}\" name=\"{}\"", escaped(driver.name), row.name);
  return failures.empty() ? open + "/>\n" : open + ">\n" + failures + "    </testcase>\n";
}

std::string suite(const CheckReport& report, const DriverReport& driver) {
  std::string cases;
  for (const FailureRow& row : kFailures) cases += test_case(report, driver, row);
  const auto failed = std::ranges::count_if(kFailures, [&](const FailureRow& row) {
    return std::ranges::find(driver.breaches, row.kind, &Breach::failure) != driver.breaches.end();
  });
  return fmt::format("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\">\n{}  </testsuite>\n",
                     escaped(driver.name), kFailures.size(), failed, cases);
}

}  // namespace

std::string report_junit(const CheckReport& report) {
  std::string suites;
  for (const DriverReport& driver : report.drivers) suites += suite(report, driver);
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"softiommu check\">\n" + suites +
         "</testsuites>\n";
}

}  // namespace softiommu::check
