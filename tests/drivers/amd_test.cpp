// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the AMD driver: host tables that grow under live devices, guest tables and PASIDs, ids, aliases,
// dirty tracking, commands that the hardware refuses. Run against the modelled hardware in paranoid mode: a forgotten
// invalidation is a finding.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "core/system.h"
#include "drivers/driver_rig.h"
#include "drivers/in_front.h"
#include "drivers/registry.h"
#include "hw/amd_iommu.h"
#include "machine/findings.h"
#include "machine/machine.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using softiommu::testing::in_front_of;
using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

// The real unit, whose next command buffers can be spoilt: refused, or never looked at.
class BalkyUnit final : public check::WrappedUnit {
 public:
  using WrappedUnit::WrappedUnit;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    using namespace hw::amd;
    if (offset == kCommandTail.offset && value != 0 && good != 0 && --good == 0) {
      if (deaf) return;
      words(kCommandBase["ComBase"].in_place(read64(kCommandBase.offset)) + read64(kCommandHead.offset))[0] =
          kOpcode.max();
    }
    deliver(offset, bytes, value);
  }
  unsigned good = 0;  // this one of the following is spoilt; 0: none
  bool deaf = false;
};

std::span<const UnitModel> balky_models() {
  static const UnitModel models[] = {in_front_of<BalkyUnit, amd_iommu_unit_model>()};
  return models;
}

class AmdDriver : public softiommu::testing::DriverRig {
 protected:
  static constexpr StreamId kFirstId = 0x10, kSecondId = 0x18;

  AmdDriver() : DriverRig("amd-iommu") {}
  BalkyUnit& balky() { return dynamic_cast<BalkyUnit&>(*machine_->unit("a")); }
  Domain* attached(const std::string& name, const DomainRequest& request = {}) {
    Domain* const domain = domain_for(name, request);
    EXPECT_TRUE(group(name).attach(*domain));
    return domain;
  }
  // Where an access under an id and a PASID ends.
  std::optional<PhysAddr> where(const std::string& unit, StreamId id, Pasid pasid, Iova iova) {
    const auto page = machine_->unit(unit)->translate({.stream = id, .pasid = pasid, .iova = iova});
    if (!page) return std::nullopt;
    return page->page + (iova.value & ((std::uint64_t{1} << page->page_lg2) - 1));
  }

  // An attach that got no further than prepare(): it holds an id.
  class Reserved {
   public:
    Reserved(AmdDriver& test, const std::string& name)
        : driver_(test.group(name).driver()),
          change_{.device = test.system_->device(name), .to = test.domain_for(name)} {
      EXPECT_TRUE(driver_.prepare({&change_, 1}));
    }
    ~Reserved() { driver_.abandon({&change_, 1}); }
    Reserved(const Reserved&) = delete;
    Reserved& operator=(const Reserved&) = delete;

   private:
    Driver& driver_;
    Switch change_;
  };
};

// ---- Every shape of unit ----------------------------------------------------------------------------------------

class EveryAmdUnit : public AmdDriver, public ::testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(Options, EveryAmdUnit,
                         ::testing::Values("", "host_levels = \"4\"", "host_levels = \"5\"", "guest_levels = \"none\"",
                                           "host_levels = \"none\"", "host_levels = \"none\"\nguest_levels = \"5\"",
                                           "host_levels = \"none\"\ngcr3_levels = 1\npasid_bits = 8",
                                           "host_levels = \"none\"\ngcr3_levels = 3\npasid_bits = 20",
                                           "gcr3_system_address = false", "dirty = \"dirty\"", "guest_io = false",
                                           "invalidate_all = false\nprefetch = false\npage_requests = false"));

TEST_P(EveryAmdUnit, UnmappedPagesAreGoneAtOnce) {
  boot(one(GetParam()));
  map_use_unmap(kFirst, 1);
  map_use_unmap(kFirst, 3);
  map_use_unmap(kFirst, 100);
}

