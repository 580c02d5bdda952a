// SPDX-License-Identifier: BSD-3-Clause
#include "core/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "base/fault.h"

namespace softiommu {

namespace {

// Out of the way of descriptors that a program numbers itself.
constexpr int kLeastDescriptor = 512;

int move_up(int descriptor) {
  const int high = ::fcntl(descriptor, F_DUPFD_CLOEXEC, kLeastDescriptor);
  if (high < 0) return descriptor;
  ::close(descriptor);
  return high;
}

}  // namespace

Result<std::shared_ptr<SharedMemory>> SharedMemory::create(std::uint64_t bytes) {
  TRY(fault::pass("core.shared_memory"));
  int descriptor = ::memfd_create("softiommu", MFD_CLOEXEC);
  if (descriptor < 0) return fail(errno, "no memory file can be made");
  descriptor = move_up(descriptor);
  void* memory = MAP_FAILED;
  if (::ftruncate(descriptor, static_cast<off_t>(bytes)) == 0)
    memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) {
    ::close(descriptor);
    return fail(ENOMEM, "no memory to share");
  }
  auto* const made = new (std::nothrow) SharedMemory(descriptor, static_cast<std::byte*>(memory), bytes);
  if (made == nullptr) {
    ::munmap(memory, bytes);
    ::close(descriptor);
    return fail(ENOMEM, "memory for the record");
  }
  return without_throwing([&]() -> Result<std::shared_ptr<SharedMemory>> {
    return std::shared_ptr<SharedMemory>(made);  // deletes it where it throws
  });
}

SharedMemory::~SharedMemory() {
  ::munmap(data_, bytes_);
  ::close(descriptor_);
}

}  // namespace softiommu
