// SPDX-License-Identifier: BSD-3-Clause
// The operations of IOMMU_TEST_CMD, one row each, and what a handler gets. The rows are in the *_operations.cpp.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "drivers/mock.h"
#include "iommufd/call.h"
#include "iommufd/context.h"
#include "iommufd/selftest/abi.h"

namespace softiommu::iommufd::selftest {

// One call of one operation.
struct Request {
  Context& context;
  mock::MockDriver& driver;
  Call& call;
  abi::Command command;

  Program& program() const { return call.program(); }
  // The structure as it is now goes back to the program.
  Result<> respond() const { return call.respond(command); }
};

struct Operation {
  abi::Op op;
  std::string_view name;
  Result<> (*run)(Request&);
};

std::span<const Operation> memory_operations();  // IOAS, mappings, accesses, DMA-BUFs
std::span<const Operation> domain_operations();  // mock devices and their domains
std::span<const Operation> device_operations();  // what devices do: faults, events, caches, PASIDs

// EOPNOTSUPP: no such operation; others from it.
Result<> run(Context& context, mock::MockDriver& driver, Call& call);

}  // namespace softiommu::iommufd::selftest
