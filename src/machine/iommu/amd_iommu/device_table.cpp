// SPDX-License-Identifier: BSD-3-Clause
// The device table (AMD 48882 2.2.2): what an entry says, whether it may say so, and what the unit keeps of it. Entries
// that are wrong are kept too, as hardware may.
#include <fmt/format.h>

#include "machine/findings.h"
#include "machine/iommu/amd_iommu/model.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::amd_iommu {

using namespace hw::amd;

std::string text_of(DeviceId id) { return fmt::format("{:02x}:{:02x}.{}", id >> 8, id >> 3 & 0x1f, id & 7); }

AmdIommu::Known AmdIommu::know(DeviceId id) {
  for (;;) {
    std::uint64_t epoch = 0;
    std::optional<Device> cached;
    {
      const MutexLock lock(devices_mutex_);
      if (const auto found = devices_.find(id); found != devices_.end()) cached = found->second.device;
      epoch = devices_epoch_;
    }
    if (cached && !context_.paranoid) return {*cached, std::nullopt};
    const Device device = fetch_device(id);
    const MutexLock lock(devices_mutex_);
    if (epoch != devices_epoch_) continue;  // invalidated while it was read: read again
    if (cached) return {*cached, device != *cached ? std::optional(device) : std::nullopt};
    devices_.insert_or_assign(id, Cached{device});
    return {device, std::nullopt};
  }
}

// Of the device's page faults since its entry was read (DTE.SE).
bool AmdIommu::first_fault(DeviceId id) {
  const MutexLock lock(devices_mutex_);
  const auto found = devices_.find(id);
  return found == devices_.end() || !std::exchange(found->second.has_faulted, true);
}

Device AmdIommu::fetch_device(DeviceId id) const {
  const std::uint64_t base = get(kDeviceTableAt);
  const std::uint64_t entries = (kDeviceTable["Size"].get(base) + 1) * kDtesInPage;
  if (id >= entries) return {.kind = Device::Kind::illegal};
  std::array<std::uint64_t, kDteWords> words{};
  for (std::size_t i = 0; i < words.size(); ++i) {
    const PhysAddr at{kDeviceTable["DevTabBase"].in_place(base) + std::uint64_t{id} * kDteBytes + i * sizeof(words[i])};
    const walk::TableWord<std::uint64_t> word(context_.memory, at);
    if (!word.exists()) return {.kind = Device::Kind::unreadable};
    words[i] = word.load();
  }
  return decode(words);
}

Device AmdIommu::decode(const std::array<std::uint64_t, kDteWords>& words) const {
  if (!kDte0["V"].is_set(words[0])) return {.kind = Device::Kind::passes};
  Device device{.domain = static_cast<std::uint16_t>(kDte1["DomainID"].get(words[1])),
                .read = kDte0["IR"].is_set(words[0]),
                .write = kDte0["IW"].is_set(words[0]),
                .excluded = kDte1["EX"].is_set(words[1]),
                .may_request_pages = kDte0["PPR"].is_set(words[0]),
                .silent = kDte1["SA"].is_set(words[1]),
                .silent_after_first = kDte1["SE"].is_set(words[1])};
  if (has_reserved_bits(words)) {
    device.kind = Device::Kind::illegal;
    device.reserved_bits = true;
  } else if (!kDte0["TV"].is_set(words[0])) {
    device.kind = Device::Kind::refused;
  } else if (!decode_host(words[0], device) || !decode_guest(words, device)) {
    device.kind = Device::Kind::illegal;
  } else {
    device.kind = Device::Kind::translates;
  }
  return device;
}

// Bits without a meaning, and those of features that the unit has not.
bool AmdIommu::has_reserved_bits(const std::array<std::uint64_t, kDteWords>& words) const {
  constexpr std::uint64_t kImpossible = 2;  // of HAD
  if ((words[0] & kDte0.unnamed()) != 0 || (words[1] & kDte1.unnamed()) != 0 || (words[2] & kDte2.unnamed()) != 0)
    return true;
  const std::uint64_t keeps = kDte0["HAD"].get(words[0]);
  if (keeps == kImpossible || (keeps != kKeepNothing && !kFeatures["HASup"].is_set(features_)) ||
      (keeps == kKeepDirty && !kFeatures["HDSup"].is_set(features_)))
    return true;
  if (kDte0["PPR"].is_set(words[0]) && !kFeatures["PPRSup"].is_set(features_)) return true;
  if (kDte0["GV"].is_set(words[0]) && (!kFeatures["GTSup"].is_set(features_) || !controls(kControl["GTEn"])))
    return true;
  if (kDte0["GIoV"].is_set(words[0]) && !kFeatures["GIoSup"].is_set(features_)) return true;
  return domain_ids_ != 0 && kDte1["DomainID"].get(words[1]) >= domain_ids_;
}

// False: the unit has not so many levels.
bool AmdIommu::decode_host(std::uint64_t word0, Device& device) const {
  const auto mode = static_cast<unsigned>(kDte0["Mode"].get(word0));
  if (mode > kMostHostLevels || mode > most_host_levels(features_)) return false;
  const std::uint64_t keeps = kDte0["HAD"].get(word0);
  device.host = {.root = PhysAddr{kDte0["HostTableRoot"].in_place(word0)},
                 .mode = mode,
                 .accessed = keeps >= kKeepAccessed,
                 .dirty = keeps == kKeepDirty};
  return true;
}

bool AmdIommu::decode_guest(const std::array<std::uint64_t, kDteWords>& words, Device& device) const {
  if (!kDte0["GV"].is_set(words[0])) return true;
  constexpr unsigned kLeastLevels = 4;
  const std::uint64_t levels = kDte2["GuestPagingMode"].get(words[2]), gcr3_levels = kDte0["GLX"].get(words[0]);
  if (levels > kFeatures["GATS"].get(features_) || gcr3_levels > kFeatures["GLXSup"].get(features_)) return false;
  device.guest_levels = kLeastLevels + static_cast<unsigned>(levels);
  device.gcr3_levels = static_cast<unsigned>(gcr3_levels) + 1;
  device.gcr3 = PhysAddr{gcr3_table(words[0], words[1])};
  device.guest_without_pasid = kDte0["GIoV"].is_set(words[0]);
  return true;
}

}  // namespace softiommu::amd_iommu
