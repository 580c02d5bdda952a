// SPDX-License-Identifier: BSD-3-Clause
// The engine's entry and the calls that the shim makes: descriptors to files, mappings to trapped regions.
#include "launch/engine/engine.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>

#include "base/fault.h"
#include "base/guarded_copy.h"
#include "base/log.h"
#include "launch/engine/memcheck.h"
#include "launch/engine/processes.h"
#include "launch/engine/shim_services.h"
#include "launch/engine/signals.h"
#include "launch/engine/state.h"
#include "launch/memory_watch.h"
#include "launch/service/share.h"
#include "launch/trap/fault.h"
#include "machine/memory.h"

namespace softiommu::launch {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
std::uint64_t page_up(std::uint64_t bytes) { return align_up(bytes, kPageBytes); }

Memory* pinned_memory() { return engine->memory(); }

// Runs `action` on the open file behind `fd`; -EBADF if it is gone.
template <typename Action>
long with_file(int fd, Action&& action) {
  const auto use = engine->descriptors.find(fd);
  if (!use) return -EBADF;
  return action(*use.get(), use);
}

long open_file(const char* path, int flags) {
  const auto opened = without_throwing([&]() -> Result<int> {
    World* world = TRY(the_world());
    const fault::Call fallible;
    Opened made = TRY(world->open(path, *engine->caller));
    return engine->descriptors.install(std::move(made.file), flags, std::move(made.on_release));
  });
  return opened ? *opened : -opened.error().code;
}

long call_ioctl(int fd, unsigned long command, unsigned long argument) {
  return with_file(
      fd, [&](OpenFile& open, const auto&) { return open.file->ioctl(static_cast<unsigned int>(command), argument); });
}

long call_transfer(int fd, std::uint64_t user, std::size_t bytes, off_t offset, bool write) {
  return with_file(fd, [&](OpenFile& open, const auto&) { return transfer(open, user, bytes, offset, write); });
}
long call_read(int fd, void* to, std::size_t bytes, off_t offset) {
  return call_transfer(fd, reinterpret_cast<std::uint64_t>(to), bytes, offset, false);
}
long call_write(int fd, const void* from, std::size_t bytes, off_t offset) {
  return call_transfer(fd, reinterpret_cast<std::uint64_t>(from), bytes, offset, true);
}

long call_close(int fd) { return engine->descriptors.close(fd); }
long call_dup(int fd, int least, int replace, int flags) {
  return engine->descriptors.duplicate(fd, least, replace, flags);
}
long call_replace(int from, int fd, int flags) { return engine->descriptors.replace(from, fd, flags); }

long get_flags(int fd) {
  const auto use = engine->descriptors.find(fd);
  return use ? use->shown_flags() : -EBADF;
}
long set_flags(int fd, int flags) {
  const auto use = engine->descriptors.find(fd);
  if (!use) return -EBADF;
  use->change_flags(flags);
  return 0;
}

long describe(int fd, SoftiommuNode* out) {
  return with_file(fd, [&](OpenFile& open, const auto&) -> long {
    const dev_t number = open.file->device_number();
    *out = {mode_of(number), number, open.inode, {}};
    const std::string path = open.file->path();
    std::strncpy(out->path, path.c_str(), sizeof out->path - 1);
    return 0;
  });
}

long call_poll(int fd) {
  return with_file(fd, [](OpenFile& open, const auto&) -> long { return open.file->poll(); });
}

void before_unmap(std::uintptr_t address, std::size_t bytes) {
  if (bytes == 0 || address + (bytes - 1) < address) return;
  engine->regions.remove(address, address + page_up(bytes) - 1);
  engine->shared.remove(address, address + page_up(bytes) - 1);
  Memory* memory = pinned_memory();
  if (memory == nullptr || !memory->any_pinned(address, page_up(bytes))) return;
  if (auto* watch = engine->memory_watch()) watch->gave_up(address, page_up(bytes), "munmap, or a mapping over it");
  if (!memory->move_aside(address, page_up(bytes))) {
    log::error("memory at {:#x} is unmapped while a device uses it, and cannot be kept for the device", address);
  }
}

void mappings_changed() { engine->mappings.invalidate(); }

long is_trapped(std::uintptr_t address, std::size_t bytes) {
  if (bytes == 0 || address + (bytes - 1) < address) return 0;
  return engine->regions.overlaps(address, address + (bytes - 1)) ? 1 : 0;
}

// Pages that a device uses: grown in place if the host can, else moved with the device's knowledge.
long move_pinned(Memory& memory, const Memory::Relocation& how, int flags) {
  void* from = reinterpret_cast<void*>(how.from);
  if (how.to == 0 && (flags & MREMAP_DONTUNMAP) == 0) {
    void* grown = ::mremap(from, how.from_bytes, how.to_bytes, 0);
    if (grown != MAP_FAILED) return reinterpret_cast<long>(grown);
    if (errno != ENOMEM || (flags & MREMAP_MAYMOVE) == 0) return -errno;
  }
  if (how.to != 0) {  // a device that is early must not write into what was there before
    constexpr int kPlace = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (::mmap(reinterpret_cast<void*>(how.to), how.to_bytes, PROT_NONE, kPlace, -1, 0) == MAP_FAILED) return -errno;
  }
  const auto moved = memory.relocate(how);
  if (auto* watch = engine->memory_watch(); watch != nullptr && moved)
    watch->moved(how.from, *moved, std::min(how.from_bytes, how.to_bytes));
  return moved ? static_cast<long>(*moved) : -moved.error().code;
}

long call_mremap(std::uintptr_t from, std::size_t old_bytes, std::size_t new_bytes, int flags, std::uintptr_t to) {
  const auto plain = [&]() -> long {
    void* place = ::mremap(reinterpret_cast<void*>(from), old_bytes, new_bytes, flags, reinterpret_cast<void*>(to));
    return place == MAP_FAILED ? -errno : reinterpret_cast<long>(place);
  };
  if (is_trapped(from, old_bytes) != 0) return -EFAULT;  // as Linux: device memory does not grow or move
  constexpr int kKnown = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const std::size_t old_whole = page_up(old_bytes), new_whole = page_up(new_bytes);
  const bool overlap = fixed && from < to + new_whole && to < from + old_whole;
  const bool odd = new_bytes == 0 || from % kPageBytes != 0 || (fixed && (to == 0 || to % kPageBytes != 0)) ||
                   overlap || (flags & ~kKnown) != 0 || (flags & (MREMAP_FIXED | MREMAP_MAYMOVE)) == MREMAP_FIXED;
  if (odd) return plain();  // the kernel says what is wrong
  if (fixed) before_unmap(to, new_whole);
  if (new_whole < old_whole) before_unmap(from + new_whole, old_whole - new_whole);
  Memory* memory = pinned_memory();
  const bool pinned = memory != nullptr && memory->any_pinned(from, std::min(old_whole, new_whole));
  const bool stays = !fixed && new_whole <= old_whole && (flags & MREMAP_DONTUNMAP) == 0;
  const long result = pinned && !stays
                          ? move_pinned(*memory, {from, old_whole, fixed ? to : 0, new_whole, flags & kKnown}, flags)
                          : plain();
  mappings_changed();
  return result;
}

struct Placement {  // of an mmap
  void* address;
  std::size_t bytes;
  int prot, flags;
  std::uint64_t file_offset;
};

// Inaccessible pages of this process where the BAR shall be: each access to them faults.
long map_trapped(const Placement& wish, OpenFile& open, MmapPlan& plan, std::shared_ptr<void> holds) {
  const auto [address, bytes, prot, flags, file_offset] = wish;
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  if ((flags & MAP_FIXED) != 0) before_unmap(wanted, bytes);
  const int placed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE));
  void* pages = ::mmap(address, bytes, PROT_NONE, placed, -1, 0);
  if (pages == MAP_FAILED) return -errno;
  make_defined_for_memcheck(pages, page_up(bytes));
  TrapRegion region = region_of(plan, reinterpret_cast<std::uintptr_t>(pages), bytes, prot);
  region.holds = std::move(holds);
  region.open = &open;
  region.file_offset = file_offset;
  mappings_changed();
  if (const auto added = engine->regions.add(std::move(region)); !added) {
    ::munmap(pages, bytes);
    return -added.error().code;
  }
  return reinterpret_cast<long>(pages);
}

