// SPDX-License-Identifier: BSD-3-Clause
// What a driver switches on in a PCI function that its IOMMU serves: PASIDs, ATS and page requests (PCIe 5.0, 10.5 and
// 7.8.8). In the order of these functions, since a function may ignore a change of PASID while ATS is on. Devices
// without a function in the machine have none of it.
#pragma once

#include "core/device.h"
#include "hw/pci.h"
#include "machine/pci_function.h"

namespace softiommu::pci_ats {

namespace detail {

template <std::size_t N>
bool set(const Device& device, std::uint16_t capability, const hw::Register<N>& control, std::uint64_t value) {
  PciFunction* const function = device.function();
  const unsigned at = function != nullptr ? function->find_extended_capability(capability) : 0;
  if (at == 0) return false;
  function->config_write(at + control.offset, control.bytes, static_cast<std::uint32_t>(value));
  return true;
}

}  // namespace detail

// Bits of the PASIDs that the device can send; 0: none.
inline unsigned pasid_bits(const Device& device) {
  PciFunction* const function = device.function();
  const unsigned at = function != nullptr ? function->find_extended_capability(hw::pci::extended::kPasid) : 0;
  if (at == 0) return 0;
  namespace pasid = hw::pci::pasid;
  return static_cast<unsigned>(pasid::kCapabilities["WIDTH"].get(
      function->config_read(at + pasid::kCapabilities.offset, pasid::kCapabilities.bytes)));
}

inline bool has_ats(const Device& device) {
  return device.function() != nullptr &&
         device.function()->find_extended_capability(hw::pci::extended::kAddressTranslationServices) != 0;
}
inline bool has_page_requests(const Device& device) {
  return device.function() != nullptr &&
         device.function()->find_extended_capability(hw::pci::extended::kPageRequest) != 0;
}
// Each answers whether the device has such a thing.
inline bool enable_pasids(const Device& device) {
  namespace pasid = hw::pci::pasid;
  return detail::set(device, hw::pci::extended::kPasid, pasid::kControl, pasid::kControl["ENABLE"].mask());
}
// Translations of single pages: the smallest unit that ATS has.
inline bool enable_ats(const Device& device) {
  namespace ats = hw::pci::ats;
  return detail::set(device, hw::pci::extended::kAddressTranslationServices, ats::kControl,
                     ats::kControl["ENABLE"].mask());
}
inline void disable_ats(const Device& device) {
  detail::set(device, hw::pci::extended::kAddressTranslationServices, hw::pci::ats::kControl, 0);
}
// Does it keep translations now (IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED is the opposite)?
inline bool ats_is_on(const Device& device) {
  PciFunction* const function = device.function();
  const unsigned at =
      function != nullptr ? function->find_extended_capability(hw::pci::extended::kAddressTranslationServices) : 0;
  namespace ats = hw::pci::ats;
  return at != 0 &&
         ats::kControl["ENABLE"].is_set(function->config_read(at + ats::kControl.offset, ats::kControl.bytes));
}
// After ATS. `outstanding` requests at most.
inline bool enable_page_requests(const Device& device, std::uint32_t outstanding) {
  namespace pri = hw::pci::pri;
  return detail::set(device, hw::pci::extended::kPageRequest, pri::kAllocation, outstanding) &&
         detail::set(device, hw::pci::extended::kPageRequest, pri::kControl, pri::kControl["ENABLE"].mask());
}
inline void disable_page_requests(const Device& device) {
  detail::set(device, hw::pci::extended::kPageRequest, hw::pci::pri::kControl, 0);
}

}  // namespace softiommu::pci_ats
