// SPDX-License-Identifier: BSD-3-Clause
// Is a page of the program the one behind a physical address? Two mappings of one file are the same memory although
// their addresses differ: what is written at one is read at the other.
#pragma once

#include "base/program.h"
#include "machine/memory.h"

namespace softiommu::iommufd::selftest {

class SamePage {
 public:
  SamePage(Program& program, const Memory& memory) : program_(program), memory_(memory) {}

  // Of the bytes at the two addresses. EFAULT: the program has nothing there.
  Result<bool> operator()(std::uint64_t user, PhysAddr pa) const { return compare(user, memory_.host(pa)); }
  // The same of an address of ours.
  Result<bool> compare(std::uint64_t user, const std::byte* ours) const;

 private:
  Program& program_;
  const Memory& memory_;
};

}  // namespace softiommu::iommufd::selftest
