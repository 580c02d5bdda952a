// SPDX-License-Identifier: BSD-3-Clause
// The registers of "slot-mmu", an IOMMU made up for this example. It has one 64-bit register, a slot, for each stream
// id that it knows; a slot says whether and through which x86-64 table the stream is translated. Driver and hardware
// read this table and nothing else of each other.
#pragma once

#include <cstdint>
#include <memory>

#include "core/driver.h"
#include "hw/layout.h"
#include "machine/machine.h"

namespace slot_mmu {

using softiommu::hw::Layout;
using softiommu::hw::Register;
using enum softiommu::hw::RegisterAccess;

inline constexpr unsigned kSlots = 64;

// clang-format off
inline constexpr Register kCapability{0x00, 8, ro, 0, Layout{"CAPABILITY", "slot-mmu", {
    {"LEVELS", 3, 0, "of the tables that it walks: 4 or 5"},
}}};
inline constexpr Register kInvalidate{0x08, 8, wo, 0, Layout{"INVALIDATE", "slot-mmu", {
    {"ROOT", 51, 12, "forgets what was cached of this table, and waits for DMA that used it"},
}}};
inline constexpr Layout kSlot{"SLOT", "slot-mmu", {
    {"TRANSLATE", 0,  0,  "through ROOT"},
    {"BYPASS",    1,  1,  "untranslated; with neither bit the stream is refused"},
    {"ROOT",      47, 12, "of the table"},
    {"STREAM",    63, 48, "whose slot this is"},
}};
// clang-format on

constexpr std::uint64_t slot_offset(unsigned slot) { return 0x100 + 8 * slot; }
inline constexpr std::uint64_t kRegisterBytes = slot_offset(kSlots);

// What machine files call "slot-mmu", and its driver.
softiommu::UnitModel unit_model();
std::unique_ptr<softiommu::Driver> make_driver();

}  // namespace slot_mmu
