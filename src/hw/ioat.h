// SPDX-License-Identifier: BSD-3-Clause
// Intel I/OAT DMA (CBDMA), versions 3.2 to 3.4: one channel, registers in BAR0, 64-byte descriptors in memory.
// Facts as in Linux drivers/dma/ioat/{registers,hw}.h and DPDK drivers/dma/ioat/ioat_hw_defs.h.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::ioat {

// clang-format off
inline constexpr std::uint16_t kVendorId = 0x8086, kDeviceIdSkylake = 0x2021, kDeviceIdIceLake = 0x0b00;
inline constexpr std::uint32_t kClassCode = 0x088000;
inline constexpr std::uint8_t kVersion32 = 0x32, kVersion33 = 0x33, kVersion34 = 0x34;
inline constexpr std::uint64_t kBarBytes = 16 * 1024;
inline constexpr std::uint32_t kMsixTable = 0x2000, kMsixPba = 0x3000;
inline constexpr std::uint64_t kDescriptorBytes = 64;

// Device-specific words of the extended configuration space.
inline constexpr unsigned kConfigUncorrectableStatus = 0x148, kConfigChannelError = 0x180, kConfigChannelErrorMask = 0x184;

inline constexpr Register kChannelCount{0x00, 1, RegisterAccess::ro, 1, Layout{"ioat.chancnt", "registers.h", {
    {"COUNT", 4, 0, "channels"},
}}};
inline constexpr Register kTransferCap{0x01, 1, RegisterAccess::ro, 20, Layout{"ioat.xfercap", "registers.h", {
    {"LG2", 4, 0, "log2 of the largest transfer in bytes; 0: 32 GiB"},
}}};
inline constexpr Register kGeneralControl{0x02, 1, RegisterAccess::rw, 0, Layout{"ioat.genctrl", "registers.h", {
    {"DEBUG", 0, 0, "debugging aids"},
}}};
inline constexpr Register kInterruptControl{0x03, 1, RegisterAccess::rw, 0, Layout{"ioat.intrctrl", "registers.h", {
    {"MASTER",      0, 0, "INTx may be asserted; a read clears it"},
    {"STATUS",      1, 1, "a channel wants attention (read-only)"},
    {"INTERRUPT",   2, 2, "STATUS and MASTER (read-only)"},
    {"MSIX_VECTOR", 3, 3, "one MSI-X vector per channel"},
}}};
inline constexpr Register kAttention{0x04, 4, RegisterAccess::ro, 0, Layout{"ioat.attnstatus", "registers.h", {
    {"CHANNEL", 0, 0, "channel 0 sent an interrupt and was not rearmed"},
}}};
inline constexpr Register kVersion{0x08, 1, RegisterAccess::ro, 0x33, Layout{"ioat.cbver", "registers.h", {
    {"MINOR", 3, 0, "minor version"},
    {"MAJOR", 7, 4, "major version"},
}}};
inline constexpr Register kInterruptDelay{0x0c, 2, RegisterAccess::ro, 0, Layout{"ioat.intrdelay", "registers.h", {
    {"DELAY",     13, 0,  "microseconds"},
    {"SUPPORTED", 15, 15, "interrupts can be coalesced"},
}}};
inline constexpr Register kDeviceStatus{0x0e, 2, RegisterAccess::ro, 0, Layout{"ioat.cs_status", "registers.h", {
    {"DEGRADED",   0, 0, "degraded mode"},
    {"RESTRICTED", 1, 1, "MMIO is restricted"},
    {"BYPASS",     2, 2, "memory bypass"},
    {"REMAPPING",  3, 3, "address remapping"},
}}};
inline constexpr Register kCapability{0x10, 4, RegisterAccess::ro, 0x40, Layout{"ioat.dmacapability", "registers.h", {
    {"PAGE_BREAK",  0,  0,  "page breaks"},
    {"CRC",         1,  1,  "CRC generation"},
    {"SKIP_MARKER", 2,  2,  "marker skipping"},
    {"DCA",         4,  4,  "direct cache access"},
    {"CRC_MOVE",    5,  5,  "CRC while moving"},
    {"FILL",        6,  6,  "block fill"},
    {"APIC",        7,  7,  "APIC ids"},
    {"XOR",         8,  8,  "XOR"},
    {"PQ",          9,  9,  "RAID 6 syndromes"},
    {"DWBES",       13, 13, "descriptor write-back of error status"},
    {"RAID16SS",    17, 17, "16-source RAID"},
}}};