TEST_P(EveryAmdUnit, EachChangeOfDomainTakesEffect) {
  boot(one(GetParam()));
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

TEST_P(EveryAmdUnit, IdentityPassesAndBlockedRefuses) {
  boot(one(GetParam()));
  Driver& driver = group(kFirst).driver();
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}));
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value})) << "the other device has an entry of its own";
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

TEST_F(AmdDriver, AUnitWithoutATableForRequestsWithoutPasidIsNotUsed) {
  bring_up(one("host_levels = \"none\"\nguest_io = false"));
  EXPECT_TRUE(system_->groups().empty());
  EXPECT_EQ(lines_.count("the unit walks no table for requests without a PASID"), 1u) << lines_.all;
}

// ---- Sharing ----------------------------------------------------------------------------------------------------

TEST_F(AmdDriver, FourUnitsShareOneTable) {
  std::string toml;
  for (int i = 0; i < 4; ++i) toml += unit(fmt::format("u{}", i), "") + edu(2 + i, fmt::format("u{}", i));
  boot(toml);
  Domain* const domain = domain_for(kFirst);
  for (const auto& each : system_->groups()) ASSERT_TRUE(each->attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  for (const auto& each : system_->groups()) EXPECT_TRUE(writes(each->devices()[0]->name(), kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  for (const auto& each : system_->groups()) EXPECT_FALSE(writes(each->devices()[0]->name(), kWindow));
}

TEST_F(AmdDriver, AWideTableIsRefusedByANarrowUnitNotTheReverse) {
  boot(two("", "host_levels = \"4\""));
  const AttachError error = refusal(kSecond, *domain_for(kFirst));
  EXPECT_EQ(error.failure, AttachFailure::incompatible);
  EXPECT_STREQ(error.reason.property, "address width");
  EXPECT_EQ(error.reason.domain_value, 64u);
  EXPECT_EQ(error.reason.device_value, 48u);
  EXPECT_TRUE(group(kFirst).attach(*domain_for(kSecond)));
}

TEST_F(AmdDriver, GuestTablesAreRefusedByUnitsThatDoNotWalkThem) {
  boot(two("guest_levels = \"none\"", "host_levels = \"none\"\nguest_levels = \"5\""));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst)).reason.property, "host tables");
  const AttachError error = refusal(kFirst, *domain_for(kSecond));
  EXPECT_STREQ(error.reason.property, "guest table levels");
  EXPECT_EQ(error.reason.domain_value, 5u);
}

TEST_F(AmdDriver, AGuestTableServesUnitsOfBothKindsThatWalkIt) {
  boot(two("", "host_levels = \"none\""));
  Domain* const domain = domain_for(kSecond);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes(kSecond, kWindow));
  domain->unmap(kWindow, kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow) || writes(kSecond, kWindow));
}

// ---- Tables that grow -------------------------------------------------------------------------------------------

TEST_F(AmdDriver, ATableGrowsUnderTheDevicesOfEveryUnit) {
  boot(two("", ""));
  Domain* const domain = attached(kFirst);
  ASSERT_TRUE(group(kSecond).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes(kSecond, kWindow));
  for (const unsigned bit : {39u, 48u, 57u, 63u}) {
    const Iova high{std::uint64_t{1} << bit};
    EXPECT_FALSE(writes(kFirst, high));
    ASSERT_TRUE(domain->map(high, pa_, kPageSize, kBoth));
    for (const char* name : {kFirst, kSecond})
      EXPECT_TRUE(writes(name, high) && writes(name, kWindow)) << name << " bit " << bit;
  }
}

TEST_F(AmdDriver, GrowthNeverRefusesADeviceThatIsAtWork) {
  boot(one(""));
  Domain* const domain = attached(kFirst);
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  std::atomic<bool> stop = false, refused = false;
  std::thread device([&] {
    while (!stop) refused = refused || !writes(kFirst, kWindow);
  });
  for (const unsigned bit : {39u, 48u, 57u}) {
    ASSERT_TRUE(domain->map(Iova{std::uint64_t{1} << bit}, pa_, kPageSize, kBoth));
    std::this_thread::yield();
  }
  stop = true;
  device.join();
  EXPECT_FALSE(refused);
}

