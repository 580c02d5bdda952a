// SPDX-License-Identifier: BSD-3-Clause
// What the command says when it cannot do what it was asked, and its exit statuses.
#pragma once

#include <cstdio>
#include <string>

namespace softiommu::cli {

// Those of `run` beside the program's own are a shell's.
inline constexpr int kRefused = 1, kInvalid = 2, kCannotRun = 125, kNotExecutable = 126, kNotFound = 127;

inline void complain(const std::string& text) { std::fputs(("softiommu: " + text + "\n").c_str(), stderr); }

}  // namespace softiommu::cli
