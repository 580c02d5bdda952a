// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <algorithm>

#include "check/report.h"

namespace softiommu::check {

namespace {

// 12345 as 12,345.
std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string shards_of(const CheckReport& report) {
  if (report.shards.front().count == 1) return {};
  std::string text;
  for (const Shard& shard : report.shards) text += fmt::format(" {}/{}", shard.index, shard.count);
  return fmt::format("\nonly shards{}", text);
}

}  // namespace

bool CheckReport::kept() const {
  return std::ranges::all_of(drivers, [](const DriverReport& driver) { return driver.breaches.empty(); });
}

std::uint64_t CheckReport::cases() const {
  std::uint64_t all = 0;
  for (const DriverReport& driver : drivers) all += driver.all_cases();
  return all;
}

std::string command_for(const CheckReport& report, const std::string& driver, const Breach& breach) {
  std::string seed = report.seed == 1 ? "" : fmt::format(" --seed {}", report.seed);
  return fmt::format("softiommu check --driver {} --machine {}{} --steps '{}'", driver, breach.machine, seed,
                     breach.steps);
}

std::string report_text(const CheckReport& report) {
  std::string text;
  for (const DriverReport& driver : report.drivers)
    text += fmt::format("{:<16}{:>9} cases  {}\n", driver.name, grouped(driver.all_cases()),
                        driver.breaches.empty() ? "kept" : fmt::format("BROKEN: {} ways", driver.breaches.size()));
  text += fmt::format("{:<16}{:>9} cases, seed {}{}\n", "all", grouped(report.cases()), report.seed, shards_of(report));
  for (const DriverReport& driver : report.drivers)
    for (const Breach& breach : driver.breaches)
      text += fmt::format("\n{}: {} ({}), {} fails, {} cases\n  {}\n  {}\n", driver.name, name_of(breach.law),
                          kLaws[std::to_underlying(breach.law)].says, name_of(breach.failure), grouped(breach.count),
                          breach.what, command_for(report, driver.name, breach));
  return text;
}

}  // namespace softiommu::check
