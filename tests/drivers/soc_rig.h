// SPDX-License-Identifier: BSD-3-Clause
// A board: a machine file with platform devices, its subsystem, and pages that devices read and write.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "core/system.h"
#include "drivers/in_front.h"
#include "drivers/registry.h"
#include "machine/machine.h"

namespace softiommu {

using testing::in_front_of;
using testing::WatchedUnit;

class SocRig : public ::testing::Test {
 protected:
  static constexpr Prot kBoth{.read = true, .write = true};
  static constexpr std::size_t kMemoryBytes = 64 * kMiB;

  void boot(const std::string& toml, std::span<const UnitModel> models = {}) {
    const auto spec =
        parse_machine("[memory]\ntop = \"" + top_ + "\"\ntable_arena = \"256M\"\n" + toml, "test.toml", models, {});
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    machine_ =
        *Machine::create(*spec, {.time = Executor::Time::virtual_time, .paranoid = true, .extra_unit_models = models});
    system_ = *System::create(*machine_, all_drivers(), {.rules = rules_});
    for (const auto& group : system_->groups()) ASSERT_TRUE(group->claim_dma_owner(this));
  }
  void TearDown() override {
    fault::disarm();
    if (!system_) return;
    EXPECT_THAT(machine_->findings().all(), ::testing::IsEmpty());
    for (const auto& group : system_->groups()) {
      group->detach();
      group->release_dma_owner();
    }
    domains_.clear();
    system_.reset();
    for (const PhysAddr page : pinned_) machine_->memory().unpin({page, kPageSize});
    machine_.reset();
  }

  Group& group(const std::string& device) { return *system_->device(device)->group(); }
  // A page of the program, all `mark`.
  PhysAddr page(char mark) { return page_at(pinned_.size() * kPageSize, mark); }
  // The same, `offset` bytes into the program's memory.
  PhysAddr page_at(std::size_t offset, char mark) {
    std::byte* const bytes = memory_.get() + offset;
    std::memset(bytes, mark, kPageSize);
    pinned_.push_back(machine_->memory().pin(reinterpret_cast<std::uintptr_t>(bytes), kPageSize).value().first);
    return pinned_.back();
  }
  // A fresh domain for the device's group in which `iova` reads as `mark`.
  Domain& domain(const std::string& device, Iova iova, char mark) {
    domains_.push_back(*system_->allocate_domain(group(device)));
    EXPECT_TRUE(domains_.back()->map(iova, page(mark), kPageSize, kBoth));
    return *domains_.back();
  }
  // What the device reads there through one of its ports; '-' if it is refused.
  char sees(const std::string& device, Iova iova, unsigned port = 0) {
    std::byte byte{};
    const bool ok = static_cast<bool>(machine_->platform_device(device)->dma(port).read(iova, {&byte, 1}));
    return ok ? static_cast<char>(byte) : '-';
  }
  std::string all_ports_see(const std::string& device, Iova iova) {
    std::string seen;
    for (unsigned port = 0; port < machine_->platform_device(device)->streams().size(); ++port)
      seen += sees(device, iova, port);
    return seen;
  }

  std::string top_ = "4G";
  Rules rules_ = Rules::contract;
  // Within one GiB of virtual space: a small machine has physical space for no second one.
  std::unique_ptr<std::byte, decltype(&std::free)> memory_{
      static_cast<std::byte*>(std::aligned_alloc(kMemoryBytes, kMemoryBytes)), std::free};
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::vector<PhysAddr> pinned_;
  std::vector<std::unique_ptr<Domain>> domains_;
};

}  // namespace softiommu
