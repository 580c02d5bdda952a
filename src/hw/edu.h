// SPDX-License-Identifier: BSD-3-Clause
// Registers of the educational PCI device 1234:11e8 (QEMU, docs/specs/edu.rst). BAR0, 1 MiB.
//
// Registers below 0x80 take 4-byte accesses only, the others 4 or 8.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::edu {

// clang-format off
inline constexpr std::uint16_t kVendorId = 0x1234, kDeviceId = 0x11e8;
inline constexpr std::uint16_t kSubsystemVendorId = 0x1af4, kSubsystemId = 0x1100;
inline constexpr std::uint32_t kClassCode = 0x00ff00;
inline constexpr std::uint8_t kRevision = 0x10;
inline constexpr std::uint64_t kBarBytes = 1 << 20;
inline constexpr std::uint64_t kWideRegisters = 0x80;  // from here on 8-byte accesses are allowed
// The device's own memory as DMA source and destination addresses name it; it is not readable through the BAR.
inline constexpr std::uint64_t kBuffer = 0x40000, kBufferBytes = 4096;

inline constexpr Register kIdentification{0x00, 4, RegisterAccess::ro, 0x010000ed, Layout{"edu.identification", "edu 0x00", {
    {"MAGIC", 7,  0,  "0xed"},
    {"MINOR", 23, 16, "minor version"},
    {"MAJOR", 31, 24, "major version"},
}}};
inline constexpr Register kLiveness{0x04, 4, RegisterAccess::rw, 0, Layout{"edu.liveness", "edu 0x04", {
    {"VALUE", 31, 0, "reads as the inverse of what was written"},
}}};
inline constexpr Register kFactorial{0x08, 4, RegisterAccess::rw, 0, Layout{"edu.factorial", "edu 0x08", {
    {"VALUE", 31, 0, "n, later n! modulo 2^32; writes are ignored while computing"},
}}};
inline constexpr Register kStatus{0x20, 4, RegisterAccess::rw, 0, Layout{"edu.status", "edu 0x20", {
    {"COMPUTING", 0, 0, "the factorial is being computed (read-only)"},
    {"IRQ",       7, 7, "raise an interrupt when it is done"},
}}};
inline constexpr Register kInterruptStatus{0x24, 4, RegisterAccess::ro, 0, Layout{"edu.interrupt_status", "edu 0x24", {
    {"FACTORIAL", 0, 0, "a factorial was computed"},
    {"DMA",       8, 8, "a DMA transfer has ended"},
}}};
inline constexpr Register kRaise{0x60, 4, RegisterAccess::wo, 0, Layout{"edu.raise", "edu 0x60", {
    {"BITS", 31, 0, "or-ed into the interrupt status"},
}}};
inline constexpr Register kAcknowledge{0x64, 4, RegisterAccess::wo, 0, Layout{"edu.acknowledge", "edu 0x64", {
    {"BITS", 31, 0, "cleared in the interrupt status"},
}}};
inline constexpr Register kDmaSource{0x80, 8, RegisterAccess::rw, 0, Layout{"edu.dma_source", "edu 0x80", {
    {"ADDRESS", 63, 0, "where the transfer comes from"},
}}};
inline constexpr Register kDmaDestination{0x88, 8, RegisterAccess::rw, 0, Layout{"edu.dma_destination", "edu 0x88", {
    {"ADDRESS", 63, 0, "where it goes to"},
}}};
inline constexpr Register kDmaCount{0x90, 8, RegisterAccess::rw, 0, Layout{"edu.dma_count", "edu 0x90", {
    {"BYTES", 63, 0, "how many bytes"},
}}};
inline constexpr Register kDmaCommand{0x98, 8, RegisterAccess::rw, 0, Layout{"edu.dma_command", "edu 0x98", {
    {"START",     0, 0, "start; reads as 1 until the transfer has ended"},
    {"TO_MEMORY", 1, 1, "0: memory to the buffer, 1: buffer to memory"},
    {"IRQ",       2, 2, "raise an interrupt when it has ended"},
}}};
// Not in QEMU's device, which ignores writes there: the PASID of DMA, for a function that has PASIDs.
inline constexpr Register kDmaPasid{0xa0, 8, RegisterAccess::rw, 0, Layout{"edu.dma_pasid", "softiommu", {
    {"PASID", 19, 0, "0: requests without a PASID"},
}}};
// clang-format on

}  // namespace softiommu::hw::edu
