// SPDX-License-Identifier: BSD-3-Clause
// The virtio IOMMU device (virtio 1.2, 5.13) behind the MMIO transport (4.2) with split virtqueues (2.7).
//
// Requests and events are rows of little-endian 32-bit words. A request is two buffers: what the device reads, and what
// it writes, whose last word is the tail with the status. 64-bit fields are two words, the lower one first.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::virtio_iommu {

// clang-format off

using enum RegisterAccess;

// ---- MMIO transport (4.2.2) ----

inline constexpr std::uint64_t kRegisterBytes = 0x200, kConfigOffset = 0x100;
inline constexpr std::uint64_t kMagic = 0x7472'6976, kTransportVersion = 2, kIommuDevice = 23;

// A register that is one number.
consteval Layout<1> number(std::string_view name, std::string_view spec) {
  return {name, spec, {{"VALUE", 31, 0, ""}}};
}
inline constexpr Register kMagicValue{0x000, 4, ro, kMagic, number("virtio.MagicValue", "virtio 4.2.2")};
inline constexpr Register kVersion{0x004, 4, ro, kTransportVersion, number("virtio.Version", "virtio 4.2.2")};
inline constexpr Register kDeviceId{0x008, 4, ro, kIommuDevice, number("virtio.DeviceId", "virtio 4.2.2")};
inline constexpr Register kVendorId{0x00c, 4, ro, 0, number("virtio.VendorId", "virtio 4.2.2")};
inline constexpr Register kDeviceFeatures{0x010, 4, ro, 0, number("virtio.DeviceFeatures", "virtio 4.2.2")};
inline constexpr Register kDeviceFeaturesSel{0x014, 4, wo, 0, number("virtio.DeviceFeaturesSel", "virtio 4.2.2")};
inline constexpr Register kDriverFeatures{0x020, 4, wo, 0, number("virtio.DriverFeatures", "virtio 4.2.2")};
inline constexpr Register kDriverFeaturesSel{0x024, 4, wo, 0, number("virtio.DriverFeaturesSel", "virtio 4.2.2")};
inline constexpr Register kQueueSel{0x030, 4, wo, 0, number("virtio.QueueSel", "virtio 4.2.2")};
inline constexpr Register kQueueNumMax{0x034, 4, ro, 0, number("virtio.QueueNumMax", "virtio 4.2.2")};
inline constexpr Register kQueueNum{0x038, 4, wo, 0, number("virtio.QueueNum", "virtio 4.2.2")};
inline constexpr Register kQueueReady{0x044, 4, rw, 0, number("virtio.QueueReady", "virtio 4.2.2")};
inline constexpr Register kQueueNotify{0x050, 4, wo, 0, number("virtio.QueueNotify", "virtio 4.2.2")};
inline constexpr Register kInterruptStatus{0x060, 4, ro, 0, Layout{"virtio.InterruptStatus", "virtio 4.2.2", {
    {"USED",   0, 0, "buffers were used"},
    {"CONFIG", 1, 1, "the configuration changed"},
}}};
inline constexpr Register kInterruptAck{0x064, 4, wo, 0, number("virtio.InterruptAck", "virtio 4.2.2")};
inline constexpr Register kStatus{0x070, 4, rw, 0, Layout{"virtio.Status", "virtio 2.1", {
    {"ACKNOWLEDGE", 0, 0, ""}, {"DRIVER", 1, 1, ""}, {"DRIVER_OK", 2, 2, ""}, {"FEATURES_OK", 3, 3, ""},
    {"NEEDS_RESET", 6, 6, "the device cannot go on"}, {"FAILED", 7, 7, "the driver gave up"},
}}};
inline constexpr Register kQueueDesc{0x080, 4, wo, 0, number("virtio.QueueDesc", "virtio 4.2.2")};  // and 4 bytes on
inline constexpr Register kQueueDriver{0x090, 4, wo, 0, number("virtio.QueueDriver", "virtio 4.2.2")};
inline constexpr Register kQueueDevice{0x0a0, 4, wo, 0, number("virtio.QueueDevice", "virtio 4.2.2")};
inline constexpr Register kConfigGeneration{0x0fc, 4, ro, 0, number("virtio.ConfigGeneration", "virtio 4.2.2")};

inline constexpr unsigned kRequestQueue = 0, kEventQueue = 1, kQueues = 2;

// ---- the device's configuration (5.13.4), from kConfigOffset on ----

inline constexpr Register kPageSizeMask{0x100, 8, ro, 0, Layout{"virtio_iommu.page_size_mask", "virtio 5.13.4", {
    {"SIZES", 63, 0, "bit n: 2^n bytes; the lowest one is the granule of mappings"},
}}};
inline constexpr Register kInputStart{0x108, 8, ro, 0, Layout{"virtio_iommu.input_range.start", "virtio 5.13.4", {
    {"ADDR", 63, 0, ""},
}}};
inline constexpr Register kInputEnd{0x110, 8, ro, 0, Layout{"virtio_iommu.input_range.end", "virtio 5.13.4", {
    {"ADDR", 63, 0, ""},
}}};
inline constexpr Register kDomainStart{0x118, 4, ro, 0, number("virtio_iommu.domain_range.start", "virtio 5.13.4")};
inline constexpr Register kDomainEnd{0x11c, 4, ro, 0, number("virtio_iommu.domain_range.end", "virtio 5.13.4")};
inline constexpr Register kProbeSize{0x120, 4, ro, 0, number("virtio_iommu.probe_size", "virtio 5.13.4")};
inline constexpr Register kBypass{0x124, 1, rw, 0, Layout{"virtio_iommu.bypass", "virtio 5.13.4", {
    {"BYPASS", 0, 0, "endpoints without a domain reach all memory"},
}}};

