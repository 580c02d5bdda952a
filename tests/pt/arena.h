// SPDX-License-Identifier: BSD-3-Clause
// Table memory for tests: address space of the host, reserved and not used until it is touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

#include "base/table_memory.h"

namespace softiommu::pt {

class Arena : public TableMemory {
 public:
  explicit Arena(std::uint64_t bytes = 256 * kMiB, PhysAddr first = kFirst)
      : tables_(bytes), records_(records_for(bytes) * sizeof(Record)) {
    adopt(tables_.at, first, bytes, reinterpret_cast<Record*>(records_.at));
  }

  static constexpr PhysAddr kFirst{16 * kMiB};  // below 2^32, so that every configuration can express it

 private:
  struct Reserved {
    explicit Reserved(std::uint64_t size) : bytes(size) {
      void* const place =
          ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (place == MAP_FAILED) std::abort();
      at = static_cast<std::byte*>(place);
    }
    Reserved(const Reserved&) = delete;
    Reserved& operator=(const Reserved&) = delete;
    ~Reserved() { ::munmap(at, bytes); }

    std::byte* at;
    std::uint64_t bytes;
  };

  Reserved tables_, records_;
};

}  // namespace softiommu::pt
