// SPDX-License-Identifier: BSD-3-Clause
// The answer of an attach: whose fault is it? (Linux v6.2 and later, kdoc of iommu_domain_ops.attach_dev.)
//
// Five failures are all there is. An Error from below never becomes one of them by itself: the driver
// names which one it is, with driver_says(). Beside the code stands the reason: the property that
// differed and its two values; programs see the errno only, people see the reason.
#pragma once

#include <cerrno>
#include <cstdint>
#include <expected>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace softiommu {

enum class AttachFailure : std::uint8_t {
  incompatible,  // EINVAL: this domain and this device do not fit together; another domain may. Never logged
  no_memory,     // ENOMEM
  no_space,      // ENOSPC: another resource is used up (domain ids, ASIDs, context banks)
  busy,          // EBUSY: the device is attached and may not be changed
  no_device,     // ENODEV: no domain can ever be attached to this device
};

constexpr int to_errno(AttachFailure failure) {
  switch (failure) {
    case AttachFailure::incompatible:
      return EINVAL;
    case AttachFailure::no_memory:
      return ENOMEM;
    case AttachFailure::no_space:
      return ENOSPC;
    case AttachFailure::busy:
      return EBUSY;
    case AttachFailure::no_device:
      return ENODEV;
  }
  return ENODEV;
}

constexpr const char* name_of(AttachFailure failure) {
  switch (failure) {
    case AttachFailure::incompatible:
      return "incompatible";
    case AttachFailure::no_memory:
      return "no memory";
    case AttachFailure::no_space:
      return "no space";
    case AttachFailure::busy:
      return "busy";
    case AttachFailure::no_device:
      return "no device";
  }
  return "no device";
}

// Why, for people. `property` is a literal ("address width", "snoop control", ...); the values are in its unit.
struct Reason {
  const char* property = "";
  std::uint64_t domain_value = 0;
  std::uint64_t device_value = 0;
  friend constexpr bool operator==(const Reason&, const Reason&) = default;
};

struct [[nodiscard]] AttachError {
  AttachFailure failure;
  int code;  // the failure's errno; differs only for codes kept for the ABI (no_device with another errno)
  Reason reason;
};

template <typename T = void>
using AttachResult = std::expected<T, AttachError>;

constexpr std::unexpected<AttachError> driver_says(AttachFailure failure, Reason reason) {
  return std::unexpected(AttachError{failure, to_errno(failure), reason});
}

static_assert(!std::is_convertible_v<Error, AttachError>, "an errno from below must be named by the driver");

}  // namespace softiommu
