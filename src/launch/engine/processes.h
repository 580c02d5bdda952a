// SPDX-License-Identifier: BSD-3-Clause
// Where this process begins and ends, seen from the engine: fork, exec, exit, and handles that come from elsewhere.
#pragma once

#include "launch/engine_abi.h"

namespace softiommu::launch {

// The descriptor is a handle of another process of the run (or one of ours that came back): 0; else a negative errno.
long adopt_handle(int fd);
// Handles of ours may from now on be in other processes.
void spread_handles();
// The process's image ends, or does not after all.
void depart(int how);

// pthread_atfork's three.
void before_fork();
void after_fork_in_parent();
void after_fork_in_child();

}  // namespace softiommu::launch