// The entry says the new root, the unit still the old one: what only the new root reaches has been missed.
TEST_F(AmdDriver, AGrowthWithoutItsInvalidationIsFoundWhereTheNewRootIsNeeded) {
  boot(one(""), balky_models());
  Domain* const domain = attached(kFirst);
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(writes(kFirst, kWindow));
  constexpr Iova kHigh{std::uint64_t{1} << 39};  // one level more
  balky().deaf = true;
  balky().good = 1;
  ASSERT_TRUE(domain->map(kHigh, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_TRUE(machine_->findings().all().empty()) << "the same page by either root";
  EXPECT_FALSE(writes(kFirst, kHigh));
  expected_findings_ = 1;
  ASSERT_EQ(machine_->findings().all().size(), 1u);
  EXPECT_NE(lines_.all.find("stale device table entry: device 00:02.0"), std::string::npos) << lines_.all;
}

TEST_F(AmdDriver, ADeviceThatCameBeforeTheGrowthAndLeftIsLeftAlone) {
  boot(one(""));
  Domain *const grows = attached(kFirst), *const other = domain_for(kFirst);
  ASSERT_TRUE(other->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).replace(*other));
  ASSERT_TRUE(grows->map(Iova{std::uint64_t{1} << 48}, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_FALSE(writes(kFirst, Iova{std::uint64_t{1} << 48}));
}

TEST_F(AmdDriver, ATableOfANarrowUnitGrowsNoFurtherThanItsAperture) {
  boot(one("host_levels = \"4\""));
  Domain* const domain = attached(kFirst);
  EXPECT_EQ(domain->aperture().last, Iova{(std::uint64_t{1} << 48) - 1});
  EXPECT_TRUE(domain->map(Iova{std::uint64_t{1} << 47}, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, Iova{std::uint64_t{1} << 47}));
  EXPECT_EQ(domain->map(Iova{std::uint64_t{1} << 48}, pa_, kPageSize, kBoth).error().code, EINVAL);
}

// ---- Ids --------------------------------------------------------------------------------------------------------

TEST_F(AmdDriver, ManyDomainsOneAfterTheOtherNeedOneId) {
  for (const char* keys : {"domain_ids = 3", "domain_ids = 3\nhost_levels = \"none\""}) {
    boot(unit("a", keys) + edu(2, "a"));
    for (int i = 0; i < 10; ++i) {
      static_cast<void>(attached(kFirst));
      group(kFirst).detach();
    }
    TearDown();
    SetUp();
  }
}

TEST_F(AmdDriver, ADeviceThatFindsEveryIdTakenIsNoSpaceAndStaysWhereItWas) {
  boot(one("domain_ids = 4"));
  ASSERT_TRUE(attached(kFirst)->map(kWindow, pa_, kPageSize, kBoth));
  const Reserved last(*this, kSecond);
  EXPECT_EQ(refusal(kSecond, *domain_for(kSecond)).failure, AttachFailure::no_space);
  EXPECT_EQ(refusal(kSecond, *domain_for(kSecond, {.pasid = true})).failure, AttachFailure::no_space);
  EXPECT_FALSE(writes(kSecond, kWindow));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

TEST_F(AmdDriver, AGroupWithoutAnIdForItsDefaultDomainIsLeftOut) {
  bring_up(one("domain_ids = 3"));
  EXPECT_EQ(system_->groups().size(), 1u);
  EXPECT_EQ(lines_.count(fmt::format("errno {}", ENOSPC)), 1u) << lines_.all;
}

// Host to host, host to guest, guest to guest, guest to host, without a free id.
TEST_F(AmdDriver, AReplaceHandsItsIdOn) {
  boot(unit("a", "domain_ids = 3") + edu(2, "a"));
  Domain* before = attached(kFirst);
  ASSERT_TRUE(before->map(kWindow, pa_, kPageSize, kBoth));
  for (const bool guest : {false, true, true, false, false}) {
    ASSERT_TRUE(writes(kFirst, kWindow));
    Domain* const next = domain_for(kFirst, {.pasid = guest});
    const auto replaced = group(kFirst).replace(*next);
    ASSERT_TRUE(replaced) << replaced.error().reason.property;
    EXPECT_FALSE(writes(kFirst, kWindow)) << "what was cached under the id was the old domain's";
    ASSERT_TRUE(next->map(kWindow, pa_, kPageSize, kBoth));
    before = next;
  }
  EXPECT_TRUE(writes(kFirst, kWindow));
  group(kFirst).detach();
  EXPECT_TRUE(group(kFirst).attach(*domain_for(kFirst))) << "the id is free again";
}

TEST_F(AmdDriver, AnIdThatWasHandedOnComesBackWhenTheChangeIsUndone) {
  boot(unit("a", "domain_ids = 3") + edu(2, "a"));
  for (const bool from_guest : {false, true}) {
    for (const bool to_guest : {false, true}) {
      ASSERT_TRUE(attached(kFirst, {.pasid = from_guest})->map(kWindow, pa_, kPageSize, kBoth));
      Domain* const next = domain_for(kFirst, {.pasid = to_guest});
      fault::fail_point("driver.commit");
      EXPECT_EQ(group(kFirst).replace(*next).error().failure, AttachFailure::no_device);
      fault::disarm();
      EXPECT_TRUE(writes(kFirst, kWindow));
      ASSERT_TRUE(group(kFirst).replace(*next)) << from_guest << to_guest;
      EXPECT_FALSE(writes(kFirst, kWindow));
      group(kFirst).detach();
    }
  }
}

// ---- PASIDs -----------------------------------------------------------------------------------------------------

class AmdPasids : public AmdDriver {
 protected:
  static constexpr Pasid kPasid = 5;
  static constexpr DomainRequest kForPasids{.pasid = true};

  // Driver's calls as the core makes them.
  AttachResult<> change(const std::string& name, Pasid pasid, Domain* from, Domain* to) {
    Switch one{.device = system_->device(name), .from = from, .to = to, .pasid = pasid};
    Driver& driver = group(name).driver();
    TRY(driver.prepare({&one, 1}));
    if (auto done = driver.commit(one); !done) {
      driver.abandon({&one, 1});
      return done;
    }
    driver.finish({&one, 1});
    return {};
  }
  Domain* mapped(const std::string& name, std::uint64_t page) {
    Domain* const domain = domain_for(name, kForPasids);
    EXPECT_TRUE(domain->map(kWindow, pa_ + page * kPageSize, kPageSize, kBoth));
    return domain;
  }
  std::optional<std::uint64_t> page_of(StreamId id, Pasid pasid) {
    const auto found = where("a", id, pasid, kWindow);
    return found ? std::optional((*found - pa_) / kPageSize) : std::nullopt;
  }
};

TEST_F(AmdPasids, EachDeviceHasItsOwnMeaningOfAPasid) {
  boot(one(""));
  Domain *const first = mapped(kFirst, 1), *const second = mapped(kSecond, 2);
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, first));
  ASSERT_TRUE(change(kSecond, kPasid, nullptr, second));
  EXPECT_EQ(page_of(kFirstId, kPasid), 1u);
  EXPECT_EQ(page_of(kSecondId, kPasid), 2u);
  EXPECT_EQ(page_of(kFirstId, 0), std::nullopt) << "without a PASID the device is still blocked";
  EXPECT_EQ(page_of(kFirstId, kPasid + 1), std::nullopt);
  ASSERT_TRUE(change(kFirst, kPasid, first, nullptr));
  EXPECT_EQ(page_of(kFirstId, kPasid), std::nullopt);
  EXPECT_EQ(page_of(kSecondId, kPasid), 2u);
  ASSERT_TRUE(change(kSecond, kPasid, second, nullptr));
}

TEST_F(AmdPasids, WhatIsUnmappedIsGoneUnderEveryPasidAndWithout) {
  boot(one(""));
  Domain* const domain = mapped(kFirst, 3);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  for (const Pasid pasid : {1u, 600u}) ASSERT_TRUE(change(kFirst, pasid, nullptr, domain));
  for (const Pasid pasid : {0u, 1u, 600u}) EXPECT_EQ(page_of(kFirstId, pasid), 3u) << pasid;
  domain->unmap(kWindow, kPageSize);
  for (const Pasid pasid : {0u, 1u, 600u}) EXPECT_EQ(page_of(kFirstId, pasid), std::nullopt) << pasid;
  for (const Pasid pasid : {1u, 600u}) ASSERT_TRUE(change(kFirst, pasid, domain, nullptr));
}

TEST_F(AmdPasids, APasidIsReplacedWithoutTouchingTheOthers) {
  boot(one(""));
  Domain *const first = mapped(kFirst, 1), *const second = mapped(kFirst, 2);
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, first));
  ASSERT_TRUE(change(kFirst, 7, nullptr, first));
  ASSERT_TRUE(change(kFirst, kPasid, first, second));
  EXPECT_EQ(page_of(kFirstId, kPasid), 2u);
  EXPECT_EQ(page_of(kFirstId, 7), 1u);
  ASSERT_TRUE(change(kFirst, kPasid, second, nullptr));
  ASSERT_TRUE(change(kFirst, 7, first, nullptr));
}

