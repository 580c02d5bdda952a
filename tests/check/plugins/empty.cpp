// SPDX-License-Identifier: BSD-3-Clause
// A plugin of this release that brings nothing.
#include "check/plugin_abi.h"

SOFTIOMMU_DRIVER_PLUGIN({.name = "empty"});
