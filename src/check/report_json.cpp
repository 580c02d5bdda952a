// SPDX-License-Identifier: BSD-3-Clause
// The form that shards are merged from: what a merged report says is what the whole check would have said.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "check/plan.h"
#include "check/report.h"

namespace softiommu::check {

namespace {

using Json = nlohmann::ordered_json;
constexpr int kVersion = 1;

Json to_json(const Breach& breach) {
  return {{"law", name_of(breach.law)}, {"failure", name_of(breach.failure)},
          {"machine", breach.machine},  {"steps", breach.steps},
          {"what", breach.what},        {"cases", breach.count},
          {"order", breach.order}};
}

Json to_json(const DriverReport& driver) {
  Json cases = Json::object(), breaches = Json::array();
  for (const FailureRow& row : kFailures) cases[std::string(row.name)] = driver.cases[std::to_underlying(row.kind)];
  for (const Breach& breach : driver.breaches) breaches.push_back(to_json(breach));
  return {{"name", driver.name}, {"cases", cases}, {"breaches", breaches}};
}

template <class Rows>
auto kind_named(const Rows& rows, const std::string& name) {
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].name == name) return i;
  throw std::out_of_range("name");
}

Breach breach_from(const Json& json) {
  return {.law = static_cast<Law>(kind_named(kLaws, json.at("law"))),
          .failure = static_cast<FailureKind>(kind_named(kFailures, json.at("failure"))),
          .machine = json.at("machine"),
          .steps = json.at("steps"),
          .what = json.at("what"),
          .order = json.at("order"),
          .count = json.at("cases")};
}

DriverReport driver_from(const Json& json) {
  DriverReport driver{.name = json.at("name")};
  for (const FailureRow& row : kFailures)
    driver.cases[std::to_underlying(row.kind)] = json.at("cases").at(std::string(row.name));
  for (const Json& breach : json.at("breaches")) driver.breaches.push_back(breach_from(breach));
  return driver;
}

CheckReport report_from(const Json& json) {
  if (json.at("softiommu_check") != kVersion) throw std::out_of_range("version");
  CheckReport report{.seed = json.at("seed"), .shards = {}, .drivers = {}};
  for (const Json& shard : json.at("shards")) report.shards.push_back({shard.at(0), shard.at(1)});
  for (const Json& driver : json.at("drivers")) report.drivers.push_back(driver_from(driver));
  return report;
}

bool same_check(const CheckReport& a, const CheckReport& b) {
  return a.seed == b.seed && std::ranges::equal(a.drivers, b.drivers, {}, &DriverReport::name, &DriverReport::name) &&
         a.shards.front().count == b.shards.front().count;
}

}  // namespace

std::string report_json(const CheckReport& report) {
  Json shards = Json::array(), drivers = Json::array();
  for (const Shard& shard : report.shards) shards.push_back({shard.index, shard.count});
  for (const DriverReport& driver : report.drivers) drivers.push_back(to_json(driver));
  const Json json{{"softiommu_check", kVersion}, {"seed", report.seed}, {"shards", shards}, {"drivers", drivers}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string report_line(const std::vector<DriverReport>& drivers) {
  Json all = Json::array();
  for (const DriverReport& driver : drivers) all.push_back(to_json(driver));
  return all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<std::vector<DriverReport>> parse_line(std::string_view line) {
  try {
    std::vector<DriverReport> drivers;
    for (const Json& driver : Json::parse(line)) drivers.push_back(driver_from(driver));
    return drivers;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

Result<CheckReport> parse_report(std::string_view text) {
  try {
    CheckReport report = report_from(Json::parse(text));
    if (report.shards.empty()) return fail(EINVAL, "the report says not of which part it is");
    return report;
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, "out of memory");
  } catch (const std::exception&) {
    return fail(EINVAL, "not a report of softiommu check");
  }
}

Result<CheckReport> merge(std::vector<CheckReport> parts) {
  if (parts.empty()) return fail(EINVAL, "nothing to merge");
  CheckReport all = std::move(parts.front());
  for (std::size_t i = 1; i < parts.size(); ++i) {
    CheckReport& part = parts[i];
    if (!same_check(all, part)) return fail(EINVAL, "the reports are not of one check");
    for (const Shard& shard : part.shards) {
      if (std::ranges::find(all.shards, shard) != all.shards.end()) return fail(EINVAL, "a shard is there twice");
      all.shards.push_back(shard);
    }
    for (std::size_t d = 0; d < all.drivers.size(); ++d) merge_into(all.drivers[d], std::move(part.drivers[d]));
  }
  std::ranges::sort(all.shards, {}, &Shard::index);
  if (all.shards.size() == all.shards.front().count) all.shards = {Shard{}};
  return all;
}

}  // namespace softiommu::check
