// SPDX-License-Identifier: BSD-3-Clause
#include "cli/ctl.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "cli/run_folder.h"
#include "cli/say.h"
#include "launch/control/channel.h"
#include "machine/pci_function.h"

namespace softiommu::cli {
namespace {

struct Command {
  std::string_view word;
  bool takes_device;
  std::string_view doc;
  std::string_view effect;  // in words; "": the answer says it
};
constexpr Command kCommands[] = {
    {"list", false, "the functions on the bus, their drivers and groups", ""},
    {"unplug", true, "pull a device out",
     "{} is gone: its registers read as ones, and who has it open is asked to let go\n"},
    {"plug", true, "put it back; it is found and given to vfio-pci", "{} is there again\n"},
    {"rescan", false, "find what was removed, as a write to /sys/bus/pci/rescan", "the bus was scanned\n"},
};

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Says why there is none.
std::optional<std::string> find_run(const std::string& wanted) {
  if (is_number(wanted)) {
    const std::string folder = run_of(std::atoi(wanted.c_str()));
    if (folder.empty()) complain(fmt::format("process {} belongs to no run", wanted));
    return folder.empty() ? std::nullopt : std::optional(folder);
  }
  if (!wanted.empty()) return wanted;
  if (const char* own = std::getenv(kRunVariable)) return own;
  const auto runs = present_runs();
  if (runs.size() == 1) return runs[0];
  std::string text = runs.empty() ? "no program runs under softiommu" : "several runs go on; choose one with --run:";
  for (const std::string& run : runs) text += "\n  " + run;
  complain(text);
  return std::nullopt;
}

// "list", "unplug BDF"
std::string usage_of(const Command& command) {
  return fmt::format("{}{}", command.word, command.takes_device ? " BDF" : "");
}

std::string all_usages() {
  std::string text;
  for (const Command& command : kCommands) text += (text.empty() ? "" : ", ") + usage_of(command);
  return text;
}

// What is none goes as it is: the answer says so.
std::string full_address(const std::string& text) {
  const auto bdf = Bdf::parse(text);
  return bdf ? bdf->text() : text;
}

Result<launch::ControlPacket> ask(const std::string& run, const std::string& text) {
  const int socket = TRY(launch::connect_control(run));
  launch::send_control(socket, {.verb = launch::ControlHead::kCommand, .result = 0, .number = 0}, text);
  auto answer = launch::receive_control(socket);
  ::close(socket);
  return answer;
}

}  // namespace

void add_ctl_options(CLI::App& ctl, CtlRequest& request) {
  ctl.add_option("--run", request.run, "the run: its folder, or a process of it (default: the only one)");
  ctl.add_option("command", request.words, "what to do, and the device's address")->expected(1, 2)->required();
  std::string text = "Commands:";
  for (const Command& command : kCommands) text += fmt::format("\n  {:<12} {}", usage_of(command), command.doc);
  ctl.footer(text);
}

int ctl(const CtlRequest& request) {
  const auto command = std::ranges::find(kCommands, std::string_view(request.words[0]), &Command::word);
  if (command == std::end(kCommands) || request.words.size() != (command->takes_device ? 2u : 1u)) {
    complain("ctl takes one of: " + all_usages());
    return kInvalid;
  }
  const auto run = find_run(request.run);
  if (!run) return kRefused;
  const std::string device = command->takes_device ? full_address(request.words[1]) : "";
  const auto answer = ask(*run, command->takes_device ? request.words[0] + " " + device : request.words[0]);
  if (!answer) {
    complain(fmt::format("{}: {}", *run, answer.error().why));
    return kRefused;
  }
  if (answer->head.result < 0) {
    complain(fmt::format("{}: {} ({})", device.empty() ? request.words[0] : device, answer->text,
                         std::strerror(-answer->head.result)));
    return kRefused;
  }
  const std::string said = command->effect.empty() ? answer->text : fmt::format(fmt::runtime(command->effect), device);
  std::fputs(said.c_str(), stdout);
  return 0;
}

}  // namespace softiommu::cli
