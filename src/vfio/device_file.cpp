// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/device_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/fault.h"
#include "vfio/bus_reset.h"
#include "vfio/cap_chain.h"

namespace softiommu::vfio {

namespace {

constexpr Command<DeviceFile> kRows[] = {
    row<&DeviceFile::get_info, DeviceFile>("DEVICE_GET_INFO", abi::kDeviceGetInfo, abi::kDeviceInfoMinimum),
    row<&DeviceFile::get_region_info, DeviceFile>("DEVICE_GET_REGION_INFO", abi::kDeviceGetRegionInfo,
                                                  sizeof(abi::RegionInfo)),
    row<&DeviceFile::get_irq_info, DeviceFile>("DEVICE_GET_IRQ_INFO", abi::kDeviceGetIrqInfo, sizeof(abi::IrqInfo)),
    row<&DeviceFile::set_irqs, DeviceFile>("DEVICE_SET_IRQS", abi::kDeviceSetIrqs, sizeof(abi::IrqSet)),
    row<&DeviceFile::reset, DeviceFile>("DEVICE_RESET", abi::kDeviceReset, 0),
    row<&DeviceFile::get_hot_reset_info, DeviceFile>("DEVICE_GET_PCI_HOT_RESET_INFO", abi::kDeviceGetPciHotResetInfo,
                                                     sizeof(abi::HotResetInfo)),
    row<&DeviceFile::hot_reset, DeviceFile>("DEVICE_PCI_HOT_RESET", abi::kDevicePciHotReset, sizeof(abi::HotReset)),
    row<&DeviceFile::feature, DeviceFile>("DEVICE_FEATURE", abi::kDeviceFeature, sizeof(abi::Feature)),
};
constexpr CommandTable kCommands(kRows);

constexpr unsigned kMsixEntryBytes = 16;

// The largest natural access at `at` that `left` bytes have room for.
unsigned width_at(std::uint64_t at, std::uint64_t left, bool io) {
  for (const unsigned width : {8U, 4U, 2U}) {
    if (left >= width && at % width == 0 && !(io && width == sizeof(std::uint64_t))) return width;
  }
  return 1;
}

}  // namespace

long DeviceFile::ioctl(unsigned int command, std::uint64_t argument) {
  device_.wake_up();
  return kCommands.dispatch(*this, program_, device_.device().name(), command, argument);
}

Result<long> DeviceFile::get_info(Call& call) {
  auto info = call.request<abi::DeviceInfo>();
  info.flags = abi::kDeviceFlagPci | abi::kDeviceFlagReset;
  info.num_regions = abi::kPciRegions;
  info.num_irqs = abi::kPciIrqs;
  info.cap_offset = info.pad = 0;
  TRY(call.answer(info, std::min<std::size_t>(info.argsz, sizeof info)));
  return 0;
}

// ---- regions

// Whole pages of memory: smaller BARs would share theirs with a neighbour.
bool DeviceFile::can_map(unsigned bar) const {
  const BarSpec& spec = device_.function().bars()[bar];
  return !spec.io && spec.bytes >= kPageSize;
}

Result<long> DeviceFile::get_region_info(Call& call) {
  auto info = call.request<abi::RegionInfo>();
  const PciFunction& function = device_.function();
  CapChain chain(sizeof info);
  info.flags = info.cap_offset = 0;
  info.size = 0;
  if (info.index <= abi::kBar5Region) {
    info.size = function.bars()[info.index].bytes;
    if (info.size != 0) info.flags = abi::kRegionRead | abi::kRegionWrite;
    if (info.size != 0 && can_map(info.index)) {
      info.flags |= abi::kRegionMmap;
      // The MSI-X table may be mapped with the rest: where messages go is decided elsewhere.
      if (function.msix_vectors() != 0 && info.index == function.msix_bar()) {
        chain.add(abi::CapHeader{abi::kRegionCapMsixMappable, 1, 0});
      }
    }
  } else if (info.index == abi::kConfigRegion) {
    info.size = function.config_bytes();
    info.flags = abi::kRegionRead | abi::kRegionWrite;
  } else if (info.index == abi::kRomRegion) {
    info.size = function.rom_bytes();
    if (info.size != 0) info.flags = abi::kRegionRead;
  } else {
    return fail(EINVAL, "no such region");
  }
  info.offset = abi::region_offset(info.index);
  const auto caps = chain.take();
  if (!caps.empty()) info.flags |= abi::kRegionCaps;
  TRY(answer_with_caps(call, info, sizeof info, caps));
  return 0;
}

Result<std::uint64_t> DeviceFile::access_bar(unsigned bar, std::uint64_t user, std::uint64_t bytes,
                                             std::uint64_t offset, bool write) {
  PciFunction& function = device_.function();
  const BarSpec& spec = function.bars()[bar];
  if (offset >= spec.bytes) return fail(EINVAL, "outside of the BAR, or the function has no such BAR");
  bytes = std::min(bytes, spec.bytes - offset);
  // The MSI-X table is not to be had this way: it reads as ones, writes are dropped.
  const bool has_table = function.msix_vectors() != 0 && bar == function.msix_bar();
  const std::uint64_t table = has_table ? function.msix_table_offset() : spec.bytes;
  const std::uint64_t table_end =
      has_table ? table + std::uint64_t{function.msix_vectors()} * kMsixEntryBytes : spec.bytes;
  MmioRegion& window = function.bar_window(bar);
  for (std::uint64_t done = 0; done < bytes;) {
    std::array<std::byte, 256> bounce;
    const std::uint64_t part = std::min<std::uint64_t>(bytes - done, bounce.size());
    if (write) TRY(program_.copy_in(bounce.data(), user + done, part));
    for (std::uint64_t in = 0; in < part;) {
      const std::uint64_t at = offset + done + in;
      const bool hidden = at >= table && at < table_end;
      const std::uint64_t edge = hidden ? table_end : at < table ? table : spec.bytes;
      const unsigned width = width_at(at, std::min(part - in, edge - at), spec.io);
      if (!spec.io && !device_.memory_enabled()) return fail(EIO, "the device does not decode memory");
      std::uint64_t value = ~std::uint64_t{0};
      if (write) std::memcpy(&value, bounce.data() + in, width);
      if (write && !hidden) window.write(at, width, value);
      if (!write && !hidden) value = window.read(at, width);
      if (!write) std::memcpy(bounce.data() + in, &value, width);
      in += width;
    }
    if (!write) TRY(program_.copy_out(user + done, bounce.data(), part));
    done += part;
  }
  return bytes;
}

// What is behind the image reads as ones, and so does all of it when the device is gone.
Result<std::uint64_t> DeviceFile::read_rom(std::uint64_t user, std::uint64_t bytes, std::uint64_t offset) {
  const std::uint64_t size = device_.function().rom_bytes();
  if (offset >= size) return fail(EINVAL, "outside of the ROM, or the function has none");
  bytes = std::min(bytes, size - offset);
  std::vector<std::byte> content(bytes, std::byte{0xff});
  const auto image = device_.function().rom();
  if (offset < image.size() && device_.function().present())
    std::ranges::copy(image.subspan(offset, std::min<std::uint64_t>(bytes, image.size() - offset)), content.begin());
  TRY(program_.copy_out(user, content.data(), bytes));
  return bytes;
}

Result<std::uint64_t> DeviceFile::access(std::uint64_t user, std::uint64_t bytes, std::uint64_t offset, bool write) {
  const std::uint64_t index = offset >> abi::kRegionShift;
  const std::uint64_t at = offset & abi::kRegionOffsetMask;
  if (bytes == 0) return 0;
  if (index <= abi::kBar5Region) return access_bar(static_cast<unsigned>(index), user, bytes, at, write);
  if (index == abi::kRomRegion && !write) return read_rom(user, bytes, at);
  if (index != abi::kConfigRegion) return fail(EINVAL, "no such region, or nothing in it");
  const std::uint64_t size = device_.function().config_bytes();
  if (at >= size || bytes > size - at) return fail(EFAULT, "outside of configuration space");
  return write ? device_.write_config(program_, user, at, bytes) : device_.read_config(program_, user, at, bytes);
}

ssize_t DeviceFile::transfer(std::uint64_t user, std::size_t bytes, off_t offset, bool write) {
  if (offset < 0) return -EINVAL;
  device_.wake_up();
  const auto done = without_throwing([&] {
    const fault::Call fallible;
    return access(user, bytes, static_cast<std::uint64_t>(offset), write);
  });
  return done ? static_cast<ssize_t>(*done) : -done.error().code;
}

ssize_t DeviceFile::pread(std::uint64_t user, std::size_t bytes, off_t offset) {
  return transfer(user, bytes, offset, false);
}

ssize_t DeviceFile::pwrite(std::uint64_t user, std::size_t bytes, off_t offset) {
  return transfer(user, bytes, offset, true);
}

int DeviceFile::mmap(std::uint64_t offset, std::uint64_t bytes, int /*prot*/, int flags, MmapPlan& out) {
  const std::uint64_t index = offset >> abi::kRegionShift;
  const std::uint64_t at = offset & abi::kRegionOffsetMask;
  if (index > abi::kBar5Region || (flags & MAP_TYPE) == MAP_PRIVATE) return -EINVAL;
  const auto bar = static_cast<unsigned>(index);
  const std::uint64_t size = device_.function().bars()[bar].bytes;
  if (!can_map(bar) || bytes == 0 || at >= size || bytes > size - at) return -EINVAL;
  out = MmapPlan{};
  out.kind = MmapPlan::Kind::trap;
  out.registers = &device_.function().bar_window(bar);
  out.offset = at;
  out.physical = PhysAddr{device_.function().bar_address(bar)} + at;
  out.enabled = [](const void* context) { return static_cast<const PciDevice*>(context)->mappings_enabled(); };
  out.enabled_context = &device_;
  return 0;
}

// ---- interrupts

Result<long> DeviceFile::get_irq_info(Call& call) {
  auto info = call.request<abi::IrqInfo>();
  Interrupts& interrupts = device_.interrupts();
  if (info.index >= abi::kPciIrqs) return fail(EINVAL, "no such interrupt");
  if (info.index == abi::kErrIrq && interrupts.count(info.index) == 0)
    return fail(EINVAL, "only PCI Express reports errors");
  info.flags = abi::kIrqInfoEventfd;
  if (info.index == abi::kIntxIrq) {
    info.flags |= abi::kIrqInfoMaskable | abi::kIrqInfoAutomasked;
  } else if (info.index != abi::kMsixIrq) {
    info.flags |= abi::kIrqInfoNoresize;  // MSI-X vectors can be added while others are in use
  }
  info.count = interrupts.count(info.index);
  TRY(call.answer(info));
  return 0;
}

Result<long> DeviceFile::set_irqs(Call& call) {
  const auto request = call.request<abi::IrqSet>();
  if (request.index >= abi::kPciIrqs || request.count >= ~std::uint32_t{0} - request.start ||
      (request.flags & ~(abi::kIrqSetDataTypes | abi::kIrqSetActions)) != 0) {
    return fail(EINVAL, "unknown interrupt or flags");
  }
  const std::uint32_t most = device_.interrupts().count(request.index);
  if (request.start >= most || request.start + request.count > most)
    return fail(EINVAL, "the device has fewer interrupts");
  std::size_t element = 0;
  switch (request.flags & abi::kIrqSetDataTypes) {
    case abi::kIrqSetDataNone:
      break;
    case abi::kIrqSetDataBool:
      element = sizeof(std::uint8_t);
      break;
    case abi::kIrqSetDataEventfd:
      element = sizeof(std::int32_t);
      break;
    default:
      return fail(EINVAL, "one kind of data must be given");
  }
  std::vector<std::byte> data(request.count * element);
  if (request.argsz - sizeof(request) < data.size()) return fail(EINVAL, "argsz leaves no room for the data");
  if (!data.empty()) TRY(call.program().copy_in(data.data(), call.argument() + sizeof(request), data.size()));
  TRY(device_.set_irqs(call.program(), request, data));
  return 0;
}

// ---- resets and features

Result<long> DeviceFile::reset(Call& /*call*/) {
  TRY(device_.reset());
  return 0;
}

Result<long> DeviceFile::get_hot_reset_info(Call& call) {
  auto info = call.request<abi::HotResetInfo>();
  const auto victims = TRY(bus_reset_victims(group_, device_));
  info.flags = context() == nullptr ? 0 : abi::kHotResetDevId | abi::kHotResetDevIdOwned;
  std::vector<abi::DependentDevice> list;
  for (const BusResetVictim& victim : victims) {
    list.push_back(describe(victim));
    if (context() == nullptr) continue;
    const auto id = context()->owned_id(victim.device->device());
    list.back().group_id = id.value_or(abi::kDevIdNotOwned);
    if (!id) info.flags &= ~abi::kHotResetDevIdOwned;
  }
  const std::size_t room = (info.argsz - sizeof info) / sizeof(abi::DependentDevice);
  info.count = static_cast<std::uint32_t>(list.size());
  if (room >= list.size()) {
    TRY(call.program().copy_out(call.argument() + sizeof info, list.data(), list.size() * sizeof list[0]));
  }
  TRY(call.answer(info));
  if (room < list.size()) return fail(ENOSPC, "the list does not fit; count says how long it is");
  return 0;
}

// Every device on the bus must be the caller's: group descriptors prove it, or the context of a device file.
Result<long> DeviceFile::hot_reset(Call& call) {
  const auto request = call.request<abi::HotReset>();
  if (request.flags != 0) return fail(EINVAL, "unknown flags");
  const auto victims = TRY(bus_reset_victims(group_, device_));
  if ((request.count != 0) == (context() != nullptr)) return fail(EINVAL, "groups are for devices of groups");
  if (context() == nullptr) TRY(prove_groups(call, request.count, victims));
  for (const BusResetVictim& victim : victims) {
    if (victim.device->function().physical() != nullptr)
      return fail(EINVAL, "a virtual function is on the bus, which a reset would take away");
    if (context() != nullptr && !context()->owned_id(victim.device->device()))
      return fail(EINVAL, "a device on the bus is not bound to this context");
  }
  for (const BusResetVictim& victim : victims)
    if (victim.device->leaving()) return fail(EAGAIN, "a device on the bus is leaving");
  for (const BusResetVictim& victim : victims) TRY(victim.device->reset());
  return 0;
}

Result<> DeviceFile::prove_groups(Call& call, std::uint32_t count, const std::vector<BusResetVictim>& victims) {
  if (count > victims.size()) return fail(EINVAL, "more groups than there are devices");
  std::vector<std::int32_t> descriptors(count);
  TRY(call.program().copy_in(descriptors.data(), call.argument() + sizeof(abi::HotReset),
                             descriptors.size() * sizeof(std::int32_t)));
  std::vector<std::shared_ptr<File>> files;
  std::vector<const VfioGroup*> owned;
  for (const std::int32_t descriptor : descriptors) {
    files.push_back(TRY(call.program().file_of(descriptor)));
    auto* const group = dynamic_cast<GroupFile*>(files.back().get());
    if (group == nullptr) return fail(EINVAL, "not a group's descriptor");
    owned.push_back(&group->group());
  }
  for (const BusResetVictim& victim : victims) {
    if (std::ranges::find(owned, victim.group) == owned.end())
      return fail(EINVAL, "a device on the bus is in another group");
  }
  return {};
}

// The descriptor of a DMA-BUF.
Result<long> DeviceFile::export_bar(Call& call, std::uint32_t flags) {
  constexpr std::uint32_t kMostRanges = 1024;
  if ((flags & abi::kFeatureSet) != 0) return fail(EINVAL, "it can only be asked for");
  if ((flags & abi::kFeatureProbe) != 0) return 0;
  const auto request = TRY(call.fetch_at<abi::FeatureDmaBuf>(0));
  if ((flags & abi::kFeatureGet) == 0 || request.argsz < sizeof request) return fail(EINVAL, "GET, with room for it");
  if (request.nr_ranges == 0 || request.nr_ranges > kMostRanges || request.flags != 0)
    return fail(EINVAL, "no ranges or too many, or unknown flags");
  std::vector<abi::DmaRange> parts(request.nr_ranges);
  TRY(call.program().copy_in(parts.data(), call.argument() + sizeof request, parts.size() * sizeof parts[0]));
  auto file = TRY(device_.export_bar(request.region_index, parts));
  return TRY(call.program().install(std::move(file), static_cast<int>(request.open_flags) & O_CLOEXEC));
}

namespace {

// What vfio_check_feature lets pass of a feature that can only be set. False: it was a probe, which is answered.
Result<bool> check_set(const abi::Feature& request, std::size_t bytes) {
  if ((request.flags & abi::kFeatureGet) != 0) return fail(EINVAL, "it can only be set");
  if ((request.flags & abi::kFeatureProbe) != 0) return false;
  if ((request.flags & abi::kFeatureSet) == 0 || request.argsz - sizeof request < bytes)
    return fail(EINVAL, "SET, with the data behind it");
  return true;
}

}  // namespace

// Reading it would tell the token of the user before.
Result<long> DeviceFile::set_token(Call& call, const abi::Feature& request) {
  if (!device_.has_token()) return fail(ENOTTY, "the device has no virtual functions");
  if (!TRY(check_set(request, sizeof(Uuid)))) return 0;
  const auto token = TRY(call.fetch_at<Uuid>(sizeof request));
  TRY(device_.set_token(token));
  return 0;
}

Result<long> DeviceFile::set_low_power(Call& call, const abi::Feature& request) {
  const std::uint32_t feature = request.flags & abi::kFeatureMask;
  const bool with_wakeup = feature == abi::kFeatureLowPowerEntryWithWakeup;
  if (!TRY(check_set(request, with_wakeup ? sizeof(abi::LowPowerEntryWithWakeup) : 0))) return 0;
  if (feature == abi::kFeatureLowPowerExit) {
    device_.leave_low_power();
    return 0;
  }
  EventFd wakeup;
  if (with_wakeup) {
    const auto entry = TRY(call.fetch_at<abi::LowPowerEntryWithWakeup>(sizeof request));
    if (entry.wakeup_eventfd < 0) return fail(EINVAL, "not a descriptor");
    wakeup = TRY(EventFd::take(call.program(), entry.wakeup_eventfd));
  }
  TRY(device_.enter_low_power(std::move(wakeup)));
  return 0;
}

Result<long> DeviceFile::feature(Call& call) {
  const auto request = call.request<abi::Feature>();
  constexpr std::uint32_t known = abi::kFeatureMask | abi::kFeatureGet | abi::kFeatureSet | abi::kFeatureProbe;
  constexpr std::uint32_t both = abi::kFeatureGet | abi::kFeatureSet;
  if ((request.flags & ~known) != 0) return fail(EINVAL, "unknown flags");
  if ((request.flags & abi::kFeatureProbe) == 0 && (request.flags & both) == both) {
    return fail(EINVAL, "GET and SET go together only when probing");
  }
  switch (request.flags & abi::kFeatureMask) {
    case abi::kFeatureDmaBuf:
      return export_bar(call, request.flags);
    case abi::kFeaturePciVfToken:
      return set_token(call, request);
    case abi::kFeatureLowPowerEntry:
    case abi::kFeatureLowPowerEntryWithWakeup:
    case abi::kFeatureLowPowerExit:
      return set_low_power(call, request);
    default:  // migration and logging, which are for devices with drivers of their own
      break;
  }
  return fail(ENOTTY, "the device does not have this feature");
}

}  // namespace softiommu::vfio
