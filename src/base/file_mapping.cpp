// SPDX-License-Identifier: BSD-3-Clause
#include "base/file_mapping.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <new>

#include "base/types.h"

namespace softiommu {

Result<std::unique_ptr<FileMapping>> FileMapping::create(const FilePart& part) {
  struct statfs about{};
  struct stat file{};
  if (::fstat(part.descriptor, &file) != 0 || ::fstatfs(part.descriptor, &about) != 0)
    return fail(EBADF, "no such descriptor");
  if (!S_ISREG(file.st_mode)) return fail(EINVAL, "the descriptor is not a memory file");
  std::uint64_t page = kPageSize;
  if (about.f_type == HUGETLBFS_MAGIC) {
    page = static_cast<std::uint64_t>(about.f_bsize);
  } else if (about.f_type != TMPFS_MAGIC) {
    return fail(EINVAL, "the descriptor is not a memory file");
  }
  const auto size = static_cast<std::uint64_t>(file.st_size);
  if (part.start >= size || part.bytes > size - part.start) return fail(EINVAL, "the file is smaller");
  const std::uint64_t first = align_down(part.start, page);
  const std::uint64_t bytes = align_down(part.start + (part.bytes - 1), page) + page - first;
  const int prot = PROT_READ | (part.writable ? PROT_WRITE : 0);
  void* const memory = ::mmap(nullptr, bytes, prot, MAP_SHARED, part.descriptor, static_cast<off_t>(first));
  if (memory == MAP_FAILED) return fail(errno, "the file cannot be mapped");
  const std::uint64_t address = reinterpret_cast<std::uint64_t>(memory) + (part.start - first);
  std::unique_ptr<FileMapping> made(new (std::nothrow) FileMapping(memory, bytes, address));
  if (made == nullptr) {
    ::munmap(memory, bytes);
    return fail(ENOMEM, "memory for the mapping's record");
  }
  return made;
}

FileMapping::~FileMapping() { ::munmap(memory_, bytes_); }

}  // namespace softiommu
