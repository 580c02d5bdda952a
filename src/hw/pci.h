// SPDX-License-Identifier: BSD-3-Clause
// PCI configuration space: the type 0 header and the capabilities that softiommu's functions have.
// PCI Local Bus 3.0 chapter 6, PCI Power Management 1.2, PCI Express Base 5.0 chapter 7.
//
// Offsets of header rows count from the start of configuration space, those of capability rows from the
// capability's own first byte (its id).
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::pci {

// clang-format off
inline constexpr unsigned kConfigBytes = 256, kExtendedConfigBytes = 4096;
inline constexpr unsigned kFirstCapability = 0x40, kFirstExtendedCapability = 0x100;
inline constexpr unsigned kBarCount = 6, kBarBytes = 4;

namespace capability {
inline constexpr std::uint8_t kPowerManagement = 0x01, kMsi = 0x05, kExpress = 0x10, kMsix = 0x11;
}
namespace extended {
inline constexpr std::uint16_t kAdvancedErrorReporting = 0x0001, kDeviceSerialNumber = 0x0003,
                               kAccessControlServices = 0x000d, kAddressTranslationServices = 0x000f,
                               kSingleRootIo = 0x0010, kPageRequest = 0x0013, kPasid = 0x001b;
}

// Header type 0 (PCI 3.0, 6.1).
inline constexpr Register kVendor{0x00, 2, RegisterAccess::ro, 0, Layout{"pci.vendor", "PCI 3.0 6.2.1", {
    {"ID", 15, 0, "vendor id"},
}}};
inline constexpr Register kDevice{0x02, 2, RegisterAccess::ro, 0, Layout{"pci.device", "PCI 3.0 6.2.1", {
    {"ID", 15, 0, "device id"},
}}};
inline constexpr Register kCommand{0x04, 2, RegisterAccess::rw, 0, Layout{"pci.command", "PCI 3.0 6.2.2", {
    {"IO",           0,  0,  "decode I/O space"},
    {"MEM",          1,  1,  "decode memory space"},
    {"MASTER",       2,  2,  "may start transactions: DMA and messages"},
    {"PARITY",       6,  6,  "parity error response"},
    {"SERR",         8,  8,  "report errors with SERR#"},
    {"INTX_DISABLE", 10, 10, "do not assert INTx"},
}}};
inline constexpr Register kStatus{0x06, 2, RegisterAccess::w1c, 0, Layout{"pci.status", "PCI 3.0 6.2.3", {
    {"INTX",          3,  3,  "INTx is pending (read-only)"},
    {"CAP_LIST",      4,  4,  "there is a capability list (read-only)"},
    {"MASTER_PARITY", 8,  8,  "master data parity error"},
    {"SIG_TABORT",    11, 11, "signalled target abort"},
    {"REC_TABORT",    12, 12, "received target abort"},
    {"REC_MABORT",    13, 13, "received master abort"},
    {"SIG_SERR",      14, 14, "signalled system error"},
    {"PARITY",        15, 15, "detected parity error"},
}}};
inline constexpr Register kClass{0x08, 4, RegisterAccess::ro, 0, Layout{"pci.class", "PCI 3.0 6.2.1", {
    {"REVISION",  7,  0,  "revision id"},
    {"INTERFACE", 15, 8,  "programming interface"},
    {"SUBCLASS",  23, 16, "sub-class"},
    {"BASE",      31, 24, "base class"},
}}};
inline constexpr Register kCacheLine{0x0c, 1, RegisterAccess::rw, 0, Layout{"pci.cache_line", "PCI 3.0 6.2.4", {
    {"DWORDS", 7, 0, "cache line size in 32-bit words"},
}}};
inline constexpr Register kHeaderType{0x0e, 1, RegisterAccess::ro, 0, Layout{"pci.header_type", "PCI 3.0 6.2.1", {
    {"LAYOUT",        6, 0, "0: device, 1: PCI-to-PCI bridge"},
    {"MULTIFUNCTION", 7, 7, "the device has more than one function"},
}}};
inline constexpr Register kBar0{0x10, 4, RegisterAccess::rw, 0, Layout{"pci.memory_bar", "PCI 3.0 6.2.5.1", {
    {"IO",       0,  0, "1: I/O space"},
    {"TYPE",     2,  1, "0: 32 bits, 2: 64 bits (the next BAR holds the high half)"},
    {"PREFETCH", 3,  3, "prefetchable"},
    {"ADDRESS",  31, 4, "base address; bits below the size read as zero"},
}}};
inline constexpr Register kIoBar0{0x10, 4, RegisterAccess::rw, 0, Layout{"pci.io_bar", "PCI 3.0 6.2.5.1", {
    {"IO",      0,  0, "1: I/O space"},
    {"ADDRESS", 31, 2, "base address; bits below the size read as zero"},
}}};
inline constexpr std::uint64_t kBarType64 = 2;
inline constexpr Register kSubsystemVendor{0x2c, 2, RegisterAccess::ro, 0, Layout{"pci.subsystem_vendor", "PCI 3.0 6.2.4", {
    {"ID", 15, 0, "vendor id of the board"},
}}};
inline constexpr Register kSubsystem{0x2e, 2, RegisterAccess::ro, 0, Layout{"pci.subsystem", "PCI 3.0 6.2.4", {
    {"ID", 15, 0, "id of the board"},
}}};
inline constexpr Register kRom{0x30, 4, RegisterAccess::rw, 0, Layout{"pci.rom", "PCI 3.0 6.2.5.2", {
    {"ENABLE",  0,  0,  "decode the expansion ROM"},
    {"ADDRESS", 31, 11, "base address; bits below the size read as zero"},
}}};
inline constexpr std::uint64_t kLeastRomBytes = 2048;
inline constexpr Register kCapabilities{0x34, 1, RegisterAccess::ro, 0, Layout{"pci.capabilities", "PCI 3.0 6.7", {
    {"OFFSET", 7, 0, "first capability"},
}}};
inline constexpr Register kInterruptLine{0x3c, 1, RegisterAccess::rw, 0, Layout{"pci.interrupt_line", "PCI 3.0 6.2.4", {
    {"LINE", 7, 0, "for software; the device ignores it"},
}}};
inline constexpr Register kInterruptPin{0x3d, 1, RegisterAccess::ro, 0, Layout{"pci.interrupt_pin", "PCI 3.0 6.2.4", {
    {"PIN", 7, 0, "0: none, 1: INTA# .. 4: INTD#"},
}}};

// The first 16 bits of each capability, the first 32 of each extended one.
inline constexpr Layout kCapabilityHeader{"pci.capability", "PCI 3.0 6.7", {
    {"ID",   7,  0, "capability id"},
    {"NEXT", 15, 8, "offset of the next one, 0 at the end"},
}};
inline constexpr Layout kExtendedHeader{"pci.extended_capability", "PCIe 5.0 7.6.3", {
    {"ID",      15, 0,  "capability id"},
    {"VERSION", 19, 16, "version"},
    {"NEXT",    31, 20, "offset of the next one, 0 at the end"},
}};

// Power management (PM 1.2, 3.2).
namespace pm {
inline constexpr unsigned kBytes = 8;
inline constexpr Register kCapabilities{0x02, 2, RegisterAccess::ro, 3, Layout{"pci.pm.capabilities", "PM 1.2 3.2.3", {
    {"VERSION", 2,  0,  "3: PM 1.2"},
    {"PME_CLK", 3,  3,  "PME# needs the clock"},
    {"DSI",     5,  5,  "needs device-specific initialisation"},
    {"AUX",     8,  6,  "auxiliary current"},
    {"D1",      9,  9,  "D1 is supported"},
    {"D2",      10, 10, "D2 is supported"},
    {"PME",     15, 11, "states from which PME# can be asserted"},
}}};
inline constexpr Register kControl{0x04, 2, RegisterAccess::rw, 8, Layout{"pci.pm.control", "PM 1.2 3.2.4", {
    {"STATE",         1,  0,  "0: D0, 3: D3hot"},
    {"NO_SOFT_RESET", 3,  3,  "D3hot to D0 keeps the registers (read-only)"},
    {"PME_EN",        8,  8,  "assert PME#"},
    {"DATA_SELECT",   12, 9,  "which data the data register shows"},
    {"DATA_SCALE",    14, 13, "its scale"},
    {"PME_STATUS",    15, 15, "PME# (write 1 to clear)"},
}}};
inline constexpr std::uint64_t kD0 = 0, kD3hot = 3;
}  // namespace pm

// MSI with a 64-bit address and no per-vector mask (PCI 3.0, 6.8.1).
namespace msi {
inline constexpr unsigned kBytes = 14, kMaxVectors = 32;
inline constexpr Register kControl{0x02, 2, RegisterAccess::rw, 0x80, Layout{"pci.msi.control", "PCI 3.0 6.8.1.3", {
    {"ENABLE",     0, 0, "interrupts are messages"},
    {"CAPABLE",    3, 1, "log2 of the vectors the function wants"},
    {"MULTIPLE",   6, 4, "log2 of the vectors it was given"},
    {"ADDRESS_64", 7, 7, "the address has 64 bits"},
    {"MASKING",    8, 8, "vectors can be masked"},
}}};
inline constexpr Register kAddressLow{0x04, 4, RegisterAccess::rw, 0, Layout{"pci.msi.address_low", "PCI 3.0 6.8.1.4", {
    {"ADDRESS", 31, 2, "where the message is written"},
}}};
inline constexpr Register kAddressHigh{0x08, 4, RegisterAccess::rw, 0, Layout{"pci.msi.address_high", "PCI 3.0 6.8.1.5", {
    {"ADDRESS", 31, 0, "high half of the address"},
}}};
inline constexpr Register kData{0x0c, 2, RegisterAccess::rw, 0, Layout{"pci.msi.data", "PCI 3.0 6.8.1.6", {
    {"DATA", 15, 0, "what is written; the vector replaces the low bits"},
}}};
}  // namespace msi

// MSI-X (PCI 3.0, 6.8.2).
namespace msix {
inline constexpr unsigned kBytes = 12, kMaxVectors = 2048, kEntryBytes = 16, kPbaBits = 64;
inline constexpr Register kControl{0x02, 2, RegisterAccess::rw, 0, Layout{"pci.msix.control", "PCI 3.0 6.8.2.3", {
    {"SIZE",   10, 0,  "vectors - 1 (read-only)"},
    {"MASK",   14, 14, "all vectors are masked"},
    {"ENABLE", 15, 15, "interrupts are MSI-X messages"},
}}};
inline constexpr Register kTable{0x04, 4, RegisterAccess::ro, 0, Layout{"pci.msix.table", "PCI 3.0 6.8.2.4", {
    {"BAR",    2,  0, "BAR that holds the table"},
    {"OFFSET", 31, 3, "where in it, in units of 8 bytes"},
}}};
inline constexpr Register kPba{0x08, 4, RegisterAccess::ro, 0, Layout{"pci.msix.pba", "PCI 3.0 6.8.2.5", {
    {"BAR",    2,  0, "BAR that holds the pending bits"},
    {"OFFSET", 31, 3, "where in it, in units of 8 bytes"},
}}};
// Second 64-bit word of a table entry; the first is the message address.
inline constexpr Layout kEntryDataControl{"pci.msix.entry[1]", "PCI 3.0 6.8.2.8", {
    {"DATA", 31, 0,  "message data"},
    {"MASK", 32, 32, "this vector is masked (set after reset)"},
}};
}  // namespace msix

// PCI Express (PCIe 5.0, 7.5.3), version 2 of the structure.
namespace express {
inline constexpr unsigned kBytes = 0x3c;
inline constexpr std::uint64_t kEndpoint = 0, kIntegratedEndpoint = 9;
inline constexpr Register kCapabilities{0x02, 2, RegisterAccess::ro, 2, Layout{"pci.express.capabilities", "PCIe 5.0 7.5.3.2", {
    {"VERSION", 3,  0, "structure version"},
    {"TYPE",    7,  4, "0: endpoint, 4: root port, 9: root complex integrated endpoint"},
    {"SLOT",    8,  8, "the port has a slot"},
    {"MESSAGE", 13, 9, "interrupt message number"},
}}};
inline constexpr Register kDeviceCaps{0x04, 4, RegisterAccess::ro, 0, Layout{"pci.express.device_caps", "PCIe 5.0 7.5.3.3", {
    {"MAX_PAYLOAD", 2,  0,  "128 << n bytes"},
    {"PHANTOM",     4,  3,  "phantom functions"},
    {"EXT_TAG",     5,  5,  "8-bit tags"},
    {"ROLE_BASED",  15, 15, "role-based error reporting"},
    {"FLR",         28, 28, "function-level reset"},
}}};
inline constexpr Register kDeviceControl{0x08, 2, RegisterAccess::rw, 0x2810, Layout{"pci.express.device_control", "PCIe 5.0 7.5.3.4", {
    {"CORRECTABLE", 0,  0,  "report correctable errors"},
    {"NON_FATAL",   1,  1,  "report non-fatal errors"},
    {"FATAL",       2,  2,  "report fatal errors"},
    {"UNSUPPORTED", 3,  3,  "report unsupported requests"},
    {"RELAXED",     4,  4,  "relaxed ordering"},
    {"MAX_PAYLOAD", 7,  5,  "128 << n bytes"},
    {"EXT_TAG",     8,  8,  "8-bit tags"},
    {"PHANTOM",     9,  9,  "phantom functions"},
    {"AUX_POWER",   10, 10, "auxiliary power"},
    {"NO_SNOOP",    11, 11, "may set the no-snoop attribute"},
    {"MAX_READ",    14, 12, "128 << n bytes"},
    {"FLR",         15, 15, "writing 1 starts a function-level reset; reads as 0"},
}}};
inline constexpr Register kDeviceStatus{0x0a, 2, RegisterAccess::w1c, 0, Layout{"pci.express.device_status", "PCIe 5.0 7.5.3.5", {
    {"CORRECTABLE", 0, 0, "correctable error detected"},
    {"NON_FATAL",   1, 1, "non-fatal error detected"},
    {"FATAL",       2, 2, "fatal error detected"},
    {"UNSUPPORTED", 3, 3, "unsupported request detected"},
    {"AUX_POWER",   4, 4, "auxiliary power detected (read-only)"},
    {"PENDING",     5, 5, "transactions pending (read-only)"},
}}};
inline constexpr Register kLinkCaps{0x0c, 4, RegisterAccess::ro, 0, Layout{"pci.express.link_caps", "PCIe 5.0 7.5.3.6", {
    {"SPEED", 3,  0,  "1: 2.5 GT/s, 2: 5, 3: 8"},
    {"WIDTH", 9,  4,  "lanes"},
    {"ASPM",  11, 10, "active-state power management"},
    {"PORT",  31, 24, "port number"},
}}};
inline constexpr Register kLinkStatus{0x12, 2, RegisterAccess::ro, 0, Layout{"pci.express.link_status", "PCIe 5.0 7.5.3.8", {
    {"SPEED", 3, 0, "as in the capabilities"},
    {"WIDTH", 9, 4, "lanes in use"},
}}};
}  // namespace express

// Advanced error reporting (PCIe 5.0, 7.8.4): the part that an endpoint has.
namespace aer {
inline constexpr unsigned kBytes = 0x48;
inline constexpr Register kUncorrectableStatus{0x04, 4, RegisterAccess::w1c, 0, Layout{"pci.aer.uncorrectable_status", "PCIe 5.0 7.8.4.2", {
    {"DATA_LINK",   4,  4,  "data link protocol error"},
    {"POISONED",    12, 12, "poisoned request"},
    {"FLOW",        13, 13, "flow control protocol error"},
    {"TIMEOUT",     14, 14, "completion timeout"},
    {"ABORT",       15, 15, "completer abort"},
    {"UNEXPECTED",  16, 16, "unexpected completion"},
    {"OVERFLOW",    17, 17, "receiver overflow"},
    {"MALFORMED",   18, 18, "malformed packet"},
    {"ECRC",        19, 19, "ECRC error"},
    {"UNSUPPORTED", 20, 20, "unsupported request"},
    {"ACS",         21, 21, "ACS violation"},
}}};
inline constexpr std::uint32_t kUncorrectableMaskOffset = 0x08, kUncorrectableSeverityOffset = 0x0c;
inline constexpr std::uint64_t kUncorrectableSeverityReset = 0x0006'2010;  // PCIe 5.0 7.8.4.4: link, flow, overflow, malformed
inline constexpr Register kCorrectableStatus{0x10, 4, RegisterAccess::w1c, 0, Layout{"pci.aer.correctable_status", "PCIe 5.0 7.8.4.5", {
    {"RECEIVER",  0,  0,  "receiver error"},
    {"BAD_TLP",   6,  6,  "bad packet"},
    {"BAD_DLLP",  7,  7,  "bad link packet"},
    {"ROLLOVER",  8,  8,  "replay number rolled over"},
    {"REPLAY",    12, 12, "replay timer timed out"},
    {"ADVISORY",  13, 13, "advisory non-fatal error"},
}}};
inline constexpr std::uint32_t kCorrectableMaskOffset = 0x14;
inline constexpr std::uint64_t kCorrectableMaskReset = 0x2000;  // advisory errors are masked
}  // namespace aer

// Access control services (PCIe 5.0, 7.7.8). The same bits are capabilities at 4 and enables at 6.
namespace acs {
inline constexpr unsigned kBytes = 8;
inline constexpr std::uint32_t kControlOffset = 0x06;
inline constexpr Register kCapabilities{0x04, 2, RegisterAccess::ro, 0, Layout{"pci.acs", "PCIe 5.0 7.7.8.2", {
    {"VALIDATION", 0, 0, "source validation"},
    {"BLOCKING",   1, 1, "translation blocking"},
    {"REQUEST",    2, 2, "peer-to-peer request redirect"},
    {"COMPLETION", 3, 3, "peer-to-peer completion redirect"},
    {"UPSTREAM",   4, 4, "upstream forwarding"},
    {"EGRESS",     5, 5, "peer-to-peer egress control"},
    {"DIRECT",     6, 6, "direct translated peer-to-peer"},
}}};
}  // namespace acs

// Address translation services (PCIe 5.0, 10.5.1): the function has a TLB of its own.
namespace ats {
inline constexpr unsigned kBytes = 8;
inline constexpr Register kCapabilities{0x04, 2, RegisterAccess::ro, 0, Layout{"pci.ats", "PCIe 5.0 10.5.1.2", {
    {"QUEUE_DEPTH", 4, 0, "invalidations that the function takes at once; 0: 32"},
    {"ALIGNED",     5, 5, "translation requests are for whole pages"},
    {"GLOBAL",      6, 6, "invalidations of all PASIDs are understood"},
}}};
inline constexpr Register kControl{0x06, 2, RegisterAccess::rw, 0, Layout{"pci.ats_control", "PCIe 5.0 10.5.1.3", {
    {"STU",    4,  0,  "smallest translation unit: 2^STU pages of 4 KiB"},
    {"ENABLE", 15, 15, "the function asks for translations and keeps them"},
}}};
}  // namespace ats

// Page request interface (PCIe 5.0, 10.5.2).
namespace pri {
inline constexpr unsigned kBytes = 16;
inline constexpr Register kControl{0x04, 2, RegisterAccess::rw, 0, Layout{"pci.pri_control", "PCIe 5.0 10.5.2.2", {
    {"ENABLE", 0, 0, "the function may request pages"},
    {"RESET",  1, 1, "forget what is outstanding; only while not enabled"},
}}};
inline constexpr Register kStatus{0x06, 2, RegisterAccess::w1c, 0, Layout{"pci.pri_status", "PCIe 5.0 10.5.2.3", {
    {"FAILURE",    0,  0,  "a request was answered with a failure (w1c)"},
    {"UNEXPECTED", 1,  1,  "an answer named no outstanding request (w1c)"},
    {"STOPPED",    8,  8,  "nothing is outstanding, and nothing will be"},
    {"PASID",      15, 15, "answers to requests with a PASID must have one"},
}}};
inline constexpr Register kCapacity{0x08, 4, RegisterAccess::ro, 0, Layout{"pci.pri_capacity", "PCIe 5.0 10.5.2.4", {
    {"REQUESTS", 31, 0, "page requests that can be outstanding"},
}}};
inline constexpr Register kAllocation{0x0c, 4, RegisterAccess::rw, 0, Layout{"pci.pri_allocation", "PCIe 5.0 10.5.2.5", {
    {"REQUESTS", 31, 0, "page requests that may be outstanding"},
}}};
}  // namespace pri

// Single-root I/O virtualisation (PCIe 5.0, 9.3.3): one physical function and the virtual ones that it brings about.
namespace sriov {
inline constexpr unsigned kBytes = 0x40;
inline constexpr std::uint32_t kBar0Offset = 0x24;  // six of them, of the first virtual function
inline constexpr Register kCapabilities{0x04, 4, RegisterAccess::ro, 0, Layout{"pci.sriov.capabilities", "PCIe 5.0 9.3.3.2", {
    {"MIGRATION", 0,  0,  "virtual functions can be migrated"},
    {"ARI",       1,  1,  "offset and stride are the same with ARI and without"},
    {"MESSAGE",   31, 21, "interrupt message number of migration"},
}}};
inline constexpr Register kControl{0x08, 2, RegisterAccess::rw, 0, Layout{"pci.sriov.control", "PCIe 5.0 9.3.3.3", {
    {"VFE", 0, 0, "virtual functions are there"},
    {"VME", 1, 1, "migration is enabled"},
    {"MIE", 2, 2, "and its interrupt"},
    {"MSE", 3, 3, "virtual functions decode memory"},
    {"ARI", 4, 4, "device numbers belong to the function number"},
}}};
inline constexpr Register kInitial{0x0c, 2, RegisterAccess::ro, 0, Layout{"pci.sriov.initial", "PCIe 5.0 9.3.3.5", {
    {"FUNCTIONS", 15, 0, "virtual functions at first; all of them without migration"},
}}};
inline constexpr Register kTotal{0x0e, 2, RegisterAccess::ro, 0, Layout{"pci.sriov.total", "PCIe 5.0 9.3.3.6", {
    {"FUNCTIONS", 15, 0, "virtual functions that there can be"},
}}};
inline constexpr Register kNumber{0x10, 2, RegisterAccess::rw, 0, Layout{"pci.sriov.number", "PCIe 5.0 9.3.3.7", {
    {"FUNCTIONS", 15, 0, "virtual functions that software wants"},
}}};
inline constexpr Register kDependency{0x12, 1, RegisterAccess::ro, 0, Layout{"pci.sriov.dependency", "PCIe 5.0 9.3.3.8", {
    {"FUNCTION", 7, 0, "the function whose virtual functions come with ours; itself: none"},
}}};
inline constexpr Register kOffset{0x14, 2, RegisterAccess::ro, 0, Layout{"pci.sriov.offset", "PCIe 5.0 9.3.3.9", {
    {"ID", 15, 0, "from the physical function's requester id to that of the first virtual one"},
}}};
inline constexpr Register kStride{0x16, 2, RegisterAccess::ro, 0, Layout{"pci.sriov.stride", "PCIe 5.0 9.3.3.10", {
    {"ID", 15, 0, "from one virtual function's requester id to the next"},
}}};
inline constexpr Register kDeviceId{0x1a, 2, RegisterAccess::ro, 0, Layout{"pci.sriov.device", "PCIe 5.0 9.3.3.11", {
    {"ID", 15, 0, "device id of the virtual functions"},
}}};
inline constexpr Register kSupportedPages{0x1c, 4, RegisterAccess::ro, 1, Layout{"pci.sriov.supported_pages", "PCIe 5.0 9.3.3.12", {
    {"SIZES", 31, 0, "bit n: pages of 4 KiB << n"},
}}};
inline constexpr Register kSystemPage{0x20, 4, RegisterAccess::rw, 1, Layout{"pci.sriov.system_page", "PCIe 5.0 9.3.3.13", {
    {"SIZE", 31, 0, "the one in use, which BARs of virtual functions are multiples of"},
}}};
// Of all models: behind every device number that a physical function may have, so that its device stays as it is.
inline constexpr std::uint16_t kFirstOffset = 0x80, kFunctionStride = 1;
}  // namespace sriov

// Process address space ids (PCIe 5.0, 7.8.8).
namespace pasid {
inline constexpr unsigned kBytes = 8;
inline constexpr Register kCapabilities{0x04, 2, RegisterAccess::ro, 0, Layout{"pci.pasid", "PCIe 5.0 7.8.8.2", {
    {"EXECUTE",    1,  1, "requests for execution"},
    {"PRIVILEGED", 2,  2, "privileged requests"},
    {"WIDTH",      12, 8, "bits of a PASID"},
}}};
inline constexpr Register kControl{0x06, 2, RegisterAccess::rw, 0, Layout{"pci.pasid_control", "PCIe 5.0 7.8.8.3", {
    {"ENABLE",     0, 0, "the function may send requests with a PASID"},
    {"EXECUTE",    1, 1, "and requests for execution"},
    {"PRIVILEGED", 2, 2, "and privileged requests"},
}}};
}  // namespace pasid
// clang-format on

}  // namespace softiommu::hw::pci
