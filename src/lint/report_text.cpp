// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <map>

#include "lint/report.h"

namespace softiommu::lint {
namespace {

constexpr std::size_t kMostExternals = 12;
constexpr std::size_t kMostRows = 40;  // a broken file has thousands; JSON has them all
constexpr std::string_view kBaseline = "# Known findings of softiommu lint";

std::string path_text(const Finding& finding) {
  std::string out;
  for (const Step& step : finding.path) {
    if (!out.empty()) out += " > ";
    out += fmt::format("{}:{}", step.function, step.line);
  }
  return out;
}

std::string one(const Finding& finding) {
  std::string out = fmt::format("{}:{}: {}: {} [{}]\n", finding.file, finding.line, severity_name(finding.severity),
                                finding.message, finding.rule->id);
  out += fmt::format("    path: {}\n", path_text(finding));
  if (!finding.condition.empty()) out += fmt::format("    when: {}  (reads {})\n", finding.condition, finding.reads);
  for (const Step& step : finding.related)
    out += fmt::format("    see:  {}:{} {}\n", step.file, step.line, step.function);
  if (!finding.suggestion.empty()) out += fmt::format("    fix:  {}\n", finding.suggestion);
  return out;
}

void list(std::string& out, std::string_view title, const std::vector<std::string>& rows) {
  if (rows.empty()) return;
  out += fmt::format("{}:\n", title);
  for (std::size_t i = 0; i < rows.size() && i < kMostRows; ++i) out += fmt::format("  {}\n", rows[i]);
  if (rows.size() > kMostRows) out += fmt::format("  ... and {} more\n", rows.size() - kMostRows);
}

}  // namespace

std::string report_text(const Judgement& judgement) {
  std::string out;
  for (const Finding& finding : judgement.findings) out += one(finding);
  return out;
}

std::string summary_text(const Statistics& statistics, std::size_t findings) {
  std::string out = fmt::format("Linux {}: {} findings. {} files", statistics.version, findings, statistics.files);
  if (statistics.cut_files > 0) out += fmt::format(" ({} not read, or not wholly)", statistics.cut_files);
  out += fmt::format(
      ", {} functions: {} understood, {} not wholly. {} attach callbacks in {} tables and core paths, {} functions "
      "reached, {} ways to fail.\n",
      statistics.functions, statistics.understood, statistics.functions - statistics.understood, statistics.callbacks,
      statistics.roots, statistics.reached, statistics.failures);
  list(out, "not understood", statistics.not_understood);
  list(out, "callbacks whose function was not found", statistics.unresolved);
  list(out, "tables of domain operations that macros from elsewhere fill, wholly or in part (callbacks not seen)",
       statistics.unknown_tables);
  list(out, "functions with more paths than were walked", statistics.bounded);
  if (!statistics.unknown_externals.empty()) {
    out += fmt::format("{} external functions are not in the table:", statistics.unknown_externals.size());
    std::size_t shown = 0;
    for (const std::string& name : statistics.unknown_externals) {
      if (++shown > kMostExternals) break;
      out += " " + name;
    }
    out += shown > kMostExternals ? " ...\n" : "\n";
  }
  return out;
}

std::string explain(const Rule& rule) {
  std::string out = fmt::format("{} ({}): {}\n\n", rule.id, severity_name(rule.severity), rule.title);
  std::size_t column = 0;
  std::string_view rest = rule.explanation;
  while (!rest.empty()) {
    const std::size_t end = rest.find(' ');
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (column + word.size() > 78) out += '\n', column = 0;
    out += fmt::format("{}{}", column == 0 ? "" : " ", word);
    column += word.size() + 1;
  }
  return out + fmt::format("\n\nSource: {}\n", rule.citation);
}

std::string report_paths(const Judgement& judgement) {
  std::string out;
  for (const Way& way : judgement.ways) {
    out += fmt::format("{} {}: {} ({})", way.driver, way.callback, way.code, way.source);
    if (!way.condition.empty()) out += fmt::format(" when {} [{}]", way.condition, way.reads);
    if (way.fresh) out += " on a fresh domain";
    out += "\n    path:";
    for (const Step& step : way.path) out += fmt::format(" {}:{}", step.function, step.line);
    for (const Step& step : way.logs) out += fmt::format("\n    log:  {}:{}", step.function, step.line);
    for (const Step& step : way.changes) out += fmt::format("\n    changed before: {}:{}", step.function, step.line);
    out += "\n";
  }
  return out;
}

std::string report_markdown(const Judgement& judgement) {
  std::map<std::string, std::map<std::string_view, std::size_t>> cells;
  for (const Finding& finding : judgement.findings) ++cells[finding.driver][finding.rule->id];
  std::string out = fmt::format("| driver |");
  std::string rule = "|---|";
  for (const Rule& row : rules()) out += fmt::format(" {} |", row.id), rule += "---|";
  out += " all |\n" + rule + "---|\n";
  for (const auto& [driver, counts] : cells) {
    out += fmt::format("| {} |", driver);
    std::size_t all = 0;
    for (const Rule& row : rules()) {
      const auto found = counts.find(row.id);
      all += found == counts.end() ? 0 : found->second;
      out += found == counts.end() ? " |" : fmt::format(" {} |", found->second);
    }
    out += fmt::format(" {} |\n", all);
  }
  return out;
}

bool read_baseline(std::string_view text, std::set<std::string>& known, std::string& why) {
  if (!text.starts_with(kBaseline)) {
    why = "is not a baseline: its first line is not \"" + std::string(kBaseline) + "...\"";
    return false;
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line[0] == '#') continue;
    if (find_rule(line.substr(0, line.find('|'))) == nullptr) {
      why = "line " + std::to_string(number) + " does not begin with a rule";
      return false;
    }
    known.emplace(line);
  }
  return true;
}

std::string write_baseline(const Judgement& judgement) {
  std::string out = std::string(kBaseline) + ", one a line: rule|file|function|place\n";
  for (const Finding& finding : judgement.findings) out += finding.fingerprint + '\n';
  return out;
}

}  // namespace softiommu::lint
