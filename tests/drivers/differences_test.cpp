// SPDX-License-Identifier: BSD-3-Clause
// One test per row of docs/differences.md that is a driver's: what the contract answers, and what Linux 7.2 does.
#include <gtest/gtest.h>

#include <string>

#include "base/fault.h"
#include "check/log_capture.h"
#include "drivers/driver_rig.h"
#include "drivers/soc_rig.h"
#include "hw/virtio_iommu.h"
#include "machine/registry.h"

namespace softiommu::testing {
namespace {

const auto kBothRules = ::testing::Values(Rules::contract, Rules::linux7);
std::string name_of_rules(const ::testing::TestParamInfo<Rules>& test) {
  return test.param == Rules::linux7 ? "Linux" : "Contract";
}

// ---- PCI ----------------------------------------------------------------------------------------------------------

class PciDriverDifferences : public DriverRig, public ::testing::WithParamInterface<Rules> {
 protected:
  PciDriverDifferences() : DriverRig("") { rules_ = GetParam(); }
  bool contract() const { return rules_ == Rules::contract; }
  Domain* attached(const std::string& name) {
    Domain* const domain = domain_for(name);
    EXPECT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
    EXPECT_TRUE(group(name).attach(*domain));
    return domain;
  }
};

INSTANTIATE_TEST_SUITE_P(Rules, PciDriverDifferences, kBothRules, name_of_rules);

TEST_P(PciDriverDifferences, ADomainOfOneUnitServesAnotherThatAgreesButNotOnLinux) {
  for (const char* model : {"arm-smmu-v3", "arm-smmu", "virtio-iommu"}) {
    model_ = model;
    boot(two("", ""));
    Domain* const made = attached(kFirst);
    const auto answer = group(kSecond).attach(*made);
    EXPECT_EQ(answer.has_value(), contract()) << model;
    if (!contract()) {
      EXPECT_EQ(answer.error().failure, AttachFailure::incompatible) << model;
    }
    EXPECT_EQ(writes(kSecond, kWindow), contract()) << model;
    TearDown();
    SetUp();
  }
  EXPECT_EQ(lines_.count("broken"), 0u) << lines_.all;
}

TEST_P(PciDriverDifferences, ADomainOfOneUnitServesAnotherThatAgreesOnLinuxToo) {
  for (const char* model : {"intel-vtd", "amd-iommu"}) {
    model_ = model;
    boot(two("", ""));
    EXPECT_TRUE(group(kSecond).attach(*attached(kFirst))) << model;
    EXPECT_TRUE(writes(kSecond, kWindow)) << model;
    TearDown();
    SetUp();
  }
}

TEST_P(PciDriverDifferences, AReplaceWithoutAFreeContextBankIsNoSpaceOnLinux) {
  model_ = "arm-smmu";
  boot(one("context_banks = 1"));
  attached(kFirst);
  const auto answer = group(kFirst).replace(*domain_for(kFirst));
  EXPECT_EQ(answer.has_value(), contract());
  if (!contract()) {
    EXPECT_EQ(answer.error().code, ENOSPC);
  }
  EXPECT_EQ(writes(kFirst, kWindow), !contract()) << "the old domain, where it stays";
}

// The other device keeps the old domain's id, and a change that is only prepared has the last one.
TEST_P(PciDriverDifferences, AnAmdAttachThatFindsNoIdLeavesTheDeviceOnNothingOnLinux) {
  model_ = "amd-iommu";
  boot(one("domain_ids = 4"));
  Domain* const old = attached(kFirst);
  ASSERT_TRUE(group(kSecond).attach(*old));
  Switch prepared{.device = system_->device(kSecond), .to = domain_for(kSecond)};
  ASSERT_TRUE(group(kSecond).driver().prepare({&prepared, 1}));
  const auto answer = group(kFirst).replace(*domain_for(kFirst));
  group(kSecond).driver().abandon({&prepared, 1});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::no_space);
  EXPECT_EQ(writes(kFirst, kWindow), contract());
  EXPECT_TRUE(writes(kSecond, kWindow));
  EXPECT_EQ(group(kFirst).domain(), old) << "what the group says in both";
}

TEST_P(PciDriverDifferences, APasidOfAnAmdDeviceHasNoPagingDomainOnLinux) {
  model_ = "amd-iommu";
  boot(one(""));
  Domain* const domain = domain_for(kFirst, {.pasid = true});
  Switch change{.device = system_->device(kFirst), .to = domain, .pasid = 1};
  const auto answer = group(kFirst).driver().prepare({&change, 1});
  EXPECT_EQ(answer.has_value(), contract());
  if (answer) group(kFirst).driver().abandon({&change, 1});
  if (!answer) {
    EXPECT_EQ(answer.error().code, EOPNOTSUPP);
  }
}

// A virtio IOMMU that reads something else than was asked: attach to a domain that is beyond its range.
class MisreadingUnit final : public WatchedUnit {
 public:
  using WatchedUnit::WatchedUnit;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    using namespace hw::virtio_iommu;
    if (offset == kQueueSel.offset) queue_ = value;
    if (offset == kQueueDesc.offset && queue_ == 0) descriptors_ = value;
    if (offset == kQueueNotify.offset && misread_ && value == 0) {
      auto* const request = reinterpret_cast<std::uint32_t*>(words(*words(descriptors_)));
      request[1] = ~std::uint32_t{0};  // the domain of an attach request
    }
    WatchedUnit::write(offset, bytes, value);
  }
  bool misread_ = false;

