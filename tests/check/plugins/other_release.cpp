// SPDX-License-Identifier: BSD-3-Clause
// A plugin of another release (this is built with another SOFTIOMMU_VERSION).
#include "check/plugin_abi.h"

SOFTIOMMU_DRIVER_PLUGIN({.name = "other"});
