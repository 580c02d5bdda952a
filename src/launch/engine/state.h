// SPDX-License-Identifier: BSD-3-Clause
// All state of the engine. It is never destroyed: program threads may still run during exit.
#pragma once

#include <atomic>
#include <memory>

#include "base/mutex.h"
#include "launch/engine/descriptors.h"
#include "launch/engine/mappings.h"
#include "launch/engine/program_stacks.h"
#include "launch/engine/self_program.h"
#include "launch/engine/shim_services.h"
#include "launch/engine/world.h"
#include "launch/service/accounts.h"
#include "launch/service/caller.h"
#include "launch/service/keeper.h"
#include "launch/service/remote_file.h"
#include "launch/service/remote_program.h"
#include "launch/service/run_page.h"
#include "launch/service/service.h"
#include "launch/trap/regions.h"

namespace softiommu::launch {

struct Engine final : Owner {
  Engine();

  Descriptors descriptors;
  Mappings mappings;
  TrapRegions regions;
  TrapRegions shared;  // memory that files share: nothing traps there, a mapping only holds what it needs
  std::shared_ptr<SelfProgram> program = std::make_shared<SelfProgram>(descriptors, mappings, regions);
  // What files have as their program.
  std::shared_ptr<Caller> caller = std::make_shared<Caller>(program);
  ProgramStacks stacks{is_elsewhere};
  Mutex world_mutex;
  std::unique_ptr<World> world GUARDED_BY(world_mutex);
  std::atomic<World*> current{nullptr};

  // --- with other processes
  ServedProgram served;
  Service service{descriptors, *this};
  Keeper keeper;
  RunPage<HandleTable> handle_page;
  RunPage<AccountTable> account_page;
  PublishedAccount account;  // of the program

  HandleTable* handles() { return handle_page.get(std::string(shim_services->run_dir) + "/handles"); }

  Result<int> make_handle(std::shared_ptr<File> file, int flags) override {
    return descriptors.make_handle(std::move(file), flags, handles());
  }
  std::shared_ptr<File> file_of_handle(std::uint64_t inode) override { return descriptors.own_file(inode); }
  AccountTable* accounts() override { return account_page.get(std::string(shim_services->run_dir) + "/accounts"); }
  Memory* memory() override {
    World* present = current.load(std::memory_order_acquire);
    return present == nullptr ? nullptr : present->memory();
  }
  MemoryWatch* memory_watch() {
    World* present = current.load(std::memory_order_acquire);
    return present == nullptr ? nullptr : present->memory_watch();
  }
  // Does this thread serve a call of another process?
  static bool is_elsewhere();
};

inline Engine* engine = nullptr;

inline bool Engine::is_elsewhere() { return &engine->caller->caller() != engine->program.get(); }

}  // namespace softiommu::launch
