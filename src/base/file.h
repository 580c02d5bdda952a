// SPDX-License-Identifier: BSD-3-Clause
// What stands behind one descriptor of a program: the kernel's struct file, as softiommu's files need it.
//
// vfio/ and iommufd/ implement it; launch/ maps descriptors to it. Calls answer as the system calls do: a
// result >= 0, or a negative errno. None throws. `user` addresses are the program's: never dereferenced
// directly, only through its Program (base/program.h).
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/types.h"

namespace softiommu {

class MmioRegion;
class File;

// How launch/ has to serve an mmap of a file.
struct MmapPlan {
  enum class Kind : std::uint8_t {
    trap,    // inaccessible pages; each access becomes a read or write of `registers` at `offset`
    memory,  // share `descriptor` at `offset` (an iommufd page, a dirty ring)
  };
  Kind kind = Kind::trap;
  MmioRegion* registers = nullptr;
  std::uint64_t offset = 0;
  std::optional<PhysAddr> physical;  // trap: where the machine of this process has the registers
  int descriptor = -1;
  // trap: asked before each access; false (a BAR whose memory decode is off) is SIGBUS. nullptr: always enabled.
  bool (*enabled)(const void* context) = nullptr;
  const void* enabled_context = nullptr;
  std::shared_ptr<void> keeps_alive;  // a mapping holds its file, as on Linux, or whatever else it needs
};

class File {
 public:
  virtual ~File() = default;
  // The path that readlink of /proc/self/fd/N shows ("/dev/vfio/vfio", "anon_inode:[vfio-device]").
  virtual std::string path() const = 0;
  // For fstat: the character device number, or 0 for an anonymous inode.
  virtual dev_t device_number() const { return 0; }

  virtual long ioctl(unsigned int command, std::uint64_t argument) = 0;
  // Do read and write move a position, and take pread and pwrite one? Where not, the offset is always 0.
  virtual bool has_position() const { return true; }
  virtual ssize_t pread(std::uint64_t /*user*/, std::size_t /*bytes*/, off_t /*offset*/) { return -EINVAL; }
  virtual ssize_t pwrite(std::uint64_t /*user*/, std::size_t /*bytes*/, off_t /*offset*/) { return -EINVAL; }
  virtual int mmap(std::uint64_t /*offset*/, std::uint64_t /*bytes*/, int /*prot*/, int /*flags*/, MmapPlan& /*out*/) {
    return -ENODEV;
  }
  // poll(2) events that are ready now.
  virtual short poll() { return 0x145 /* POLLIN|POLLOUT|POLLRDNORM|POLLWRNORM, a file without a poll method */; }
  // The last descriptor is gone (before the destructor; mappings may still hold the object).
  virtual void release() {}
};

}  // namespace softiommu
