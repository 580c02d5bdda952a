// SPDX-License-Identifier: BSD-3-Clause
// The supervisor: the tracer of a tree of programs that the shim cannot enter, and the owner of their machine.
//
// One thread waits for the threads of all these programs, answers what stops there and lets them go on. Children are
// traced from their first instruction; a child that the shim can enter only has its stops passed through.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "launch/supervise/traced_program.h"

namespace softiommu::launch {

class Supervisor final : public Bystanders {
 public:
  // Takes hold of a process that is about to exec. EPERM: the host does not allow it.
  Result<> seize(pid_t process);
  // Their stops are dealt with after the present one.
  void stop_others(const Tracee& thread) override;
  // Until the last thread and the last handle are gone.
  void run();

 private:
  void wait_for_one();
  void handle(pid_t thread, int status);
  void ended(pid_t thread);
  void reap_ended();
  void event(Tracee& thread, int number, int signal);
  void made_child(Tracee& parent, int number);
  void executed(Tracee& thread);
  void signalled(Tracee& thread, int signal);
  void stopped_by_filter(Tracee& thread);
  Tracee* add(pid_t thread, std::shared_ptr<TracedProgram> program);
  Result<std::shared_ptr<TracedProgram>> program_of_child(Tracee& parent, pid_t child, std::uint64_t flags);

  std::map<pid_t, std::unique_ptr<Tracee>> threads_;
  std::vector<std::pair<pid_t, int>> held_;  // seen while others were served
  std::set<pid_t> early_;                    // stopped before their parent told of them
};

}  // namespace softiommu::launch
