// SPDX-License-Identifier: BSD-3-Clause
// Loads a driver that comes as a shared library (plugin_abi.h).
#pragma once

#include <expected>
#include <string>

#include "check/check.h"

namespace softiommu::check {

// The driver, ready to be checked; its library stays loaded until the program ends. The error is a sentence for people:
// the file is not there or cannot be loaded, is no plugin, or is built for another release.
std::expected<CheckedDriver, std::string> load_plugin(const std::string& path);

}  // namespace softiommu::check
