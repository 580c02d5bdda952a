// SPDX-License-Identifier: BSD-3-Clause
// Processes of a run that go on after its first one has ended: daemons, and keepers of descriptors that they hold.
#pragma once

#include <string>

#include "launch/bus/control_server.h"

namespace softiommu::cli {

// Is there a process, but this one, that was started with this run's folder in its environment?
bool anyone_remains(const std::string& run_dir);

// A process in the background answers for the run, and removes the folder when the last of them has ended. False: it
// could not be made.
bool remove_later(const std::string& run_dir, launch::ControlServer& control);

}  // namespace softiommu::cli