// Memory that the file shares. The mapping holds the open file, and what the plan names.
long map_shared(void* address, std::size_t bytes, int prot, int flags, MmapPlan& plan, std::shared_ptr<void> holds) {
  if ((flags & MAP_FIXED) != 0) before_unmap(reinterpret_cast<std::uintptr_t>(address), bytes);
  void* pages = ::mmap(address, bytes, prot, flags, plan.descriptor, static_cast<off_t>(plan.offset));
  mappings_changed();
  if (pages == MAP_FAILED) return -errno;
  const auto added = without_throwing([&]() -> Result<> {
    TrapRegion region;
    region.first = reinterpret_cast<std::uintptr_t>(pages);
    region.last = region.first + page_up(bytes) - 1;
    using Both = std::pair<std::shared_ptr<void>, std::shared_ptr<void>>;
    region.holds = std::make_shared<Both>(std::move(plan.keeps_alive), std::move(holds));
    return engine->shared.add(std::move(region));
  });
  if (added) return reinterpret_cast<long>(pages);
  ::munmap(pages, bytes);
  return -added.error().code;
}

// A child of fork reaches the file by it, also when the program has closed its own.
void keep_handle(OpenFile& open, int fd) {
  if (open.peer < 0 || open.kept >= 0) return;
  static Mutex mutex;
  const MutexLock lock(mutex);
  if (open.kept < 0) open.kept = hide_descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

long call_mmap(void* address, std::size_t bytes, int prot, int flags, int fd, off_t offset) {
  return with_file(fd, [&](OpenFile& open, const Descriptors::Use& use) -> long {
    if (bytes == 0 || offset < 0 || static_cast<std::uint64_t>(offset) % kPageBytes != 0) return -EINVAL;
    MmapPlan plan;
    const int error = open.file->mmap(static_cast<std::uint64_t>(offset), bytes, prot, flags, plan);
    if (error != 0) return error;
    if (plan.kind == MmapPlan::Kind::memory) return map_shared(address, bytes, prot, flags, plan, use.share());
    keep_handle(open, fd);
    return map_trapped({address, bytes, prot, flags, static_cast<std::uint64_t>(offset)}, open, plan, use.share());
  });
}

// The device keeps its pages, the program gets fresh ones, as on Linux with pinned pages.
long replace_by_zeroes(std::uintptr_t address, std::size_t bytes) {
  for (std::uintptr_t at = address; at < address + bytes;) {
    Mapping mapping;
    if (!engine->mappings.find(at, mapping)) return -ENOMEM;
    const std::size_t part = std::min<std::uintptr_t>(mapping.last, address + bytes - 1) - at + 1;
    if (mapping.anonymous && !mapping.shared) {
      if (!pinned_memory()->move_aside(at, part)) return -EINVAL;
      void* place = reinterpret_cast<void*>(at);
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
      if (::mmap(place, part, mapping.prot, flags, -1, 0) == MAP_FAILED) return -errno;
    }
    at += part;
  }
  mappings_changed();
  return 0;
}

long call_madvise(std::uintptr_t address, std::size_t bytes, int advice) {
  if (bytes == 0 || address + (bytes - 1) < address) return SOFTIOMMU_MADVISE_PASS;
  bytes = page_up(bytes);
  if (is_trapped(address, bytes) != 0) return 0;
  if (advice != MADV_DONTNEED && advice != MADV_FREE) return SOFTIOMMU_MADVISE_PASS;
  Memory* memory = pinned_memory();
  if (memory == nullptr || !memory->any_pinned(address, bytes)) return SOFTIOMMU_MADVISE_PASS;
  if (auto* watch = engine->memory_watch())
    watch->gave_up(address, bytes, advice == MADV_FREE ? "MADV_FREE" : "MADV_DONTNEED, or the end of the heap");
  return advice == MADV_FREE ? 0 : replace_by_zeroes(address, bytes);
}

long call_sigaction(int signal, const void* action, void* old) {
  return program_sigaction(signal, static_cast<const struct sigaction*>(action), static_cast<struct sigaction*>(old));
}

long keep_freed(std::uintptr_t block, std::size_t bytes) {
  auto* watch = engine->memory_watch();
  return watch != nullptr && bytes != 0 && watch->keep_freed(block, bytes) ? 1 : 0;
}

std::uintptr_t take_freed() {
  auto* watch = engine->memory_watch();
  return watch == nullptr ? 0 : watch->take_freed();
}

long device_reaches(std::uintptr_t block, std::size_t bytes) {
  Memory* memory = pinned_memory();
  return memory != nullptr && bytes != 0 && memory->any_pinned(block, bytes) ? 1 : 0;
}

void flush() {
  if (World* world = engine->current.load(std::memory_order_acquire)) world->flush();
}

bool on_fault(int signal, siginfo_t* info, ucontext_t* context) {
  const bool kernel_says = info->si_code > 0;
  if (kernel_says && signal == SIGSEGV && is_being_shared(reinterpret_cast<std::uint64_t>(info->si_addr))) return true;
  return handle_fault(engine->regions, signal, info, context);
}

void flush_at_exit() {
  ++shim_services->thread()->inside;
  flush();
  --shim_services->thread()->inside;
}

constexpr SoftiommuEngine calls = {
    SOFTIOMMU_ABI_VERSION, open_file,      call_ioctl,  call_read,    call_write,     call_close,        call_dup,
    call_replace,          get_flags,      set_flags,   describe,     call_poll,      call_mmap,         before_unmap,
    mappings_changed,      is_trapped,     call_mremap, call_madvise, call_sigaction, deliver_postponed, flush,
    adopt_handle,          spread_handles, depart,      keep_freed,   take_freed,     device_reaches,
};

}  // namespace

