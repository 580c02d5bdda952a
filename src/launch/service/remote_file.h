// SPDX-License-Identifier: BSD-3-Clause
// A file of another process of the run: each call goes over its handle to the owner, and waits for the answer. While it
// waits, it gives the owner what that asks for: bytes of this program, its descriptors.
//
// The owner is gone (it was killed): ENODEV.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "base/file.h"
#include "base/program.h"
#include "launch/engine/descriptors.h"
#include "launch/service/wire.h"
#include "machine/mmio.h"

namespace softiommu::launch {

// What of this process a served call reaches.
struct ServedProgram {
  Program& memory;
  Descriptors& descriptors;
  // Turns private memory into a memory file that is mapped in its place; the file, to be closed by the caller.
  Result<int> (*share)(std::uint64_t user, std::uint64_t bytes);
};

class RemoteFile : public File {
 public:
  // `channel`: a hidden duplicate of the handle, closed at the end.
  RemoteFile(int channel, ServedProgram& program) : channel_(channel), program_(program), bar_(*this) {}
  ~RemoteFile() override;
  RemoteFile(const RemoteFile&) = delete;
  RemoteFile& operator=(const RemoteFile&) = delete;

  std::string path() const override { return describe().path; }
  dev_t device_number() const override { return describe().number; }
  long ioctl(unsigned int command, std::uint64_t argument) override;
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t offset) override;
  ssize_t pwrite(std::uint64_t user, std::size_t bytes, off_t offset) override;
  int mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) override;
  short poll() override;

  struct Description {
    dev_t number = 0;
    int flags = 0;
    std::string path;
    bool reached = false;  // false: the owner is gone
  };
  Description describe() const;

  // BARs, by their offset in the file. What the owner cannot answer any more reads as ones.
  MmioRegion& bars() { return bar_; }
  // As MmapPlan::enabled. One bit of the device for all its BARs, so that the owner is asked about any that is mapped.
  static bool bars_enabled(const void* file);
  void has_bar_at(std::uint64_t offset) { some_bar_.store(offset); }

 protected:
  using Arguments = std::array<std::uint64_t, 4>;
  // The owner's answer, -ENODEV without one. `told` gets its values and a descriptor, `text` its bytes.
  virtual long call(Verb verb, const Arguments& arguments, Packet* told = nullptr, std::string* text = nullptr) const;
  int channel() const { return channel_; }
  // What the owner says on the reply socket, up to the call's answer; what it asks meanwhile is given.
  long answers(int socket, Packet* told, std::string* text) const;
  // False: the owner cannot be reached.
  virtual bool give(int socket, const Packet& asked, std::span<const std::byte> bytes) const;

 private:
  class Bar final : public MmioRegion {
   public:
    explicit Bar(RemoteFile& file) : file_(file) {}
    std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

   private:
    RemoteFile& file_;
  };

  const int channel_;
  ServedProgram& program_;
  Bar bar_;
  std::atomic<std::uint64_t> some_bar_{0};
};

// After fork in the child: reply sockets are shared with the parent, new ones are made.
void forget_reply_sockets();

}  // namespace softiommu::launch
