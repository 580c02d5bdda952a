// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of what sysfs and an operator do to a machine in use: an operation that fails leaves every device as it was.
//
// Each device has been there once before, so that the groups of a first time are no difference.
#include "faults/sweep.h"
#include "vfio/pci_control.h"

namespace softiommu::test {
namespace {

constexpr const char *kPf = "0000:01:00.0", *kTwin = "0000:02:00.0", *kOther = "0000:02:00.1";

// The errno as ioctl answers it.
template <class T>
long answer(const Result<T>& done) {
  return done ? 0 : -done.error().code;
}

PciControl control(Rig& rig) { return {*rig.system_, *rig.vfio_}; }

void hot(Rig& rig) {
  const auto spec = parse_machine(R"([[iommu]]
name = "dmar0"
model = "intel-vtd"
[[bridge]]
address = "00:1c.0"
kind = "root-port"
bus = 1
[[bridge]]
address = "00:1d.0"
kind = "root-port"
bus = 2
[[device]]
address = "01:00.0"
model = "ioat"
vfs = 2
[[device]]
address = "02:00.0"
model = "ioat"
acs = false
[[device]]
address = "02:00.1"
model = "ioat"
acs = false
)",
                                  "hot.toml");
  ASSERT_TRUE(spec) << spec.error().what;
  rig.start_on(*spec);
  EXPECT_EQ(answer(control(rig).set_num_vfs(kPf, 2)), 0);
  EXPECT_EQ(answer(control(rig).set_num_vfs(kPf, 0)), 0);
}

void removed(Rig& rig) {
  hot(rig);
  EXPECT_EQ(answer(control(rig).remove(kOther)), 0);
  rig.attach(abi::Extension::type1_v2, kTwin);
  EXPECT_EQ(rig.map(Rig::kIova, rig.user(), kPageSize), 0);
}

constexpr Scenario kScenarios[] = {
    {"EnablingVirtualFunctions", hot, [](Rig& rig) { return answer(control(rig).set_num_vfs(kPf, 2)); }},
    {"DisablingVirtualFunctions",
     [](Rig& rig) {
       hot(rig);
       EXPECT_EQ(answer(control(rig).set_num_vfs(kPf, 2)), 0);
     },
     [](Rig& rig) { return answer(control(rig).set_num_vfs(kPf, 0)); }},
    {"ARescanIntoAGroupInUse", removed, [](Rig& rig) { return answer(control(rig).rescan()); }},
    {"ARemovalFromAGroup", hot, [](Rig& rig) { return answer(control(rig).remove(kOther)); }},
    {"ARemovalOfAGroupsOnlyDevice", hot, [](Rig& rig) { return answer(control(rig).remove(kPf)); }},
    {"BindingVfioPci",
     [](Rig& rig) {
       hot(rig);
       EXPECT_EQ(answer(control(rig).unbind("vfio-pci", kOther)), 0);
     },
     [](Rig& rig) { return answer(control(rig).bind("vfio-pci", kOther)); }},
    {"Unbinding", hot, [](Rig& rig) { return answer(control(rig).unbind("vfio-pci", kOther)); }},
};

class HotPlugFaults : public Sweep {};
TEST_P(HotPlugFaults, AFailedOperationChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, HotPlugFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
