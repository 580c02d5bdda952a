// SPDX-License-Identifier: BSD-3-Clause
// The table of commands of /dev/iommu: dispatch, size checks, tracing, the documentation (docs/iommufd.md) and the
// tests of what is common to all follow from it.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "iommufd/call.h"
#include "iommufd/context.h"

namespace softiommu::iommufd {

struct Command {
  std::string_view name;
  unsigned number;
  std::size_t bytes, minimum;  // of the structure, and what of it a program must have
  Result<> (Context::*run)(Call&);
  std::string_view summary;
};

// By number.
std::span<const Command> commands();

}  // namespace softiommu::iommufd
