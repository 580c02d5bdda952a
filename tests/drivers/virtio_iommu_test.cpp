// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the virtio IOMMU driver: mappings told again, domain ids, identity and blocking, reserved
// windows.
#include "drivers/driver_rig.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class VirtioIommuDriver : public softiommu::testing::DriverRig {
 protected:
  VirtioIommuDriver() : DriverRig("virtio-iommu") {}
};

class EveryVirtioIommu : public VirtioIommuDriver, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Options, EveryVirtioIommu,
                         ::testing::Values("", "bypass_config = false", "probe = false", "input_bits = 32",
                                           "input_bits = 64", "granule = 16", "queue_size = 2",
                                           "message_window = true"));

TEST_P(EveryVirtioIommu, EachChangeOfDomainTakesEffect) {
  boot(one(GetParam()));
  Domain *const first = domain_for(kFirst), *const second = domain_for(kFirst);
  const std::uint64_t page = std::uint64_t{1} << std::countr_zero(first->page_sizes());
  ASSERT_TRUE(first->map(kWindow, pa_, page, kBoth));
  ASSERT_TRUE(second->map(kWindow + page, pa_, page, kBoth));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(group(kFirst).replace(*first));
    EXPECT_TRUE(writes(kFirst, kWindow) && !writes(kFirst, kWindow + page));
    ASSERT_TRUE(group(kFirst).replace(*second));
    EXPECT_TRUE(!writes(kFirst, kWindow) && writes(kFirst, kWindow + page));
    group(kFirst).detach();
    EXPECT_FALSE(writes(kFirst, kWindow + page));
  }
}

TEST_P(EveryVirtioIommu, UnmappedPagesAreGoneAtOnce) {
  boot(one(GetParam()));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  const std::uint64_t page = std::uint64_t{1} << std::countr_zero(domain->page_sizes());
  ASSERT_TRUE(domain->map(kWindow + page, pa_, page, kBoth));
  ASSERT_TRUE(domain->map(kWindow + 2 * page, pa_ + page, 3 * page, kBoth));
  EXPECT_EQ(domain->map(kWindow + 3 * page, pa_, page, kBoth).error().code, EEXIST);
  EXPECT_TRUE(writes(kFirst, kWindow + 4 * page));
  EXPECT_EQ(domain->iova_to_phys(kWindow + 4 * page), pa_ + 3 * page);
  EXPECT_EQ(domain->unmap(kWindow, 8 * page), 4 * page);
  EXPECT_FALSE(writes(kFirst, kWindow + page) || writes(kFirst, kWindow + 4 * page));
  EXPECT_EQ(domain->iova_to_phys(kWindow + page), std::nullopt);
}

TEST_F(VirtioIommuDriver, ADomainServesTwoDevicesAndIsToldAgainToTheOneThatForgotIt) {
  boot(two("", ""));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(domain->map(kWindow, pa_, 3 * kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes(kSecond, kWindow));
  group(kFirst).detach();
  EXPECT_EQ(domain->unmap(kWindow, 3 * kPageSize), 3 * kPageSize);
  ASSERT_TRUE(domain->map(kWindow + 8 * kPageSize, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*domain));
  for (const char* name : {kFirst, kSecond})
    EXPECT_TRUE(!writes(name, kWindow) && writes(name, kWindow + 8 * kPageSize)) << name;
}

TEST_F(VirtioIommuDriver, WriteOnlyMappingsAreKept) {
  boot(one(""));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.write = true}));
  EXPECT_TRUE(writes(kFirst, kWindow) && !reads(kFirst, kWindow));
  EXPECT_EQ(domain->map(kWindow + kPageSize, pa_, kPageSize, {}).error().code, EINVAL);
}

TEST_F(VirtioIommuDriver, IdentityIsThereWhereBypassCanBeChosen) {
  boot(one(""));
  Driver& driver = group(kFirst).driver();
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}));
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value}));
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

TEST_F(VirtioIommuDriver, WithoutItThereIsNone) {
  boot(one("bypass_config = false"));
  EXPECT_EQ(group(kFirst).driver().static_domain(DomainType::identity), nullptr);
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

// One id is for bypassing; two are for domains.
TEST_F(VirtioIommuDriver, AReplaceHandsTheDomainIdOn) {
  boot(one("domains = 3"));
  Domain *const first = domain_for(kFirst), *const second = domain_for(kFirst);
  ASSERT_TRUE(first->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow + kPageSize, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*first));
  ASSERT_TRUE(group(kSecond).attach(*domain_for(kSecond)));
  Switch change{.device = system_->device(kFirst), .to = second};
  EXPECT_EQ(group(kFirst).driver().prepare({&change, 1}).error().failure, AttachFailure::no_space);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(group(kFirst).replace(*second));
    EXPECT_TRUE(!writes(kFirst, kWindow) && writes(kFirst, kWindow + kPageSize));
    ASSERT_TRUE(group(kFirst).replace(*first));
    EXPECT_TRUE(writes(kFirst, kWindow) && !writes(kFirst, kWindow + kPageSize));
  }
}

TEST_F(VirtioIommuDriver, ADomainThatTheDeviceCannotTakeIsRefused) {
  boot(two("input_bits = 48", "input_bits = 40"));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst)).reason.property, "input range");
  EXPECT_TRUE(group(kFirst).attach(*domain_for(kSecond)));
  EXPECT_EQ(lines_.all, "");
}

TEST_F(VirtioIommuDriver, AFinerGranuleIsRefused) {
  boot(two("", "granule = 16"));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst)).reason.property, "granule");
  EXPECT_TRUE(group(kFirst).attach(*domain_for(kSecond)));
}

TEST_F(VirtioIommuDriver, TheDevicesMessageWindowIsReservedElseTheUsualOne) {
  boot(two("message_window = true", ""));
  const auto told = group(kFirst).driver().reserved_regions(*system_->device(kFirst));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, ReservedRegion::Kind::msi);
  EXPECT_EQ(told[0].range, (IovaRange{Iova{0xfee0'0000}, Iova{0xfeef'ffff}}));
  const auto usual = group(kSecond).driver().reserved_regions(*system_->device(kSecond));
  ASSERT_EQ(usual.size(), 1u);
  EXPECT_EQ(usual[0].kind, ReservedRegion::Kind::software_msi);
}

TEST_F(VirtioIommuDriver, ARefusedAccessIsLoggedAndABlockedDevicesIsNoWarning) {
  boot(one(""));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.all, "");
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("virtio-iommu a: page fault: endpoint 0x10 iova 0x40000000 write"), 10u) << lines_.all;
}

TEST_F(VirtioIommuDriver, WithoutASubsystemEverythingIsRefused) {
  boot(one(""));
  ASSERT_TRUE(group(kFirst).replace(*group(kFirst).driver().static_domain(DomainType::identity)));
  for (const auto& each : system_->groups()) {
    each->detach();
    each->release_dma_owner();
  }
  system_.reset();
  EXPECT_FALSE(machine_->unit("a")->translate({.stream = 0x10, .iova = Iova{0x1000}}));
}

}  // namespace
}  // namespace softiommu
