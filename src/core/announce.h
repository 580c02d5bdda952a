// SPDX-License-Identifier: BSD-3-Clause
// A device has become a member of a group, at boot or later: what log and trace say of it.
#pragma once

#include "base/log.h"
#include "base/trace.h"
#include "core/bus_of.h"
#include "core/group.h"

namespace softiommu {

inline void announce_member(const Device& device, const Group& group) {
  log::info("{} {}: Adding to iommu group {}", bus_of(device), device.name(), group.id());
  if (trace::on()) trace::event("groups", "add_device_to_group", {{"device", device.name()}, {"group", group.id()}});
}

}  // namespace softiommu
