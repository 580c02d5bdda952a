// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/threads.h"

#include <signal.h>

namespace softiommu::launch {

bool start_engine_thread(pthread_t& thread, void* (*run)(void*), void* argument) {
  sigset_t blocked, before;
  ::sigfillset(&blocked);
  constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (const int fault : kFaults) ::sigdelset(&blocked, fault);
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
  ++shim_services->thread()->inside;
  const bool started = ::pthread_create(&thread, nullptr, run, argument) == 0;
  --shim_services->thread()->inside;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace softiommu::launch
