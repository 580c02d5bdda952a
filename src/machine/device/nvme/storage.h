// SPDX-License-Identifier: BSD-3-Clause
// What a namespace keeps: bytes of a file, or of memory that goes with the machine. Either way they are a mapping, so
// that no descriptor stays open in the program, and a file that was cut short is an error and no crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace softiommu {

class Storage {
 public:
  // `image` empty: memory of `bytes`. Else a file: what is there, or, if nothing is, a new (sparse) file of `bytes`.
  // A relative name is relative to the working directory. Errors: of open(2) and mmap(2); EINVAL: empty.
  static Result<std::unique_ptr<Storage>> open(const std::string& image, std::uint64_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::uint64_t bytes() const { return bytes_; }

  // The range is inside. False: the file gave or took less.
  bool read(std::uint64_t offset, std::span<std::byte> to) const;
  bool write(std::uint64_t offset, std::span<const std::byte> from);
  bool zero(std::uint64_t offset, std::uint64_t bytes);
  // Zeroes them too, and gives room back where whole pages are concerned.
  bool deallocate(std::uint64_t offset, std::uint64_t bytes);
  // Everything written is on the medium when it returns.
  bool flush() const;

 private:
  Storage(std::byte* first, std::uint64_t bytes, bool is_file) : first_(first), bytes_(bytes), is_file_(is_file) {}
  std::byte* const first_;
  const std::uint64_t bytes_;
  const bool is_file_;
};

}  // namespace softiommu
