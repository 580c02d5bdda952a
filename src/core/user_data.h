// SPDX-License-Identifier: BSD-3-Clause
// What a program tells a driver through iommufd beyond the common fields: one structure of a type that the driver
// knows, or an array of requests.
//
// The program's memory is read before any lock is taken, so that a driver only looks at bytes. Whether they could be
// read at all is the last thing it learns: type and length are judged first, as Linux does.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/program.h"
#include "base/result.h"

namespace softiommu {

class UserData {
 public:
  static constexpr std::size_t kMost = 256;  // no driver's structure is larger

  UserData(Program& program, std::uint32_t type, std::uint32_t bytes, std::uint64_t user)
      : type_(type), bytes_(bytes), user_(user) {
    if (bytes <= kMost) readable_ = program.copy_in(data_.data(), user, bytes);
  }

  std::uint32_t type() const { return type_; }
  bool empty() const { return bytes_ == 0; }

  // The structure of this type, of which the program must have `minimum` bytes; what it has not is 0.
  //   EINVAL  another type, or a length that the structure never had;  EFAULT  the program's memory cannot be read
  template <class T>
  Result<T> as(std::uint32_t type, std::size_t minimum) const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kMost);
    if (type != type_) return fail(EINVAL, "the data is of another type");
    if (bytes_ < minimum || bytes_ > sizeof(T)) return fail(EINVAL, "the data has a wrong length");
    TRY(readable_);
    T value{};
    std::memcpy(&value, data_.data(), bytes_);
    return value;
  }
  // What the program finds there afterwards.
  template <class T>
  void answer(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kMost);
    std::memcpy(data_.data(), &value, sizeof value);
    answered_ = true;
  }
  // Call with no lock held. EFAULT.
  Result<> write_back(Program& program) const {
    return answered_ ? program.copy_out(user_, data_.data(), bytes_) : Result<>{};
  }

 private:
  std::uint32_t type_, bytes_;
  std::uint64_t user_;
  Result<> readable_;
  bool answered_ = false;
  std::array<std::byte, kMost> data_{};
};

// Requests one after the other; each counts as done once accept() said so. Used in pieces: what was read, and whether
// the entry after it could not be.
class UserArray {
 public:
  UserArray(std::uint32_t type, std::uint32_t entry_bytes, std::vector<std::byte> entries)
      : type_(type), entry_bytes_(entry_bytes), entries_(std::move(entries)) {}

  std::uint32_t type() const { return type_; }
  bool more() const { return (accepted_ + 1) * entry_bytes_ <= entries_.size() && entry_bytes_ != 0; }
  std::uint32_t accepted() const { return static_cast<std::uint32_t>(accepted_); }

  // The entry that is next: UserData::as by its rules.
  template <class T>
  Result<T> next(std::uint32_t type, std::size_t minimum) const {
    if (type != type_) return fail(EINVAL, "the entries are of another type");
    if (entry_bytes_ < minimum || entry_bytes_ > sizeof(T)) return fail(EINVAL, "the entries have a wrong length");
    return entry<T>();
  }
  // The same of an entry of any length. E2BIG: it has more than T, and not zeros.
  template <class T>
  Result<T> next_of_any_length(std::uint32_t type) const {
    if (type != type_) return fail(EINVAL, "the entries are of another type");
    const auto rest = bytes_of_next().subspan(std::min<std::size_t>(entry_bytes_, sizeof(T)));
    if (std::ranges::any_of(rest, [](std::byte byte) { return byte != std::byte{0}; }))
      return fail(E2BIG, "an entry has fields that are not known");
    return entry<T>();
  }
  void accept() { ++accepted_; }

 private:
  std::span<const std::byte> bytes_of_next() const {
    return std::span(entries_).subspan(accepted_ * entry_bytes_, entry_bytes_);
  }
  template <class T>
  T entry() const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    std::memcpy(&value, bytes_of_next().data(), std::min<std::size_t>(entry_bytes_, sizeof(T)));
    return value;
  }

  std::uint32_t type_, entry_bytes_;
  std::vector<std::byte> entries_;
  std::size_t accepted_ = 0;
};

}  // namespace softiommu
