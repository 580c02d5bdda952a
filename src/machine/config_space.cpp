// SPDX-License-Identifier: BSD-3-Clause
// Byte-wise write rules of configuration space, and its two linked lists of capabilities (PCI 3.0, 6.7; PCIe 5.0, 7.6).
#include "machine/config_space.h"

#include "base/types.h"
#include "hw/pci.h"

namespace softiommu {
namespace {

constexpr unsigned kCapabilityAlignment = 4;

std::uint8_t byte_of(std::uint32_t word, unsigned index) { return static_cast<std::uint8_t>(word >> (8 * index)); }

unsigned aligned(unsigned bytes) {
  return static_cast<unsigned>(align_down(bytes + kCapabilityAlignment - 1, kCapabilityAlignment));
}

}  // namespace

ConfigSpace::ConfigSpace(unsigned bytes)
    : now_(bytes),
      power_on_(bytes),
      writable_(bytes),
      clearable_(bytes),
      free_capability_(hw::pci::kFirstCapability),
      free_extended_(hw::pci::kFirstExtendedCapability) {}

bool ConfigSpace::is_access(unsigned offset, unsigned bytes) const {
  return (bytes == 1 || bytes == 2 || bytes == 4) && is_aligned(offset, bytes) && offset < now_.size();
}

std::uint32_t ConfigSpace::read(unsigned offset, unsigned bytes) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= std::uint32_t{now_[offset + i]} << (8 * i);
  return value;
}

void ConfigSpace::write(unsigned offset, unsigned bytes, std::uint32_t value) {
  for (unsigned i = 0; i < bytes; ++i) {
    const unsigned at = offset + i;
    const unsigned written = byte_of(value, i), mask = writable_[at];
    const unsigned kept = (now_[at] & ~mask) | (written & mask);
    now_[at] = static_cast<std::uint8_t>(kept & ~(written & clearable_[at]));
  }
}

void ConfigSpace::set(unsigned offset, unsigned bytes, std::uint32_t value) {
  for (unsigned i = 0; i < bytes; ++i) now_[offset + i] = byte_of(value, i);
}

void ConfigSpace::define(const ConfigField& field) {
  for (unsigned i = 0; i < field.bytes; ++i) {
    const unsigned at = field.offset + i;
    now_[at] = power_on_[at] = byte_of(field.value, i);
    writable_[at] = byte_of(field.writable, i);
    clearable_[at] = byte_of(field.clearable, i);
  }
}

void ConfigSpace::define_at(unsigned base, ConfigField field) {
  field.offset += base;
  define(field);
}

unsigned ConfigSpace::add_capability(std::uint8_t id, unsigned bytes) {
  using namespace hw::pci;
  const unsigned at = free_capability_;
  if (at + bytes > kConfigBytes) return 0;
  free_capability_ = at + aligned(bytes);
  define({.offset = at, .bytes = 2, .value = static_cast<std::uint32_t>(kCapabilityHeader["ID"].put(id))});
  if (last_capability_ == 0) {
    define(field_of(kCapabilities, at));
    const auto has_list = static_cast<std::uint32_t>(kStatus["CAP_LIST"].mask());
    power_on_[kStatus.offset] = static_cast<std::uint8_t>(power_on_[kStatus.offset] | has_list);
    now_[kStatus.offset] = power_on_[kStatus.offset];
  } else {
    const std::uint32_t header = read(last_capability_, 2);
    define({.offset = last_capability_,
            .bytes = 2,
            .value = static_cast<std::uint32_t>(kCapabilityHeader["NEXT"].set(header, at))});
  }
  return last_capability_ = at;
}

unsigned ConfigSpace::add_extended_capability(std::uint16_t id, std::uint8_t version, unsigned bytes) {
  using namespace hw::pci;
  const unsigned at = free_extended_;
  if (at + bytes > now_.size()) return 0;
  free_extended_ = at + aligned(bytes);
  const std::uint64_t header = kExtendedHeader["ID"].put(id) | kExtendedHeader["VERSION"].put(version);
  define({.offset = at, .bytes = 4, .value = static_cast<std::uint32_t>(header)});
  if (last_extended_ != 0) {
    const std::uint64_t previous = kExtendedHeader["NEXT"].set(read(last_extended_, 4), at);
    define({.offset = last_extended_, .bytes = 4, .value = static_cast<std::uint32_t>(previous)});
  }
  return last_extended_ = at;
}

unsigned ConfigSpace::find_capability(std::uint8_t id) const {
  using namespace hw::pci;
  for (unsigned at = now_[kCapabilities.offset]; at != 0;) {
    const std::uint32_t header = read(at, 2);
    if (kCapabilityHeader["ID"].get(header) == id) return at;
    at = static_cast<unsigned>(kCapabilityHeader["NEXT"].get(header));
  }
  return 0;
}

unsigned ConfigSpace::find_extended_capability(std::uint16_t id) const {
  using namespace hw::pci;
  if (last_extended_ == 0) return 0;
  for (unsigned at = kFirstExtendedCapability; at != 0;) {
    const std::uint32_t header = read(at, 4);
    if (kExtendedHeader["ID"].get(header) == id) return at;
    at = static_cast<unsigned>(kExtendedHeader["NEXT"].get(header));
  }
  return 0;
}

}  // namespace softiommu
