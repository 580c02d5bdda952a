// SPDX-License-Identifier: BSD-3-Clause
// The virtio IOMMU model's face: what the machine file may say, the MMIO transport, and the way of one transaction.
#include <algorithm>
#include <bit>
#include <mutex>
#include <utility>

#include "machine/iommu/virtio_iommu/model.h"
#include "machine/registry.h"

namespace softiommu {
namespace virtio_iommu {

using namespace hw::virtio_iommu;

namespace {

// clang-format off
constexpr Option kOptions[] = {
    {"granule",        Option::Kind::integer, 12, 12, 16, "", "page_size_mask: log2 of the smallest mapping"},
    {"input_bits",     Option::Kind::integer, 48, 32, 64, "", "input_range: addresses have this many bits"},
    {"input_first",    Option::Kind::size,    0, 0, std::uint64_t{1} << 31, "", "input_range: first address"},
    {"domains",        Option::Kind::integer, 65535, 1, 65535, "", "domain_range: ids from 1 on; one of them is for bypassing"},
    {"bypass_config",  Option::Kind::flag,    1, 0, 1, "", "BYPASS_CONFIG: bypass can be chosen, also for single endpoints"},
    {"probe",          Option::Kind::flag,    1, 0, 1, "", "PROBE: endpoints can be asked for their properties"},
    {"message_window", Option::Kind::flag,    0, 0, 1, "", "a probe tells of a window for interrupt messages, as on PCs"},
    {"queue_size",     Option::Kind::integer, 6, 2, 10, "", "log2 of the largest virtqueue"},
};
// clang-format on

constexpr std::uint32_t kProbeBytes = 512;

std::uint64_t make_features(const Options& options) {
  return kFeatures["INPUT_RANGE"].put(1) | kFeatures["DOMAIN_RANGE"].put(1) | kFeatures["MAP_UNMAP"].put(1) |
         kFeatures["PROBE"].put(options["probe"]) | kFeatures["BYPASS_CONFIG"].put(options["bypass_config"]) |
         kFeatures["VERSION_1"].put(1);
}

constexpr std::uint32_t half(std::uint64_t value, std::uint32_t which) {
  return which == 0 ? static_cast<std::uint32_t>(value) : which == 1 ? static_cast<std::uint32_t>(value >> 32) : 0;
}
constexpr void set_half(std::uint64_t& word, std::uint32_t which, std::uint32_t value) {
  const unsigned shift = which == 0 ? 0 : 32;
  word = (word & ~(std::uint64_t{0xffff'ffff} << shift)) | std::uint64_t{value} << shift;
}

}  // namespace

VirtioIommu::VirtioIommu(const UnitContext& context, const Options& options)
    : IommuUnit(context),
      features_(make_features(options)),
      granule_(std::uint64_t{1} << options["granule"]),
      input_first_(options["input_first"]),
      input_last_(~std::uint64_t{0} >> (64 - options["input_bits"])),
      domain_first_(1),
      domain_last_(static_cast<std::uint32_t>(options["domains"])),
      queue_size_(1u << options["queue_size"]),
      message_window_(options.flag("message_window")) {
  reset();
}

void VirtioIommu::reset() {
  const std::scoped_lock lock(queue_mutex_);
  forget_everything();
}

// With bypass_config, endpoints reach all memory until the driver says otherwise; else they reach none.
void VirtioIommu::forget_everything() {
  status_ = 0;
  driver_features_ = 0;
  device_selection_ = driver_selection_ = queue_selection_ = 0;
  requests_ = {};
  interrupt_status_ = 0;
  {
    const std::scoped_lock state(state_mutex_);
    bypass_ = kFeatures["BYPASS_CONFIG"].is_set(features_);
    domains_.clear();
    endpoints_.clear();
  }
  {
    const std::scoped_lock events(events_mutex_);
    events_ = {};
  }
  bump_generation();
}

// ---- Transport --------------------------------------------------------------------------------------------------

std::uint64_t VirtioIommu::read(std::uint64_t offset, unsigned bytes) {
  const std::scoped_lock lock(queue_mutex_);
  if (offset >= kConfigOffset) return read_config(offset, bytes);
  if (bytes != 4) return 0;
  switch (offset) {
    case kMagicValue.offset:
      return kMagic;
    case kVersion.offset:
      return kTransportVersion;
    case kDeviceId.offset:
      return kIommuDevice;
    case kDeviceFeatures.offset:
      return half(features_, device_selection_);
    case kQueueNumMax.offset:
      return queue_selection_ < kQueues ? queue_size_ : 0;
    case kQueueReady.offset: {
      const std::scoped_lock events(events_mutex_);
      return queue_selection_ < kQueues && (queue_selection_ == kEventQueue ? events_ : requests_).ready;
    }
    case kInterruptStatus.offset:
      return interrupt_status_;
    case kStatus.offset:
      return status_;
    default:
      return 0;
  }
}

std::uint64_t VirtioIommu::read_config(std::uint64_t offset, unsigned bytes) const {
  const std::uint64_t words[] = {
      ~(granule_ - 1), input_first_, input_last_, domain_first_ | std::uint64_t{domain_last_} << 32,
      (kFeatures["PROBE"].is_set(features_) ? kProbeBytes : 0) | std::uint64_t{bypass_} << 32};
  const std::uint64_t at = offset - kConfigOffset;
  if (bytes == 0 || at + bytes > sizeof words || at % bytes != 0) return 0;
  return words[at / 8] >> 8 * (at % 8) & (~std::uint64_t{0} >> (64 - 8 * bytes));
}

void VirtioIommu::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  const std::uint32_t raised_before = interrupt_status_;
  {
    const std::scoped_lock lock(queue_mutex_);
    if (offset == kBypass.offset) {
      if (!has_negotiated(kFeatures["BYPASS_CONFIG"])) return;
      const std::scoped_lock state(state_mutex_);
      bypass_ = kBypass["BYPASS"].is_set(value);
      bump_generation();
    } else if (bytes == 4) {
      write_register(offset, static_cast<std::uint32_t>(value));
    }
  }
  if (raised_before == 0 && interrupt_status_ != 0) interrupt(kInterruptLine);
}

void VirtioIommu::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kDeviceFeaturesSel.offset:
      device_selection_ = value;
      break;
    case kDriverFeaturesSel.offset:
      driver_selection_ = value;
      break;
    case kDriverFeatures.offset:
      if (driver_selection_ < 2) set_half(driver_features_, driver_selection_, value);
      break;
    case kQueueSel.offset:
      queue_selection_ = value;
      break;
    case kQueueNotify.offset:
      if (value == kRequestQueue) run_requests();
      break;
    case kInterruptAck.offset:
      interrupt_status_ &= ~value;
      break;
    case kStatus.offset:
      set_status(value);
      break;
    default:
      write_queue(offset, value);
  }
}

void VirtioIommu::write_queue(std::uint64_t offset, std::uint32_t value) {
  if (queue_selection_ >= kQueues) return;
  const std::scoped_lock events(events_mutex_);
  Queue& queue = queue_selection_ == kEventQueue ? events_ : requests_;
  if (offset == kQueueNum.offset) {
    if (std::has_single_bit(value) && value <= queue_size_) queue.size = value;
  } else if (offset == kQueueReady.offset) {
    queue.ready = value == 1;
  } else if (offset >= kQueueDesc.offset && offset < kQueueDesc.offset + 8) {
    set_half(queue.descriptors, offset != kQueueDesc.offset, value);
  } else if (offset >= kQueueDriver.offset && offset < kQueueDriver.offset + 8) {
    set_half(queue.available, offset != kQueueDriver.offset, value);
  } else if (offset >= kQueueDevice.offset && offset < kQueueDevice.offset + 8) {
    set_half(queue.used, offset != kQueueDevice.offset, value);
  }
}

// 0 resets; FEATURES_OK sticks only with features that the device has, VERSION_1 among them.
void VirtioIommu::set_status(std::uint32_t value) {
  if (value == 0) return forget_everything();
  const bool acceptable = (driver_features_ & ~features_) == 0 && has_negotiated(kFeatures["VERSION_1"]);
  if (!acceptable) value &= ~static_cast<std::uint32_t>(kStatus["FEATURES_OK"].mask());
  status_ = value;
}

// ---- One transaction ------------------------------------------------------------------------------------------

std::optional<Translation> VirtioIommu::translate(const Transaction& transaction) {
  const std::uint64_t address = transaction.iova.value;
  const Translation pass{PhysAddr{align_down(address, kPageSize)}, kPageShift, true, true, true};
  std::optional<Mapping> mapping;
  std::uint64_t first = 0;
  bool has_domain = false;
  {
    const std::scoped_lock lock(state_mutex_);
    const auto at = endpoints_.find(transaction.stream);
    has_domain = at != endpoints_.end();
    if (has_domain ? domains_.find(at->second)->second.bypass : bypass_) return pass;
    if (has_domain) {
      const auto& mappings = domains_.find(at->second)->second.mappings;
      const auto next = mappings.upper_bound(address);
      if (next != mappings.begin() && std::prev(next)->second.last >= address) {
        first = std::prev(next)->first;
        mapping = std::prev(next)->second;
      }
    }
  }
  if (!has_domain) return refuse(transaction, kNoDomain);
  const bool read = mapping && kMapFlags["READ"].is_set(mapping->flags);
  const bool write = mapping && kMapFlags["WRITE"].is_set(mapping->flags);
  if (transaction.access == Access::read ? !read : !write) return refuse(transaction, kNoMapping);
  // The largest aligned page around the address that the mapping holds whole.
  constexpr unsigned kMostLg2 = 30;
  auto lg2 = static_cast<unsigned>(std::countr_zero(granule_));
  for (unsigned more = lg2 + 1; more <= kMostLg2; ++more) {
    const std::uint64_t page = std::uint64_t{1} << more, start = align_down(address, page);
    if (start < first || start + (page - 1) > mapping->last || ((mapping->physical - first) & (page - 1)) != 0) break;
    lg2 = more;
  }
  const std::uint64_t page = align_down(address, std::uint64_t{1} << lg2);
  return Translation{PhysAddr{mapping->physical + (page - first)}, static_cast<std::uint8_t>(lg2), read, write, true};
}

}  // namespace virtio_iommu

UnitModel virtio_iommu_unit_model() {
  return {"virtio-iommu", "virtio IOMMU behind a memory-mapped transport, as virtual machines have it",
          virtio_iommu::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              return std::make_unique<virtio_iommu::VirtioIommu>(context, options);
            });
          }};
}

}  // namespace softiommu