TEST_F(AmdPasids, TheDevicesOtherRequestsGoOnAsBefore) {
  boot(one(""));
  Driver& driver = group(kFirst).driver();
  Domain* const domain = mapped(kFirst, 1);
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, domain));
  EXPECT_EQ(where("a", kFirstId, 0, Iova{pa_.value}), pa_);
  EXPECT_EQ(page_of(kFirstId, kPasid), 1u);
  ASSERT_TRUE(group(kFirst).replace(*domain));
  EXPECT_EQ(page_of(kFirstId, 0), 1u);
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_EQ(page_of(kFirstId, 0), std::nullopt);
  EXPECT_EQ(page_of(kFirstId, kPasid), 1u);
  ASSERT_TRUE(change(kFirst, kPasid, domain, nullptr));
  EXPECT_EQ(page_of(kFirstId, kPasid), std::nullopt);
}

TEST_F(AmdPasids, AHostTableAndPasidsExcludeEachOther) {
  boot(one(""));
  Domain *const host = attached(kFirst), *const guest = mapped(kFirst, 1);
  EXPECT_EQ(change(kFirst, kPasid, nullptr, guest).error().failure, AttachFailure::busy);
  group(kFirst).detach();
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, guest));
  EXPECT_EQ(group(kFirst).attach(*host).error().failure, AttachFailure::busy);
  EXPECT_EQ(page_of(kFirstId, kPasid), 1u);
  ASSERT_TRUE(change(kFirst, kPasid, guest, nullptr));
  EXPECT_TRUE(group(kFirst).attach(*host));
}

