// SPDX-License-Identifier: BSD-3-Clause
// What a run was asked for, and where its things lie: written by the launcher, read by the engine of each program.
//
//   RUN/options          key=value lines
//   RUN/machine.toml     the machine, as it was given
//   RUN/view/            the generated /sys and /dev
//   RUN/control          the socket on which the launcher answers (launch/control/control_abi.h)
//   RUN/claims           one shared page: which group is open, and by whom
//   RUN/handles          one shared page: which sockets are handles of open files
//   RUN/accounts         one shared page: what each process has pinned
//   RUN/out/             what the processes wrote for --explain, --trace, --fail list and --dma-sanitizer (findings),
//                        one file each
#pragma once

#include <string>

#include "base/result.h"

namespace softiommu::launch {

struct RunOptions {
  std::string machine_name;  // of the file, for messages
  std::string memlock = "unlimited";
  std::string fail;           // rules of --fail (base/fault.h), each ended by ';'
  std::string dma_sanitizer;  // "": none; "report", "abort"
  bool allow_unsafe_interrupts = false;
  bool paranoid = false;
  bool linux_rules = false;
  bool explain = false;
  bool trace = false;
  bool selftest = false;  // the mock IOMMU and IOMMU_TEST_CMD, for the kernel's own tests

  bool sanitizes() const { return !dma_sanitizer.empty(); }
  // Does the program see the kernel's files for fault injection?
  bool fault_injection() const { return !fail.empty() || selftest; }

  Result<> save(const std::string& run_dir) const;
  static Result<RunOptions> load(const std::string& run_dir);
};

Result<> write_text(const std::string& path, const std::string& text);
Result<std::string> read_text(const std::string& path);

}  // namespace softiommu::launch
