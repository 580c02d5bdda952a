// SPDX-License-Identifier: BSD-3-Clause
// A chain of capabilities behind an info structure: each header's `next` counts from the start of the structure.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "vfio/abi.h"
#include "vfio/command_table.h"

namespace softiommu::vfio {

class CapChain {
 public:
  // The chain starts `base` bytes into the program's structure.
  explicit CapChain(std::size_t base) : base_(base) {}

  // `cap` begins with its CapHeader, whose `next` is filled in when another one follows.
  template <typename T>
  void add(const T& cap) {
    bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment);
    if (!bytes_.empty()) {
      const auto next = static_cast<std::uint32_t>(base_ + bytes_.size());
      std::memcpy(bytes_.data() + last_ + offsetof(abi::CapHeader, next), &next, sizeof next);
    }
    last_ = bytes_.size();
    extend(cap);
  }
  // More bytes of the last one: elements of its array.
  template <typename T>
  void extend(const T& element) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof element);
    std::memcpy(bytes_.data() + at, &element, sizeof element);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  static constexpr std::size_t kAlignment = 8;
  std::size_t base_;
  std::size_t last_ = 0;
  std::vector<std::byte> bytes_;
};

// Writes the first `known` bytes of `info` and the chain behind it. Without room for the chain argsz says how much
// there must be and cap_offset stays 0.
template <typename Info>
Result<> answer_with_caps(Call& call, Info& info, std::size_t known, const std::vector<std::byte>& caps) {
  if (!caps.empty()) {
    if (info.argsz < sizeof(info) + caps.size()) {
      info.argsz = static_cast<std::uint32_t>(sizeof(info) + caps.size());
    } else {
      TRY(call.program().copy_out(call.argument() + sizeof(info), caps.data(), caps.size()));
      info.cap_offset = sizeof(info);
    }
  }
  return call.answer(info, known);
}

// IOMMU_GET_INFO's answer, of a container and of an iommufd. EFAULT: it cannot be written.
inline Result<long> answer_type1_info(Call& call, abi::Type1Info info, const std::vector<std::byte>& caps) {
  // Old programs give a structure that ends before cap_offset.
  const std::size_t known =
      info.argsz >= abi::kType1InfoWithCapOffset ? abi::kType1InfoWithCapOffset : abi::kType1InfoMinimum;
  info.flags = abi::kInfoPgsizes | abi::kInfoCaps;
  info.cap_offset = 0;
  TRY(answer_with_caps(call, info, known, caps));
  return 0;
}

}  // namespace softiommu::vfio
