// SPDX-License-Identifier: BSD-3-Clause
// One page that needs nothing else: a row for each driver, a column for each kind of failure, green or the breaches.
#include <fmt/format.h>

#include "check/markup.h"
#include "check/report.h"

namespace softiommu::check {

namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>softiommu check</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1c1c1c; background: #fff }
table { border-collapse: collapse }
th, td { border: 1px solid #c8c8c8; padding: .35rem .7rem; text-align: right; vertical-align: top }
th:first-child { text-align: left }
td.kept { background: #d9f2dc }
td.broken { background: #f8d3d0 }
td.none { color: #8a8a8a }
td a { color: #8c1d14 }
dt { font-weight: 600; margin-top: 1.2rem }
pre { background: #f3f3f3; padding: .6rem; overflow-x: auto; white-space: pre-wrap }
@media (prefers-color-scheme: dark) {
body { color: #e6e6e6; background: #161616 } th, td { border-color: #444 } td.kept { background: #1e4624 }
td.broken { background: #5a211d } td a { color: #ffb4ab } pre { background: #222 }
}
</style>
<h1>softiommu check</h1>
)";

std::string anchor(const DriverReport& driver, const Breach& breach) {
  return fmt::format("{}-{}-{}", escaped(driver.name), name_of(breach.failure), name_of(breach.law));
}

std::string cell(const DriverReport& driver, const FailureRow& row) {
  const std::uint64_t cases = driver.cases[std::to_underlying(row.kind)];
  std::string links;
  for (const Breach& breach : driver.breaches)
    if (breach.failure == row.kind)
      links += fmt::format("<br><a href=\"#{}\">{}</a>", anchor(driver, breach), name_of(breach.law));
  if (!links.empty()) return fmt::format("<td class=\"broken\">{}{}</td>", cases, links);
  return cases == 0 ? "<td class=\"none\">-</td>" : fmt::format("<td class=\"kept\">{}</td>", cases);
}

std::string matrix(const CheckReport& report) {
  std::string text = "<table>\n<tr><th>driver</th>";
  for (const FailureRow& row : kFailures) text += fmt::format("<th title=\"{}\">{}</th>", escaped(row.says), row.name);
  text += "<th>all</th></tr>\n";
  for (const DriverReport& driver : report.drivers) {
    text += fmt::format("<tr><th>{}</th>", escaped(driver.name));
    for (const FailureRow& row : kFailures) text += cell(driver, row);
    text += fmt::format("<td>{}</td></tr>\n", driver.all_cases());
  }
  return text + "</table>\n";
}

std::string breaches(const CheckReport& report) {
  std::string text;
  for (const DriverReport& driver : report.drivers)
    for (const Breach& breach : driver.breaches)
      text += fmt::format("<dt id=\"{}\">{}: {}, {} fails ({} cases)</dt>\n<dd>{}<br>{}<pre>{}</pre></dd>\n",
                          anchor(driver, breach), escaped(driver.name), name_of(breach.law), name_of(breach.failure),
                          breach.count, escaped(kLaws[std::to_underlying(breach.law)].says), escaped(breach.what),
                          escaped(command_for(report, driver.name, breach)));
  return text.empty() ? "<p>Every law is kept.</p>\n" : "<h2>Breaches</h2>\n<dl>\n" + text + "</dl>\n";
}

std::string kinds() {
  std::string text = "<h2>What fails</h2>\n<dl>\n";
  for (const FailureRow& row : kFailures) text += fmt::format("<dt>{}</dt><dd>{}</dd>\n", row.name, escaped(row.says));
  return text + "</dl>\n";
}

}  // namespace

std::string report_html(const CheckReport& report) {
  std::string text(kHead);
  text += fmt::format(
      "<p>{} cases, seed {}. Each cell: cases in which that failed, and the laws that were not kept."
      "</p>\n",
      report.cases(), report.seed);
  return text + matrix(report) + breaches(report) + kinds() + "</html>\n";
}

}  // namespace softiommu::check
