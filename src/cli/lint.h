// SPDX-License-Identifier: BSD-3-Clause
// `softiommu lint`: the checker is a program of its own beside this one, so that the command links none of it.
#pragma once

namespace softiommu::cli {

// Becomes softiommu-lint with argv[2].. as its arguments; returns only when that program cannot be started.
int lint(char** argv);

}  // namespace softiommu::cli
