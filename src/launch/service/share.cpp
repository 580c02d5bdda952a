// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/share.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "base/guarded_copy.h"
#include "base/mutex.h"

namespace softiommu::launch {
namespace {

struct Range {
  std::uint64_t first, last;
  ino_t inode;
};

struct Shared {
  Mutex mutex;  // one range moves at a time
  std::vector<Range> ranges GUARDED_BY(mutex);
  std::atomic<std::uint64_t> moving_first{1}, moving_last{0};
};
Shared& shared = *new Shared;

constexpr std::uint64_t kPiece = 4096;

bool copy_pages(void* to, std::uint64_t from, std::uint64_t bytes) {
  for (std::uint64_t done = 0; done < bytes; done += kPiece) {
    if (!guarded_copy(static_cast<std::byte*>(to) + done, reinterpret_cast<const void*>(from + done), kPiece))
      return false;
  }
  return true;
}

// The content into the file, the file into the place of the memory.
Result<> exchange(int file, std::uint64_t user, std::uint64_t bytes, int prot) {
  void* const copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (copy == MAP_FAILED) return fail(ENOMEM, "the memory file cannot be mapped");
  void* const place = reinterpret_cast<void*>(user);
  shared.moving_first.store(user);
  shared.moving_last.store(user + (bytes - 1));
  Result<> done = fail(EFAULT, "the memory cannot be moved");
  if (::mprotect(place, bytes, prot & ~PROT_WRITE) == 0) {
    if (copy_pages(copy, user, bytes) && ::mmap(place, bytes, prot, MAP_SHARED | MAP_FIXED, file, 0) == place) {
      done = {};
    } else {
      ::mprotect(place, bytes, prot);
    }
  }
  shared.moving_last.store(0);
  shared.moving_first.store(1);
  ::munmap(copy, bytes);
  return done;
}

// A private copy in the place of a mapping that the parent has, too.
void make_private(const Mapping& line) {
  const std::uint64_t bytes = line.last + 1 - line.first;
  void* const copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED || !copy_pages(copy, line.first, bytes)) return;
  ::mprotect(copy, bytes, line.prot);
  ::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(line.first));
}

}  // namespace

Result<int> share_private_memory(Mappings& mappings, std::uint64_t user, std::uint64_t bytes) {
  return without_throwing([&]() -> Result<int> {
    Mapping mapping;
    if (user % kPiece != 0 || bytes % kPiece != 0 || bytes == 0 || !mappings.find(user, mapping) || mapping.shared ||
        mapping.last < user + (bytes - 1)) {
      return fail(EFAULT, "not one private mapping");
    }
    const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
    if (mapping.first <= here && here <= mapping.last && here < user + bytes)
      return fail(EFAULT, "the stack of the calling thread");
    const MutexLock lock(shared.mutex);
    shared.ranges.reserve(shared.ranges.size() + 1);
    const int file = ::memfd_create("softiommu", MFD_CLOEXEC);
    struct stat status{};
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0 || ::fstat(file, &status) != 0) {
      if (file >= 0) ::close(file);
      return fail(EMFILE, "no memory file");
    }
    if (const auto done = exchange(file, user, bytes, mapping.prot); !done) {
      ::close(file);
      return std::unexpected(done.error());
    }
    shared.ranges.push_back({user, user + (bytes - 1), status.st_ino});
    mappings.invalidate();
    return file;
  });
}

bool is_being_shared(std::uint64_t address) {
  if (address < shared.moving_first.load() || address > shared.moving_last.load()) return false;
  ::sched_yield();
  return true;
}

// One function takes the lock, another gives it back: beyond what the checker follows.
void lock_sharing_for_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { shared.mutex.lock(); }
void unlock_sharing_after_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { shared.mutex.unlock(); }

void unshare_in_child() {
  const MutexLock lock(shared.mutex);
  if (shared.ranges.empty()) return;
  const std::string text = own_maps();
  for (const Range& range : shared.ranges) {
    for (const Mapping& line : parse_mappings(text, range.first, range.last)) {
      if (line.shared && line.inode == range.inode) make_private(line);
    }
  }
  shared.ranges.clear();
}

}  // namespace softiommu::launch
