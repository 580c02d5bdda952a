// SPDX-License-Identifier: BSD-3-Clause
// The operator new of a program that links this: counts what lives, and fails the nth allocation of a thread on
// request. Within a call it is the fault point "heap.new" besides.
#pragma once

#include <cstdint>

namespace softiommu::check {

// Allocations minus releases of this thread.
std::int64_t live_allocations();
std::uint64_t allocations();
// The nth allocation (1 = the next one) of this thread throws std::bad_alloc, once; 0: none.
void fail_nth_allocation(std::uint64_t nth);
bool allocation_failed();

}  // namespace softiommu::check
