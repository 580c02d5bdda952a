// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/processes.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/log.h"
#include "launch/engine/allocator.h"
#include "launch/engine/shim_services.h"
#include "launch/engine/state.h"
#include "launch/service/share.h"

namespace softiommu::launch {
namespace {

std::shared_ptr<File> remote_file(int channel) { return std::make_shared<RemoteFile>(channel, engine->served); }

// Runs in the keeper when the owner has gone.
void keep() {
  engine->regions.forget_all();
  engine->program->end();
  engine->descriptors.become_keeper();
  World* world = engine->current.load();
  world->resume();
  engine->service.serve_until_unused();
  world->flush();
}

// The devices and the service stand still from here on: what the keeper has is what the owner had.
void leave_a_keeper() {
  World* world = engine->current.load(std::memory_order_acquire);
  if (world == nullptr) return;
  engine->service.stop();
  world->pause();
  const auto keeper = engine->keeper.begin(keep);
  if (keeper) {
    world->hand_over(*keeper);
    engine->account.hand_over(*keeper);
  } else {
    log::error("softiommu: the program's devices end with it: {}", keeper.error().why);
  }
}

// Nothing of the machine stays: what it has claimed in the run is free.
void give_up_claims() {
  if (World* world = engine->current.load(std::memory_order_acquire)) world->hand_over(0);
  engine->account.hand_over(0);
}

void stay_after_all() {
  World* world = engine->current.load(std::memory_order_acquire);
  if (world == nullptr) return;
  engine->keeper.abandon();
  world->hand_over(::getpid());
  engine->account.hand_over(::getpid());
  world->resume();
  if (engine->descriptors.any_spread()) engine->service.begin();
}

}  // namespace

Engine::Engine()
    : served{*program, descriptors, [](std::uint64_t user, std::uint64_t bytes) {
               return share_private_memory(engine->mappings, user, bytes);
             }} {
  descriptors.set_watch(&service);
}

long adopt_handle(int fd) {
  const auto done = without_throwing([&]() -> Result<> {
    TRY(engine->descriptors.adopt(fd, O_RDWR, remote_file));
    const auto use = engine->descriptors.find(fd);
    if (!use || use->peer >= 0) return {};
    if (const auto* remote = dynamic_cast<const RemoteFile*>(use->file.get())) use->flags = remote->describe().flags;
    return {};
  });
  return done ? 0 : -done.error().code;
}

void spread_handles() {
  if (engine->descriptors.spread(engine->handles())) engine->service.begin();
}

void depart(int how) {
  switch (how) {
    case SOFTIOMMU_EXEC:
      if (!engine->descriptors.outlives_exec()) return give_up_claims();
      engine->descriptors.spread(engine->handles());
      return leave_a_keeper();
    case SOFTIOMMU_EXEC_FAILED:
      return stay_after_all();
    default:
      if (engine->descriptors.outlives_exit()) leave_a_keeper();
  }
}

// One function takes the locks, others give them back: beyond what the checker follows.
void before_fork() SOFTIOMMU_TS(no_thread_safety_analysis) {
  if (!Keeper::is_forking()) {  // the child may execute a program that looks there before we run again
    ++shim_services->thread()->inside;
    engine->descriptors.spread(engine->handles());
    --shim_services->thread()->inside;
  }
  lock_sharing_for_fork();
  engine->descriptors.lock_for_fork();
  heap_lock_for_fork();
}

void after_fork_in_parent() SOFTIOMMU_TS(no_thread_safety_analysis) {
  heap_unlock_after_fork();
  engine->descriptors.unlock_after_fork();
  unlock_sharing_after_fork();
  if (Keeper::is_forking()) return;
  ++shim_services->thread()->inside;
  spread_handles();
  --shim_services->thread()->inside;
}

// The child has one thread: nobody else can be in the guarded members.
void after_fork_in_child() SOFTIOMMU_TS(no_thread_safety_analysis) {
  heap_unlock_after_fork();
  engine->descriptors.unlock_after_fork();
  unlock_sharing_after_fork();
  if (Keeper::is_forking()) return;
  ++shim_services->thread()->inside;
  engine->world_mutex.reset();
  engine->mappings.become_child();
  engine->keeper.forget();
  engine->service.forget();
  engine->account.forget();
  engine->program->locked().reset();
  forget_reply_sockets();
  engine->descriptors.become_child(remote_file);
  engine->regions.become_child([](TrapRegion& region) {
    auto* const remote = dynamic_cast<RemoteFile*>(static_cast<OpenFile*>(region.open)->file.get());
    if (remote == nullptr) return false;
    remote->has_bar_at(region.file_offset);
    region.registers = &remote->bars();
    region.offset = region.file_offset;
    region.physical.reset();
    region.enabled = RemoteFile::bars_enabled;
    region.enabled_context = remote;
    return true;
  });
  engine->shared.forget_all();
  unshare_in_child();
  if (World* world = engine->current.exchange(nullptr)) {
    world->become_child();
    engine->world.release();  // the parent's machine: not ours to take down
  }
  --shim_services->thread()->inside;
}

}  // namespace softiommu::launch
