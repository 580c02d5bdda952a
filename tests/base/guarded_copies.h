// SPDX-License-Identifier: BSD-3-Clause
// As long as it lives, a fault in a guarded copy is the copy's answer, as in a program under the launcher.
#pragma once

#include <signal.h>

#include "base/guarded_copy.h"

namespace softiommu::test {

class GuardedCopies {
 public:
  GuardedCopies() {
    struct sigaction action{};
    action.sa_sigaction = [](int signal_number, siginfo_t*, void* context) {
      if (!guarded_copy_recover(static_cast<ucontext_t*>(context))) signal(signal_number, SIG_DFL);
    };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before_segv_);
    sigaction(SIGBUS, &action, &before_bus_);
  }
  ~GuardedCopies() {
    sigaction(SIGSEGV, &before_segv_, nullptr);
    sigaction(SIGBUS, &before_bus_, nullptr);
  }
  GuardedCopies(const GuardedCopies&) = delete;
  GuardedCopies& operator=(const GuardedCopies&) = delete;

 private:
  struct sigaction before_segv_{}, before_bus_{};
};

}  // namespace softiommu::test
