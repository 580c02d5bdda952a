// SPDX-License-Identifier: BSD-3-Clause
// What a check found, in each of the forms that `--format` names.
#pragma once

#include <string>
#include <vector>

#include "check/check.h"

namespace softiommu::check {

std::string report_text(const CheckReport& report);
std::string report_json(const CheckReport& report);
std::string report_junit(const CheckReport& report);
std::string report_html(const CheckReport& report);

// The command line that shows a breach again.
std::string command_for(const CheckReport& report, const std::string& driver, const Breach& breach);

// For the processes of one check: reports of all drivers as one line. nullopt: it is none.
std::string report_line(const std::vector<DriverReport>& drivers);
std::optional<std::vector<DriverReport>> parse_line(std::string_view line);

// EINVAL: not a report of ours.
Result<CheckReport> parse_report(std::string_view json);
// Reports of shards of one check. EINVAL: of different ones, or one shard twice.
Result<CheckReport> merge(std::vector<CheckReport> shards);

}  // namespace softiommu::check
