// SPDX-License-Identifier: BSD-3-Clause
// One page: a table of drivers and rules, then every finding. No scripts, nothing loaded from elsewhere.
#include <fmt/format.h>

#include <map>

#include "lint/report.h"

namespace softiommu::lint {
namespace {

constexpr std::string_view kStyle =
    "body{font:15px/1.5 sans-serif;max-width:78em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:center}"
    "th.rule{writing-mode:vertical-rl;text-align:left}td.driver{text-align:left}"
    "section{border-left:4px solid #999;padding:.1em 1em;margin:1em 0}section.error{border-color:#b00020}"
    "section.warning{border-color:#c77700}code{background:#f2f2f2}.path{color:#555;font-size:13px}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2a2a2a}.path{color:#aaa}}";

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string table(const Judgement& judgement) {
  std::map<std::string, std::map<std::string_view, std::size_t>> cells;
  for (const Finding& finding : judgement.findings) ++cells[finding.driver][finding.rule->id];
  std::string out = "<table><tr><th>driver</th>";
  for (const Rule& rule : rules()) out += fmt::format("<th class=rule><a href=\"#rule-{0}\">{0}</a></th>", rule.id);
  out += "</tr>\n";
  for (const auto& [driver, counts] : cells) {
    out += fmt::format("<tr><td class=driver><a href=\"#driver-{0}\">{0}</a></td>", escaped(driver));
    for (const Rule& rule : rules()) {
      const auto found = counts.find(rule.id);
      out += found == counts.end() ? "<td></td>" : fmt::format("<td>{}</td>", found->second);
    }
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string section(const Finding& finding) {
  std::string path;
  for (const Step& step : finding.path)
    path += fmt::format("{}{}:{}", path.empty() ? "" : " &rarr; ", escaped(step.function), step.line);
  std::string out =
      fmt::format("<section class={}><p><b>{}:{}</b>: {}: {} [<a href=\"#rule-{}\">{}</a>]</p>\n",
                  severity_name(finding.severity), escaped(finding.file), finding.line, severity_name(finding.severity),
                  escaped(finding.message), finding.rule->id, finding.rule->id);
  if (!finding.condition.empty())
    out += fmt::format("<p>when <code>{}</code> (reads {})</p>\n", escaped(finding.condition), finding.reads);
  out += fmt::format("<p class=path>{}</p>\n", path);
  for (const Step& step : finding.related)
    out += fmt::format("<p class=path>see {}:{} {}</p>\n", escaped(step.file), step.line, escaped(step.function));
  return out + fmt::format("<p>Suggested: {}</p></section>\n", escaped(finding.suggestion));
}

}  // namespace

std::string report_html(const Judgement& judgement) {
  std::string out = fmt::format(
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
      "<title>Attach contract, Linux {0}</title><style>{1}</style>\n<h1>The attach contract in Linux {0}</h1>\n",
      escaped(judgement.statistics.version), kStyle);
  out += fmt::format("<pre>{}</pre>\n", escaped(summary_text(judgement.statistics, judgement.findings.size())));
  out += table(judgement);
  std::string driver;
  for (const Finding& finding : judgement.findings) {
    if (finding.driver != driver) out += fmt::format("<h2 id=\"driver-{0}\">{0}</h2>\n", escaped(finding.driver));
    driver = finding.driver;
    out += section(finding);
  }
  out += "<h2>Rules</h2>\n";
  for (const Rule& rule : rules())
    out += fmt::format("<h3 id=\"rule-{0}\">{0}: {1}</h3><p>{2}</p><p class=path>{3}</p>\n", rule.id,
                       escaped(rule.title), escaped(rule.explanation), escaped(rule.citation));
  return out + "</html>\n";
}

}  // namespace softiommu::lint
