// SPDX-License-Identifier: BSD-3-Clause
// The process that stays when an owner execs or exits while others hold its handles: a fork of it with the same objects
// and pages, which serves until the last handle is closed. As Linux keeps what an ended process has pinned.
//
// A grandchild, so that the program never has a child that it does not know. It waits until the owner is really gone,
// which closes a pipe; if exec fails, the owner goes on and the keeper ends.
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace softiommu::launch {

class Keeper {
 public:
  // Is the present fork the keeper's, and not the program's?
  static bool is_forking();

  // Forks it; `live` runs in it when the owner has gone, and after that the keeper ends. No thread of the engine may
  // run. The keeper's process id. EAGAIN, ENOMEM, EMFILE.
  Result<pid_t> begin(void (*live)());
  // The owner stays after all.
  void abandon();
  // In a child of fork: the pipe is the parent's, who would not seem to go.
  void forget();

 private:
  [[noreturn]] static void wait_and_live(int pipe, void (*live)());
  int pipe_ = -1;  // hidden; its other end is the keeper's
};

}  // namespace softiommu::launch
