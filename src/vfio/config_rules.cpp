// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/config_rules.h"

#include <algorithm>

#include "hw/pci.h"

namespace softiommu::vfio {

namespace {

namespace pci = hw::pci;

constexpr std::uint32_t kAll8 = 0xff, kAll16 = 0xffff, kAll32 = 0xffffffff, kNone = 0;
constexpr std::uint16_t kNext = 1;  // byte of a capability that holds the next one's offset
constexpr std::uint32_t mask(const hw::Field& field) { return static_cast<std::uint32_t>(field.mask()); }

// clang-format off
constexpr ConfigRule kHeaderRules[] = {
    {0x00, 2, kAll16, kNone},   // vendor
    {0x02, 2, kAll16, kNone},   // device
    {0x04, 2, mask(pci::kCommand["INTX_DISABLE"]), kAll16},  // INTx is masked with it behind the program's back
    {0x06, 2, mask(pci::kStatus["CAP_LIST"]), kNone},
    {0x0c, 1, kNone, kAll8},    // cache line size
    {0x0d, 1, kNone, kAll8},    // latency timer
    {0x0f, 1, kNone, kAll8},    // BIST
    {0x10, 4, kAll32, kAll32},  // BARs: sizing works on the copy
    {0x14, 4, kAll32, kAll32},
    {0x18, 4, kAll32, kAll32},
    {0x1c, 4, kAll32, kAll32},
    {0x20, 4, kAll32, kAll32},
    {0x24, 4, kAll32, kAll32},
    {0x30, 4, kAll32, kAll32},  // expansion ROM
    {0x34, 1, kAll8, kNone},    // first capability
    {0x3c, 1, kAll8, kAll8},    // interrupt line
    {0x3d, 1, kAll8, kNone},    // interrupt pin
};

constexpr ConfigRule kPowerRules[] = {
    {kNext, 1, kAll8, kNone},
    {0x04, 4, kNone, kAll32},  // state changes are seen: memory goes away in D3hot
};
constexpr ConfigRule kVpdRules[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 2, kAll16, kAll16}, {0x04, 4, kAll32, kAll32},
};
constexpr ConfigRule kPciXRules[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 2, kNone, kAll16},
};
constexpr ConfigRule kExpressRules[] = {
    {kNext, 1, kAll8, kNone},
    // Reset is done for the program, payload sizes concern other devices too, phantom functions confuse the IOMMU.
    {0x08, 2, mask(pci::express::kDeviceControl["FLR"]) | mask(pci::express::kDeviceControl["MAX_PAYLOAD"]) |
              mask(pci::express::kDeviceControl["MAX_READ"]), kAll16 & ~mask(pci::express::kDeviceControl["PHANTOM"])},
    {0x28, 2, kNone, kAll16 & ~std::uint32_t{1 << 5}},  // device control 2 but ARI forwarding
};
constexpr ConfigRule kAdvancedFeaturesRules[] = {
    {kNext, 1, kAll8, kNone}, {0x04, 1, 1, 1},  // function-level reset
};
constexpr ConfigRule kNextOnlyRules[] = {{kNext, 1, kAll8, kNone}};

// MSI: the message is the kernel's business. Masks are the program's.
constexpr ConfigRule kMsiRules32[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 1, kAll8, kAll8}, {0x04, 4, kAll32, kAll32}, {0x08, 2, kAll16, kAll16},
};
constexpr ConfigRule kMsiRules32Masks[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 1, kAll8, kAll8}, {0x04, 4, kAll32, kAll32}, {0x08, 2, kAll16, kAll16},
    {0x0c, 4, kNone, kAll32}, {0x10, 4, kNone, kAll32},
};
constexpr ConfigRule kMsiRules64[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 1, kAll8, kAll8}, {0x04, 4, kAll32, kAll32}, {0x08, 4, kAll32, kAll32},
    {0x0c, 2, kAll16, kAll16},
};
constexpr ConfigRule kMsiRules64Masks[] = {
    {kNext, 1, kAll8, kNone}, {0x02, 1, kAll8, kAll8}, {0x04, 4, kAll32, kAll32}, {0x08, 4, kAll32, kAll32},
    {0x0c, 2, kAll16, kAll16}, {0x10, 4, kNone, kAll32}, {0x14, 4, kNone, kAll32},
};

