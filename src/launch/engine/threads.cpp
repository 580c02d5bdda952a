// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/threads.h"

#include "base/fault_signals.h"

namespace softiommu::launch {

bool start_engine_thread(pthread_t& thread, void* (*run)(void*), void* argument) {
  const sigset_t blocked = all_but_faults();
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
  ++shim_services->thread()->inside;
  const bool started = ::pthread_create(&thread, nullptr, run, argument) == 0;
  --shim_services->thread()->inside;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace softiommu::launch
