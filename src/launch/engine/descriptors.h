// SPDX-License-Identifier: BSD-3-Clause
// From descriptor to open file, as the kernel's table: look-ups take no lock.
//
// Several descriptors may name one open file (dup); a call that is under way and each BAR mapping hold it too. When
// the last of them is gone, File::release() runs, unless another process still holds the handle (fork, exec,
// SCM_RIGHTS): then the file is an orphan and lives on until that process closes it. A file of another process is a
// record like any other, whose File sends each call to its owner. Records are never freed, only reused, so that
// a look-up that races with a close reads a record and not freed memory.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/result.h"
#include "launch/engine_abi.h"
#include "launch/service/handle_table.h"

namespace softiommu::launch {

// Who looks after handles that other processes may hold: the service.
class HandleWatch {
 public:
  virtual ~HandleWatch() = default;
  virtual void begin() = 0;  // from now on; again is nothing
  virtual bool running() const = 0;
  virtual void add(struct OpenFile& open) = 0;
  virtual void remove(struct OpenFile& open) = 0;
};

struct OpenFile {
  std::atomic<std::uint32_t> references{0};  // 0: free, or about to be
  std::shared_ptr<File> file;
  std::atomic<int> flags{0};  // of open: access mode and status flags
  std::atomic<off_t> position{0};
  int peer = -1;  // the other end of the handle: end of file when all handles are closed. -1: another process has it
  int kept = -1;  // a handle of the engine's own, while BARs of it are mapped: a child of fork reaches the owner by it
  std::uint64_t inode = 0;
  bool orphan = false;  // only other processes hold it; the pool's lock guards this and the next
  bool spread = false;  // another process may hold it
  std::function<void()> on_release;
  OpenFile* next_free = nullptr;

  // fcntl(2): F_GETFL and F_SETFL.
  int shown_flags() const;
  void change_flags(int wanted);
};

// What stat says of a file with this device_number(): a character device, or an anonymous inode, which has no type.
unsigned mode_of(dev_t number);

class Descriptors {
 public:
  Descriptors();
  ~Descriptors();
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  // A counted use of an open file; empty if the descriptor is not ours.
  class Use {
   public:
    Use() = default;
    explicit Use(OpenFile* open) : open_(open) {}
    Use(Use&& other) noexcept : open_(std::exchange(other.open_, nullptr)) {}
    Use& operator=(Use&& other) noexcept {
      std::swap(open_, other.open_);
      return *this;
    }
    ~Use() {
      if (open_ != nullptr) drop(open_);
    }
    explicit operator bool() const { return open_ != nullptr; }
    OpenFile* operator->() const { return open_; }
    OpenFile* get() const { return open_; }
    // One more use, to be kept by a mapping.
    std::shared_ptr<void> share() const;

   private:
    OpenFile* open_ = nullptr;
  };

  Use find(int fd) const {
    if (static_cast<unsigned>(fd) >= SOFTIOMMU_MAX_DESCRIPTORS) return {};
    const Chunk* const chunk = chunks_[static_cast<unsigned>(fd) / kChunk].load(std::memory_order_acquire);
    if (chunk == nullptr) return {};
    const std::atomic<OpenFile*>& place = (*chunk)[static_cast<unsigned>(fd) % kChunk];
    for (;;) {
      OpenFile* const open = place.load(std::memory_order_acquire);
      if (open == nullptr) return {};
      std::uint32_t count = open->references.load(std::memory_order_relaxed);
      while (count != 0 && !open->references.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) {
      }
      if (count == 0) continue;  // the last close is under way: the slot is about to change
      if (place.load(std::memory_order_acquire) == open) return Use(open);
      drop(open);
    }
  }
  // A new descriptor for a new open file. EMFILE, ENFILE, ENOMEM.
  Result<int> install(std::shared_ptr<File> file, int flags, std::function<void()> on_release = {});
  // fcntl(F_DUPFD, least) or dup3(fd, replace, flags): the kernel's answer.
  long duplicate(int fd, int least, int replace, int flags);
  long close(int fd);
  // dup3(from, fd, flags) where `from` may be any descriptor; a handle at `fd` is closed by it.
  long replace(int from, int fd, int flags);

  // --- handles in several processes
  void set_watch(HandleWatch* watch);
  // Every open file of ours may from now on be held by other processes, which know its handle by `table` (may be
  // nullptr). False: there is none, and nothing to do.
  bool spread(HandleTable* table);
  bool any_spread() const;
  // Is an open file of ours perhaps held by another process, or would exec pass a descriptor on?
  bool outlives_exec() const;
  // Is a descriptor of one held by another process? Closes all of ours: for the end of the process.
  bool outlives_exit();
  // A new open file of ours without a descriptor here; the result is the handle, to be sent and closed.
  Result<int> make_handle(std::shared_ptr<File> file, int flags, HandleTable* table,
                          std::function<void()> on_release = {});
  // Puts a file behind a descriptor that is a handle: `remote` makes it (from a hidden duplicate), if the handle is not
  // one of ours that came back.
  using MakeRemote = std::function<std::shared_ptr<File>(int channel)>;
  Result<> adopt(int fd, int flags, const MakeRemote& remote);
  // One of ours by its handle's inode.
  std::shared_ptr<File> own_file(std::uint64_t inode) const;
  // A use of one of ours for a call from another process; empty if it is being closed, or not ours.
  static Use use_for_service(OpenFile& open);
  static Use use_for_service(std::uint64_t inode);
  // All handles of it are closed: an orphan is released.
  static void hung_up(OpenFile& open);
  // Is another thread just releasing one of ours?
  static bool any_ending();
  // Calls visit(OpenFile&) for each of ours.
  template <typename Visit>
  void each_own(Visit&& visit) const {
    for (OpenFile* open : own_list()) visit(*open);
  }

  // Around fork: the lists must not be in the middle of a change.
  void lock_for_fork();
  void unlock_after_fork();
  // The child after fork: every open file of ours is the parent's from now on.
  void become_child(const MakeRemote& remote);
  // The keeper: descriptors are gone, every open file of ours is held by other processes only.
  void become_keeper();

 private:
  static constexpr std::size_t kChunk = 1024, kChunks = SOFTIOMMU_MAX_DESCRIPTORS / kChunk;
  using Chunk = std::array<std::atomic<OpenFile*>, kChunk>;

  std::atomic<OpenFile*>* slot(int fd, bool make) const;
  Result<OpenFile*> make_record(std::shared_ptr<File> file, int flags, std::function<void()> on_release);
  Result<int> make_pair(std::shared_ptr<File> file, int flags, std::function<void()> on_release, OpenFile*& made);
  static std::vector<OpenFile*> own_list();
  template <typename Visit>
  void each_slot(Visit&& visit) const;
  void publish(int fd, OpenFile* open);
  OpenFile* withdraw(int fd);
  static void drop(OpenFile* open) {
    if (open->references.fetch_sub(1, std::memory_order_acq_rel) == 1) [[unlikely]]
      last_use_gone(open);
  }
  static void last_use_gone(OpenFile* open);
  static void finish(OpenFile* open);

  mutable std::array<std::atomic<Chunk*>, kChunks> chunks_{};
};

}  // namespace softiommu::launch
