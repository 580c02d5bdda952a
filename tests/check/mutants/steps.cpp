// SPDX-License-Identifier: BSD-3-Clause
// Mutants that say the right thing and leave out, or do in the wrong order, a step of what they should do.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "check/mutants/mutants.h"
#include "check/mutants/over.h"
#include "drivers/registry.h"
#include "hw/amd_iommu.h"
#include "hw/rockchip_mmu.h"

namespace softiommu::testing {

namespace {

bool is_paging(const Domain* domain) { return domain != nullptr && domain->type() == DomainType::paging; }

// The old domain is gone before it is known whether the new one can be attached.
class DetachBeforeCheck final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    for (const Switch& change : switches)
      if (is_paging(change.to)) block(*change.device);
    return OverDriver::prepare(switches);
  }
};

// Devices before the one that fails stay on the new domain.
class NoWayBack final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  bool undo(Switch& /*change*/) override { return true; }
};

// Each change holds an ASID of a table that it fills; what is reserved for one that then fails is kept.
class LeakedId final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    if (taken_ == kAsids) return driver_says(AttachFailure::no_space, {"ASIDs", 1, 0});
    TRY(OverDriver::prepare(switches));
    ++taken_;
    return {};
  }
  void finish(std::span<Switch> switches) override {
    OverDriver::finish(switches);
    --taken_;  // which abandon() should do, too
  }

 private:
  static constexpr unsigned kAsids = 64;
  unsigned taken_ = 0;
};

// The unit's registers, but for commands to forget translations while a domain is changed.
class ForgottenInvalidation final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  ~ForgottenInvalidation() override { end_good(); }
  Result<> add_unit(const UnitHardware& hardware) override {
    filters_.push_back(std::make_unique<Filter>(*this, hardware.registers));
    return OverDriver::add_unit(
        {hardware.index, hardware.name, *filters_.back(), hardware.tables, hardware.memory_top});
  }
  AttachResult<> commit(Switch& change) override {
    forgets_ = true;
    auto answer = OverDriver::commit(change);
    forgets_ = false;
    return answer;
  }

 private:
  class Filter final : public MmioRegion {
   public:
    Filter(const ForgottenInvalidation& driver, MmioRegion& unit) : driver_(driver), unit_(unit) {}
    std::uint64_t read(std::uint64_t offset, unsigned bytes) override { return unit_.read(offset, bytes); }
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
      using namespace hw::rockchip_mmu;
      const std::uint64_t in_mmu = offset % kRegisterBytes;
      const bool zaps = in_mmu == kZapOneLine.offset ||
                        (in_mmu == kCommand.offset && value == std::to_underlying(Command::zap_cache));
      if (!zaps || !driver_.forgets_) unit_.write(offset, bytes, value);
    }

   private:
    const ForgottenInvalidation& driver_;
    MmioRegion& unit_;
  };
  bool forgets_ = false;
  std::vector<std::unique_ptr<Filter>> filters_;
};

// The hardware is asked, and not listened to.
class SuccessOfRefusal final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> commit(Switch& change) override {
    (void)OverDriver::commit(change);
    return {};
  }
};

// Device table entries of a device's aliases keep what they held.
class HalfAnAlias final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  Result<> add_unit(const UnitHardware& hardware) override {
    TRY(OverDriver::add_unit(hardware));
    units_.push_back({&hardware.registers, &hardware.tables});
    return {};
  }
  AttachResult<> commit(Switch& change) override {
    const auto aliases = std::span(change.device->stream_ids()).subspan(1);
    if (aliases.empty() || !is_paging(change.to)) return OverDriver::commit(change);
    std::uint64_t* const entry = device_table_entry(change.device->unit_index(), aliases.back());
    Entry before{};
    std::copy_n(entry, before.size(), before.begin());
    auto answer = OverDriver::commit(change);
    if (answer) std::ranges::copy(before, entry);
    return answer;
  }

 private:
  using Entry = std::array<std::uint64_t, hw::amd::kDteWords>;
  struct Unit {
    MmioRegion* registers;
    TableMemory* tables;
  };
  std::uint64_t* device_table_entry(unsigned unit, StreamId stream) {
    using namespace hw::amd;
    const std::uint64_t base = units_[unit].registers->read64(kDeviceTable.offset);
    return units_[unit].tables->words(PhysAddr{kDeviceTable["DevTabBase"].in_place(base)}) +
           std::size_t{stream} * kDteWords;
  }
  std::vector<Unit> units_;
};

// Of a group's devices all but the first are attached as far as it goes.
class IgnoredResult final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    left_out_ = {};
    auto answer = OverDriver::prepare(switches);
    if (answer || answer.error().failure == AttachFailure::incompatible) return answer;
    if (answer = OverDriver::prepare(switches.first(1)); answer) left_out_ = switches.subspan(1);
    return answer;
  }
  AttachResult<> commit(Switch& change) override {
    if (left_out(change)) return {};
    return OverDriver::commit(change);
  }
  bool undo(Switch& change) override { return left_out(change) || OverDriver::undo(change); }

 private:
  bool left_out(const Switch& change) const {
    return std::ranges::any_of(left_out_, [&](const Switch& other) { return &other == &change; });
  }
  std::span<Switch> left_out_;
};

}  // namespace

std::unique_ptr<Driver> make_detach_before_check() { return std::make_unique<DetachBeforeCheck>(make_intel_driver); }
std::unique_ptr<Driver> make_no_way_back() { return std::make_unique<NoWayBack>(make_rockchip_driver); }
std::unique_ptr<Driver> make_leaked_id() { return std::make_unique<LeakedId>(make_virtio_iommu_driver); }
std::unique_ptr<Driver> make_forgotten_invalidation() {
  return std::make_unique<ForgottenInvalidation>(make_rockchip_driver);
}
std::unique_ptr<Driver> make_success_of_refusal() {
  return std::make_unique<SuccessOfRefusal>(make_virtio_iommu_driver);
}
std::unique_ptr<Driver> make_half_an_alias() { return std::make_unique<HalfAnAlias>(make_amd_driver); }
std::unique_ptr<Driver> make_ignored_result() { return std::make_unique<IgnoredResult>(make_arm_smmu_driver); }

}  // namespace softiommu::testing
