// SPDX-License-Identifier: BSD-3-Clause
// The `softiommu` command.
//
// Exit status: that of the program (`run`), 127 and 126 as a shell gives them, 2 for a machine file or a command line
// that is not valid, 125 when the run itself cannot be set up.
#include <CLI/CLI.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check.h"
#include "cli/ctl.h"
#include "cli/lint.h"
#include "cli/run.h"
#include "cli/say.h"
#include "cli/show.h"

namespace {

void add_run_options(CLI::App& run, softiommu::cli::RunRequest& request) {
  run.add_option("--machine", request.machine_file, "machine file (default: a VT-d with IOAT and edu devices)");
  run.add_option("--view", request.view, "how the program sees /sys and /dev")
      ->check(CLI::IsMember({"redirect", "namespace"}));
  run.add_flag("--explain", request.options.explain, "print every attach decision at exit");
  run.add_flag("--selftest", request.options.selftest,
               "offer the mock IOMMU of the kernel's own iommufd tests (IOMMU_TEST_CMD)");
  run.add_option("--trace", request.trace_file, "write a Chrome trace (opens in Perfetto)");
  run.add_option("--memlock", request.options.memlock, "unlimited, rlimit or a size: how much memory may be pinned");
  run.add_flag("--allow-unsafe-interrupts", request.options.allow_unsafe_interrupts,
               "attach groups whose interrupts are not isolated");
  run.add_flag("--paranoid", request.options.paranoid, "check each cached translation against the tables");
  run.add_flag("--dma-sanitizer{report}", request.options.dma_sanitizer,
               "tell DMA after unmap or free, overlaps and stale translations (--dma-sanitizer=abort: and stop there)")
      ->check(CLI::IsMember({"report", "abort"}));
  run.add_option("--rules", request.rules, "the attach contract, or Linux 7.2 as it is")
      ->check(CLI::IsMember({"contract", "linux"}));
  run.add_option("--fail", request.fail,
                 "nth=K; point=GLOB[,probability=P][,seed=S]; list. Fault points that fail (repeatable)")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  run.footer("After the options: [--] PROGRAM ARGS...");
}

void add_show_options(CLI::App& show, softiommu::cli::ShowRequest& request) {
  show.add_option("--machine", request.machine_file, "machine file");
  show.add_flag("--memory{64G}", request.memory,
                "table memory of an address space of 64G (--memory=SIZE: of that size) that all groups share");
  const std::map<std::string, softiommu::Rules> rules{{"contract", softiommu::Rules::contract},
                                                      {"linux", softiommu::Rules::linux7}};
  show.add_option("--rules", request.rules, "whose domains: the attach contract's, or Linux 7.2's")
      ->transform(CLI::CheckedTransformer(rules));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "lint") return softiommu::cli::lint(argv);

  CLI::App app{"The Linux IOMMU subsystem without an IOMMU", "softiommu"};
  app.set_version_flag("--version", "softiommu " SOFTIOMMU_VERSION);
  app.require_subcommand(1);

  softiommu::cli::RunRequest request;
  CLI::App* run = app.add_subcommand("run", "run a program that finds the machine's devices");
  add_run_options(*run, request);

  softiommu::cli::ShowRequest to_show;
  CLI::App* show = app.add_subcommand("show", "print the machine: devices, groups and why, IOMMUs");
  add_show_options(*show, to_show);

  softiommu::cli::CheckRequest check_request;
  CLI::App* check = app.add_subcommand("check", "do the IOMMU drivers keep the attach contract, whatever fails?");
  add_check_options(*check, check_request);

  softiommu::cli::CtlRequest ctl_request;
  CLI::App* ctl = app.add_subcommand("ctl", "unplug and plug devices of a run that goes on");
  add_ctl_options(*ctl, ctl_request);

  app.add_subcommand("lint", "check the attach paths of a Linux source tree (softiommu lint --help)");

  // Everything from the program's name on is the program's: options of ours end there.
  std::vector<std::string> ours = softiommu::cli::split_command(argc, argv, request.command);
  try {
    app.parse(ours);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : softiommu::cli::kInvalid;
  }
  if (run->parsed() && request.command.empty()) {
    softiommu::cli::complain("run needs a program");
    return softiommu::cli::kInvalid;
  }
  if (run->parsed()) return softiommu::cli::run(request);
  if (ctl->parsed()) return softiommu::cli::ctl(ctl_request);
  if (check->parsed()) return softiommu::cli::check(check_request);
  return softiommu::cli::show(to_show);
}
