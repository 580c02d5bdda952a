// SPDX-License-Identifier: BSD-3-Clause
#include "hostile_rig.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "drivers/mock.h"
#include "drivers/registry.h"
#include "vfio/abi.h"

namespace softiommu::test {

namespace {

namespace abi = vfio::abi;

// The two functions behind the root port are one group on a bus that can be reset.
constexpr const char* kMachine = R"(
[machine]
name = "hostile"
[[iommu]]
name = "dmar0"
model = "intel-vtd"
[[iommu]]
name = "smmu0"
model = "arm-smmu-v3"
[[bridge]]
address = "0000:00:1c.0"
kind = "root-port"
bus = 1
[[device]]
address = "0000:00:04.0"
model = "ioat"
[[device]]
address = "0000:00:06.0"
model = "edu"
[[device]]
address = "0000:00:05.0"
model = "ioat"
iommu = "smmu0"
[[device]]
address = "0000:00:07.0"
model = "edu"
iommu = "smmu0"
[[device]]
address = "0000:01:00.0"
model = "ioat"
acs = false
[[device]]
address = "0000:01:00.1"
model = "edu"
acs = false
)";

}  // namespace

HostileRig::HostileRig(bool paranoid) {
  log::set_sink([](void*, log::Level, std::string_view) noexcept {}, nullptr);  // faults are what this is about
  const auto spec = parse_machine(kMachine, "hostile.toml");
  if (!spec) throw std::invalid_argument(spec.error().where + ": " + spec.error().what);
  MachineOptions options;
  options.paranoid = paranoid;
  machine_ = Machine::create(*spec, options).value();
  machine_->executor().set_latency(0);
  system_ = System::create(*machine_, all_drivers(), {}).value();
  auto mock = std::make_unique<mock::MockDriver>(machine_->memory().tables());
  VfioOptions limits;
  limits.selftest = mock.get();
  system_->add_driver(std::move(mock));
  limits.memlock = {MemlockLimit::Kind::bytes, 3 * Arena::kBytes};
  limits.dma_entry_limit = 500;
  vfio_ = std::make_unique<Vfio>(*system_, limits);
  program_ = std::make_shared<HostileProgram>();
  machine_->executor().start();
  use_each_group();
  tables_before_ = machine_->memory().tables().allocated_pages();
}

HostileRig::~HostileRig() {
  program_.reset();
  vfio_.reset();
  system_.reset();
  machine_.reset();
  log::set_sink(nullptr, nullptr);
}

void HostileRig::use_each_group() {
  const std::uint64_t block = program_->arena().first();
  for (const auto& group : system_->groups()) {
    const int container = *program_->install(vfio_->open_container(*program_).value(), 0);
    const auto file = vfio_->open_group(*program_, group->id());
    ASSERT_TRUE(file) << group->id();
    ASSERT_TRUE(program_->copy_out(block, &container, sizeof container));
    ASSERT_EQ((*file)->ioctl(abi::kGroupSetContainer, block), 0);
    ASSERT_EQ(program_->get(container)->ioctl(abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1_v2)), 0);
    const abi::DmaMap map{sizeof map, abi::kMapRead | abi::kMapWrite, block, std::uint64_t{1} << 30, kPageSize};
    ASSERT_TRUE(program_->copy_out(block, &map, sizeof map));
    ASSERT_EQ(program_->get(container)->ioctl(abi::kIommuMapDma, block), 0);
    for (const Device* device : group->devices()) {
      char name[32] = {};
      device->name().copy(name, sizeof name - 1);
      ASSERT_TRUE(program_->copy_out(block, name, sizeof name));
      ASSERT_GE((*file)->ioctl(abi::kGroupGetDeviceFd, block), 0);
    }
    program_->close_all();
  }
}

void HostileRig::expect_as_before() const {
  EXPECT_EQ(program_->locked().pages(), 0U);
  EXPECT_EQ(program_->locked().pinned(), 0U);
  EXPECT_EQ(machine_->memory().pinned_pages(), 0U);
  EXPECT_EQ(machine_->memory().tables().allocated_pages(), tables_before_);
}

}  // namespace softiommu::test
