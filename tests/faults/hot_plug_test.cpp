// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of what sysfs and an operator do to a machine in use: an operation that fails leaves every device as it was.
//
// Each device has been there once before, so that the groups of a first time are no difference. What an operation
// answers is told as ioctl tells it.
#include "faults/sweep.h"
#include "uapi/hot_plug_machine.h"
#include "vfio/pci_control.h"

namespace softiommu::test {
namespace {

PciControl control(Rig& rig) { return {*rig.system_, *rig.vfio_}; }

void hot(Rig& rig) {
  const auto spec = parse_machine(hot_plug_machine("intel-vtd"), "hot.toml");
  ASSERT_TRUE(spec) << spec.error().what;
  rig.start_on(*spec);
  EXPECT_EQ(code(control(rig).set_num_vfs(kPf, 2)), 0);
  EXPECT_EQ(code(control(rig).set_num_vfs(kPf, 0)), 0);
}

void removed(Rig& rig) {
  hot(rig);
  EXPECT_EQ(code(control(rig).remove(kOther)), 0);
  rig.attach(abi::Extension::type1_v2, kTwin);
  EXPECT_EQ(rig.map(Rig::kIova, rig.user(), kPageSize), 0);
}

constexpr Scenario kScenarios[] = {
    {"EnablingVirtualFunctions", hot, [](Rig& rig) -> long { return -code(control(rig).set_num_vfs(kPf, 2)); }},
    {"DisablingVirtualFunctions",
     [](Rig& rig) {
       hot(rig);
       EXPECT_EQ(code(control(rig).set_num_vfs(kPf, 2)), 0);
     },
     [](Rig& rig) -> long { return -code(control(rig).set_num_vfs(kPf, 0)); }},
    {"ARescanIntoAGroupInUse", removed, [](Rig& rig) -> long { return -code(control(rig).rescan()); }},
    {"ARemovalFromAGroup", hot, [](Rig& rig) -> long { return -code(control(rig).remove(kOther)); }},
    {"ARemovalOfAGroupsOnlyDevice", hot, [](Rig& rig) -> long { return -code(control(rig).remove(kPf)); }},
    {"BindingVfioPci",
     [](Rig& rig) {
       hot(rig);
       EXPECT_EQ(code(control(rig).unbind("vfio-pci", kOther)), 0);
     },
     [](Rig& rig) -> long { return -code(control(rig).bind("vfio-pci", kOther)); }},
    {"Unbinding", hot, [](Rig& rig) -> long { return -code(control(rig).unbind("vfio-pci", kOther)); }},
};

class HotPlugFaults : public Sweep {};
TEST_P(HotPlugFaults, AFailedOperationChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, HotPlugFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
