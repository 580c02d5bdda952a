// SPDX-License-Identifier: BSD-3-Clause
// Memory of the program behind one IOAS_MAP: what areas of several address spaces share after a COPY.
//
// Pages are pinned as long as an area that a domain holds covers them, and counted once however many areas do.
// Not thread-safe: the context's lock guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/file_mapping.h"
#include "base/result.h"
#include "base/types.h"
#include "iommufd/account.h"
#include "machine/memory.h"

namespace softiommu::iommufd {

class Pages {
 public:
  // `user` is the first byte; `writable`: pinned for writing, so that read-only memory is refused.
  Pages(Account account, Memory& memory, std::uint64_t user, bool writable)
      : account_(std::move(account)), memory_(memory), user_(user), writable_(writable) {}
  // Memory of a file: its bytes, for as long as the pages live.
  Pages(Account account, Memory& memory, std::unique_ptr<FileMapping> file, bool writable)
      : account_(std::move(account)),
        memory_(memory),
        file_(std::move(file)),
        user_(file_->address()),
        writable_(writable) {}
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  bool writable() const { return writable_; }
  std::uint64_t user() const { return user_; }
  bool of_file() const { return file_ != nullptr; }

  // Pins bytes [start, start + length) of it (page-aligned addresses) and says where they are.
  // EFAULT: not memory that can be pinned; ENOMEM: the limit, or physical space. Nothing is pinned then.
  Result<std::vector<PhysRun>> pin(std::uint64_t start, std::uint64_t length);
  void unpin(std::uint64_t start, const std::vector<PhysRun>& runs);

 private:
  struct Covered {
    std::uint64_t first, last;  // bytes, in order of first
  };
  std::uint64_t covered_pages() const;
  void uncover(Covered piece);

  Account account_;
  Memory& memory_;
  const std::unique_ptr<FileMapping> file_;  // nullptr: memory of the program
  const std::uint64_t user_;
  const bool writable_;
  std::vector<Covered> covered_;  // one per pin
};

}  // namespace softiommu::iommufd