TEST_F(AmdPasids, WhatIsNoGuestTableIsIncompatibleWithAPasid) {
  boot(one(""));
  Domain* const identity = group(kFirst).driver().static_domain(DomainType::identity);
  EXPECT_EQ(change(kFirst, kPasid, nullptr, identity).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(change(kFirst, kPasid, nullptr, domain_for(kFirst)).error().failure, AttachFailure::incompatible);
}

TEST_F(AmdPasids, APasidBeyondTheHardwaresIsNoDevice) {
  boot(one("gcr3_levels = 1"));
  EXPECT_EQ(change(kFirst, 512, nullptr, mapped(kFirst, 1)).error().failure, AttachFailure::no_device);
}

TEST_F(AmdPasids, AFailedChangeLeavesThePasidWhereItWas) {
  boot(one("domain_ids = 4"));
  Domain *const first = mapped(kFirst, 1), *const second = mapped(kFirst, 2);
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, first));
  fault::fail_point("driver.commit");
  EXPECT_EQ(change(kFirst, kPasid, first, second).error().failure, AttachFailure::no_device);
  fault::disarm();
  fault::fail_point("driver.prepare");
  EXPECT_EQ(change(kFirst, kPasid, first, second).error().failure, AttachFailure::no_memory);
  fault::disarm();
  EXPECT_EQ(page_of(kFirstId, kPasid), 1u);
  const Reserved last(*this, kSecond);
  EXPECT_EQ(change(kSecond, kPasid, nullptr, second).error().failure, AttachFailure::no_space);
  ASSERT_TRUE(change(kFirst, kPasid, first, nullptr));
  ASSERT_TRUE(change(kSecond, kPasid, nullptr, second)) << "the id is free again";
  ASSERT_TRUE(change(kSecond, kPasid, second, nullptr));
}

