// SPDX-License-Identifier: BSD-3-Clause
// An IOMMU without hardware, for the kernel's own iommufd tests: an ordinary driver whose devices do no DMA.
//
// Its devices appear one by one, when a test asks for them (IOMMU_TEST_CMD); what a device would do to a page table, a
// test does through MockDomain. There only in runs that ask for it (`softiommu run --selftest`).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"
#include "core/driver.h"
#include "core/plugged_device.h"
#include "core/system.h"
#include "drivers/mock_abi.h"
#include "drivers/mock_format.h"
#include "drivers/mock_viommu.h"
#include "drivers/shared_table.h"
#include "pt/page_table.h"

namespace softiommu::mock {

class MockDomain final : public Domain {
 public:
  using Table = pt::PageTable<Format>;
  enum class Kind : std::uint8_t { normal, huge };

  MockDomain(Driver& owner, TableMemory& memory, Table table, Kind kind, bool tracks_dirty);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_.iova_to_phys(iova); }
  Result<> set_dirty_tracking(bool on) override;
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override;

  bool can_track_dirty() const { return can_track_dirty_; }
  bool tracks_dirty() const { return tracks_dirty_.load(std::memory_order_relaxed); }
  // What a device's write does to the entry that translates it.
  void set_dirty(Iova iova);

 private:
  TableMemory& memory_;
  Table table_;
  const bool can_track_dirty_;
  std::atomic<bool> tracks_dirty_{false};
};

class MockDevice final : public DeviceData {
 public:
  explicit MockDevice(std::uint32_t flags) : flags_(flags) {}
  bool tracks_dirty() const { return (flags_ & abi::kDeviceNoDirty) == 0; }
  bool has_pasids() const { return (flags_ & abi::kDevicePasid) != 0; }
  GuestSide& guest() { return guest_; }
  // Of kPasidThatFails: is it time to fail? Asked at each switch of it; going to nothing begins anew.
  bool fails_now(const Domain* to) {
    const bool to_nothing = to == nullptr || to->type() == DomainType::blocked;
    return std::exchange(fail_next_, !to_nothing && !fail_next_) && !to_nothing;
  }

 private:
  const std::uint32_t flags_;
  GuestSide guest_;
  bool fail_next_ = false;
};

class MockDriver : public Driver {  // tests put it in front of PCI devices
 public:
  explicit MockDriver(TableMemory& tables) : tables_(tables) {}

  // A fresh device of `system`, which this driver is part of. EINVAL: unknown flags; ENOMEM.
  Result<std::unique_ptr<PluggedDevice>> add_device(System& system, std::uint32_t flags);
  static MockDevice& data_of(const Device& device) { return static_cast<MockDevice&>(*device.data()); }
  bool drives(const Device& device) const { return device.driver() == this; }

  std::string_view name() const override { return "mock"; }
  std::string_view unit_model() const override { return "iommufd-mock"; }  // no machine has one
  Result<> add_unit(const UnitHardware& /*hardware*/) override { return fail(ENODEV, "there is no such unit"); }
  void interrupt(unsigned /*unit*/, unsigned /*line*/) override {}
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::uint64_t group_key(const Device& device) const override { return device.stream_ids().front(); }
  std::vector<ReservedRegion> reserved_regions(const Device& /*device*/) const override { return {}; }
  DomainType default_domain_type(const Device& /*device*/) const override { return DomainType::blocked; }
  bool tracks_dirty(const Device& device) const override { return data_of(device).tracks_dirty(); }
  HardwareInfo hardware_info(const Device& device) const override;
  unsigned pasid_bits(const Device& device) const override {
    return data_of(device).has_pasids() ? abi::kPasidBits : 0;
  }
  bool attaches_pasids() const override { return true; }
  bool has_user_pasid_table() const override { return true; }
  bool takes_domain_data() const override { return true; }
  bool nests() const override { return true; }
  Result<std::unique_ptr<Domain>> allocate_nested(const Device& /*device*/, Domain& /*parent*/,
                                                  const DomainRequest& /*request*/, const UserData& data) override {
    return MockNested::create(*this, data, nullptr);
  }
  bool offers_viommu(const Device& /*device*/, std::uint32_t type) const override { return type == abi::kViommuType; }
  Result<std::unique_ptr<VirtualIommu>> make_viommu(const Device& /*device*/,
                                                    const VirtualIommuRequest& request) override {
    return MockViommu::create(*this, request);
  }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override { return type == DomainType::blocked ? &blocked_ : nullptr; }
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

  AttachResult<> prepare(std::span<Switch> switches) override;
  AttachResult<> commit(Switch& change) override;
  bool undo(Switch& change) override;
  void finish(std::span<Switch> switches) override;
  void abandon(std::span<Switch> switches) override;
  void block(Device& device) override;

 private:
  // The flags of a device that is about to appear, by its stream id.
  std::uint32_t take_flags(StreamId stream);

  TableMemory& tables_;
  StaticDomain blocked_{*this, DomainType::blocked};
  Mutex mutex_;
  StreamId next_device_ GUARDED_BY(mutex_) = 0;
  std::map<StreamId, std::uint32_t> coming_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::mock
