// SPDX-License-Identifier: BSD-3-Clause
// Part of a memory file (memfd, tmpfs, hugetlbfs) as memory of this process, for IOMMU_IOAS_MAP_FILE.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"

namespace softiommu {

// Bytes [start, start + bytes) of an open file.
struct FilePart {
  int descriptor;
  std::uint64_t start, bytes;
  bool writable;
};

class FileMapping {
 public:
  // EBADF: no such descriptor; EINVAL: not a memory file, or a smaller one; others from mmap.
  static Result<std::unique_ptr<FileMapping>> create(const FilePart& part);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  std::uint64_t address() const { return address_; }  // of the first byte of the part

 private:
  FileMapping(void* memory, std::uint64_t bytes, std::uint64_t address)
      : memory_(memory), bytes_(bytes), address_(address) {}
  void* memory_;
  std::uint64_t bytes_, address_;
};

}  // namespace softiommu
