// SPDX-License-Identifier: BSD-3-Clause
// One text as the only file of a tree, judged and reported in every format.
#pragma once

#include <string>

namespace softiommu::test {

// False when what was found breaks a promise: each finding has its rule, a line of the file and a path, and the counts
// agree.
bool judge_source(std::string text);

}  // namespace softiommu::test
