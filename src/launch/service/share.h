// SPDX-License-Identifier: BSD-3-Clause
// Private memory that becomes a memory file, so that the owner of a served file can map it for DMA.
//
// The content moves, the address stays. For that moment the range is read-only; a thread that writes there waits in the
// fault handler. A child of fork gets a private copy again.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "launch/engine/mappings.h"

namespace softiommu::launch {

// [user, user + bytes): whole pages of one private mapping. The result is the memory file, to be closed by the caller.
// EFAULT: not such memory, or the stack of this thread; ENOMEM, EMFILE.
Result<int> share_private_memory(Mappings& mappings, std::uint64_t user, std::uint64_t bytes);

// For the fault handler: is the address being moved? Then the access is to be tried again.
bool is_being_shared(std::uint64_t address);

// Around fork: no range is being moved. In the child, what was private once is private again.
void lock_sharing_for_fork();
void unlock_sharing_after_fork();
void unshare_in_child();

}  // namespace softiommu::launch
