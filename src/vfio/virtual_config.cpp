// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/virtual_config.h"

#include <algorithm>

#include "hw/pci.h"

namespace softiommu::vfio {

namespace {

namespace pci = hw::pci;

constexpr unsigned kHeaderBytes = 64, kByteBits = 8;
constexpr unsigned kBarsFirst = pci::kBar0.offset;
constexpr unsigned kRom = pci::kRom.offset;
constexpr std::uint8_t kVendorSpecific = 0x09, kAdvancedFeatures = 0x13;
// PCIe 5.0, 7.9.5.2: length of a vendor-specific extended capability.
constexpr hw::Layout kVendorHeader{
    "pci.vsec", "PCIe 5.0 7.9.5.2", {{"LENGTH", 31, 20, "bytes of the whole structure"}}};
// Conventional PCI ECN "Advanced Capabilities": control byte 4, capabilities byte 3.
constexpr unsigned kAfControl = 4;
constexpr hw::Layout kAfControlLayout{"pci.af.control", "AF ECN", {{"FLR", 0, 0, "starts a function-level reset"}}};

bool touches(unsigned offset, unsigned bytes, unsigned first, unsigned size) {
  return offset < first + size && first < offset + bytes;
}

}  // namespace

std::uint32_t VirtualConfig::copy_at(unsigned offset, unsigned bytes) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= std::uint32_t{places_[offset + i].copy} << (kByteBits * i);
  return value;
}

void VirtualConfig::set_copy(unsigned offset, unsigned bytes, std::uint32_t value) {
  for (unsigned i = 0; i < bytes; ++i) places_[offset + i].copy = static_cast<std::uint8_t>(value >> (kByteBits * i));
}

void VirtualConfig::lay_out(unsigned at, unsigned bytes, const ConfigStructure& structure) {
  const unsigned end = std::min(at + bytes, this->bytes());
  for (unsigned i = at; i < end; ++i) {
    places_[i] = {.copy = static_cast<std::uint8_t>(function_.config_read(i, 1)),
                  .virt = 0,
                  .write = structure.raw_writes ? std::uint8_t{0xff} : std::uint8_t{0},
                  .start = static_cast<std::uint16_t>(at),
                  .in_structure = true};
  }
  for (const ConfigRule& rule : structure.rules) {
    for (unsigned i = 0; i < rule.bytes && at + rule.offset + i < end; ++i) {
      places_[at + rule.offset + i].virt = static_cast<std::uint8_t>(rule.virt >> (kByteBits * i));
      places_[at + rule.offset + i].write = static_cast<std::uint8_t>(rule.write >> (kByteBits * i));
    }
  }
}

unsigned VirtualConfig::length_of(unsigned at, const ConfigStructure& structure) {
  if (structure.bytes != 0) return structure.bytes;
  if (at >= pci::kFirstExtendedCapability) {
    return static_cast<unsigned>(kVendorHeader["LENGTH"].get(function_.config_read(at + 4, 4)));
  }
  if (structure.id == kVendorSpecific) return function_.config_read(at + 2, 1);
  namespace express = pci::express;
  const std::uint32_t caps = function_.config_read(at + express::kCapabilities.offset, 2);
  const bool first = express::kCapabilities["VERSION"].get(caps) == 1;
  const bool integrated = express::kCapabilities["TYPE"].get(caps) == express::kIntegratedEndpoint;
  if (first) return integrated ? 0x0c : 0x14;  // without link and slot registers
  return integrated ? 0x2c : express::kBytes;
}

