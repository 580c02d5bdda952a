// SPDX-License-Identifier: BSD-3-Clause
// Units that refuse a command or fall silent, and what the driver makes of it then and afterwards. softiommu check
// tries every place; these are the ones that were wrong.
#include <algorithm>

#include "check/faulty_unit.h"
#include "drivers/driver_rig.h"

namespace softiommu {
namespace {

using check::FailureKind;
using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class FailingHardware : public softiommu::testing::DriverRig {
 protected:
  using DriverRig::DriverRig;
  void SetUp() override {
    DriverRig::SetUp();
    boot(one(""), check::faulty_models({}));
    for (Domain*& each : domains_of_one_window_) {
      each = domain_for(kFirst);
      ASSERT_TRUE(each->map(kWindow, pa_, kPageSize, kBoth));
    }
  }
  check::FaultyUnit& hardware() { return dynamic_cast<check::FaultyUnit&>(*machine_->unit("a")); }
  Domain& first() { return *domains_of_one_window_[0]; }
  Domain& second() { return *domains_of_one_window_[1]; }

  std::array<Domain*, 2> domains_of_one_window_{};
};

class FailingIntel : public FailingHardware {
 protected:
  FailingIntel() : FailingHardware("intel-vtd") {}
};

TEST_F(FailingIntel, AQueueThatRefusedADescriptorGoesOn) {
  ASSERT_TRUE(group(kFirst).attach(first()));
  hardware().arm({FailureKind::queue, 1});
  EXPECT_EQ(group(kFirst).replace(second()).error().failure, AttachFailure::no_device);
  EXPECT_TRUE(hardware().disarm());
  EXPECT_TRUE(writes(kFirst, kWindow)) << "it is on the old domain";
  EXPECT_EQ(first().unmap(kWindow, kPageSize), kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_TRUE(group(kFirst).replace(second()));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

class FailingVirtio : public FailingHardware {
 protected:
  FailingVirtio() : FailingHardware("virtio-iommu") {}
};

// The device may read the buffer whenever it wakes up: nothing else may be in it by then.
TEST_F(FailingVirtio, ARequestThatDidNotEndKeepsItsBuffer) {
  hardware().arm({FailureKind::registers, 1});
  EXPECT_EQ(group(kFirst).attach(first()).error().failure, AttachFailure::no_device);
  Domain& identity = *group(kSecond).driver().static_domain(DomainType::identity);
  EXPECT_EQ(group(kSecond).replace(identity).error().failure, AttachFailure::no_device);
  EXPECT_TRUE(hardware().disarm());  // what was written late arrives
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("page fault: endpoint 0x10"), 1u)
      << "the first request was served: nothing is mapped there yet";
}

// A commit that fails, and a way back that fails: nobody knows what the device translates through, so it is blocked.
// (A VT-d in legacy mode has a way back that needs no answer: its old entry, which may still be cached.)
class NoWayBack : public FailingHardware, public ::testing::WithParamInterface<const char*> {
 protected:
  NoWayBack() : FailingHardware(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Models, NoWayBack, ::testing::Values("arm-smmu-v3", "amd-iommu"), [](const auto& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(NoWayBack, LeavesTheDeviceBlockedAndTheGroupSaysSo) {
  ASSERT_TRUE(group(kFirst).attach(first()));
  hardware().arm({FailureKind::registers, 1});
  EXPECT_EQ(group(kFirst).replace(second()).error().failure, AttachFailure::no_device);
  EXPECT_TRUE(group(kFirst).broken());
  EXPECT_TRUE(hardware().disarm());
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_FALSE(group(kSecond).broken());
}

}  // namespace
}  // namespace softiommu
