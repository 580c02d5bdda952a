// SPDX-License-Identifier: BSD-3-Clause
#include "cli/show.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstring>

#include "drivers/registry.h"
#include "launch/run_options.h"
#include "machine/describe.h"

namespace softiommu::cli {
namespace {

constexpr int kInvalidFile = 2, kCannotRun = 125;

void complain(const std::string& text) { std::fputs(("softiommu: " + text + "\n").c_str(), stderr); }

std::string groups_text(const System& system) {
  std::string text = "\nIOMMU groups as the program sees them\n";
  for (const auto& group : system.groups()) {
    text += fmt::format("  /dev/vfio/{}:", group->id());
    for (const Device* device : group->devices()) text += " " + device->name();
    text += fmt::format(" ({})\n", group->reason());
  }
  return text;
}

}  // namespace

std::optional<BroughtUp> bring_up(const std::string& machine_file, int& status) {
  BroughtUp made;
  made.name = machine_file.empty() ? "default machine" : machine_file;
  if (machine_file.empty()) {
    made.text = default_machine_toml();
  } else if (auto text = launch::read_text(machine_file)) {
    made.text = std::move(*text);
  } else {
    complain(fmt::format("{}: {}", machine_file, std::strerror(text.error().code)));
    status = kInvalidFile;
    return std::nullopt;
  }
  const auto spec = parse_machine(made.text, made.name);
  if (!spec) {
    std::fputs(fmt::format("{}: {}\n", spec.error().where, spec.error().what).c_str(), stderr);
    status = kInvalidFile;
    return std::nullopt;
  }
  auto machine = Machine::create(*spec, {});
  auto system = machine ? System::create(**machine, all_drivers(), {}) : std::unexpected(machine.error());
  if (!system) {
    complain(fmt::format("the machine cannot be built: {}", system.error().why));
    status = kCannotRun;
    return std::nullopt;
  }
  made.machine = std::move(*machine);
  made.system = std::move(*system);
  return made;
}

int show(const std::string& machine_file) {
  int status = 0;
  const auto made = bring_up(machine_file, status);
  if (!made) return status;
  std::fputs(describe(*made->machine).c_str(), stdout);
  std::fputs(groups_text(*made->system).c_str(), stdout);
  return 0;
}

}  // namespace softiommu::cli
