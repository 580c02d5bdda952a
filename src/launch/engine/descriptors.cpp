// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "launch/engine/shim_services.h"

namespace softiommu::launch {
namespace {

// Free records and files that only other processes hold. Guarded by one lock: opens and last closes are seldom.
Mutex pool_mutex;
OpenFile* free_records GUARDED_BY(pool_mutex) = nullptr;
std::vector<OpenFile*> orphans GUARDED_BY(pool_mutex);
bool reaper_runs GUARDED_BY(pool_mutex) = false;

constexpr int kLeastHidden = 512;
constexpr int kReapMilliseconds = 20;

bool all_handles_closed(int peer) {
  pollfd ask = {peer, POLLIN, 0};
  return ::poll(&ask, 1, 0) == 1 && (ask.revents & POLLHUP) != 0;
}

OpenFile* take_record() {
  {
    const MutexLock lock(pool_mutex);
    if (free_records != nullptr) {
      OpenFile* taken = free_records;
      free_records = taken->next_free;
      return taken;
    }
  }
  return new (std::nothrow) OpenFile;
}

// Runs while there are files that only other processes hold: releases each when the last of them closes it.
void reap_orphans(void (*finish)(OpenFile*)) {
  for (;;) {
    pollfd nothing = {-1, 0, 0};
    ::poll(&nothing, 1, kReapMilliseconds);
    std::vector<OpenFile*> closed;
    bool last = false;
    {
      const MutexLock lock(pool_mutex);
      const auto gone = std::ranges::partition(orphans, [](OpenFile* o) { return !all_handles_closed(o->peer); });
      closed.assign(gone.begin(), gone.end());
      orphans.erase(gone.begin(), gone.end());
      last = orphans.empty();
      if (last) reaper_runs = false;
    }
    for (OpenFile* open : closed) finish(open);
    if (last) return;
  }
}

}  // namespace

int hide_descriptor(int fd) {
  int high = ::fcntl(fd, F_DUPFD_CLOEXEC, kLeastHidden);
  if (high < 0) high = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);  // a small RLIMIT_NOFILE
  ::close(fd);
  if (high >= 0 && static_cast<unsigned>(high) < SOFTIOMMU_MAX_DESCRIPTORS) set_bit(shim_services->hidden, high, true);
  return high;
}

void close_hidden(int fd) {
  if (fd < 0) return;
  set_bit(shim_services->hidden, fd, false);
  ::close(fd);
}

Descriptors::Descriptors() = default;
Descriptors::~Descriptors() {
  for (auto& chunk : chunks_) delete chunk.load();
}

std::shared_ptr<void> Descriptors::Use::share() const {
  open_->references.fetch_add(1, std::memory_order_relaxed);
  return {open_, [](OpenFile* open) { drop(open); }};
}

std::atomic<OpenFile*>* Descriptors::slot(int fd, bool make) const {
  if (static_cast<unsigned>(fd) >= SOFTIOMMU_MAX_DESCRIPTORS) return nullptr;
  std::atomic<Chunk*>& place = chunks_[static_cast<std::size_t>(fd) / kChunk];
  Chunk* chunk = place.load(std::memory_order_acquire);
  if (chunk == nullptr && make) {
    auto* fresh = new (std::nothrow) Chunk{};
    if (fresh == nullptr) return nullptr;
    if (place.compare_exchange_strong(chunk, fresh, std::memory_order_acq_rel)) {
      chunk = fresh;
    } else {
      delete fresh;
    }
  }
  return chunk == nullptr ? nullptr : &(*chunk)[static_cast<std::size_t>(fd) % kChunk];
}

Result<OpenFile*> Descriptors::make_record(std::shared_ptr<File> file, int flags, std::function<void()> on_release) {
  OpenFile* open = take_record();
  if (open == nullptr) return fail(ENOMEM, "no memory for an open file");
  constexpr int kCreation = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;
  open->file = std::move(file);
  open->flags = flags & ~kCreation;
  open->position = 0;
  open->foreign = false;
  open->on_release = std::move(on_release);
  return open;
}

void Descriptors::publish(int fd, OpenFile* open) {
  slot(fd, true)->store(open, std::memory_order_release);
  set_bit(shim_services->owned, fd, true);
}

