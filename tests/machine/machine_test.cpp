// SPDX-License-Identifier: BSD-3-Clause
#include "machine/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_hardware.h"
#include "machine/describe.h"
#include "machine/mmio_map.h"

namespace softiommu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MachineTest : public ::testing::Test {
 protected:
  MachineTest() { test::diary().clear(); }

  Result<std::unique_ptr<Machine>> build(std::string_view toml) {
    auto spec = parse_machine(toml, "m.toml", units_, devices_);
    if (!spec) {
      ADD_FAILURE() << spec.error().where << ": " << spec.error().what;
      return fail(EINVAL, "the test's machine file is wrong");
    }
    return create(*spec);
  }
  Result<std::unique_ptr<Machine>> create(const MachineSpec& spec) {
    return Machine::create(
        spec, {.time = Executor::Time::virtual_time, .extra_unit_models = units_, .extra_device_models = devices_});
  }
  static std::uint32_t bar(PciFunction& function, unsigned n) { return function.config_read(0x10 + 4 * n, 4); }

  const UnitModel units_[1] = {test::unit_model()};
  const DeviceModel devices_[1] = {test::device_model()};
};

constexpr std::string_view kTwoDevices = R"([[iommu]]
name = "a"
model = "test-iommu"
[[bridge]]
address = "00:1c.0"
kind = "pcie-to-pci"
bus = 1
[[device]]
address = "01:02.0"
model = "test-device"
[[device]]
address = "00:01.0"
model = "test-device"
queues = 3
)";

TEST_F(MachineTest, DmaAtABarsPhysicalAddressReachesItsRegisters) {
  const auto machine = build(kTwoDevices);
  ASSERT_TRUE(machine) << machine.error().why;
  PciFunction& function = *(*machine)->functions()[0];
  const auto found = (*machine)->memory().registers()->find(PhysAddr{function.bar_address(0) + 8});
  EXPECT_EQ(found.registers, &function.bar_window(0));
  EXPECT_EQ(found.offset, 8u);
  EXPECT_EQ((*machine)->memory().registers()->find(PhysAddr{0}).registers, nullptr);
}

TEST_F(MachineTest, FunctionsAreInBusOrderAndFoundByAddress) {
  const auto machine = build(kTwoDevices);
  ASSERT_TRUE(machine) << machine.error().why;
  ASSERT_EQ((*machine)->functions().size(), 2u);
  EXPECT_EQ((*machine)->functions()[0]->bdf().text(), "0000:00:01.0");
  EXPECT_EQ((*machine)->function(*Bdf::parse("01:02.0")), (*machine)->functions()[1].get());
  EXPECT_EQ((*machine)->function(*Bdf::parse("01:03.0")), nullptr);
}

TEST_F(MachineTest, ADeviceIsBehindItsUnitUnderTheIdThatArrivesThere) {
  const auto machine = build(kTwoDevices);
  PciFunction& function = *(*machine)->functions()[1];
  EXPECT_EQ(function.dma().unit(), (*machine)->unit("a"));
  EXPECT_EQ(function.dma().stream(), 0x0100u);
  EXPECT_THAT((*machine)->stream_ids(function), ElementsAre(0x0110u, 0x0100u));
  EXPECT_EQ((*machine)->unit("b"), nullptr);
}

TEST_F(MachineTest, EveryBarHasAnAlignedAddressOfItsOwn) {
  const auto machine = build(kTwoDevices);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& function : (*machine)->functions()) {
    for (const auto& [n, bytes] : {std::pair{0u, 8 * kKiB}, std::pair{1u, 64 * kKiB}}) {
      const std::uint64_t first = bar(*function, n) & ~0xfu;
      EXPECT_GE(first, 0x1000'0000u);
      EXPECT_LE(first + bytes, kGiB) << "above may be memory";
      EXPECT_TRUE(is_aligned(first, bytes));
      for (const auto& [other, size] : ranges) EXPECT_TRUE(first + bytes <= other || other + size <= first);
      ranges.emplace_back(first, bytes);
    }
    EXPECT_NE(bar(*function, 3) & ~0x3u, 0u) << "I/O ports";
  }
}

TEST_F(MachineTest, IsolationSetsHoldTheFunctionsAndTheReason) {
  const auto machine = build(kTwoDevices);
  const auto& sets = (*machine)->isolation_sets();
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[0].reason, "alone");
  EXPECT_THAT(sets[1].functions, ElementsAre((*machine)->functions()[1].get()));
  EXPECT_THAT(sets[1].bridges, ElementsAre(*Bdf::parse("00:1c.0")));
  EXPECT_THAT(sets[1].reason, HasSubstr("behind 0000:00:1c.0"));
}

TEST_F(MachineTest, DevicesGoBeforeUnits) {
  build(kTwoDevices)->reset();
  ASSERT_EQ(test::diary().size(), 3u);
  EXPECT_EQ(test::diary().back(), "unit a gone");
}

TEST_F(MachineTest, AnImpossibleSpecIsRefusedWhole) {
  MachineSpec spec;
  spec.functions.push_back({*Bdf::parse("00:01.0"), "no-such-device", {}, Options({}), {}, true});
  EXPECT_EQ(create(spec).error().code, EINVAL);
  spec.functions[0].model = "test-device";
  spec.functions[0].unit = "no-such-unit";
  EXPECT_EQ(create(spec).error().code, EINVAL);
  spec.functions[0].unit = "none";
  spec.functions.push_back(spec.functions[0]);
  EXPECT_EQ(create(spec).error().code, EINVAL);
  EXPECT_THAT(test::diary(), ElementsAre("device 0000:00:01.0 gone")) << "the first of the two that collide";
}

TEST_F(MachineTest, WithoutIommusDevicesUsePhysicalAddresses) {
  const auto machine = build("[[device]]\naddress = '00:01.0'\nmodel = 'test-device'\n");
  EXPECT_EQ((*machine)->functions()[0]->dma().unit(), nullptr);
  EXPECT_THAT((*machine)->units(), IsEmpty());
}

TEST_F(MachineTest, TheDescriptionNamesTreeGroupsAndOptions) {
  const auto machine = build(kTwoDevices);
  const std::string text = describe(**machine);
  EXPECT_THAT(text, HasSubstr("  0000:00:1c.0 PCIe-to-PCI bridge to bus 01\n    0000:01:02.0 test-device [1234:5678] "
                              "queues = 1, behind a"));
  EXPECT_THAT(text, HasSubstr("may arrive as 0110, 0100"));
  EXPECT_THAT(text, HasSubstr("0000:01:02.0: behind 0000:00:1c.0, a PCIe-to-PCI bridge"));
  EXPECT_THAT(text, HasSubstr("  a test-iommu\n    width = 39\n"));
}

}  // namespace
}  // namespace softiommu
