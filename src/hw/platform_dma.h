// SPDX-License-Identifier: BSD-3-Clause
// Registers of the DMA engine that every [[platform_device]] of a machine file is: one window of 4 KiB.
//
// It copies through one of its ports; each port sends under an id of its own, and so may have an MMU of its own.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::platform_dma {

// clang-format off
inline constexpr std::uint64_t kRegisterBytes = 4096;

inline constexpr Register kIdentification{0x00, 4, RegisterAccess::ro, 0x0100'5d3a,
                                          Layout{"platform_dma.identification", "softiommu 0x00", {
    {"MAGIC",   15, 0,  "0x5d3a"},
    {"PORTS",   23, 16, "ports less one"},
    {"VERSION", 31, 24, "1"},
}}};
inline constexpr Register kSource{0x10, 8, RegisterAccess::rw, 0, Layout{"platform_dma.source", "softiommu 0x10", {
    {"ADDRESS", 63, 0, "where the copy comes from"},
}}};
inline constexpr Register kDestination{0x18, 8, RegisterAccess::rw, 0,
                                       Layout{"platform_dma.destination", "softiommu 0x18", {
    {"ADDRESS", 63, 0, "where it goes to"},
}}};
inline constexpr Register kCount{0x20, 4, RegisterAccess::rw, 0, Layout{"platform_dma.count", "softiommu 0x20", {
    {"BYTES", 31, 0, "how many bytes"},
}}};
inline constexpr Register kCommand{0x24, 4, RegisterAccess::rw, 0, Layout{"platform_dma.command", "softiommu 0x24", {
    {"START", 0, 0,  "start; reads as 1 until the copy has ended"},
    {"IRQ",   1, 1,  "raise the interrupt when it has ended"},
    {"PORT",  15, 8, "the port that it goes through"},
}}};
inline constexpr Register kStatus{0x28, 4, RegisterAccess::w1c, 0, Layout{"platform_dma.status", "softiommu 0x28", {
    {"DONE",  0, 0, "a copy has ended"},
    {"ERROR", 1, 1, "it was refused on the way"},
}}};
// clang-format on

}  // namespace softiommu::hw::platform_dma
