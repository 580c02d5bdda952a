// SPDX-License-Identifier: BSD-3-Clause
// Mutants that do all that is right and say the wrong thing.
#include <algorithm>
#include <array>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "check/mutants/mutants.h"
#include "check/mutants/over.h"
#include "drivers/registry.h"

namespace softiommu::testing {

namespace {

using enum AttachFailure;

bool failed_with(const AttachResult<>& answer, AttachFailure failure) {
  return !answer && answer.error().failure == failure;
}

// What prepare() says, changed.
class BusyForIncompatible final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    auto answer = OverDriver::prepare(switches);
    if (failed_with(answer, incompatible)) return driver_says(busy, answer.error().reason);
    return answer;
  }
};

class EinvalForEnomem final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    auto answer = OverDriver::prepare(switches);
    if (failed_with(answer, no_memory)) return driver_says(incompatible, answer.error().reason);
    return answer;
  }
};

class LineBesideEinval final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    auto answer = OverDriver::prepare(switches);
    if (failed_with(answer, incompatible))
      log::error("{}: cannot attach {}: {} differs", name(), switches.front().device->name(),
                 answer.error().reason.property);
    return answer;
  }
};

// The unit may be asleep: it is woken before anything else, and what waking it says goes out as it is.
class EinvalOfRuntimePower final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  Result<> add_unit(const UnitHardware& hardware) override {
    TRY(OverDriver::add_unit(hardware));
    registers_.push_back(&hardware.registers);
    return {};
  }
  AttachResult<> prepare(std::span<Switch> switches) override {
    for (const Switch& change : switches)
      if (change.to != nullptr && change.to->type() == DomainType::paging && !resume(change.device->unit_index()))
        return driver_says(incompatible, {"runtime power", 1, 0});
    return OverDriver::prepare(switches);
  }

 private:
  Result<> resume(unsigned unit) {
    TRY(fault::pass("mutant.resume", EINVAL));
    const std::uint32_t status = registers_[unit]->read32(0);
    return status != ~std::uint32_t{0} ? Result<>{} : fail(EINVAL, "the unit does not wake up");
  }
  std::vector<MmioRegion*> registers_;
};

// A code from below that is none of the five.
class RawTimeout final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> commit(Switch& change) override {
    auto answer = OverDriver::commit(change);
    if (failed_with(answer, no_device)) answer.error().code = ETIMEDOUT;
    return answer;
  }
};

// Compatible a moment ago: the hardware's refusal is called incompatible.
class EinvalAfterTheCheck final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> commit(Switch& change) override {
    auto answer = OverDriver::commit(change);
    if (!answer) return driver_says(incompatible, answer.error().reason);
    return answer;
  }
};

// A device that a domain once did not fit is never attached again.
class Grudge final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  AttachResult<> prepare(std::span<Switch> switches) override {
    for (const Switch& change : switches)
      if (change.to != nullptr && change.to->type() == DomainType::paging && bears(change.device))
        return driver_says(no_device, {"an earlier answer", 0, 1});
    auto answer = OverDriver::prepare(switches);
    if (failed_with(answer, incompatible)) offenders_[next_++ % offenders_.size()] = switches.front().device;
    return answer;
  }

 private:
  bool bears(const Device* device) const { return std::ranges::find(offenders_, device) != offenders_.end(); }
  std::array<const Device*, 8> offenders_{};
  std::size_t next_ = 0;
};

// Domains are made for the first device that was ever seen, whichever device asks.
class DomainOfTheBus final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override {
    auto data = OverDriver::probe(device);
    if (data && first_ == nullptr) first_ = &device;
    return data;
  }
  void release(Device& device) override {
    if (first_ == &device) first_ = nullptr;
    OverDriver::release(device);
  }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override {
    return OverDriver::allocate(first_ != nullptr ? std::span<Device* const>(&first_, 1) : devices, request);
  }

 private:
  Device* first_ = nullptr;
};

// Every device alone, although all behind one unit share its table. (What the bus cannot keep apart, the core does.)
class WrongGroup final : public OverDriver {
 public:
  using OverDriver::OverDriver;
  std::uint64_t group_key(const Device& device) const override {
    return std::uint64_t{1} << 32 | device.stream_ids().front();
  }
};

}  // namespace

std::unique_ptr<Driver> make_over_intel() { return std::make_unique<OverDriver>(make_intel_driver); }
std::unique_ptr<Driver> make_busy_for_incompatible() {
  return std::make_unique<BusyForIncompatible>(make_intel_driver);
}
std::unique_ptr<Driver> make_einval_for_enomem() { return std::make_unique<EinvalForEnomem>(make_virtio_iommu_driver); }
std::unique_ptr<Driver> make_line_beside_einval() { return std::make_unique<LineBesideEinval>(make_arm_smmu_driver); }
std::unique_ptr<Driver> make_einval_of_runtime_power() {
  return std::make_unique<EinvalOfRuntimePower>(make_rockchip_driver);
}
std::unique_ptr<Driver> make_raw_timeout() { return std::make_unique<RawTimeout>(make_rockchip_driver); }
std::unique_ptr<Driver> make_einval_after_the_check() {
  return std::make_unique<EinvalAfterTheCheck>(make_omap_driver);
}
std::unique_ptr<Driver> make_grudge() { return std::make_unique<Grudge>(make_rockchip_driver); }
std::unique_ptr<Driver> make_domain_of_the_bus() { return std::make_unique<DomainOfTheBus>(make_arm_smmu_v3_driver); }
std::unique_ptr<Driver> make_wrong_group() { return std::make_unique<WrongGroup>(make_omap_driver); }

}  // namespace softiommu::testing
