// SPDX-License-Identifier: BSD-3-Clause
#include "cli/check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "check/plugin.h"
#include "check/report.h"
#include "cli/say.h"
#include "launch/run_options.h"

namespace softiommu::cli {

namespace {

constexpr int kKept = 0, kBroken = 1;

int invalid(const std::string& text) {
  complain(text);
  return kInvalid;
}

struct Format {
  std::string_view name;
  std::string (*print)(const check::CheckReport&);
};
constexpr Format kFormats[] = {{"text", check::report_text},
                               {"json", check::report_json},
                               {"junit", check::report_junit},
                               {"html", check::report_html}};

int print(const check::CheckReport& report, const std::string& format) {
  const std::string text = std::ranges::find(kFormats, format, &Format::name)->print(report);
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) return invalid("the report cannot be written");
  return report.kept() ? kKept : kBroken;
}

int merge(const CheckRequest& request) {
  std::vector<check::CheckReport> parts;
  for (const std::string& file : request.merge) {
    const auto text = launch::read_text(file);
    if (!text) return invalid(fmt::format("{}: {}", file, text.error().why));
    auto part = check::parse_report(*text);
    if (!part) return invalid(fmt::format("{}: {}", file, part.error().why));
    parts.push_back(std::move(*part));
  }
  const auto whole = check::merge(std::move(parts));
  if (!whole) return invalid(whole.error().why);
  return print(*whole, request.format);
}

// A driver's machine of that name; else a file, for the drivers that it has hardware for.
bool choose_machine(std::vector<check::CheckedDriver>& drivers, const std::string& wanted) {
  bool known = false;
  for (check::CheckedDriver& driver : drivers) {
    std::erase_if(driver.machines, [&](const check::CheckedMachine& machine) { return machine.name != wanted; });
    known |= !driver.machines.empty();
  }
  if (known) {
    std::erase_if(drivers, [](const check::CheckedDriver& driver) { return driver.machines.empty(); });
    return true;
  }
  const auto text = launch::read_text(wanted);
  if (!text) return complain(fmt::format("{}: no such machine", wanted)), false;
  std::vector<UnitModel> hardware;
  for (const check::CheckedDriver& driver : drivers)
    hardware.insert(hardware.end(), driver.unit_models.begin(), driver.unit_models.end());
  const auto spec = parse_machine(*text, wanted, hardware, {});
  if (!spec) {
    std::fputs(fmt::format("{}: {}\n", spec.error().where, spec.error().what).c_str(), stderr);
    return false;
  }
  std::erase_if(drivers, [&](const check::CheckedDriver& driver) {
    return std::ranges::find(spec->units, driver.make()->unit_model(), &UnitSpec::model) == spec->units.end();
  });
  for (check::CheckedDriver& driver : drivers) driver.machines = {{wanted, *text}};
  if (drivers.empty()) complain(fmt::format("{}: it has no hardware of the driver", wanted));
  return !drivers.empty();
}

// Those in shared libraries if there are any, else our own.
std::expected<std::vector<check::CheckedDriver>, std::string> choose_drivers(const CheckRequest& request) {
  std::vector<check::CheckedDriver> drivers;
  for (const std::string& file : request.plugins) drivers.push_back(TRY(check::load_plugin(file)));
  if (request.plugins.empty()) drivers = check::own_drivers();
  if (request.driver.empty()) return drivers;
  std::erase_if(drivers, [&](const check::CheckedDriver& driver) { return driver.name != request.driver; });
  if (drivers.empty()) return std::unexpected(fmt::format("there is no driver {}", request.driver));
  return drivers;
}

// On one line, which each call writes anew.
void show_progress(std::size_t done, std::size_t all) {
  constexpr std::size_t kWidth = 40;
  const std::size_t full = all == 0 ? kWidth : done * kWidth / all;
  std::fputs(fmt::format("\r[{:<{}}] {:3}%", std::string(full, '#'), kWidth, all == 0 ? 100 : done * 100 / all).c_str(),
             stderr);
}

void end_progress() {
  constexpr std::string_view kEraseLine = "\r\x1b[K";
  std::fwrite(kEraseLine.data(), 1, kEraseLine.size(), stderr);
}

bool parse_shard(const std::string& text, check::Shard& shard) {
  char rest = 0;
  return std::sscanf(text.c_str(), "%u/%u%c", &shard.index, &shard.count, &rest) == 2;
}

}  // namespace

void add_check_options(CLI::App& app, CheckRequest& request) {
  app.add_option("--driver", request.driver, "only this one");
  app.add_option("--plugin", request.plugins, "a driver in a shared library (repeatable); then none of our own")
      ->allow_extra_args(false);
  app.add_option("--machine", request.machine, "machine file, or the name of one that a driver is checked on");
  app.add_option("--seed", request.options.seed, "of the random sequences");
  app.add_option("--sequences", request.options.sequences, "random sequences for each machine");
  app.add_option("--jobs", request.jobs, "processes (default: as many as there are processors)")
      ->check(CLI::PositiveNumber);
  app.add_option("--shard", request.shard, "I/N: only the Ith of N parts");
  app.add_option("--format", request.format, "of the report")->check(CLI::IsMember({"text", "json", "junit", "html"}));
  app.add_option("--steps", request.steps, "only this sequence, as a report gives it");
  app.add_option("--merge", request.merge, "put the json reports of all shards together");
}

int check(CheckRequest& request) {
  if (!request.merge.empty()) return merge(request);
  auto chosen = choose_drivers(request);
  if (!chosen) return invalid(chosen.error());
  auto& drivers = *chosen;
  if (!request.machine.empty() && !choose_machine(drivers, request.machine)) return kInvalid;
  check::CheckOptions& options = request.options;
  if (!parse_shard(request.shard, options.shard)) return invalid("--shard is I/N");
  options.steps = request.steps;
  options.jobs = request.jobs != 0 ? request.jobs : std::max(1u, std::thread::hardware_concurrency());
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) options.progress = show_progress;
  const auto report = check::check(drivers, options);
  if (terminal) end_progress();
  if (!report) return invalid(report.error().why);
  return print(*report, request.format);
}

}  // namespace softiommu::cli