void VirtualConfig::lay_out_capabilities() {
  constexpr unsigned kMost = (pci::kConfigBytes - kHeaderBytes) / 4;
  unsigned previous = pci::kCapabilities.offset;
  unsigned at = copy_at(previous, 1) & ~3U;
  for (unsigned n = 0; n < kMost && at >= kHeaderBytes; ++n) {
    const std::uint32_t header = function_.config_read(at, 2);
    const auto id = static_cast<std::uint8_t>(pci::kCapabilityHeader["ID"].get(header));
    const auto next = static_cast<unsigned>(pci::kCapabilityHeader["NEXT"].get(header)) & ~3U;
    const ConfigStructure* structure = find_capability_structure(id);
    if (structure == nullptr) {
      set_copy(previous, 1, next);
    } else if (id == pci::capability::kMsi) {
      const auto control = static_cast<std::uint16_t>(function_.config_read(at + pci::msi::kControl.offset, 2));
      const ConfigStructure msi = msi_structure(control);
      lay_out(at, msi.bytes, msi);
      msi_ = at;
    } else {
      lay_out(at, length_of(at, *structure), *structure);
      if (id == pci::capability::kPowerManagement) power_ = at;
      if (id == pci::capability::kExpress) express_ = at;
      if (id == kAdvancedFeatures) advanced_features_ = at;
    }
    if (structure != nullptr) previous = at + 1;
    at = next;
  }
}

void VirtualConfig::lay_out_extended() {
  if (bytes() <= pci::kConfigBytes || express_ == 0) return;
  constexpr unsigned kMost = (pci::kExtendedConfigBytes - pci::kConfigBytes) / 4;
  unsigned previous = 0;
  unsigned at = pci::kFirstExtendedCapability;
  for (unsigned n = 0; n < kMost && at >= pci::kFirstExtendedCapability; ++n) {
    const std::uint32_t header = function_.config_read(at, 4);
    const auto id = static_cast<std::uint16_t>(pci::kExtendedHeader["ID"].get(header));
    const auto next = static_cast<unsigned>(pci::kExtendedHeader["NEXT"].get(header)) & ~3U;
    const ConfigStructure* const structure = find_extended_structure(id);
    if (structure != nullptr) {
      lay_out(at, length_of(at, *structure), *structure);
      previous = at;
    } else if (previous != 0) {  // skipped
      set_copy(previous, 4, static_cast<std::uint32_t>(pci::kExtendedHeader["NEXT"].set(copy_at(previous, 4), next)));
    } else {  // the list starts here whatever comes: an empty header that leads on
      static constexpr ConfigRule kAnchorRules[] = {{0, 4, 0xffffffff, 0}};
      lay_out(at, 4, {0, 4, false, kAnchorRules});
      set_copy(at, 4, static_cast<std::uint32_t>(pci::kExtendedHeader["NEXT"].put(next)));
      previous = at;
    }
    at = next;
  }
}

void VirtualConfig::open() {
  places_.assign(bytes(), Place{.copy = 0, .virt = 0, .write = 0xff, .start = 0, .in_structure = false});
  power_ = msi_ = express_ = advanced_features_ = msi_vectors_log2_ = 0;
  intx_disabled_ = false;
  lay_out(0, kHeaderBytes, header_structure());
  set_copy(pci::kCommand.offset, 2,
           copy_at(pci::kCommand.offset, 2) & ~static_cast<std::uint32_t>(pci::kCommand["INTX_DISABLE"].mask()));
  if (function_.physical() != nullptr) lay_out_virtual_function();
  lay_out_capabilities();
  lay_out_extended();
  fix_bars();
  refresh_memory_enabled();
}

// What its own header does not tell: who it is, and that it decodes memory (PCIe 5.0, 9.3.4.1).
void VirtualConfig::lay_out_virtual_function() {
  constexpr auto kMemory = static_cast<std::uint32_t>(pci::kCommand["MEM"].mask());
  set_copy(pci::kVendor.offset, 2, function_.identity().vendor);
  set_copy(pci::kDevice.offset, 2, function_.identity().device);
  set_copy(pci::kCommand.offset, 2, copy_at(pci::kCommand.offset, 2) | kMemory);
  places_[pci::kCommand.offset].virt |= static_cast<std::uint8_t>(kMemory);
}

