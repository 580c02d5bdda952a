// SPDX-License-Identifier: BSD-3-Clause
// The secret that users of a physical function and of its virtual ones share (Linux: vfio_pci_validate_vf_token).
//
// Who has the physical function can harm its virtual ones, so a program that opens one of those has to know the token
// that the other set. Both are held by vfio-pci here: nothing else enables virtual functions.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "base/result.h"

namespace softiommu::vfio {

using Uuid = std::array<std::byte, 16>;  // in the order of its text
// 8-4-4-4-12 hexadecimal digits.
std::optional<Uuid> parse_uuid(std::string_view text);
std::string text_of(const Uuid& uuid);
inline constexpr std::size_t kUuidLength = 36;

// Of one physical function. Until somebody sets it, no token is the right one.
class VfToken {
 public:
  void set(const Uuid& token);
  // The same, when it was set elsewhere: nobody is told.
  void follow(const Uuid& token);
  // Told of each token that a user sets, with no lock held. Set once, before anybody uses it.
  void on_set(std::function<void(const Uuid&)> told) { told_ = std::move(told); }
  // Opening a virtual function. EACCES: none was given, or another.
  Result<> match_virtual(const std::optional<Uuid>& given) const;
  // Opening the physical one. While virtual functions are open: as above; else what is given is the token from now on.
  Result<> match_physical(const std::optional<Uuid>& given);
  // A virtual function is opened first, and closed last.
  void begin_use();
  void end_use();

 private:
  Result<> match_locked(const std::optional<Uuid>& given) const REQUIRES(mutex_);
  mutable Mutex mutex_;
  std::optional<Uuid> token_ GUARDED_BY(mutex_);
  unsigned users_ GUARDED_BY(mutex_) = 0;
  std::function<void(const Uuid&)> told_;
};

}  // namespace softiommu::vfio
