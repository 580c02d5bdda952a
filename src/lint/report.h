// SPDX-License-Identifier: BSD-3-Clause
// A judgement as text, JSON, SARIF 2.1.0, one HTML page or Markdown tables.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "lint/judge.h"

namespace softiommu::lint {

std::string report_text(const Judgement& judgement);
std::string report_json(const Judgement& judgement);
std::string report_sarif(const Judgement& judgement);
std::string report_html(const Judgement& judgement);
std::string report_paths(const Judgement& judgement);  // every way to fail, for people
std::string report_markdown(const Judgement& judgement);
std::string summary_text(const Statistics& statistics, std::size_t findings);

std::string explain(const Rule& rule);

// A baseline is a first line that says so, then the fingerprints of known findings, one a line. False, with the reason
// in `why`, for any other text.
bool read_baseline(std::string_view text, std::set<std::string>& known, std::string& why);
std::string write_baseline(const Judgement& judgement);

}  // namespace softiommu::lint