TEST_F(AmdPasids, BlockingADeviceStopsItsPasidsToo) {
  boot(one(""));
  Domain* const domain = mapped(kFirst, 1);
  ASSERT_TRUE(change(kFirst, kPasid, nullptr, domain));
  group(kFirst).driver().block(*system_->device(kFirst));
  EXPECT_EQ(page_of(kFirstId, kPasid), std::nullopt);
  ASSERT_TRUE(change(kFirst, kPasid, domain, nullptr));
}

TEST_F(AmdPasids, DomainsForPasidsNeedGuestTables) {
  boot(one("guest_levels = \"none\""));
  const auto domain = system_->allocate_domain(group(kFirst), kForPasids);
  ASSERT_FALSE(domain);
  EXPECT_EQ(domain.error().code, EOPNOTSUPP);
}

// ---- Aliases ----------------------------------------------------------------------------------------------------

TEST_F(AmdDriver, EveryIdOfADeviceIsProgrammedAlike) {
  for (const bool guest : {false, true}) {
    boot(unit("a", "") + edu(2, "a", "dma_aliases = [\"02.5\", \"1f.7\"]"));
    Domain* const domain = attached(kFirst, {.pasid = guest});
    ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
    for (const StreamId id : {0x10u, 0x15u, 0xffu}) EXPECT_EQ(where("a", id, 0, kWindow), pa_) << id;
    if (!guest) {
      ASSERT_TRUE(domain->map(Iova{std::uint64_t{1} << 48}, pa_, kPageSize, kBoth));
      EXPECT_EQ(where("a", 0xff, 0, Iova{std::uint64_t{1} << 48}), pa_) << "grown";
    }
    domain->unmap(kWindow, kPageSize);
    for (const StreamId id : {0x10u, 0x15u, 0xffu}) EXPECT_EQ(where("a", id, 0, kWindow), std::nullopt) << id;
    TearDown();
    SetUp();
  }
}

// ---- Dirty tracking and coherency -------------------------------------------------------------------------------

TEST_F(AmdDriver, DirtyTrackingSeesWhatADeviceWroteWhileItIsOn) {
  boot(two("dirty = \"dirty\"", "dirty = \"dirty\""));
  Domain* const domain = attached(kFirst, {.dirty_tracking = true});
  ASSERT_TRUE(group(kSecond).attach(*domain));
  for (std::uint64_t at = 0; at < 4 * kPageSize; at += kPageSize)  // else it would be one page
    ASSERT_TRUE(domain->map(kWindow + at, pa_ + at, kPageSize, kBoth));
  const auto dirty = [&] {
    std::vector<std::uint64_t> pages;
    EXPECT_TRUE(domain->read_dirty(IovaRange::of(kWindow, 4 * kPageSize), true, [&](Iova first, std::uint64_t bytes) {
      for (std::uint64_t at = 0; at < bytes; at += kPageSize) pages.push_back((first + at - kWindow) / kPageSize);
    }));
    return pages;
  };
  using Pages = std::vector<std::uint64_t>;
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_EQ(dirty(), Pages{}) << "off";
  ASSERT_TRUE(domain->set_dirty_tracking(true));
  EXPECT_TRUE(writes(kFirst, kWindow)) << "the cached writable entry must be gone";
  EXPECT_TRUE(reads(kFirst, kWindow + kPageSize));
  EXPECT_TRUE(writes(kSecond, kWindow + 2 * kPageSize));
  EXPECT_EQ(dirty(), (Pages{0, 2}));
  EXPECT_EQ(dirty(), Pages{});
  EXPECT_TRUE(writes(kSecond, kWindow + 2 * kPageSize));
  EXPECT_EQ(dirty(), Pages{2});
  ASSERT_TRUE(domain->set_dirty_tracking(false));
  EXPECT_TRUE(writes(kFirst, kWindow + 3 * kPageSize));
  EXPECT_EQ(dirty(), Pages{});
}

