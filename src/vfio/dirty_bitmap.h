// SPDX-License-Identifier: BSD-3-Clause
// The program's side of dirty tracking: its bitmap of 64-bit words, one bit for each page.
//
// As on Linux whole words are written: bits before a run keep what the program had there, those behind it in its
// last word become 0, words that no run touches are not written.
#pragma once

#include "base/program.h"
#include "base/result.h"
#include "vfio/abi.h"
#include "vfio/type1.h"

namespace softiommu::vfio {

// Is the bitmap fit for `bytes` of IOVA space? EINVAL: its size; EFAULT: its memory.
Result<> check_user_bitmap(Program& program, const abi::Bitmap& bitmap, std::uint64_t bytes);
// Sets the bits of `run` in the bitmap at `data`. EFAULT.
Result<> write_dirty(Program& program, std::uint64_t data, const DirtyPagesRun& run);

}  // namespace softiommu::vfio
