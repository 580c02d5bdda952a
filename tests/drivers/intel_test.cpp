// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the VT-d driver: ids, sharing between units, synchronisation after map. Run against the modelled
// hardware; the attach contract itself is tested in tests/contract.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "core/system.h"
#include "drivers/registry.h"
#include "ioas/domain_set.h"
#include "machine/machine.h"

namespace softiommu {
namespace {

using namespace std::string_literals;

constexpr Iova kWindow{0x10'0000};

// A machine from text, its subsystem, and one page of memory that devices write to.
class IntelDriver : public testing::Test {
 protected:
  void boot(const std::string& toml) {
    auto spec = parse_machine(toml, "test");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    machine_ = *Machine::create(*spec, {.time = Executor::Time::virtual_time, .paranoid = true});
    system_ = *System::create(*machine_, all_drivers(), {});
    for (const auto& group : system_->groups()) ASSERT_TRUE(group->claim_dma_owner(this));
    const auto run = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(page_.data()), kPageSize);
    ASSERT_TRUE(run);
    pa_ = run->first;
  }
  void TearDown() override {
    if (!system_) return;
    EXPECT_TRUE(machine_->findings().all().empty());
    for (const auto& group : system_->groups()) {
      group->detach();
      group->release_dma_owner();
    }
  }

  Group& group_of(const std::string& name) { return *system_->device(name)->group(); }
  std::unique_ptr<Domain> domain_for(const std::string& name) {
    auto domain = system_->allocate_domain(group_of(name));
    EXPECT_TRUE(domain);
    return std::move(*domain);
  }
  bool dma(const std::string& name, Iova iova) {
    return static_cast<bool>(system_->device(name)->function()->dma().write(iova, std::as_bytes(std::span(kWord))));
  }
  static std::string unit(const std::string& name, const std::string& options) {
    return "[[iommu]]\nname = \"" + name + "\"\nmodel = \"intel-vtd\"\n" + options + "\n";
  }
  static std::string edu(int slot, const std::string& unit) {
    return "[[device]]\naddress = \"0000:00:0" + std::to_string(slot) + ".0\"\nmodel = \"edu\"\niommu = \"" + unit +
           "\"\n";
  }

  static constexpr std::array<char, 8> kWord{'w', 'r', 'i', 't', 't', 'e', 'n', '.'};
  alignas(kPageSize) inline static std::array<std::byte, kPageSize> page_{};
  PhysAddr pa_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
};

TEST_F(IntelDriver, UnitsThatAgreeShareOneTable) {
  boot(unit("a", "") + unit("b", "") + edu(2, "a") + edu(3, "b"));
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(group_of("0000:00:02.0").attach(*domain));
  ASSERT_TRUE(group_of("0000:00:03.0").attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true, .write = true}));
  EXPECT_TRUE(dma("0000:00:02.0", kWindow));
  EXPECT_TRUE(dma("0000:00:03.0", kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_FALSE(dma("0000:00:02.0", kWindow));
  EXPECT_FALSE(dma("0000:00:03.0", kWindow));
  group_of("0000:00:02.0").detach();
  group_of("0000:00:03.0").detach();
}

TEST_F(IntelDriver, ANarrowUnitRefusesAWideTableAndNamesTheWidth) {
  boot(unit("wide", "address_widths = [39, 48]") + unit("narrow", "address_widths = [39]") + edu(2, "wide") +
       edu(3, "narrow"));
  const auto domain = domain_for("0000:00:02.0");
  const auto answer = group_of("0000:00:03.0").attach(*domain);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_EQ(answer.error().reason.domain_value, 4u);
  EXPECT_EQ(answer.error().reason.device_value, 3u);
}

TEST_F(IntelDriver, AnEnforcedDomainRefusesAUnitWithoutSnoopControl) {
  boot(unit("snoops", "snoop_control = true") + unit("does_not", "snoop_control = false") + edu(2, "snoops") +
       edu(3, "does_not"));
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(domain->enforce_cache_coherency());
  const auto answer = group_of("0000:00:03.0").attach(*domain);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_STREQ(answer.error().reason.property, "snoop control");
}

TEST_F(IntelDriver, EveryDomainIdInUseIsNoSpaceAndAReplaceHandsItsIdOn) {
  boot(unit("a", "domain_id_bits = 4") + edu(2, "a") + edu(3, "a"));
  // 16 ids, two of them reserved: 14 domains, each kept alive by an attach that is replaced away on a second device.
  std::vector<std::unique_ptr<Domain>> domains;
  Group& moving = group_of("0000:00:02.0");
  for (int i = 0; i < 40; ++i) {
    domains.push_back(domain_for("0000:00:02.0"));
    ASSERT_TRUE(moving.replace(*domains.back())) << "an id of the domain that was left must come back, round " << i;
  }
  ASSERT_TRUE(domains.back()->map(kWindow, pa_, kPageSize, {.read = true, .write = true}));
  EXPECT_TRUE(dma("0000:00:02.0", kWindow));
  moving.detach();
}

TEST_F(IntelDriver, CachingModeHardwareSeesANewMappingAtOnce) {
  boot(unit("a", "caching_mode = true") + edu(2, "a"));
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(group_of("0000:00:02.0").attach(*domain));
  EXPECT_FALSE(dma("0000:00:02.0", kWindow));  // the not-present entry is cached now
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true, .write = true}));
  EXPECT_TRUE(dma("0000:00:02.0", kWindow));
  group_of("0000:00:02.0").detach();
}

TEST_F(IntelDriver, WithoutAQueueTheRegistersInvalidate) {
  boot(unit("a", "queued_invalidation = false") + edu(2, "a"));
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(group_of("0000:00:02.0").attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true, .write = true}));
  EXPECT_TRUE(dma("0000:00:02.0", kWindow));
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_FALSE(dma("0000:00:02.0", kWindow));
  group_of("0000:00:02.0").detach();
}

TEST_F(IntelDriver, LargePagesAreUsedOnlyWhereTheUnitHasThem) {
  boot(unit("a", "") + edu(2, "a"));
  EXPECT_NE(domain_for("0000:00:02.0")->page_sizes() & 2 * kMiB, 0u);
}

TEST_F(IntelDriver, AReadOnlyMappingRefusesWrites) {
  boot(unit("a", "") + edu(2, "a"));
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(group_of("0000:00:02.0").attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true}));
  EXPECT_FALSE(dma("0000:00:02.0", kWindow));
  std::array<std::byte, 8> read{};
  EXPECT_TRUE(system_->device("0000:00:02.0")->function()->dma().read(kWindow, read));
  group_of("0000:00:02.0").detach();
}

TEST_F(IntelDriver, DeviceTlbsOfLegacyModeAreInvalidatedToo) {
  boot(unit("a", "device_tlb = true") + edu(2, "a") + "ats = true\n");
  const auto domain = domain_for("0000:00:02.0");
  ASSERT_TRUE(group_of("0000:00:02.0").attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true, .write = true}));
  EXPECT_TRUE(dma("0000:00:02.0", kWindow));
  domain->unmap(kWindow, kPageSize);
  EXPECT_FALSE(dma("0000:00:02.0", kWindow));
  group_of("0000:00:02.0").detach();
}

}  // namespace
}  // namespace softiommu