unsigned VirtualConfig::chunk(unsigned offset, std::uint64_t count) const {
  const auto same = [&](unsigned bytes) {  // all in one structure, or all outside of any
    for (unsigned i = 1; i < bytes; ++i) {
      if (places_[offset + i].in_structure != places_[offset].in_structure ||
          places_[offset + i].start != places_[offset].start) {
        return false;
      }
    }
    return true;
  };
  for (const unsigned bytes : {4U, 2U}) {
    if (count >= bytes && offset % bytes == 0 && same(bytes)) return bytes;
  }
  return 1;
}

// The virtual BARs as hardware would answer: bits below the size are the BAR's kind.
void VirtualConfig::fix_bars() {
  constexpr unsigned kHalf = 32;
  for (unsigned bar = 0; bar < PciFunction::kBars; ++bar) {
    const BarSpec& spec = function_.bars()[bar];
    const unsigned at = kBarsFirst + bar * pci::kBarBytes;
    if (spec.bytes == 0) {
      set_copy(at, 4, 0);
      continue;
    }
    const std::uint64_t address = ~(spec.bytes - 1);
    const std::uint64_t kind = spec.io ? pci::kIoBar0["IO"].mask()
                                       : pci::kBar0["TYPE"].put(spec.memory64 ? pci::kBarType64 : 0) |
                                             pci::kBar0["PREFETCH"].put(spec.prefetchable ? 1 : 0);
    set_copy(at, 4, static_cast<std::uint32_t>((copy_at(at, 4) & address) | kind));
    if (spec.memory64 && bar + 1 < PciFunction::kBars) {
      ++bar;
      set_copy(at + 4, 4, static_cast<std::uint32_t>(copy_at(at + 4, 4) & (address >> kHalf)));
    }
  }
  const std::uint64_t rom = function_.rom_bytes();
  const std::uint64_t kept = rom == 0 ? 0 : ~(rom - 1) | pci::kRom["ENABLE"].mask();
  set_copy(kRom, 4, static_cast<std::uint32_t>(copy_at(kRom, 4) & kept));
}

std::uint32_t VirtualConfig::read(unsigned offset, unsigned bytes) {
  if (offset < kRom + 4 && offset + bytes > kBarsFirst) fix_bars();
  const std::uint32_t hardware = function_.config_read(offset, bytes);
  std::uint32_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    const Place& place = places_[offset + i];
    const auto from_hardware = static_cast<std::uint8_t>(hardware >> (kByteBits * i));
    value |= std::uint32_t{static_cast<std::uint8_t>((place.copy & place.virt) | (from_hardware & ~place.virt))}
             << (kByteBits * i);
  }
  return value;
}

// Virtual bits to the copy, others to the hardware, which keeps what may not be written.
void VirtualConfig::write_through(unsigned offset, unsigned bytes, std::uint32_t value) {
  std::uint32_t to_hardware = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    Place& place = places_[offset + i];
    const auto wanted = static_cast<std::uint8_t>(value >> (kByteBits * i));
    const auto virt = static_cast<std::uint8_t>(place.write & place.virt);
    place.copy = static_cast<std::uint8_t>((place.copy & ~virt) | (wanted & virt));
    to_hardware |= std::uint32_t{static_cast<std::uint8_t>(place.write & ~place.virt)} << (kByteBits * i);
  }
  if (to_hardware == 0) return;
  const std::uint32_t now = function_.config_read(offset, bytes);
  function_.config_write(offset, bytes, (now & ~to_hardware) | (value & to_hardware));
}

void VirtualConfig::write(unsigned offset, unsigned bytes, std::uint32_t value, Effects& effects) {
  write_through(offset, bytes, value);
  after_write(offset, bytes, effects);
}

