// SPDX-License-Identifier: BSD-3-Clause
// `softiommu-lint`, which `softiommu lint` starts. Exit status: 0 nothing found, 1 findings, 2 usage.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "lint/judge.h"
#include "lint/report.h"

namespace {

using namespace softiommu::lint;

constexpr int kNothing = 0, kFindings = 1, kBadUsage = 2;

struct Options {
  std::string tree, severity = "note", format = "text", baseline, write_baseline, explain, output;
  std::vector<std::string> drivers;
};

void declare(CLI::App& app, Options& options) {
  app.add_option("LINUX_TREE", options.tree, "an unpacked source tree, 5.19 or later");
  app.set_version_flag("--version", "softiommu lint " SOFTIOMMU_VERSION);
  app.add_option("--driver", options.drivers, "only drivers whose name matches this pattern (*, ?); may be repeated")
      ->allow_extra_args(false);
  app.add_option("--severity", options.severity, "only findings of this severity or above")
      ->check(CLI::IsMember({"note", "warning", "error"}));
  app.add_option("--format", options.format, "how the findings are written")
      ->check(CLI::IsMember({"text", "json", "sarif", "html", "markdown", "paths"}));
  app.add_option("--baseline", options.baseline, "hide the findings that this file knows");
  app.add_option("--write-baseline", options.write_baseline, "write the findings as a baseline");
  app.add_option("--explain", options.explain, "print what a rule means and where it comes from (all: every rule)");
  app.add_option("-o,--output", options.output, "write to this file");
}

bool read_file(const std::string& path, std::string& text) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return false;
  std::ostringstream all;
  all << in.rdbuf();
  text = std::move(all).str();
  return true;
}

// A full disk or a closed pipe shows when the text is flushed.
bool write_text(const std::string& path, const std::string& text) {
  if (path.empty()) return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  std::ofstream out(path, std::ios::binary);
  out << text << std::flush;
  return static_cast<bool>(out);
}

int fail(const std::string& message) {
  std::fprintf(stderr, "softiommu lint: %s\n", message.c_str());
  return kBadUsage;
}

int explain_rules(const std::string& id) {
  if (id != "all" && find_rule(id) == nullptr) {
    std::fprintf(stderr, "softiommu lint: there is no rule '%s'; the rules are:\n", id.c_str());
    for (const Rule& rule : rules()) std::fprintf(stderr, "  %s\n", std::string(rule.id).c_str());
    return kBadUsage;
  }
  std::string text;
  for (const Rule& rule : rules())
    if (id == "all" || rule.id == id) text += explain(rule) + (id == "all" ? "\n" : "");
  return write_text("", text) ? kNothing : fail("cannot write to standard output");
}

std::string render(const Judgement& judgement, const std::string& format) {
  if (format == "json") return report_json(judgement);
  if (format == "sarif") return report_sarif(judgement);
  if (format == "html") return report_html(judgement);
  if (format == "paths") return report_paths(judgement);
  if (format == "markdown") return report_markdown(judgement);
  return report_text(judgement);
}

// Each pattern has to name something: a driver that was misspelt has no findings either.
bool check_drivers(const Tree& tree, const std::vector<std::string>& patterns) {
  const std::set<std::string> known = known_drivers(tree);
  for (const std::string& pattern : patterns) {
    if (std::any_of(known.begin(), known.end(), [&](const auto& name) { return matches(pattern, name); })) continue;
    std::fprintf(stderr, "softiommu lint: no driver of this tree matches '%s'; it has:", pattern.c_str());
    for (const std::string& name : known) std::fprintf(stderr, " %s", name.c_str());
    std::fputs("\n", stderr);
    return false;
  }
  return true;
}

int report(Judgement& judgement, const Options& options, const std::set<std::string>& known) {
  Severity least = Severity::note;
  severity_from(options.severity, least);
  std::erase_if(judgement.findings, [&](const Finding& finding) {
    return finding.severity < least || known.contains(finding.fingerprint);
  });
  if (!options.write_baseline.empty() && !write_text(options.write_baseline, write_baseline(judgement)))
    return fail("cannot write " + options.write_baseline);
  if (!write_text(options.output, render(judgement, options.format)))
    return fail("cannot write " + (options.output.empty() ? "to standard output" : options.output));
  std::fputs(summary_text(judgement.statistics, judgement.findings.size()).c_str(), stderr);
  return judgement.findings.empty() ? kNothing : kFindings;
}

int lint(const Options& options) {
  Tree tree;
  std::string why, known_text;
  std::set<std::string> known;
  if (!options.baseline.empty()) {
    if (!read_file(options.baseline, known_text)) return fail("cannot read " + options.baseline);
    if (!read_baseline(known_text, known, why)) return fail(options.baseline + ": " + why);
  }
  if (!tree.load(options.tree, why)) return fail(why);
  Judgement whole = judge(tree, ApiTable::built_in(), {options.drivers});
  if (known_drivers(tree).empty()) {
    std::fputs(summary_text(whole.statistics, 0).c_str(), stderr);
    return fail(options.tree + ": no attach callbacks found, so nothing was checked");
  }
  return check_drivers(tree, options.drivers) ? report(whole, options, known) : kBadUsage;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Checks the attach paths of a Linux tree against the attach contract", "softiommu lint"};
  Options options;
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = app.exit(error) == 0;  // --help, --version
    return asked && std::cout.flush() ? kNothing : kBadUsage;
  }
  if (!options.explain.empty()) return explain_rules(options.explain);
  if (options.tree.empty()) return fail("a Linux tree is needed (try --help)");
  return lint(options);
}