Result<int> Descriptors::install(std::shared_ptr<File> file, int flags, std::function<void()> on_release) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(errno, "no descriptor is left");
  }
  const int peer = hide_descriptor(ends[1]);
  if (peer < 0 || slot(ends[0], true) == nullptr) {
    ::close(ends[0]);
    close_hidden(peer);
    return fail(EMFILE, "no descriptor is left");
  }
  auto made = make_record(std::move(file), flags, std::move(on_release));
  if (!made) {
    ::close(ends[0]);
    close_hidden(peer);
    return std::unexpected(made.error());
  }
  if ((flags & O_CLOEXEC) == 0) ::fcntl(ends[0], F_SETFD, 0);
  struct stat status = {};
  ::fstat(ends[0], &status);
  OpenFile* open = *made;
  open->peer = peer;
  open->inode = status.st_ino;
  open->references.store(1, std::memory_order_release);
  publish(ends[0], open);
  return ends[0];
}

long Descriptors::duplicate(int fd, int least, int replaced, int flags) {
  Use use = find(fd);
  if (!use) return -EBADF;
  const int command = (flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD;
  const long made = replaced >= 0 ? replace(fd, replaced, flags) : ::fcntl(fd, command, least);
  if (made < 0) return replaced >= 0 ? made : -errno;
  if (slot(static_cast<int>(made), true) == nullptr) {
    ::close(static_cast<int>(made));
    return -EMFILE;
  }
  use->references.fetch_add(1, std::memory_order_relaxed);
  publish(static_cast<int>(made), use.get());
  return made;
}

// Out of the table; the caller has its reference. nullptr: not ours.
OpenFile* Descriptors::withdraw(int fd) {
  std::atomic<OpenFile*>* place = slot(fd, false);
  OpenFile* open = place == nullptr ? nullptr : place->exchange(nullptr, std::memory_order_acq_rel);
  if (open != nullptr) set_bit(shim_services->owned, fd, false);
  return open;
}

// Both: out of the table before the number means another file, and the reference dropped after the descriptor is
// closed, because the last drop looks at what handles are left.
long Descriptors::replace(int from, int fd, int flags) {
  if (::fcntl(from, F_GETFD) < 0) return -EBADF;
  OpenFile* open = withdraw(fd);
  const long made = ::dup3(from, fd, flags & O_CLOEXEC);
  const long result = made < 0 ? -errno : made;
  if (open == nullptr) return result;
  if (made < 0) {
    publish(fd, open);
  } else {
    drop(open);
  }
  return result;
}

long Descriptors::close(int fd) {
  OpenFile* open = withdraw(fd);
  if (open == nullptr) return -EBADF;
  const long result = ::close(fd) == 0 ? 0 : -errno;
  drop(open);
  return result;
}

void Descriptors::last_use_gone(OpenFile* open) {
  if (open->foreign || open->peer < 0 || all_handles_closed(open->peer)) {
    finish(open);
    return;
  }
  const MutexLock lock(pool_mutex);
  orphans.push_back(open);
  if (reaper_runs) return;
  reaper_runs = true;
  std::thread(reap_orphans, &Descriptors::finish).detach();
}

void Descriptors::finish(OpenFile* open) {
  if (!open->foreign) {
    open->file->release();
    if (open->on_release) open->on_release();
  }
  open->file.reset();
  open->on_release = {};
  close_hidden(open->peer);
  open->peer = -1;
  const MutexLock lock(pool_mutex);
  open->next_free = free_records;
  free_records = open;
}

void Descriptors::become_child() {
  pool_mutex.reset();
  {
    const MutexLock lock(pool_mutex);
    orphans.clear();  // the parent reaps them
    reaper_runs = false;
  }
  for (auto& chunk : chunks_) {
    Chunk* present = chunk.load();
    for (std::size_t i = 0; present != nullptr && i < kChunk; ++i) {
      OpenFile* open = (*present)[i].load();
      if (open == nullptr || open->foreign) continue;
      open->foreign = true;
      close_hidden(open->peer);  // else the parent's handles would never see the last close
      open->peer = -1;
      new std::shared_ptr<File>(std::move(open->file));  // kept, never released: it is the parent's
    }
  }
}

}  // namespace softiommu::launch
