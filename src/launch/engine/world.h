// SPDX-License-Identifier: BSD-3-Clause
// What the engine serves: the files under /dev/vfio, and the memory that they pin. One implementation builds the run's
// machine; the tests have one of their own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/program.h"
#include "base/result.h"

namespace softiommu {
class Memory;
}

namespace softiommu::launch {

class MemoryWatch;
class StackTraces;

struct Opened {
  std::shared_ptr<File> file;
  std::function<void()> on_release;  // after File::release()
};

class World {
 public:
  virtual ~World() = default;
  // A path as the program gave it: "/dev/vfio/vfio", "/dev/vfio/3". ENOENT, ENODEV, EBUSY, ENOMEM.
  virtual Result<Opened> open(const std::string& path, Program& program) = 0;
  // Where pinned pages are; nullptr: nothing is ever pinned.
  virtual Memory* memory() = 0;
  // nullptr: the run has none.
  virtual MemoryWatch* memory_watch() { return nullptr; }
  // Writes what --explain and --trace collect; may be called more than once.
  virtual void flush() {}
  // Devices stand still, and go on: around the fork of a keeper.
  virtual void pause() {}
  virtual void resume() {}
  // What this process has claimed in the run is that process's from now on; 0: nobody's.
  virtual void hand_over(pid_t /*process*/) {}
  // In the child after fork: no other thread runs here, and what is open is the parent's.
  virtual void become_child() {}
};

// Builds what the run's folder describes; `stacks` tell who did what. ENODEV: it cannot be built (said in the log).
Result<std::unique_ptr<World>> make_world(const std::string& run_dir, StackTraces& stacks);

}  // namespace softiommu::launch