TEST_F(AmdDriver, ADeviceThatComesLaterIsTrackedToo) {
  boot(one("dirty = \"dirty\""));
  Domain* const domain = attached(kFirst, {.dirty_tracking = true});
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(domain->set_dirty_tracking(true));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  EXPECT_TRUE(writes(kSecond, kWindow));
  std::uint64_t bytes = 0;
  ASSERT_TRUE(
      domain->read_dirty(IovaRange::of(kWindow, kPageSize), true, [&](Iova, std::uint64_t run) { bytes += run; }));
  EXPECT_EQ(bytes, kPageSize);
}

TEST_F(AmdDriver, DirtyTrackingIsRefusedWhereTheHardwareKeepsNone) {
  boot(two("dirty = \"access\"", "dirty = \"dirty\"\nhost_levels = \"none\""));
  for (const char* name : {kFirst, kSecond}) {
    const auto domain = system_->allocate_domain(group(name), {.dirty_tracking = true});
    ASSERT_FALSE(domain);
    EXPECT_EQ(domain.error().code, EOPNOTSUPP);
  }
  EXPECT_EQ(domain_for(kFirst)->set_dirty_tracking(true).error().code, EOPNOTSUPP);
}

TEST_F(AmdDriver, ADomainThatTracksIsRefusedByAUnitThatCannot) {
  boot(two("dirty = \"dirty\"", "dirty = \"none\""));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst, {.dirty_tracking = true})).reason.property, "dirty tracking");
}

// Linux promises it for guest tables too, whose entries cannot force anything.
TEST_F(AmdDriver, HostTablesEnforceCoherencyGuestTablesDoNot) {
  boot(two("", "host_levels = \"none\""));
  EXPECT_TRUE(group(kFirst).driver().can_enforce_cache_coherency(*system_->device(kFirst)));
  EXPECT_TRUE(domain_for(kFirst)->enforce_cache_coherency());
  EXPECT_FALSE(group(kSecond).driver().can_enforce_cache_coherency(*system_->device(kSecond)));
  EXPECT_FALSE(domain_for(kSecond)->enforce_cache_coherency());
}

// ---- Reserved regions -------------------------------------------------------------------------------------------

TEST_F(AmdDriver, InterruptsAndHyperTransportAreReserved) {
  boot(two("", "hypertransport = false"));
  const auto regions = group(kFirst).driver().reserved_regions(*system_->device(kFirst));
  ASSERT_EQ(regions.size(), 2u);
  EXPECT_EQ(regions[0].kind, ReservedRegion::Kind::msi);
  EXPECT_EQ(regions[0].range, (IovaRange{Iova{0xfee0'0000}, Iova{0xfeef'ffff}}));
  EXPECT_EQ(regions[1].kind, ReservedRegion::Kind::reserved);
  EXPECT_EQ(regions[1].range, (IovaRange{Iova{0xfd'0000'0000}, Iova{0xff'ffff'ffff}}));
  EXPECT_EQ(group(kSecond).driver().reserved_regions(*system_->device(kSecond)).size(), 1u);
}

TEST_F(AmdDriver, AnExclusionRangeOfTheFirmwareBecomesADirectMapping) {
  bring_up(one("exclusion_base = \"1M\"\nexclusion_bytes = \"8K\""));
  const auto regions = group(kFirst).driver().reserved_regions(*system_->device(kFirst));
  ASSERT_EQ(regions.size(), 3u);
  EXPECT_EQ(regions[0].kind, ReservedRegion::Kind::direct);
  EXPECT_EQ(regions[0].range, IovaRange::of(Iova{kMiB}, 2 * kPageSize));
  EXPECT_EQ(where("a", kFirstId, 0, Iova{kMiB + kPageSize}), PhysAddr{kMiB + kPageSize}) << "by the default domain";
  EXPECT_EQ(where("a", kFirstId, 0, Iova{kMiB + 2 * kPageSize}), std::nullopt);
  system_.reset();
  EXPECT_EQ(machine_->unit("a")->read64(hw::amd::kExclusionBase.offset) & 1, 1u) << "as it was found";
}

