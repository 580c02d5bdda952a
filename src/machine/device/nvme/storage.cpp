// SPDX-License-Identifier: BSD-3-Clause
#include "machine/device/nvme/storage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/guarded_copy.h"
#include "base/types.h"

namespace softiommu {

namespace {

// A descriptor that does not outlive the function.
struct Opened {
  int descriptor;
  ~Opened() {
    if (descriptor >= 0) ::close(descriptor);
  }
};

// The bytes of the file, which is made if it is not there.
Result<std::uint64_t> size_of(int descriptor, std::uint64_t wanted) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return fail(errno, "the image cannot be examined");
  if (status.st_size != 0) return static_cast<std::uint64_t>(status.st_size);
  if (::ftruncate(descriptor, static_cast<off_t>(wanted)) != 0) return fail(errno, "the image cannot be made");
  return wanted;
}

}  // namespace

Result<std::unique_ptr<Storage>> Storage::open(const std::string& image, std::uint64_t bytes) {
  const bool is_file = !image.empty();
  const Opened file{is_file ? ::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1};
  if (is_file && file.descriptor < 0) return fail(errno, "the image cannot be opened");
  if (is_file) bytes = TRY(size_of(file.descriptor, bytes));
  if (bytes == 0) return fail(EINVAL, "the namespace is empty");
  const int flags = is_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const first = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file.descriptor, 0);
  if (first == MAP_FAILED) return fail(errno, "the image cannot be mapped");
  return std::unique_ptr<Storage>(new Storage(static_cast<std::byte*>(first), bytes, is_file));
}

Storage::~Storage() { ::munmap(first_, bytes_); }

bool Storage::read(std::uint64_t offset, std::span<std::byte> to) const {
  return guarded_copy(to.data(), first_ + offset, to.size());
}

bool Storage::write(std::uint64_t offset, std::span<const std::byte> from) {
  return guarded_copy(first_ + offset, from.data(), from.size());
}

bool Storage::zero(std::uint64_t offset, std::uint64_t bytes) {
  constexpr std::array<std::byte, kPageSize> kZeroes{};
  while (bytes != 0) {
    const std::uint64_t part = std::min(bytes, kPageSize);
    if (!write(offset, std::span(kZeroes).first(part))) return false;
    offset += part;
    bytes -= part;
  }
  return true;
}

bool Storage::deallocate(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t first = align_down(offset + kPageSize - 1, kPageSize),
                      end = align_down(offset + bytes, kPageSize);
  if (first >= end) return zero(offset, bytes);
  // A private mapping forgets its pages, a shared one punches a hole, where the file system can.
  if (::madvise(first_ + first, end - first, is_file_ ? MADV_REMOVE : MADV_DONTNEED) != 0) return zero(offset, bytes);
  return zero(offset, first - offset) && zero(end, offset + bytes - end);
}

bool Storage::flush() const { return !is_file_ || ::msync(first_, bytes_, MS_SYNC) == 0; }

}  // namespace softiommu
