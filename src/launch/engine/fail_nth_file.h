// SPDX-License-Identifier: BSD-3-Clause
// /proc/self/task/N/fail-nth, as Linux has it with CONFIG_FAULT_INJECTION: the countdown of one thread's fault points.
//
// A number that is written arms it, 0 ends it; what is read is how many points are left, 0 once it has struck. Steps of
// these calls themselves are no points.
#pragma once

#include <optional>

#include "base/file.h"
#include "base/program.h"

namespace softiommu::launch {

class FailNthFile final : public File {
 public:
  FailNthFile(Program& program, pid_t thread) : program_(program), thread_(thread) {}
  // The thread that a path of this form is about.
  static std::optional<pid_t> thread_of(const std::string& path);

  std::string path() const override;
  long ioctl(unsigned int command, std::uint64_t argument) override;
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t offset) override;
  ssize_t pwrite(std::uint64_t user, std::size_t bytes, off_t offset) override;

 private:
  Program& program_;
  const pid_t thread_;
};

}  // namespace softiommu::launch