constexpr ConfigStructure kHeader{0, 64, false, kHeaderRules};
constexpr ConfigStructure kCapabilities[] = {
    {0x01, 8,  false, kPowerRules},
    {0x03, 8,  false, kVpdRules},
    {0x05, 0,  false, kMsiRules32},
    {0x07, 8,  false, kPciXRules},
    {0x09, 0,  true,  kNextOnlyRules},  // vendor-specific: byte 2 is its length
    {0x10, 0,  false, kExpressRules},
    {0x11, 12, false, kNextOnlyRules},  // MSI-X: enabled by SET_IRQS only
    {0x13, 6,  false, kAdvancedFeaturesRules},
};

// The first word of an extended capability holds the offset of the next one.
constexpr std::uint32_t kUncorrectable = mask(pci::aer::kUncorrectableStatus["DATA_LINK"]) |
    mask(pci::aer::kUncorrectableStatus["POISONED"]) | mask(pci::aer::kUncorrectableStatus["FLOW"]) |
    mask(pci::aer::kUncorrectableStatus["TIMEOUT"]) | mask(pci::aer::kUncorrectableStatus["ABORT"]) |
    mask(pci::aer::kUncorrectableStatus["UNEXPECTED"]) | mask(pci::aer::kUncorrectableStatus["OVERFLOW"]) |
    mask(pci::aer::kUncorrectableStatus["MALFORMED"]) | mask(pci::aer::kUncorrectableStatus["ECRC"]) |
    mask(pci::aer::kUncorrectableStatus["UNSUPPORTED"]) | mask(pci::aer::kUncorrectableStatus["ACS"]);
constexpr std::uint32_t kCorrectable = static_cast<std::uint32_t>(pci::aer::kCorrectableStatus.layout.named());
constexpr std::uint32_t kEcrcEnables = 0x140;  // generation and check (PCIe 5.0, 7.8.4.7)

constexpr ConfigRule kErrorRules[] = {
    {0x00, 4, kAll32, kNone},
    {0x04, 4, kNone, kUncorrectable}, {0x08, 4, kNone, kUncorrectable}, {0x0c, 4, kNone, kUncorrectable},
    {0x10, 4, kNone, kCorrectable}, {0x14, 4, kNone, kCorrectable},
    {0x18, 4, kNone, kEcrcEnables},
};
constexpr ConfigRule kPowerBudgetRules[] = {{0x00, 4, kAll32, kNone}, {0x04, 1, kNone, kAll8}};
constexpr ConfigRule kExtendedHeaderOnly[] = {{0x00, 4, kAll32, kNone}};

constexpr ConfigStructure kExtended[] = {
    {0x0001, 44, false, kErrorRules},
    {0x0003, 12, false, kExtendedHeaderOnly},  // serial number
    {0x0004, 16, false, kPowerBudgetRules},
    {0x000b, 0,  true,  kExtendedHeaderOnly},  // vendor-specific: bits 31:20 of the second word are its length
    {0x000d, 8,  false, kExtendedHeaderOnly},  // access control services
    {0x000e, 8,  false, kExtendedHeaderOnly},  // alternative routing ids
    {0x000f, 8,  false, kExtendedHeaderOnly},  // address translation services
    {0x0010, 64, false, kExtendedHeaderOnly},  // single-root I/O virtualisation
    {0x0013, 16, false, kExtendedHeaderOnly},  // page requests
    {0x0018, 8,  false, kExtendedHeaderOnly},  // latency tolerance
};
// clang-format on

template <std::size_t N>
const ConfigStructure* find(const ConfigStructure (&table)[N], std::uint16_t id) {
  const auto found = std::ranges::find(table, id, &ConfigStructure::id);
  return found != std::end(table) ? found : nullptr;
}

}  // namespace

const ConfigStructure& header_structure() { return kHeader; }
const ConfigStructure* find_capability_structure(std::uint8_t id) { return find(kCapabilities, id); }
const ConfigStructure* find_extended_structure(std::uint16_t id) { return find(kExtended, id); }

ConfigStructure msi_structure(std::uint16_t control) {
  const bool wide = pci::msi::kControl["ADDRESS_64"].is_set(control);
  const bool masks = pci::msi::kControl["MASKING"].is_set(control);
  if (wide)
    return masks ? ConfigStructure{0x05, 24, false, kMsiRules64Masks} : ConfigStructure{0x05, 14, false, kMsiRules64};
  return masks ? ConfigStructure{0x05, 20, false, kMsiRules32Masks} : ConfigStructure{0x05, 10, false, kMsiRules32};
}

}  // namespace softiommu::vfio
