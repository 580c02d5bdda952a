// SPDX-License-Identifier: BSD-3-Clause
// A thread of a supervised program, seized with ptrace: the system call at which it has stopped, and other calls
// made by it in that one's place.
//
// Registers and the instruction pointer are as before when it goes on; signals wait as long as calls are made.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace softiommu::launch {

class TracedProgram;

struct SystemCall {
  long number = -1;
  std::array<std::uint64_t, 6> argument{};

  // Of an argument that is an int: the kernel does not look at the upper half.
  int integer(unsigned which) const { return static_cast<int>(argument[which]); }
};

// Does waitid tell of an end, not of a stop?
inline bool is_end(const siginfo_t& info) {
  return info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
}

class Tracee {
 public:
  Tracee(pid_t thread, std::shared_ptr<TracedProgram> program);
  ~Tracee();
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t thread() const { return thread_; }
  TracedProgram& program() const { return *program_; }
  const std::shared_ptr<TracedProgram>& shared_program() const { return program_; }
  void set_program(std::shared_ptr<TracedProgram> program);

  // --- at a stop of the filter
  Result<SystemCall> call();
  // Makes a call in the thread, also several. ESRCH: the thread has ended.
  Result<std::uint64_t> run(long number, const std::array<std::uint64_t, 6>& arguments = {});
  // The call is over (it is not made if run() did not), and the thread goes on.
  void answer(long result);
  // The program is about to have a filter of its own: calls that run() makes shall not be judged by it.
  // ESRCH: the thread has ended; EEXIST: the program has its own memory there; ENOMEM, EFAULT.
  Result<> make_call_page();
  // Memory of the program that only the supervisor writes, for run()'s arguments: kScratchBytes, this thread's own.
  Result<std::uint64_t> scratch();
  static constexpr std::uint64_t kScratchBytes = 8192;

  // A thread that has just been made, not in a call: from here on run() may be used, then end_calls().
  void begin_calls();
  void end_calls();

  // --- at any stop
  bool registers(user_regs_struct& out) const;
  bool set_registers(const user_regs_struct& in) const;
  // A call at which it stands is made as it is, if nothing has been run.
  void go_on(int signal = 0) const;
  // It waits in the kernel for its child of vfork, and cannot be stopped.
  bool in_vfork = false;

 private:
  bool begin();
  bool skip_call();
  bool to_exit(std::uint64_t& result);

  const pid_t thread_;
  std::shared_ptr<TracedProgram> program_;
  bool begun_ = false;    // calls are made: the registers and the mask are to be put back
  bool at_entry_ = true;  // at the stop before the call
  user_regs_struct before_{};
  std::uint64_t mask_ = 0;
  int pending_ = 0;  // a signal that cannot be blocked, seen meanwhile
  std::uint64_t scratch_ = 0;
};

}  // namespace softiommu::launch