TEST_F(AmdDriver, TellsAVirtualMachineMonitorItsFeatures) {
  boot(one(""));
  const HardwareInfo info = group(kFirst).driver().hardware_info(*system_->device(kFirst));
  EXPECT_EQ(info.type, 4u) << "IOMMU_HW_INFO_TYPE_AMD";
  std::uint64_t efr = 0;
  std::memcpy(&efr, info.data.data(), sizeof efr);
  EXPECT_EQ(efr, machine_->unit("a")->read64(hw::amd::kFeatures.offset));
}

// ---- Hardware that does not follow ------------------------------------------------------------------------------

class AmdFailure : public AmdDriver, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Deaf, AmdFailure, ::testing::Bool());

// Linux detaches first, so that the device is on nothing after a failure.
TEST_P(AmdFailure, ACommandThatIsNotTakenIsNoDeviceAndTheOldDomainStays) {
  boot(one(""), balky_models());
  ASSERT_TRUE(attached(kFirst)->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(writes(kFirst, kWindow));
  for (const bool guest : {false, true}) {
    Domain* const next = domain_for(kFirst, {.pasid = guest});
    for (const unsigned which : {1u, 2u, 3u}) {
      balky().deaf = GetParam();
      balky().good = which;
      const auto answer = group(kFirst).replace(*next);
      ASSERT_FALSE(answer) << which;
      EXPECT_EQ(answer.error().failure, AttachFailure::no_device);
      EXPECT_TRUE(writes(kFirst, kWindow)) << which;
      EXPECT_FALSE(group(kFirst).broken());
    }
  }
  EXPECT_EQ(lines_.count("ILLEGAL_COMMAND_ERROR") != 0, !GetParam()) << lines_.all;
}

TEST_P(AmdFailure, ACommandThatIsNotTakenIsLoggedAndTheAttachSucceedsOnLinux) {
  rules_ = Rules::linux7;
  boot(one(""), balky_models());
  Domain *const old = attached(kFirst), *const next = domain_for(kFirst);
  ASSERT_TRUE(old->map(kWindow, pa_, kPageSize, kBoth));
  balky().deaf = GetParam();
  balky().good = 1;
  EXPECT_TRUE(group(kFirst).replace(*next));
  EXPECT_EQ(lines_.count("Completion-Wait loop timed out"), 1u) << lines_.all;
  EXPECT_FALSE(writes(kFirst, kWindow));
}

TEST_P(AmdFailure, AnInvalidationThatIsNotTakenIsLoggedAndTheNextOneWorks) {
  boot(one(""), balky_models());
  Domain* const domain = attached(kFirst);
  for (const std::uint64_t at : {std::uint64_t{0}, kPageSize})
    ASSERT_TRUE(domain->map(kWindow + at, pa_, kPageSize, kBoth));
  balky().deaf = GetParam();
  balky().good = 1;
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_EQ(lines_.count("the command buffer stopped"), 1u) << lines_.all;
  ASSERT_TRUE(writes(kFirst, kWindow + kPageSize));
  EXPECT_EQ(domain->unmap(kWindow + kPageSize, kPageSize), kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow + kPageSize));
}

// ---- Events -----------------------------------------------------------------------------------------------------

TEST_F(AmdDriver, ARefusedAccessIsLoggedAsLinuxDoes) {
  boot(one(""));
  static_cast<void>(attached(kFirst));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("AMD-Vi: a: Event logged [IO_PAGE_FAULT device=00:02.0 domain=0x0002 address=0x40000000 "
                         "flags=0x0020]"),
            1u)
      << lines_.all;
}

TEST_F(AmdDriver, AStormOfEventsNeitherFillsTheLogNorStopsIt) {
  boot(one(""));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("IO_PAGE_FAULT"), 100u);
  EXPECT_EQ(lines_.count("lost"), 0u);
}

}  // namespace
}  // namespace softiommu
