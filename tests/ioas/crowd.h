// SPDX-License-Identifier: BSD-3-Clause
// 64 IOMMU instances of four kinds, and any number of groups behind them: functions without a PCI fabric, in turns
// behind each instance.
#pragma once

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/system.h"
#include "drivers/registry.h"
#include "ioas/domain_set.h"
#include "machine/machine.h"

namespace softiommu::testing {

class Crowd {
 public:
  static constexpr std::array<std::string_view, 4> kKinds{"intel-vtd", "arm-smmu-v3", "amd-iommu", "arm-smmu"};
  static constexpr std::size_t kOfEachKind = 16;

  explicit Crowd(std::size_t groups) {
    std::string toml;
    for (std::size_t i = 0; i < kKinds.size() * kOfEachKind; ++i)
      toml += "[[iommu]]\nname = \"u" + std::to_string(i) + "\"\nmodel = \"" + std::string(kKinds[i % kKinds.size()]) +
              "\"\n";
    const auto spec = parse_machine(toml, "crowd");
    if (!spec) throw std::runtime_error(spec.error().where + ": " + spec.error().what);
    machine_ = *Machine::create(*spec, {.time = Executor::Time::virtual_time});
    Hardware hardware{.tables = machine_->memory().tables(), .memory_top = machine_->memory().top()};
    for (const auto& unit : machine_->units()) hardware.units.push_back(unit.get());
    for (std::size_t i = 0; i < groups; ++i)
      hardware.functions.push_back({.name = "f" + std::to_string(i),
                                    .stream_ids = {static_cast<StreamId>(8 + i / hardware.units.size())},
                                    .unit = hardware.units[i % hardware.units.size()],
                                    .isolation_set = static_cast<unsigned>(i)});
    std::vector<std::unique_ptr<Driver>> drivers;
    for (const MakeDriver make : all_drivers()) drivers.push_back(make());
    system_ = *System::bring_up(hardware, std::move(drivers), {});
    for (const auto& group : system_->groups())
      if (!group->claim_dma_owner(this)) throw std::runtime_error("a group has an owner");
    system_->journal().clear();
    set_ = std::make_unique<DomainSet>(*system_);
  }
  ~Crowd() {
    leave();
    for (const auto& group : system_->groups()) group->release_dma_owner();
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  System& system() { return *system_; }
  std::size_t domains() const { return set_->members().size(); }

  // All groups, in turns of kinds and instances. False: one was refused.
  bool join() {
    const auto nothing_mapped = [](Domain&) -> AttachResult<> { return {}; };
    for (const auto& group : system_->groups())
      if (!set_->attach(*group, DomainRequest{}, nothing_mapped)) return false;
    return true;
  }
  void leave() { set_ = std::make_unique<DomainSet>(*system_); }

 private:
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<DomainSet> set_;
};

}  // namespace softiommu::testing
