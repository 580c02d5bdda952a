// SPDX-License-Identifier: BSD-3-Clause
#include "cli/show.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstring>

#include "cli/say.h"
#include "drivers/registry.h"
#include "ioas/table_use.h"
#include "launch/run_options.h"
#include "machine/describe.h"
#include "machine/option_text.h"

namespace softiommu::cli {
namespace {

std::string groups_text(const System& system) {
  std::string text = "\nIOMMU groups as the program sees them\n";
  for (const auto& group : system.groups()) {
    text += fmt::format("  /dev/vfio/{}:", group->id());
    for (const Device* device : group->devices()) text += " " + device->name();
    text += group->reason().empty() ? "\n" : fmt::format(" ({})\n", group->reason());
  }
  return text;
}

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
}
std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string row_text(const TableUse::Row& row) {
  const std::string cost =
      row.tables == 0 ? "no tables in memory" : fmt::format("{} for {}", mebibytes(row.tables), size_text(row.mapped));
  return fmt::format("  domain {}, {}: {}; {} ({})\n", row.domain, row.driver, cost, fmt::join(row.units, " "),
                     counted(row.devices, "device"));
}

std::string memory_text(const TableUse& use, std::uint64_t bytes) {
  std::string text =
      fmt::format("\nTable memory of {} in the smallest pages, mapped for all groups\n", size_text(bytes));
  std::size_t units = 0;
  for (const TableUse::Row& row : use.domains) {
    text += row_text(row);
    units += row.units.size();
  }
  for (const std::string& group : use.left_out) text += fmt::format("  left out: {}\n", group);
  text +=
      fmt::format("  together {} in {} for {}, beside {} of structures of units and devices\n", mebibytes(use.tables()),
                  counted(use.domains.size(), "domain"), counted(units, "unit"), mebibytes(use.structures));
  return text;
}

}  // namespace

std::optional<BroughtUp> bring_up(const std::string& machine_file, Rules rules, int& status) {
  BroughtUp made;
  made.name = machine_file.empty() ? "default machine" : machine_file;
  if (machine_file.empty()) {
    made.text = default_machine_toml();
  } else if (auto text = launch::read_text(machine_file)) {
    made.text = std::move(*text);
  } else {
    complain(fmt::format("{}: {}", machine_file, std::strerror(text.error().code)));
    status = kInvalid;
    return std::nullopt;
  }
  const auto spec = parse_machine(made.text, made.name);
  if (!spec) {
    std::fputs(fmt::format("{}: {}\n", spec.error().where, spec.error().what).c_str(), stderr);
    status = kInvalid;
    return std::nullopt;
  }
  auto machine = Machine::create(*spec, {});
  auto system = machine ? System::create(**machine, all_drivers(), {.rules = rules}) : std::unexpected(machine.error());
  if (!system) {
    complain(fmt::format("the machine cannot be built: {}", system.error().why));
    status = kCannotRun;
    return std::nullopt;
  }
  made.machine = std::move(*machine);
  made.system = std::move(*system);
  return made;
}

int show(const ShowRequest& request) {
  const auto bytes = parse_size(request.memory.empty() ? "64G" : request.memory);
  if (!bytes) {
    complain("--memory: a size such as 64G");
    return kInvalid;
  }
  int status = 0;
  const auto made = bring_up(request.machine_file, request.rules, status);
  if (!made) return status;
  std::fputs(describe(*made->machine).c_str(), stdout);
  std::fputs(groups_text(*made->system).c_str(), stdout);
  if (request.memory.empty()) return 0;
  const auto use = measure_table_use(*made->system, *bytes);
  if (!use) {
    complain(fmt::format("--memory {}: {} (table_arena of the machine file is what there is)", request.memory,
                         use.error().why));
    return kInvalid;
  }
  std::fputs(memory_text(*use, *bytes).c_str(), stdout);
  return 0;
}

}  // namespace softiommu::cli
