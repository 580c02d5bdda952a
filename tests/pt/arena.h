// SPDX-License-Identifier: BSD-3-Clause
// Table memory for tests: address space of the host, reserved and not used until it is touched.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <vector>

#include "base/table_memory.h"

namespace softiommu::pt {

class Arena : public TableMemory {
 public:
  explicit Arena(std::uint64_t bytes = 256 * kMiB) : bytes_(bytes), records_(bytes >> kPageShift) {
    host_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host_ == MAP_FAILED) std::abort();
    adopt(static_cast<std::byte*>(host_), kFirst, bytes, records_.data());
  }
  ~Arena() override { ::munmap(host_, bytes_); }

  static constexpr PhysAddr kFirst{16 * kMiB};  // below 2^32, so that every configuration can express it

 private:
  std::uint64_t bytes_;
  std::vector<Record> records_;
  void* host_;
};

}  // namespace softiommu::pt
