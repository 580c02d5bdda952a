// SPDX-License-Identifier: BSD-3-Clause
// Pages that a driver and a program share: what a program maps from an iommufd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace softiommu {

class SharedMemory {
 public:
  // Whole pages, zeroed. ENOMEM, EMFILE.
  static Result<std::shared_ptr<SharedMemory>> create(std::uint64_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  int descriptor() const { return descriptor_; }

 private:
  SharedMemory(int descriptor, std::byte* data, std::uint64_t bytes)
      : descriptor_(descriptor), data_(data), bytes_(bytes) {}
  int descriptor_;
  std::byte* data_;
  std::uint64_t bytes_;
};

}  // namespace softiommu