Result<World*> the_world() {
  if (World* present = engine->current.load(std::memory_order_acquire)) return present;
  const MutexLock lock(engine->world_mutex);
  if (engine->world == nullptr) {
    engine->world = TRY(make_world(shim_services->run_dir, engine->stacks));
    engine->account = PublishedAccount(engine->accounts(), ::getpid(), engine->program->locked());
    engine->current.store(engine->world.get(), std::memory_order_release);
  }
  return engine->world.get();
}

// free() of a large block and a trim of the heap unmap memory behind the shim's back: both are turned off (D5).
// The launcher sets the same by GLIBC_TUNABLES, so that it holds for blocks from before the first open, too.
void keep_heap() {
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

const SoftiommuEngine* start_engine(const SoftiommuShim* shim) {
  if (shim->version != SOFTIOMMU_ABI_VERSION) return nullptr;
  shim_services = shim;
  engine = new (std::nothrow) Engine;
  if (engine == nullptr) return nullptr;
  keep_heap();
  take_signals(on_fault);
  ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  std::atexit(flush_at_exit);
  return &calls;
}

}  // namespace softiommu::launch

extern "C" __attribute__((visibility("default"))) const SoftiommuEngine* softiommu_engine(const SoftiommuShim* shim) {
  return softiommu::launch::start_engine(shim);
}