void VirtualConfig::after_write(unsigned offset, unsigned bytes, Effects& effects) {
  if (touches(offset, bytes, pci::kCommand.offset, 2)) {
    const bool disabled = pci::kCommand["INTX_DISABLE"].is_set(copy_at(pci::kCommand.offset, 2));
    refresh_memory_enabled();
    if (disabled != intx_disabled_) {
      intx_disabled_ = disabled;
      effects.intx_disabled(disabled);
    }
  }
  if (power_ != 0 && touches(offset, bytes, power_ + pci::pm::kControl.offset, 2)) refresh_memory_enabled();
  if (msi_ != 0 && touches(offset, bytes, msi_ + pci::msi::kControl.offset, 2)) sync_msi(effects);
  if (express_ != 0 && touches(offset, bytes, express_ + pci::express::kDeviceControl.offset, 2)) {
    const unsigned at = express_ + pci::express::kDeviceControl.offset;
    constexpr auto kReset = pci::express::kDeviceControl["FLR"];
    const std::uint32_t control = copy_at(at, 2);
    if (kReset.is_set(control)) {
      set_copy(at, 2, static_cast<std::uint32_t>(kReset.set(control, 0)));  // always reads as 0
      const std::uint32_t caps = function_.config_read(express_ + pci::express::kDeviceCaps.offset, 4);
      if (pci::express::kDeviceCaps["FLR"].is_set(caps)) effects.function_reset();
    }
  }
  if (advanced_features_ != 0 && touches(offset, bytes, advanced_features_ + kAfControl, 1)) {
    const std::uint32_t control = copy_at(advanced_features_ + kAfControl, 1);
    if (kAfControlLayout["FLR"].is_set(control)) {
      set_copy(advanced_features_ + kAfControl, 1, 0);
      effects.function_reset();
    }
  }
}

// MSI is enabled by SET_IRQS: the program may only switch it off and on while it is in use, with no more vectors.
void VirtualConfig::sync_msi(Effects& effects) {
  const unsigned at = msi_ + pci::msi::kControl.offset;
  constexpr auto kEnable = pci::msi::kControl["ENABLE"], kMultiple = pci::msi::kControl["MULTIPLE"];
  std::uint64_t control = copy_at(at, 2);
  if (!effects.msi_in_use()) control = kEnable.set(control, 0);
  if (kMultiple.get(control) > msi_vectors_log2_) control = kMultiple.set(control, msi_vectors_log2_);
  set_copy(at, 2, static_cast<std::uint32_t>(control));
  function_.config_write(at, 2, static_cast<std::uint32_t>(control));
}

void VirtualConfig::refresh_memory_enabled() {
  if (!function_.present()) return;  // it reads as ones: nothing to learn from that
  const std::uint32_t command = function_.config_read(pci::kCommand.offset, 2);
  bool enabled = function_.physical() != nullptr || pci::kCommand["MEM"].is_set(command);
  if (power_ != 0) {
    const std::uint32_t state = function_.config_read(power_ + pci::pm::kControl.offset, 2);
    enabled = enabled && pci::pm::kControl["STATE"].get(state) != pci::pm::kD3hot;
  }
  memory_enabled_.store(enabled, std::memory_order_release);
}

void VirtualConfig::save(std::vector<std::uint32_t>& words) const {
  words.clear();
  for (unsigned at = 0; at < bytes(); at += 4) words.push_back(function_.config_read(at, 4));
}

void VirtualConfig::restore(const std::vector<std::uint32_t>& saved) {
  // The command register comes last: nothing decodes or masters before its registers are back. Status bits that
  // clear when written stay as the reset left them.
  constexpr unsigned kCommandWord = pci::kCommand.offset / 4;
  for (unsigned word = 0; word < saved.size(); ++word) {
    if (word != kCommandWord) function_.config_write(word * 4, 4, saved[word]);
  }
  function_.config_write(pci::kCommand.offset, 2, saved[kCommandWord] & 0xffff);
  refresh_memory_enabled();
}

}  // namespace softiommu::vfio
