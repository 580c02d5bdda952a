// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/fault.h"
#include "launch/engine/shim_services.h"

namespace softiommu::launch {
namespace {

// Free records, and the open files of this process. One lock: opens and last closes are seldom. Never destroyed.
struct Pool {
  Mutex ending;  // around a release that a closed handle asks for: one after the other, and before the other lock
  Mutex mutex;
  OpenFile* free_records GUARDED_BY(mutex) = nullptr;
  std::vector<OpenFile*> own GUARDED_BY(mutex);
  std::atomic<HandleWatch*> watch{nullptr};
  std::atomic<HandleTable*> table{nullptr};
};
Pool& pool = *new Pool;

constexpr int kLeastHidden = 512;

bool all_handles_closed(int peer) {
  pollfd ask = {peer, POLLIN, 0};
  return ::poll(&ask, 1, 0) == 1 && (ask.revents & POLLHUP) != 0;
}

OpenFile* take_record() {
  {
    const MutexLock lock(pool.mutex);
    if (pool.free_records != nullptr) {
      OpenFile* taken = pool.free_records;
      pool.free_records = taken->next_free;
      return taken;
    }
  }
  return new (std::nothrow) OpenFile;
}

bool is_watched() {
  const HandleWatch* watch = pool.watch.load(std::memory_order_acquire);
  return watch != nullptr && watch->running();
}

// Counts one more use. False: it is being closed.
bool revive_locked(OpenFile& open) REQUIRES(pool.mutex) {
  std::uint32_t count = open.references.load();
  while (count != 0 && !open.references.compare_exchange_weak(count, count + 1)) {
  }
  if (count != 0) return true;
  if (!open.orphan) return false;
  open.orphan = false;
  open.references.store(1);
  return true;
}

void mark_spread_locked(OpenFile& open, HandleTable* table) {
  open.spread = true;
  if (table != nullptr) table->add(open.inode);
}

}  // namespace

int OpenFile::shown_flags() const {
  constexpr int kLargeFile = 0100000;  // O_LARGEFILE, which libc defines as 0 here
  return flags.load() | kLargeFile;
}

void OpenFile::change_flags(int wanted) {
  constexpr int kChangeable = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;
  flags = (flags & ~kChangeable) | (wanted & kChangeable);
}

unsigned mode_of(dev_t number) {
  constexpr unsigned kOwnersAlone = 0600;
  return number != 0 ? S_IFCHR | kOwnersAlone : kOwnersAlone;
}

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
  open->orphan = open->spread = false;
  open->on_release = std::move(on_release);
  return open;
}

void Descriptors::publish(int fd, OpenFile* open) {
  slot(fd, true)->store(open, std::memory_order_release);
  set_bit(shim_services->owned, fd, true);
}

// The two ends; the record knows the one that stays.
Result<int> Descriptors::make_pair(std::shared_ptr<File> file, int flags, std::function<void()> on_release,
                                   OpenFile*& made) {
  TRY(fault::pass("program.descriptor", EMFILE));
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
  auto record = make_record(std::move(file), flags, std::move(on_release));
  if (!record) {
    ::close(ends[0]);
    close_hidden(peer);
    return std::unexpected(record.error());
  }
  struct stat status = {};
  ::fstat(ends[0], &status);
  made = *record;
  made->peer = peer;
  made->inode = status.st_ino;
  return ends[0];
}

Result<int> Descriptors::install(std::shared_ptr<File> file, int flags, std::function<void()> on_release) {
  OpenFile* open = nullptr;
  const int fd = TRY(make_pair(std::move(file), flags, std::move(on_release), open));
  if ((flags & O_CLOEXEC) == 0) ::fcntl(fd, F_SETFD, 0);
  open->references.store(1, std::memory_order_release);
  publish(fd, open);
  {
    const MutexLock lock(pool.mutex);
    pool.own.push_back(open);
  }
  if (is_watched()) pool.watch.load()->add(*open);
  return fd;
}

