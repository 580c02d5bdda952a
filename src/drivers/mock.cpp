// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/mock.h"

#include <bit>

#include "base/fault.h"
#include "core/user_data.h"

namespace softiommu::mock {

namespace {

constexpr std::uint32_t kKnownFlags = abi::kDeviceNoDirty | abi::kDevicePasid;

Result<MockDomain::Kind> kind_of(const DomainRequest& request) {
  if (request.data == nullptr || request.data->type() == 0) return MockDomain::Kind::normal;
  if (request.data->type() != abi::kHwptDataType) return fail(EOPNOTSUPP, "not the mock's data");
  const auto data = TRY(request.data->as<abi::HwptData>(abi::kHwptDataType, sizeof(abi::HwptData::iotlb)));
  if (data.table_type > abi::kTableHuge) return fail(EOPNOTSUPP, "no such kind of table");
  return data.table_type == abi::kTableHuge ? MockDomain::Kind::huge : MockDomain::Kind::normal;
}

MockViommu* viommu_of(const Domain* domain) {
  const auto* const nested = dynamic_cast<const MockNested*>(domain);
  return nested != nullptr ? nested->viommu() : nullptr;
}

// A guest's domain is only for devices that the guest knows.
bool names(const Domain* to, const Device& device) {
  const MockViommu* const viommu = viommu_of(to);
  return viommu == nullptr || viommu->virtual_id(device).has_value();
}

void point_guest(const Device& device, const Domain* domain) {
  MockViommu* const viommu = viommu_of(domain);
  MockDriver::data_of(device).guest().move_to(viommu, viommu != nullptr ? viommu->virtual_id(device).value_or(0) : 0);
}

}  // namespace

// ---- domains

MockDomain::MockDomain(Driver& owner, TableMemory& memory, Table table, Kind kind, bool tracks_dirty)
    : Domain(owner, DomainType::paging), memory_(memory), table_(std::move(table)), can_track_dirty_(tracks_dirty) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
  if (kind == Kind::huge) page_sizes_ = abi::kHugePage | kPageSize;
  if (kind == Kind::normal) aperture_ = {Iova{abi::kApertureFirst}, Iova{abi::kApertureLast}};
}

Result<> MockDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  if (!aperture_.contains(IovaRange::of(iova, bytes))) return fail(EINVAL, "outside the aperture");
  return table_.map(iova, pa, bytes, prot);
}

std::uint64_t MockDomain::unmap(Iova iova, std::uint64_t bytes) {
  pt::Gather gather;
  const std::uint64_t unmapped = table_.unmap(iova, bytes, gather);
  gather.release(memory_);
  return unmapped;
}

Result<> MockDomain::set_dirty_tracking(bool on) {
  if (!can_track_dirty_) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  tracks_dirty_.store(on, std::memory_order_relaxed);
  return {};
}

Result<> MockDomain::read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) {
  if (!can_track_dirty_) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  table_.read_dirty(range, clear, dirty);
  return {};
}

void MockDomain::set_dirty(Iova iova) {
  const pt::DirtyRule rule = Format::shape({})->dirty;
  std::uint64_t table = table_.root().value;
  for (unsigned level = table_.top_level();; --level) {
    const std::uint64_t index = iova.value >> pt::span_lg2<Format>(level) & ((1u << Format::kIndexBits[level]) - 1);
    std::atomic_ref<std::uint64_t> entry(memory_.words(PhysAddr{table})[index]);
    const std::uint64_t word = entry.load(std::memory_order_relaxed);
    if (word == 0) return;
    if (!Format::is_table(word, level)) {
      entry.fetch_or(rule.dirty, std::memory_order_relaxed);
      return;
    }
    table = Format::table_address(word, level).value;
  }
}

// ---- devices

std::uint32_t MockDriver::take_flags(StreamId stream) {
  const MutexLock lock(mutex_);
  const auto found = coming_.find(stream);
  if (found == coming_.end()) return 0;
  const std::uint32_t flags = found->second;
  coming_.erase(found);
  return flags;
}

Result<std::unique_ptr<PluggedDevice>> MockDriver::add_device(System& system, std::uint32_t flags) {
  if ((flags & ~kKnownFlags) != 0) return fail(EINVAL, "unknown flags of a mock device");
  return without_throwing([&]() -> Result<std::unique_ptr<PluggedDevice>> {
    StreamId stream = 0;
    {
      const MutexLock lock(mutex_);
      stream = next_device_++;
      coming_[stream] = flags;
    }
    auto plugged = system.plug(*this, {.name = "iommufd_mock" + std::to_string(stream), .stream_ids = {stream}});
    if (!plugged) std::ignore = take_flags(stream);
    return plugged;
  });
}

Result<std::unique_ptr<DeviceData>> MockDriver::probe(Device& device) {
  return std::make_unique<MockDevice>(take_flags(device.stream_ids().front()));
}

HardwareInfo MockDriver::hardware_info(const Device& /*device*/) const {
  return HardwareInfo::of(abi::kHwInfoType, abi::HwInfo{0, abi::kHwInfoRegister});
}

Result<std::unique_ptr<Domain>> MockDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  for (const Device* device : devices)
    if (request.dirty_tracking && !data_of(*device).tracks_dirty())
      return fail(EOPNOTSUPP, "the device tracks no dirty pages");
  const MockDomain::Kind kind = TRY(kind_of(request));
  TRY(fault::pass("mock.domain"));
  Format::Config config;
  if (kind == MockDomain::Kind::huge) config.page_sizes = Format::kPage | kPageSize | abi::kHugePage;
  auto table = TRY(MockDomain::Table::create(tables_, config));
  return std::make_unique<MockDomain>(*this, tables_, std::move(table), kind, request.dirty_tracking);
}

// ---- attach

AttachResult<> MockDriver::prepare(std::span<Switch> switches) {
  for (Switch& change : switches) {
    MockDevice& device = data_of(*change.device);
    const auto* const to = dynamic_cast<const MockDomain*>(change.to);
    if (to != nullptr && to->can_track_dirty() && !device.tracks_dirty())
      return driver_says(AttachFailure::incompatible, {"dirty tracking", 1, 0});
    if (change.pasid == abi::kPasidThatFails && device.fails_now(change.to))
      return driver_says(AttachFailure::no_memory, {"a PASID that fails"});
    if (change.pasid == 0 && !names(change.to, *change.device))
      return std::unexpected(AttachError{AttachFailure::no_device, ENOENT, {"virtual device"}});
  }
  return {};
}

AttachResult<> MockDriver::commit(Switch& change) {
  if (change.pasid == 0) point_guest(*change.device, change.to);
  return {};
}

bool MockDriver::undo(Switch& change) {
  if (change.pasid == 0) point_guest(*change.device, change.from);
  return true;
}

void MockDriver::finish(std::span<Switch> /*switches*/) {}
void MockDriver::abandon(std::span<Switch> /*switches*/) {}
void MockDriver::block(Device& /*device*/) {}

}  // namespace softiommu::mock
