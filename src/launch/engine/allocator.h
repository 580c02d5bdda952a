// SPDX-License-Identifier: BSD-3-Clause
// The engine's own heap (operator new and delete use it), and what fork needs of it.
#pragma once

#include <cstddef>

namespace softiommu::launch {

void* heap_allocate(std::size_t bytes) noexcept;
void heap_free(void* block) noexcept;
// Around fork: the child's heap must not be in the middle of a change.
void heap_lock_for_fork();
void heap_unlock_after_fork();

}  // namespace softiommu::launch
