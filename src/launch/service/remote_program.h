// SPDX-License-Identifier: BSD-3-Clause
// Another process of the run, whose calls are served here: its memory, its descriptors, the memory that it maps for
// DMA.
//
// Memory is copied by process_vm_readv and process_vm_writev; where the host forbids them (Yama, a seccomp filter) and
// for memory that is a device's, the process is asked, while its thread waits in a call. Memory for DMA is mapped here
// too (an alias): what several processes share by the object behind it, private memory after the process has
// turned it into a memory file. Who the process is, is said by an open /proc/PID/maps: it belongs to one address
// space, and is empty after exit and exec.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/program.h"
#include "launch/engine/mappings.h"
#include "launch/service/accounts.h"
#include "launch/service/wire.h"

namespace softiommu {
class Memory;
}

namespace softiommu::launch {

// What the owner's side of a served call needs of its process.
struct Owner {
  // A handle of a new open file, to be sent.
  virtual Result<int> make_handle(std::shared_ptr<File> file, int flags) = 0;
  virtual std::shared_ptr<File> file_of_handle(std::uint64_t inode) = 0;
  virtual Memory* memory() = 0;
  virtual AccountTable* accounts() = 0;
  virtual ~Owner() = default;
};

// Part of what stands behind a shared mapping.
struct ObjectPart {
  dev_t device;
  ino_t inode;
  std::uint64_t offset, bytes;
  bool write;
};

class RemoteProgram : public Program {
 public:
  // ESRCH: the process has ended; EACCES: it may not be looked at.
  static Result<std::shared_ptr<RemoteProgram>> create(pid_t pid, Owner& owner);
  ~RemoteProgram() override;

  pid_t pid() const { return pid_; }
  bool alive() const;

  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override;
  Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) override;
  Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<ProgramMemory> borrow(std::uint64_t user, std::uint64_t bytes, bool write) override;
  void will_pin(std::uint64_t user, std::uint64_t bytes) override;
  Result<int> install(std::shared_ptr<File> file, int flags) override;
  void take_back(int descriptor) override;
  Result<std::shared_ptr<File>> file_of(int descriptor) override;
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) override;
  Result<int> take_eventfd(int descriptor) override;

  // This thread serves a call of the program, which answers on `socket`, as long as this lives.
  class Conversation {
   public:
    Conversation(RemoteProgram& program, int socket);
    ~Conversation();
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;
  };

 protected:
  // `maps`: of open_maps().
  RemoteProgram(pid_t pid, int maps, Owner& owner)
      : pid_(pid), maps_(maps), owner_(owner), account_(owner.accounts(), pid, locked()) {}
  static Result<int> open_maps(pid_t pid);
  std::string maps_text() const;

  // The answer to a question. EFAULT: the program is not in a call, or does not answer in time.
  virtual Result<Packet> ask(Packet question, std::span<const std::byte> bytes = {}, std::span<std::byte> room = {});

 private:
  // Its mappings, which cover the range with this access. EFAULT.
  Result<std::vector<Mapping>> covering(std::uint64_t first, std::uint64_t last, bool write) const;
  // Private mappings of the range become memory files, if the program can be asked; true: one did.
  bool share_private(const std::vector<Mapping>& lines, std::uint64_t first, std::uint64_t last);
  // What the program has unmapped since, and the memory with it, is the host's again.
  void forget_unmapped_files();
  // Puts what `line` shows of [first, last] at `place` in this process.
  Result<> map_alias(const Mapping& line, std::uint64_t first, std::uint64_t last, std::uint64_t place, bool write);
  int open_directly(const Mapping& line, const ObjectPart& part) const;
  int open_through_descriptors(const ObjectPart& part) const;

  const pid_t pid_;
  const int maps_;  // hidden
  Owner& owner_;
  const PublishedAccount account_;
  mutable Mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, int> files_ GUARDED_BY(mutex_);  // memory files that it made for us, hidden
};

}  // namespace softiommu::launch
