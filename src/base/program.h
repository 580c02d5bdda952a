// SPDX-License-Identifier: BSD-3-Clause
// A program's memory, reached through one interface: this process (tests and the launcher's engine) or another.
//
// A bad address is EFAULT, never a crash: copies go through a guarded copy that turns a fault into an answer.
// Call with no lock held (the memory may be a trapped BAR, which is a device).
// Always in a shared_ptr: memory that it mapped for DMA outlives the call and the descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/file_mapping.h"
#include "base/memlock.h"
#include "base/result.h"
#include "base/types.h"

namespace softiommu {

// Where a piece of a program's memory is in this process.
struct ProgramMemory {
  // Ends an alias of another process's memory. Pages of it that are pinned then stay pinned.
  class Alias {
   public:
    virtual ~Alias() = default;
  };
  std::uint64_t address = 0;
  std::unique_ptr<Alias> alias;  // nullptr: it is this process's own memory
};

class Program : public std::enable_shared_from_this<Program> {
 public:
  virtual ~Program() = default;

  // Not every Program is a program: one may stand for whoever calls at the moment. Who that is; for the call.
  virtual Program& caller() { return *this; }
  // The same, to keep beyond the call.
  std::shared_ptr<Program> shared() { return caller().shared_from_this(); }
  // What it has pinned and locked, as /proc/PID/status shows it (VmPin, VmLck).
  LockedMemory& locked() { return locked_; }

  // Copies between us and the program. EFAULT: an address is not mapped or not accessible; part may be copied.
  virtual Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) = 0;
  virtual Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) = 0;

  // Is [user, user+bytes) memory that can be pinned for DMA (mapped; writable if `write`)? EFAULT otherwise.
  // Served from a cached view of the process's mappings: no system call in the common case.
  virtual Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) = 0;

  // The same, and where that memory is in this process, for pinning. EFAULT also: the process has ended.
  virtual Result<ProgramMemory> borrow(std::uint64_t user, std::uint64_t bytes, bool write) {
    TRY(check_pinnable(user, bytes, write));
    return ProgramMemory{user, nullptr};
  }
  // Where the machine has the registers that the program has mapped at [user, user+bytes), all by one mmap of a device.
  // EFAULT: that is memory or nothing, cannot be written (if `write`), or the device does not decode its memory.
  virtual Result<PhysAddr> registers_at(std::uint64_t /*user*/, std::uint64_t /*bytes*/, bool /*write*/) {
    return fail(EFAULT, "not a device's registers");
  }
  // The memory may be pinned by later calls, perhaps of other processes. Called in a call of the program itself.
  virtual void will_pin(std::uint64_t /*user*/, std::uint64_t /*bytes*/) {}

  // Puts `file` behind a new descriptor of the program (flags: O_CLOEXEC). EMFILE and others as on Linux.
  virtual Result<int> install(std::shared_ptr<class File> file, int flags) = 0;
  // Closes a descriptor that install() made for a call that failed after it.
  virtual void take_back(int descriptor) = 0;
  // The file of ours behind the program's descriptor; EBADF none; EINVAL: a descriptor, but not one of ours.
  virtual Result<std::shared_ptr<class File>> file_of(int descriptor) = 0;

  // Part of a memory file that the program has open, as memory that can be pinned. Errors: FileMapping::create; EINVAL
  // for files of ours.
  virtual Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) = 0;

  // A duplicate, owned by us, of the program's descriptor (an eventfd). EBADF; EINVAL: not an eventfd.
  virtual Result<int> take_eventfd(int descriptor) = 0;

 private:
  LockedMemory locked_;
};

}  // namespace softiommu
