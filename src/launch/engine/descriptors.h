// SPDX-License-Identifier: BSD-3-Clause
// From descriptor to open file, as the kernel's table: look-ups take no lock.
//
// Several descriptors may name one open file (dup); a call that is under way and each BAR mapping hold it too. When
// the last of them is gone, File::release() runs, unless another process still holds the handle (fork): then the
// file lives on until that process closes it. Records are never freed, only reused, so that a look-up that
// races with a close reads a record and not freed memory.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/mutex.h"
#include "base/result.h"
#include "launch/engine_abi.h"

namespace softiommu::launch {

struct OpenFile {
  std::atomic<std::uint32_t> references{0};  // 0: free, or about to be
  std::shared_ptr<File> file;
  std::atomic<int> flags{0};  // of open: access mode and status flags
  std::atomic<off_t> position{0};
  int peer = -1;  // the other end of the handle: end of file when all handles are closed
  std::uint64_t inode = 0;
  bool foreign = false;  // opened by the parent before fork: served there, ENODEV here
  std::function<void()> on_release;
  OpenFile* next_free = nullptr;
};

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
  // The child after fork: every open file is the parent's.
  void become_child();

 private:
  static constexpr std::size_t kChunk = 1024, kChunks = SOFTIOMMU_MAX_DESCRIPTORS / kChunk;
  using Chunk = std::array<std::atomic<OpenFile*>, kChunk>;

  std::atomic<OpenFile*>* slot(int fd, bool make) const;
  Result<OpenFile*> make_record(std::shared_ptr<File> file, int flags, std::function<void()> on_release);
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
