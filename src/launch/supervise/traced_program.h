// SPDX-License-Identifier: BSD-3-Clause
// A supervised process as a Program: one more kind of served caller.
//
// It differs from any other process of the run in who answers: what service/ asks a program that waits in its call
// (hand over a descriptor, take one, turn private memory into a memory file) is done here by calls that its stopped
// thread makes.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <vector>

#include "launch/service/remote_program.h"
#include "launch/supervise/tracee.h"
#include "launch/trap/bus.h"
#include "launch/trap/regions.h"

namespace softiommu::launch {

// Who can keep the other threads of an address space from running, while memory moves under them.
class Bystanders {
 public:
  // Until the present call is over.
  virtual void stop_others(const Tracee& thread) = 0;

 protected:
  ~Bystanders() = default;
};

// An address space: shared by a process's threads, and by a child of vfork until it execs.
struct Space {
  TrapRegions regions;
  std::vector<std::uint32_t> windows;  // upper halves of addresses outside of kBarWindow with BARs
  std::uint64_t next_bar;              // where the next one is put
  bool sees_low_handles = false;       // low_handle_filter() is in force
  bool has_call_page = false;

  // The file of private memory that was moved into it: a child of fork gets a private copy again. Where it is mapped
  // and with what access, only the kernel knows: the program unmaps, moves and protects parts of it.
  struct Moved {
    int file;  // hidden
    dev_t device;
    ino_t inode;
  };
  std::vector<Moved> moved;
  Bystanders& others;

  explicit Space(Bystanders& bystanders);
  ~Space();
  // A thread lives in it, and does no more; that one's scratch memory (0: none) is another's. With the last thread its
  // mappings end, whoever still knows the program.
  void enter() { ++threads_; }
  void leave(std::uint64_t scratch);
  // One that nobody has any more; 0: there is none.
  std::uint64_t take_scratch();
  // Files that none of the process's mappings has any more are closed.
  void forget_unmapped(const std::vector<Mapping>& mappings);
  // Of the same content, for a child of fork.
  Result<> copy_from(const Space& parent);

 private:
  std::vector<std::uint64_t> free_scratch_;
  unsigned threads_ = 0;
};

class TracedProgram final : public RemoteProgram, public PlainMemory {
 public:
  // ESRCH: it has ended; EACCES: it may not be looked at; EMFILE.
  static Result<std::shared_ptr<TracedProgram>> create(pid_t process, Owner& owner, std::shared_ptr<Space> space);
  ~TracedProgram() override;

  bool filtered = false;  // it has filters of its own: they stay over exec

  Space& space() const { return *space_; }
  const std::shared_ptr<Space>& shared_space() const { return space_; }
  // The shim is in it: it needs no help.
  bool entered() const { return entered_; }
  void set_entered() { entered_ = true; }

  Result<PhysAddr> registers_at(std::uint64_t user, std::uint64_t bytes, bool write) override {
    return space_->regions.physical_at(user, bytes, write);
  }

  // A duplicate of its descriptor. EBADF.
  Result<int> take(int descriptor) const;
  // What fstat says of it. EBADF.
  Result<struct stat> status_of(int descriptor) const;
  // Puts a duplicate of ours among its handles; made by the thread that is served.
  // EMFILE: it has no room for one more; EFAULT: no thread is served, or its memory cannot be reached. ESRCH.
  Result<int> give(int descriptor, int flags);
  // A child that has just been forked from this process gets private copies of what was moved here.
  void make_private(Tracee& child);
  // Where moved memory is mapped in [first, last] now, cut to that range.
  struct MovedPart {
    Mapping line;
    int file;
  };
  std::vector<MovedPart> moved_parts(std::uint64_t first, std::uint64_t last);

  // Its memory, without a question. As many bytes as can be had, from the first on.
  std::size_t peek(std::uint64_t from, void* to, std::size_t bytes) const;
  bool poke(std::uint64_t to, const void* from, std::size_t bytes) const;
  bool read(std::uintptr_t from, void* to, std::size_t bytes) override { return peek(from, to, bytes) == bytes; }
  bool write(std::uintptr_t to, const void* from, std::size_t bytes) override { return poke(to, from, bytes); }

  // `thread` makes the calls that a served call needs as long as this lives.
  class Serving {
   public:
    explicit Serving(Tracee& thread) : program_(thread.program()) { program_.thread_ = &thread; }
    ~Serving() { program_.thread_ = nullptr; }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

   private:
    TracedProgram& program_;
  };

  // Public here: what another process asks about a file of its own that this program uses is answered in the same way.
  Result<Packet> ask(Packet question, std::span<const std::byte> bytes, std::span<std::byte> room) override;

 private:
  TracedProgram(pid_t process, int maps, int pidfd, Owner& owner, std::shared_ptr<Space> space)
      : RemoteProgram(process, maps, owner), pidfd_(pidfd), space_(std::move(space)) {}
  Result<Packet> share(std::uint64_t first, std::uint64_t bytes);
  Result<> move(const Mapping& line, std::uint64_t first, std::uint64_t bytes, int file);
  Result<int> receive(int socket, int flags);

  const int pidfd_;
  const std::shared_ptr<Space> space_;
  Tracee* thread_ = nullptr;
  bool entered_ = false;
};

}  // namespace softiommu::launch