// The channel.
inline constexpr Register kChannelControl{0x80, 2, RegisterAccess::rw, 0, Layout{"ioat.chanctrl", "registers.h", {
    {"INT_DISABLE",    0,  0,  "set when an interrupt is sent; writing 1 clears it: one more may be sent"},
    {"ERR_COMPLETION", 2,  2,  "an error is written to the completion address"},
    {"ANY_ERR_ABORT",  3,  3,  "any error stops the channel"},
    {"ERR_INT",        4,  4,  "an error sends an interrupt"},
    {"SNOOP",          5,  5,  "descriptor reads snoop"},
    {"IN_USE",         8,  8,  "taken by a driver"},
    {"DCA",            9,  9,  "completions use direct cache access"},
    {"PRIORITY",       15, 12, "channel priority"},
}}};
inline constexpr Register kChannelCommand{0x84, 1, RegisterAccess::rw, 0, Layout{"ioat.chancmd", "registers.h", {
    {"START",   0, 0, "version 1 only"},
    {"APPEND",  1, 1, "version 1 only"},
    {"SUSPEND", 2, 2, "stop after the current descriptor"},
    {"ABORT",   3, 3, "stop now"},
    {"RESUME",  4, 4, "go on after SUSPEND"},
    {"RESET",   5, 5, "reset the channel; reads as 1 until it is done"},
}}};
inline constexpr Register kDmaCount{0x86, 2, RegisterAccess::rw, 0, Layout{"ioat.dmacount", "registers.h", {
    {"COUNT", 15, 0, "descriptors appended since the chain address was written, modulo 2^16: the doorbell"},
}}};
// Also what is written to the completion address.
inline constexpr Register kChannelStatus{0x88, 8, RegisterAccess::ro, 3, Layout{"ioat.chansts", "registers.h", {
    {"STATE",        2,  0, "0 active, 1 idle, 2 suspended, 3 halted, 4 armed"},
    {"UNAFFILIATED", 3,  3, "unaffiliated error"},
    {"SOFT",         4,  4, "soft error"},
    {"COMPLETED",    63, 6, "last completed descriptor, in units of 64 bytes"},
}}};
enum class State : std::uint8_t { active = 0, idle = 1, suspended = 2, halted = 3, armed = 4 };
inline constexpr Register kChainAddress{0x90, 8, RegisterAccess::rw, 0, Layout{"ioat.chainaddr", "registers.h", {
    {"ADDRESS", 63, 6, "first descriptor of the chain, in units of 64 bytes"},
}}};
inline constexpr Register kCompletionAddress{0x98, 8, RegisterAccess::rw, 0, Layout{"ioat.chancmp", "registers.h", {
    {"ADDRESS", 63, 3, "where completions are written, in units of 8 bytes"},
}}};
inline constexpr Register kCurrentDescriptor{0xa0, 8, RegisterAccess::ro, 0, Layout{"ioat.cdar", "registers.h", {
    {"ADDRESS", 63, 6, "descriptor that is being worked on or comes next"},
}}};
inline constexpr Register kChannelError{0xa8, 4, RegisterAccess::w1c, 0, Layout{"ioat.chanerr", "registers.h", {
    {"SOURCE",        0,  0,  "source address"},
    {"DESTINATION",   1,  1,  "destination address"},
    {"NEXT",          2,  2,  "next descriptor address"},
    {"ALIGNMENT",     3,  3,  "next descriptor is not aligned"},
    {"CHAIN",         4,  4,  "chain address value"},
    {"COMMAND",       5,  5,  "channel command"},
    {"CHIPSET_DATA",  6,  6,  "chipset data integrity"},
    {"DMA_DATA",      7,  7,  "DMA data integrity"},
    {"READ",          8,  8,  "a descriptor could not be read"},
    {"WRITE",         9,  9,  "write data"},
    {"CONTROL",       10, 10, "descriptor control: unknown operation"},
    {"LENGTH",        11, 11, "longer than the transfer capability"},
    {"COMPLETION",    12, 12, "completion address"},
    {"INTERRUPT",     13, 13, "interrupt configuration"},
    {"SOFT",          14, 14, "soft error"},
    {"UNAFFILIATED",  15, 15, "unaffiliated error"},
}}};
inline constexpr Register kChannelErrorMask{0xac, 4, RegisterAccess::rw, 0, Layout{"ioat.chanerrmask", "registers.h", {
    {"MASK", 31, 0, "errors that send no interrupt"},
}}};

// A descriptor: eight 64-bit words, little-endian. The last four are not used by copy and fill.
inline constexpr unsigned kWordControl = 0, kWordSource = 1, kWordDestination = 2, kWordNext = 3, kDescriptorWords = 8;
inline constexpr Layout kControlWord{"ioat.descriptor[0]", "hw.h", {
    {"SIZE",          31, 0,  "bytes"},
    {"INT",           32, 32, "interrupt on completion"},
    {"SRC_SNOOP_DIS", 33, 33, "do not snoop the source"},
    {"DST_SNOOP_DIS", 34, 34, "do not snoop the destination"},
    {"COMPLETION",    35, 35, "write to the completion address"},
    {"FENCE",         36, 36, "complete before the next one starts"},
    {"NULL",          37, 37, "does nothing, but completes"},
    {"SRC_BREAK",     38, 38, "source page break"},
    {"DST_BREAK",     39, 39, "destination page break"},
    {"BUNDLE",        40, 40, "part of a bundle"},
    {"DST_DCA",       41, 41, "direct cache access"},
    {"HINT",          42, 42, "hint"},
    {"OP",            63, 56, "0 copy, 1 fill"},
}};
inline constexpr std::uint64_t kOpCopy = 0, kOpFill = 1;
// clang-format on

}  // namespace softiommu::hw::ioat
