// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/selftest/operation.h"

#include <algorithm>

namespace softiommu::iommufd::selftest {

Result<> run(Context& context, mock::MockDriver& driver, Call& call) {
  Request request{context, driver, call, call.request<abi::Command>()};
  for (const auto rows : {memory_operations(), domain_operations(), device_operations()}) {
    const auto row = std::ranges::find(rows, request.command.op, &Operation::op);
    if (row != rows.end()) return row->run(request);
  }
  return fail(EOPNOTSUPP, "no such operation");
}

}  // namespace softiommu::iommufd::selftest