// Feature bits, in the order in which the two selections show them.
inline constexpr Layout kFeatures{"virtio_iommu.features", "virtio 5.13.3", {
    {"INPUT_RANGE",   0,  0,  "addresses are limited"},
    {"DOMAIN_RANGE",  1,  1,  "domain ids are limited"},
    {"MAP_UNMAP",     2,  2,  ""},
    {"BYPASS",        3,  3,  "endpoints without a domain bypass (before BYPASS_CONFIG)"},
    {"PROBE",         4,  4,  ""},
    {"MMIO",          5,  5,  "the MMIO flag of mappings"},
    {"BYPASS_CONFIG", 6,  6,  "bypass can be chosen, also for a domain"},
    {"VERSION_1",     32, 32, ""},
}};

// ---- split virtqueues (2.7): descriptors of 16 bytes; rings of 16-bit flags and index, then the entries ----

inline constexpr unsigned kDescriptorBytes = 16, kUsedEntryBytes = 8, kRingHeaderBytes = 4;
inline constexpr Layout kDescriptor1{"virtq_desc[127:64]", "virtio 2.7.5", {
    {"LEN",   31, 0,  ""},
    {"NEXT",  32, 32, "another descriptor follows"},
    {"WRITE", 33, 33, "the device writes"},
    {"INDEX", 63, 48, "of the one that follows"},
}};
inline constexpr Layout kUsedEntry{"virtq_used_elem", "virtio 2.7.8", {
    {"ID", 31, 0, "first descriptor of what was used"}, {"LEN", 63, 32, "bytes that the device wrote"},
}};

// ---- requests (5.13.6): word 0, then what each has ----

inline constexpr Layout kHead{"virtio_iommu_req_head", "virtio 5.13.6.2", {
    {"TYPE", 7, 0, "Request"}, {"RESERVED", 31, 8, ""},
}};
inline constexpr Layout kTail{"virtio_iommu_req_tail", "virtio 5.13.6.2", {
    {"STATUS", 7, 0, "Answer"}, {"RESERVED", 31, 8, ""},
}};
enum class Request : std::uint8_t { attach = 1, detach = 2, map = 3, unmap = 4, probe = 5 };
enum class Answer : std::uint8_t {
  ok = 0, io_error = 1, unsupported = 2, device_error = 3, invalid = 4, range = 5, no_entry = 6, fault = 7,
  no_memory = 8,
};
inline constexpr Layout kAttachFlags{"virtio_iommu_req_attach.flags", "virtio 5.13.6.3", {
    {"BYPASS", 0, 0, "the domain lets addresses pass"},
}};
inline constexpr Layout kMapFlags{"virtio_iommu_req_map.flags", "virtio 5.13.6.5", {
    {"READ", 0, 0, ""}, {"WRITE", 1, 1, ""}, {"MMIO", 2, 2, "the memory is a device's"},
}};
// Words of the part that the device reads, and where its fields stand.
inline constexpr unsigned kAttachWords = 5, kDetachWords = 5, kMapWords = 9, kUnmapWords = 7, kProbeWords = 18;
inline constexpr unsigned kDomainWord = 1, kEndpointWord = 2, kAttachFlagsWord = 3;
inline constexpr unsigned kVirtStartWord = 2, kVirtEndWord = 4, kPhysStartWord = 6, kMapFlagsWord = 8;

inline constexpr Layout kProperty{"virtio_iommu_probe_property", "virtio 5.13.6.7", {
    {"TYPE", 11, 0, "0 ends the list, 1 a reserved range"}, {"LENGTH", 31, 16, "bytes that follow"},
}};
inline constexpr std::uint64_t kNoProperty = 0, kReservedMemory = 1;
// A reserved range: the property, then its kind, then start and end.
inline constexpr unsigned kReservedWords = 6;
inline constexpr Layout kReservedKind{"virtio_iommu_probe_resv_mem.subtype", "virtio 5.13.6.7", {
    {"SUBTYPE", 7, 0, "0 reserved, 1 interrupt messages"},
}};

// ---- events (5.13.6.8) ----

inline constexpr unsigned kFaultWords = 6, kFaultFlagsWord = 1, kFaultEndpointWord = 2, kFaultAddressWord = 4;
inline constexpr Layout kFaultReason{"virtio_iommu_fault.reason", "virtio 5.13.6.8", {
    {"REASON", 7, 0, "0 unknown, 1 no domain, 2 no mapping"},
}};
inline constexpr std::uint64_t kNoDomain = 1, kNoMapping = 2;
inline constexpr Layout kFaultFlags{"virtio_iommu_fault.flags", "virtio 5.13.6.8", {
    {"READ", 0, 0, ""}, {"WRITE", 1, 1, ""}, {"ADDRESS", 8, 8, "the address is valid"},
}};

// clang-format on

inline constexpr unsigned kInterruptLine = 0;

}  // namespace softiommu::hw::virtio_iommu