Result<int> Descriptors::make_handle(std::shared_ptr<File> file, int flags, HandleTable* table,
                                     std::function<void()> on_release) {
  OpenFile* open = nullptr;
  const int fd = TRY(make_pair(std::move(file), flags, std::move(on_release), open));
  {
    const MutexLock lock(pool.mutex);
    pool.own.push_back(open);
    open->orphan = true;
    mark_spread_locked(*open, table);
  }
  if (is_watched()) pool.watch.load()->add(*open);
  return fd;
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

// The service sees the last close elsewhere; what it has seen before the file became an orphan is looked at here.
void Descriptors::last_use_gone(OpenFile* open) {
  close_hidden(std::exchange(open->kept, -1));
  if (open->peer < 0 || all_handles_closed(open->peer)) {
    finish(open);
    return;
  }
  {
    const MutexLock lock(pool.mutex);
    open->orphan = true;
  }
  if (HandleWatch* watch = pool.watch.load()) watch->begin();
}

void Descriptors::finish(OpenFile* open) {
  if (open->peer >= 0) {
    if (is_watched()) pool.watch.load()->remove(*open);
    open->file->release();
    if (open->on_release) open->on_release();
    const MutexLock lock(pool.mutex);
    std::erase(pool.own, open);
    if (HandleTable* table = pool.table.load(); table != nullptr && open->spread) table->remove(open->inode);
  }
  open->file.reset();
  open->on_release = {};
  close_hidden(std::exchange(open->peer, -1));
  const MutexLock lock(pool.mutex);
  open->next_free = pool.free_records;
  pool.free_records = open;
}

// --- handles in several processes ----------------------------------------------------------------------------

void Descriptors::set_watch(HandleWatch* watch) { pool.watch.store(watch); }

std::vector<OpenFile*> Descriptors::own_list() {
  const MutexLock lock(pool.mutex);
  return pool.own;
}

template <typename Visit>
void Descriptors::each_slot(Visit&& visit) const {
  for (std::size_t chunk = 0; chunk < kChunks; ++chunk) {
    Chunk* present = chunks_[chunk].load(std::memory_order_acquire);
    for (std::size_t i = 0; present != nullptr && i < kChunk; ++i) {
      if ((*present)[i].load() != nullptr) visit(static_cast<int>(chunk * kChunk + i), (*present)[i]);
    }
  }
}

bool Descriptors::spread(HandleTable* table) {
  const MutexLock lock(pool.mutex);
  if (table != nullptr) pool.table.store(table);
  for (OpenFile* open : pool.own) mark_spread_locked(*open, table);
  return !pool.own.empty();
}

bool Descriptors::any_spread() const {
  const MutexLock lock(pool.mutex);
  return std::ranges::any_of(pool.own, &OpenFile::spread);
}

bool Descriptors::outlives_exec() const {
  if (any_spread()) return true;
  bool passed_on = false;
  each_slot([&](int fd, const std::atomic<OpenFile*>& place) {
    const OpenFile* open = place.load();
    passed_on = passed_on || (open != nullptr && open->peer >= 0 && (::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0);
  });
  return passed_on;
}

bool Descriptors::outlives_exit() {
  if (!any_spread()) return false;
  const std::vector<OpenFile*> own = own_list();
  each_slot([&](int fd, const std::atomic<OpenFile*>&) { ::close(fd); });
  for (OpenFile* open : own) close_hidden(std::exchange(open->kept, -1));
  return std::ranges::any_of(own, [](const OpenFile* open) { return !all_handles_closed(open->peer); });
}

Result<> Descriptors::adopt(int fd, int flags, const MakeRemote& remote) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0 || slot(fd, true) == nullptr) return fail(EBADF, "no such descriptor");
  {
    const MutexLock lock(pool.mutex);
    for (OpenFile* open : pool.own) {
      if (open->inode != status.st_ino) continue;
      if (!revive_locked(*open)) return fail(EBADF, "the file is being closed");
      publish(fd, open);
      return {};
    }
  }
  const int channel = hide_descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (channel < 0) return fail(EMFILE, "no descriptor is left");
  auto made = make_record(remote(channel), flags, {});
  if (!made) return std::unexpected(made.error());
  (*made)->inode = status.st_ino;
  (*made)->references.store(1, std::memory_order_release);
  publish(fd, *made);
  return {};
}

std::shared_ptr<File> Descriptors::own_file(std::uint64_t inode) const {
  const MutexLock lock(pool.mutex);
  const auto found = std::ranges::find(pool.own, inode, &OpenFile::inode);
  return found == pool.own.end() ? nullptr : (*found)->file;
}

Descriptors::Use Descriptors::use_for_service(OpenFile& open) {
  const MutexLock lock(pool.mutex);
  return revive_locked(open) ? Use(&open) : Use();
}

Descriptors::Use Descriptors::use_for_service(std::uint64_t inode) {
  const MutexLock lock(pool.mutex);
  const auto found = std::ranges::find(pool.own, inode, &OpenFile::inode);
  return found != pool.own.end() && revive_locked(**found) ? Use(*found) : Use();
}

// The event may be of a file that is closed by now, and whose record has another: that one's handles are open.
void Descriptors::hung_up(OpenFile& open) {
  const MutexLock one(pool.ending);
  {
    const MutexLock lock(pool.mutex);
    const bool present = std::ranges::find(pool.own, &open) != pool.own.end();
    if (!present || !all_handles_closed(open.peer)) return;
    if (!open.orphan) {  // a mapping of ours still holds it; 0: its last use is just going and sees the same
      if (open.references.load() != 0) pool.watch.load()->remove(open);
      return;
    }
    open.orphan = false;
  }
  finish(&open);
}

bool Descriptors::any_ending() {
  const MutexLock lock(pool.mutex);
  return std::ranges::any_of(pool.own, [](const OpenFile* open) { return open->references == 0 && !open->orphan; });
}

// One function takes the lock, another gives it back: beyond what the checker follows.
void Descriptors::lock_for_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { pool.mutex.lock(); }
void Descriptors::unlock_after_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { pool.mutex.unlock(); }

// The parent's File is kept, never released. Its end of each handle is closed here: else the handles would never
// learn that the parent has gone.
void Descriptors::become_child(const MakeRemote& remote) {
  pool.ending.reset();
  std::vector<OpenFile*> own;
  {
    const MutexLock lock(pool.mutex);
    own.swap(pool.own);
  }
  each_slot([&](int fd, const std::atomic<OpenFile*>& place) {
    OpenFile* open = place.load();
    if (open->peer >= 0 && open->kept < 0) open->kept = hide_descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  });
  for (OpenFile* open : own) {
    close_hidden(std::exchange(open->peer, -1));
    new std::shared_ptr<File>(std::move(open->file));
    open->file = remote(std::exchange(open->kept, -1));
    open->on_release = {};
    open->orphan = false;
  }
}

void Descriptors::become_keeper() {
  each_slot([](int fd, std::atomic<OpenFile*>& place) {
    set_bit(shim_services->owned, fd, false);
    place.store(nullptr);
  });
  const MutexLock lock(pool.mutex);
  for (OpenFile* open : pool.own) {
    close_hidden(std::exchange(open->kept, -1));
    open->references.store(0);
    open->orphan = true;
  }
}

}  // namespace softiommu::launch