 private:
  std::uint64_t queue_ = 0, descriptors_ = 0;
};

std::span<const UnitModel> misreading_models() {
  static const UnitModel models[] = {in_front_of<MisreadingUnit, virtio_iommu_unit_model>()};
  return models;
}

TEST_P(PciDriverDifferences, WhatAVirtioDeviceAnswersIsHandedOnByLinux) {
  model_ = "virtio-iommu";
  boot(one(""), misreading_models());
  attached(kFirst);
  auto& unit = dynamic_cast<MisreadingUnit&>(*machine_->unit("a"));
  Domain* const next = domain_for(kFirst);
  unit.misread_ = true;
  const auto answer = group(kFirst).replace(*next);
  unit.misread_ = false;
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, contract() ? ENODEV : ERANGE);
  EXPECT_TRUE(writes(kFirst, kWindow)) << "the device is in its old domain";
}

// ---- Systems on a chip --------------------------------------------------------------------------------------------

class SocDriverDifferences : public SocRig, public ::testing::WithParamInterface<Rules> {
 protected:
  static constexpr Iova kIova{0x5801'0000};  // within a GART's window
  SocDriverDifferences() { rules_ = GetParam(); }
  bool contract() const { return rules_ == Rules::contract; }
  static std::string unit(const std::string& name, const std::string& model, const std::string& keys = {}) {
    return "[[iommu]]\nname = \"" + name + "\"\nmodel = \"" + model + "\"\n" + keys + "\n";
  }
  static std::string client(const std::string& name, const std::string& iommu, const std::string& stream = "0") {
    return "[[platform_device]]\nname = \"" + name + "\"\niommu = \"" + iommu + "\"\nstreams = [" + stream + "]\n";
  }
};

INSTANTIATE_TEST_SUITE_P(Rules, SocDriverDifferences, kBothRules, name_of_rules);

TEST_P(SocDriverDifferences, TheApertureOfAGartInUseIsIncompatibleOnLinux) {
  top_ = "2G";
  boot(unit("gart", "tegra-gart") + client("dc", "gart", "1") + client("vde", "gart", "13"));
  ASSERT_TRUE(group("dc").attach(domain("dc", kIova, 'A')));
  const check::LogCapture log;
  EXPECT_EQ(group("vde").attach(domain("vde", kIova, 'B')).error().code, contract() ? ENOSPC : EINVAL);
  EXPECT_EQ(log.all(), "");
  EXPECT_EQ(sees("dc", kIova), 'A');
}

TEST_P(SocDriverDifferences, ADomainThatHasTheApertureIsNotReplacedOnLinux) {
  top_ = "2G";
  boot(unit("gart", "tegra-gart") + client("dc", "gart", "1"));
  ASSERT_TRUE(group("dc").attach(domain("dc", kIova, 'A')));
  const auto answer = group("dc").replace(domain("dc", kIova, 'B'));
  EXPECT_EQ(answer.has_value(), contract());
  if (!answer) {
    EXPECT_EQ(answer.error().code, EINVAL);
  }
  EXPECT_EQ(sees("dc", kIova), contract() ? 'B' : 'A');
}

TEST_P(SocDriverDifferences, AnOmapDomainOfAnotherClientIsLoggedByLinux) {
  boot(unit("a", "omap-mmu") + unit("b", "omap-mmu") + client("dsp", "a") + client("ipu", "b"));
  Domain& made = domain("dsp", kIova, 'A');
  ASSERT_TRUE(group("dsp").attach(made));
  const check::LogCapture log;
  EXPECT_EQ(group("ipu").attach(made).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(log.all().find("already attached") != std::string::npos, !contract()) << log.all();
  EXPECT_EQ(sees("dsp", kIova), 'A');
}

TEST_P(SocDriverDifferences, TheSecondOmapClientOfOneGroupIsRefusedByLinux) {
  boot(unit("mmu", "omap-mmu") + client("dsp", "mmu") + client("ipu", "mmu", "1"));
  const auto answer = group("dsp").attach(domain("dsp", kIova, 'A'));
  EXPECT_EQ(answer.has_value(), contract());
  if (!answer) {
    EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  }
  for (const char* name : {"dsp", "ipu"}) EXPECT_EQ(sees(name, kIova), contract() ? 'A' : '-') << name;
}

TEST_P(SocDriverDifferences, AnOmapDomainThatNobodyUsesIsAnybodysOnLinux) {
  boot(unit("a", "omap-mmu") + unit("b", "omap-mmu") + client("dsp", "a") + client("ipu", "b"));
  EXPECT_EQ(group("ipu").attach(domain("dsp", kIova, 'A')).has_value(), !contract());
  EXPECT_EQ(sees("ipu", kIova), contract() ? '-' : 'A');
}

TEST_P(SocDriverDifferences, ARockchipAttachThatFailsOpensAllMemoryOnLinux) {
  boot(unit("mmu", "rockchip-iommu", "mmus = 2") + client("vop", "mmu", "0, 1"));
  Domain &old = domain("vop", kIova, 'A'), &next = domain("vop", kIova, 'B');
  ASSERT_TRUE(group("vop").attach(old));
  for (const auto& [point, code] : {std::pair{"rockchip.stall", ETIMEDOUT},
                                    {"rockchip.directory", EFAULT},
                                    {"rockchip.paging", ETIMEDOUT},
                                    {"rockchip.resume", ETIMEDOUT}}) {
    if (!contract()) group("vop").detach();
    if (!contract()) {
      ASSERT_TRUE(group("vop").attach(old));
    }
    fault::fail_point(point);
    const auto answer = group("vop").replace(next);
    fault::disarm();
    ASSERT_FALSE(answer) << point;
    EXPECT_EQ(answer.error().code, contract() ? ENODEV : code) << point;
    if (contract()) {
      EXPECT_EQ(sees("vop", kIova), 'A') << point;
    }
    EXPECT_EQ(sees("vop", Iova{pinned_[1].value}), contract() ? '-' : 'B') << point << ": untranslated";
  }
}

TEST_P(SocDriverDifferences, ARockchipIommuOfTheOtherTableVersionIsLeftOutByLinux) {
  const check::LogCapture log;
  boot(unit("old", "rockchip-iommu") + unit("new", "rockchip-iommu", "version = 2") + client("vop", "old") +
       client("vpu", "new"));
  EXPECT_NE(system_->device("vop")->group(), nullptr);
  EXPECT_EQ(system_->device("vpu")->group() != nullptr, contract());
  EXPECT_EQ(log.all().find("platform vpu: its iommu new has no driver") != std::string::npos, !contract()) << log.all();
}

}  // namespace
}  // namespace softiommu::testing
