// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the VT-d driver: ids, sharing between units, synchronisation after map. Run against the modelled
// hardware; the attach contract itself is tested in tests/contract.
#include "drivers/driver_rig.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class IntelDriver : public softiommu::testing::DriverRig {
 protected:
  IntelDriver() : DriverRig("intel-vtd") {}
};

TEST_F(IntelDriver, UnitsThatAgreeShareOneTable) {
  boot(unit("a", "") + unit("b", "") + edu(2, "a") + edu(3, "b"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_TRUE(writes(kSecond, kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_FALSE(writes(kSecond, kWindow));
}

TEST_F(IntelDriver, ANarrowUnitRefusesAWideTableAndNamesTheWidth) {
  boot(unit("wide", "address_widths = [39, 48]") + unit("narrow", "address_widths = [39]") + edu(2, "wide") +
       edu(3, "narrow"));
  Domain* const domain = domain_for(kFirst);
  const auto answer = group(kSecond).attach(*domain);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_EQ(answer.error().reason.domain_value, 4u);
  EXPECT_EQ(answer.error().reason.device_value, 3u);
}

TEST_F(IntelDriver, AnEnforcedDomainRefusesAUnitWithoutSnoopControl) {
  boot(unit("snoops", "snoop_control = true") + unit("does_not", "snoop_control = false") + edu(2, "snoops") +
       edu(3, "does_not"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(domain->enforce_cache_coherency());
  const auto answer = group(kSecond).attach(*domain);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_STREQ(answer.error().reason.property, "snoop control");
}

TEST_F(IntelDriver, EveryDomainIdInUseIsNoSpaceAndAReplaceHandsItsIdOn) {
  boot(unit("a", "domain_id_bits = 4") + edu(2, "a") + edu(3, "a"));
  // 16 ids, two of them reserved: 14 domains, each kept alive by an attach that is replaced away on a second device.
  Group& moving = group(kFirst);
  Domain* domain = nullptr;
  for (int i = 0; i < 40; ++i) {
    domain = domain_for(kFirst);
    ASSERT_TRUE(moving.replace(*domain)) << "an id of the domain that was left must come back, round " << i;
  }
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

TEST_F(IntelDriver, CachingModeHardwareSeesANewMappingAtOnce) {
  boot(unit("a", "caching_mode = true") + edu(2, "a"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  EXPECT_FALSE(writes(kFirst, kWindow));  // the not-present entry is cached now
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

TEST_F(IntelDriver, WithoutAQueueTheRegistersInvalidate) {
  boot(unit("a", "queued_invalidation = false") + edu(2, "a"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow));
}

TEST_F(IntelDriver, LargePagesAreUsedOnlyWhereTheUnitHasThem) {
  boot(unit("a", "") + edu(2, "a"));
  EXPECT_NE(domain_for(kFirst)->page_sizes() & 2 * kMiB, 0u);
}

TEST_F(IntelDriver, AReadOnlyMappingRefusesWrites) {
  boot(unit("a", "") + edu(2, "a"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true}));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_TRUE(reads(kFirst, kWindow));
}

TEST_F(IntelDriver, DeviceTlbsOfLegacyModeAreInvalidatedToo) {
  boot(unit("a", "device_tlb = true") + edu(2, "a") + "ats = true\n");
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
  domain->unmap(kWindow, kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow));
}

}  // namespace
}  // namespace softiommu
