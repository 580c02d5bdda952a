// SPDX-License-Identifier: BSD-3-Clause
// One change of the run's machine: what each process that has a machine of its own does to it, too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "vfio/pci_control.h"

namespace softiommu::launch {

struct Change {
  enum class Kind : std::uint8_t { bind, unbind, num_vfs, remove, rescan, unplug, plug, reset, token };
  Kind kind = Kind::rescan;
  std::string bdf = {};
  std::string driver = {};  // of bind and unbind
  unsigned number = 0;      // of num_vfs
  std::string token = {};   // of token: the VF token that a user of the physical function has set

  // "num_vfs 0000:00:04.0 2", "bind vfio-pci 0000:00:04.0".
  std::string text() const;
  static Result<Change> parse(std::string_view text);  // EINVAL

  // Nothing of it is left when it is done: a process that begins later need not do it.
  bool leaves_nothing() const { return kind == Kind::reset; }

  // What takes it back; nothing: it cannot fail in one process and not in another, or cannot be taken back.
  std::optional<Change> inverse() const;

  // `pending`: the last user of a device ends it.
  Result<PciControl::Removal> apply(PciControl& control) const;
  // Of one that was pending: has its device come free?
  bool is_done(const PciControl& control) const;
};

}  // namespace softiommu::launch
