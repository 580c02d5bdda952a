// SPDX-License-Identifier: BSD-3-Clause
// Devices with TLBs of their own behind the SMMUv3 driver: when they are switched on, what they are told to forget, and
// whose pages they ask for. Paranoid mode is on: what a device keeps too long is a finding.
#include <gtest/gtest.h>

#include <vector>

#include "core/page_faults.h"
#include "drivers/driver_rig.h"
#include "hw/edu.h"
#include "hw/pci.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class SmmuAtsDriver : public softiommu::testing::DriverRig {
 protected:
  static constexpr Pasid kPasid = 5;

  SmmuAtsDriver() : DriverRig("arm-smmu-v3") {}
  void boot_with(const std::string& options) {
    boot(unit("a", "ats = true\npri = true\n" + options) + edu(2, "a") + "ats = true\npri = true\npasid_bits = 8\n");
  }
  void TearDown() override {
    if (system_) group(kFirst).detach_pasid(kPasid);
    DriverRig::TearDown();
  }
  bool is_on(std::uint16_t capability, unsigned control, std::uint64_t bit) {
    PciFunction& function = *system_->device(kFirst)->function();
    return (function.config_read(function.find_extended_capability(capability) + control, 2) & bit) != 0;
  }
  bool translates() {
    namespace ats = hw::pci::ats;
    return is_on(hw::pci::extended::kAddressTranslationServices, ats::kControl.offset, ats::kControl["ENABLE"].mask());
  }
  bool requests_pages() {
    namespace pri = hw::pci::pri;
    return is_on(hw::pci::extended::kPageRequest, pri::kControl.offset, pri::kControl["ENABLE"].mask());
  }
  bool writes_in(Pasid pasid, Iova iova) {
    port(kFirst).use_pasid(pasid);
    const bool done = writes(kFirst, iova);
    port(kFirst).use_pasid(0);
    return done;
  }
  AttachHandle handle_;
};

class EveryStageWithAts : public SmmuAtsDriver, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Stages, EveryStageWithAts,
                         ::testing::Values("stages = \"1\"", "stages = \"2\"", "range_invalidation = false",
                                           "substream_bits = 8", "command_queue = 4"));

TEST_P(EveryStageWithAts, WhatIsUnmappedIsForgottenByTheDevice) {
  boot_with(GetParam());
  map_use_unmap(kFirst, 3);
  map_use_unmap(kFirst, 100);
}

TEST_P(EveryStageWithAts, EachChangeOfDomainReachesTheDevice) {
  boot_with(GetParam());
  Domain *const first = domain_for(kFirst), *const second = domain_for(kFirst);
  ASSERT_TRUE(first->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow + kPageSize, pa_, kPageSize, kBoth));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(group(kFirst).replace(*first));
    EXPECT_TRUE(writes(kFirst, kWindow) && !writes(kFirst, kWindow + kPageSize));
    ASSERT_TRUE(group(kFirst).replace(*second));
    EXPECT_TRUE(!writes(kFirst, kWindow) && writes(kFirst, kWindow + kPageSize));
    group(kFirst).detach();
    EXPECT_FALSE(writes(kFirst, kWindow + kPageSize));
  }
}

TEST_P(EveryStageWithAts, TheDeviceAsksOnlyWhereItIsAnswered) {
  boot_with(GetParam());
  Driver& driver = group(kFirst).driver();
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  EXPECT_TRUE(translates());
  EXPECT_FALSE(requests_pages()) << "nobody brings pages";
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  EXPECT_FALSE(translates());
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}));
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_FALSE(translates());
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

TEST_F(SmmuAtsDriver, PasidsAreForgottenByThemselves) {
  boot_with("substream_bits = 8");
  Domain *const plain = domain_for(kFirst, {.pasid = true}), *const domain = domain_for(kFirst, {.pasid = true});
  for (Domain* each : {plain, domain}) ASSERT_TRUE(each->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*plain));
  ASSERT_TRUE(group(kFirst).attach_pasid(*domain, kPasid, handle_));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes_in(kPasid, kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_TRUE(writes(kFirst, kWindow) && !writes_in(kPasid, kWindow));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes_in(kPasid, kWindow));
  group(kFirst).detach_pasid(kPasid);
  EXPECT_FALSE(writes_in(kPasid, kWindow));
}

TEST_F(SmmuAtsDriver, WithPasidsRequestsWithoutOneMayPass) {
  boot_with("substream_bits = 8");
  Domain* const domain = domain_for(kFirst, {.pasid = true});
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).replace(*group(kFirst).driver().static_domain(DomainType::identity)));
  ASSERT_TRUE(group(kFirst).attach_pasid(*domain, kPasid, handle_));
  EXPECT_TRUE(translates());
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}) && writes_in(kPasid, kWindow));
}

// ---- Page requests ----------------------------------------------------------------------------------------------

class Bringing final : public PageRequestHandler {
 public:
  Bringing(Domain& domain, PhysAddr pa) : domain_(domain), pa_(pa) {}
  void handle(PageRequestSet set) override {
    requests.push_back(set.requests().front());
    if (answer == PageAnswer::success) {
      EXPECT_TRUE(domain_.map(Iova{set.requests().front().address}, pa_, kPageSize, kBoth));
    }
    set.answer(answer);
  }
  std::vector<PageRequest> requests;
  PageAnswer answer = PageAnswer::success;

 private:
  Domain& domain_;
  PhysAddr pa_;
};

TEST_F(SmmuAtsDriver, ADeviceGetsThePageThatItAskedFor) {
  boot_with("substream_bits = 8");
  Domain* const domain = domain_for(kFirst, {.pasid = true});
  Bringing handler(*domain, pa_);
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(group(kFirst).attach_pasid(*domain, kPasid, handle_));
  EXPECT_TRUE(requests_pages());
  EXPECT_FALSE(writes_in(kPasid, kWindow)) << "it has asked";
  ASSERT_EQ(handler.requests.size(), 1u);
  EXPECT_EQ(handler.requests[0].address, kWindow.value);
  EXPECT_EQ(handler.requests[0].pasid, kPasid);
  EXPECT_EQ(handler.requests[0].rights, PageRight::write);
  EXPECT_TRUE(writes_in(kPasid, kWindow));
  EXPECT_EQ(handler.requests.size(), 1u);
}

TEST_F(SmmuAtsDriver, ARefusedRequestIsNotRepeatedByTheSameAccess) {
  boot_with("");
  Domain* const domain = domain_for(kFirst);
  Bringing handler(*domain, pa_);
  handler.answer = PageAnswer::invalid;
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(group(kFirst).attach(*domain, &handle_));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(handler.requests.size(), 1u) << "the first of them waited for the answer, the second got it";
}

TEST_F(SmmuAtsDriver, AUnitWithoutAtsLeavesTheDevicesTlbOff) {
  boot(unit("a", "") + edu(2, "a") + "ats = true\npri = true\n");
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  EXPECT_FALSE(translates());
  group(kFirst).detach();
  map_use_unmap(kFirst, 3);
}

}  // namespace
}  // namespace softiommu
