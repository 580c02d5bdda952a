// SPDX-License-Identifier: BSD-3-Clause
// One change of domain for the devices of a group: prepare all, commit each, and the way back.
//
// The calls of a driver's attach functions are all here, so that its mistakes are caught in one place: what it throws
// becomes no_memory, and an answer that the contract forbids is reported and becomes no_device. Nothing here allocates.
#pragma once

#include <span>

#include "core/driver.h"

namespace softiommu {

// Which answers of the driver are mistakes (core-rules 2: an invariant; Linux passes every answer on).
struct Judgement {
  bool enforce = true;  // false: hand on what the driver says
  bool fresh = false;   // the domain was made for these devices: `incompatible` is a mistake
};

struct SwitchAnswer {
  AttachResult<> result;
  bool device_blocked = false;  // the hardware refused the way back of a device, which is blocked now
};

// On failure every device translates as before, but for one that the hardware did not let go back.
SwitchAnswer try_switch(Driver& driver, std::span<Switch> changes, Judgement judgement) noexcept;

enum class Forced : std::uint8_t {
  done,
  some_blocked,  // a device whose hardware refused is blocked instead; all count as switched
  not_prepared,  // nothing changed
};

// The must-succeed path: a device that cannot be switched is blocked.
Forced force_switch(Driver& driver, std::span<Switch> changes) noexcept;

// Blocks whatever the driver throws.
void block_device(Driver& driver, Device& device) noexcept;

}  // namespace softiommu
