// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the SMMUv3 driver: stages, ids, sharing between units, invalidation with and without range
// commands, events. Run against the modelled hardware in paranoid mode: a forgotten invalidation is a finding.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "core/system.h"
#include "drivers/arm_smmu_v3/unit.h"
#include "drivers/driver_rig.h"
#include "drivers/in_front.h"
#include "drivers/registry.h"
#include "hw/smmuv3.h"
#include "machine/findings.h"
#include "machine/machine.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class ArmSmmuV3Driver : public softiommu::testing::DriverRig {
 protected:
  ArmSmmuV3Driver() : DriverRig("arm-smmu-v3") {}
};

// ---- Every shape of unit ----------------------------------------------------------------------------------------

class EveryUnit : public ArmSmmuV3Driver, public ::testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(Options, EveryUnit,
                         ::testing::Values("", "stages = \"1\"", "stages = \"2\"", "two_level = false",
                                           "stages = \"2\"\ntwo_level = false", "range_invalidation = false",
                                           "stages = \"2\"\nrange_invalidation = false", "messages = false",
                                           "coherent = false", "command_queue = 4\nevent_queue = 4", "output_bits = 40",
                                           "stages = \"2\"\noutput_bits = 40", "stages = \"2\"\noutput_bits = 44",
                                           "dirty = \"dirty\"", "stream_id_bits = 8", "stream_id_bits = 24",
                                           "output_bits = 52\nforce_write_back = true",
                                           "stalls = \"choice\"\nsubstream_bits = 20", "stalls = \"always\"",
                                           "stages = \"2\"\nstalls = \"always\""));

TEST_P(EveryUnit, UnmappedPagesAreGoneAtOnce) {
  boot(one(GetParam()));
  map_use_unmap(kFirst, 3);
  map_use_unmap(kFirst, 100);
}

TEST_P(EveryUnit, EachChangeOfDomainTakesEffect) {
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

TEST_P(EveryUnit, IdentityPassesAndBlockedRefuses) {
  boot(one(GetParam()));
  Driver& driver = group(kFirst).driver();
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}));
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value})) << "the other device's stream is its own";
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

// ---- Changes without a gap --------------------------------------------------------------------------------------

// A unit whose first device is asked for a translation after every command.
class Watched final : public check::WrappedUnit {
 public:
  using WrappedUnit::WrappedUnit;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    deliver(offset, bytes, value);
    if (!watching || offset != hw::smmuv3::kCmdqProd.offset) return;
    ++looks;
    if (!translate({.stream = 0x10, .pasid = 0, .iova = kWindow, .access = Access::write})) ++refused;
  }
  bool watching = false;
  unsigned looks = 0, refused = 0;
};

class WithoutAGap : public ArmSmmuV3Driver {
 protected:
  void SetUp() override {
    ArmSmmuV3Driver::SetUp();
    boot(unit("a", "substream_bits = 8\nforce_write_back = true") + edu(2, "a") + "pasid_bits = 8\n", models_);
    for (Domain*& each : domains_of_one_window_) {
      each = domain_for(kFirst, {.pasid = true});
      ASSERT_TRUE(each->map(kWindow, pa_, kPageSize, kBoth));
    }
    ASSERT_TRUE(group(kFirst).attach(*first()));
    watched_unit().watching = true;
  }
  void TearDown() override {
    EXPECT_EQ(watched_unit().refused, 0u);
    EXPECT_GT(watched_unit().looks, 0u);
    watched_unit().watching = false;
    DriverRig::TearDown();
  }
  Watched& watched_unit() { return dynamic_cast<Watched&>(*machine_->unit("a")); }
  Domain* first() { return domains_of_one_window_[0]; }
  Domain* second() { return domains_of_one_window_[1]; }

  std::array<UnitModel, 1> models_ = {softiommu::testing::in_front_of<Watched, arm_smmu_v3_unit_model>()};
  std::array<Domain*, 2> domains_of_one_window_{};
};

// Linux rewrites the descriptor that is in use: for a moment it is not valid.
TEST_F(WithoutAGap, NoAccessIsRefusedWhileStageOneIsReplaced) {
  for (Domain* each : {second(), first(), second()}) EXPECT_TRUE(group(kFirst).replace(*each));
}

TEST_F(WithoutAGap, NoAccessIsRefusedWhenTheFirstPasidComesAndTheLastGoes) {
  AttachHandle handle;
  ASSERT_TRUE(group(kFirst).attach_pasid(*second(), 5, handle));
  ASSERT_TRUE(group(kFirst).attach_pasid(*first(), 6, handle));
  ASSERT_TRUE(group(kFirst).replace_pasid(*first(), 5, handle));
  for (const Pasid pasid : {5u, 6u}) group(kFirst).detach_pasid(pasid);
}

// ---- Stages and sharing -----------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Driver, StageOneIsUsedWhereTheUnitHasItElseStageTwo) {
  boot(two("stages = \"both\"", "stages = \"2\"\noutput_bits = 44"));
  EXPECT_EQ(domain_for(kFirst)->aperture().last, Iova{(std::uint64_t{1} << 48) - 1});
  EXPECT_EQ(domain_for(kSecond)->aperture().last, Iova{(std::uint64_t{1} << 44) - 1})
      << "stage 2 takes as much as it puts out";
}

TEST_F(ArmSmmuV3Driver, UnitsThatAgreeShareOneTable) {
  boot(two("", ""));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, 2 * kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes(kSecond, kWindow));
  EXPECT_EQ(domain->unmap(kWindow, 2 * kPageSize), 2 * kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow) || writes(kSecond, kWindow));
}

TEST_F(ArmSmmuV3Driver, ADomainOfOneStageIsRefusedByAUnitOfTheOther) {
  boot(two("stages = \"1\"", "stages = \"2\""));
  Domain *const first = domain_for(kFirst), *const second = domain_for(kSecond);
  EXPECT_EQ(refusal(kSecond, *first).failure, AttachFailure::incompatible);
  EXPECT_STREQ(refusal(kFirst, *second).reason.property, "stage");
  Driver& driver = group(kFirst).driver();
  EXPECT_NE(driver.fit(*system_->device(kFirst)), driver.fit(*system_->device(kSecond)));
}

TEST_F(ArmSmmuV3Driver, AnOutputSizeThatTheUnitHasNotIsRefusedAndASmallerOneIsNot) {
  boot(two("output_bits = 48", "output_bits = 40"));
  Domain *const wide = domain_for(kFirst), *const narrow = domain_for(kSecond);
  const AttachError error = refusal(kSecond, *wide);
  EXPECT_STREQ(error.reason.property, "output size");
  EXPECT_EQ(error.reason.domain_value, 48u);
  EXPECT_EQ(error.reason.device_value, 40u);
  EXPECT_TRUE(group(kFirst).attach(*narrow));
  EXPECT_TRUE(group(kSecond).attach(*narrow));
}

TEST_F(ArmSmmuV3Driver, AWideStageTwoInputIsRefused) {
  boot(two("stages = \"2\"\noutput_bits = 48", "stages = \"2\"\noutput_bits = 40"));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst)).reason.property, "input size");
}

TEST_F(ArmSmmuV3Driver, ATableThatNobodyCleansIsRefusedByAnIncoherentUnit) {
  boot(two("coherent = true", "coherent = false"));
  EXPECT_STREQ(refusal(kSecond, *domain_for(kFirst)).reason.property, "coherency");
  EXPECT_TRUE(group(kFirst).attach(*domain_for(kSecond)));
}

// ---- Ids --------------------------------------------------------------------------------------------------------

class EveryStage : public ArmSmmuV3Driver, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Stages, EveryStage,
                         ::testing::Values("stages = \"1\"\nasid_bits = \"8\"", "stages = \"2\"\nvmid_bits = \"8\""));

TEST_P(EveryStage, ManyDomainsOneAfterTheOtherNeedOneId) {
  boot(one(GetParam()));
  for (int i = 0; i < 300; ++i) {
    Domain* const domain = domain_for(kFirst);
    ASSERT_TRUE(group(kFirst).attach(*domain)) << "an id must come back, round " << i;
    group(kFirst).detach();
  }
}

// 255 ids, and one device more.
TEST_P(EveryStage, ADeviceThatFindsEveryIdTakenIsNoSpaceAndAReplaceHandsItsIdOn) {
  std::string toml = unit("a", GetParam());
  for (unsigned id = 1 * 8; id < 31 * 8; ++id) toml += edu_at(0, id);
  for (unsigned port = 0; port < 2; ++port) {
    toml += fmt::format("[[bridge]]\naddress = \"0000:00:1f.{}\"\nkind = \"root-port\"\nbus = {}\n", port, port + 1);
    for (unsigned function = 0; function < 8; ++function) toml += edu_at(port + 1, function);
  }
  boot(toml);
  ASSERT_EQ(system_->groups().size(), 255u);
  EXPECT_EQ(lines_.count(fmt::format("errno {}", ENOSPC)), 1u) << lines_.all;

  for (const auto& each : system_->groups()) ASSERT_TRUE(each->attach(*domain_for(each->devices()[0]->name())));
  Group& moving = *system_->groups().front();
  const std::string name = moving.devices()[0]->name();
  Domain* const next = domain_for(name);
  Switch change{.device = moving.devices()[0], .to = next};
  EXPECT_EQ(moving.driver().prepare({&change, 1}).error().failure, AttachFailure::no_space);

  ASSERT_TRUE(domains_.front()->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(name, kWindow));
  ASSERT_TRUE(moving.replace(*next));
  EXPECT_FALSE(writes(name, kWindow)) << "what was cached under the id was the old domain's";
}

// ---- Dirty tracking ---------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Driver, DirtyTrackingSeesWhatADeviceWroteAndForgetsWhenCleared) {
  boot(one("dirty = \"dirty\""));
  Domain* const domain = domain_for(kFirst, {.dirty_tracking = true});
  ASSERT_TRUE(domain);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, 4 * kPageSize, kBoth));
  ASSERT_TRUE(domain->set_dirty_tracking(true));
  const auto dirty = [&] {
    std::vector<std::uint64_t> pages;
    EXPECT_TRUE(domain->read_dirty(IovaRange::of(kWindow, 4 * kPageSize), true, [&](Iova first, std::uint64_t bytes) {
      for (std::uint64_t at = 0; at < bytes; at += kPageSize) pages.push_back((first + at - kWindow) / kPageSize);
    }));
    return pages;
  };
  EXPECT_TRUE(reads(kFirst, kWindow));
  EXPECT_TRUE(writes(kFirst, kWindow + kPageSize));
  EXPECT_EQ(dirty(), std::vector<std::uint64_t>{1});
  EXPECT_EQ(dirty(), std::vector<std::uint64_t>{});
  EXPECT_TRUE(writes(kFirst, kWindow + kPageSize)) << "the cached writable entry must be gone";
  EXPECT_EQ(dirty(), std::vector<std::uint64_t>{1});
}

TEST_F(ArmSmmuV3Driver, DirtyTrackingIsRefusedWhereTheHardwareKeepsNone) {
  boot(two("dirty = \"access\"", "dirty = \"dirty\"\nstages = \"2\""));
  for (const char* name : {kFirst, kSecond}) {
    const auto domain = system_->allocate_domain(group(name), {.dirty_tracking = true});
    ASSERT_FALSE(domain);
    EXPECT_EQ(domain.error().code, EOPNOTSUPP);
  }
  EXPECT_EQ(domain_for(kFirst)->set_dirty_tracking(true).error().code, EOPNOTSUPP);
}

TEST_F(ArmSmmuV3Driver, ADomainThatTracksIsRefusedByAUnitThatCannot) {
  boot(two("dirty = \"dirty\"", "dirty = \"none\""));
  Domain* const domain = domain_for(kFirst, {.dirty_tracking = true});
  EXPECT_STREQ(refusal(kSecond, *domain).reason.property, "dirty tracking");
}

// ---- Mappings ---------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Driver, AReadOnlyMappingRefusesWrites) {
  boot(two("stages = \"1\"", "stages = \"2\""));
  for (const char* name : {kFirst, kSecond}) {
    Domain* const domain = domain_for(name);
    ASSERT_TRUE(group(name).attach(*domain));
    ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, {.read = true}));
    EXPECT_TRUE(reads(name, kWindow) && !writes(name, kWindow));
    group(name).detach();
  }
}

TEST_F(ArmSmmuV3Driver, TheMessageWindowIsReservedForSoftware) {
  boot(one(""));
  const auto regions = group(kFirst).driver().reserved_regions(*system_->device(kFirst));
  ASSERT_EQ(regions.size(), 1u);
  EXPECT_EQ(regions[0].kind, ReservedRegion::Kind::software_msi);
  EXPECT_EQ(regions[0].range, (IovaRange{Iova{0x800'0000}, Iova{0x80f'ffff}}));
}

// ---- Units that cannot be served --------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Driver, AUnitWithoutTheSmallGranuleIsNotUsed) {
  auto spec = parse_machine(one("granules = [16]"), "test");
  ASSERT_TRUE(spec);
  machine_ = *Machine::create(*spec, {.time = Executor::Time::virtual_time});
  auto system = System::create(*machine_, all_drivers(), {});
  EXPECT_TRUE(!system || (*system)->groups().empty());
}

// Registers that spoil the next command on its way to the unit.
class Saboteur final : public MmioRegion {
 public:
  Saboteur(MmioRegion& unit, TableMemory& tables) : unit_(unit), tables_(tables) {}
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override { return unit_.read(offset, bytes); }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    using namespace hw::smmuv3;
    if (offset == kCmdqProd.offset && std::exchange(armed_, false)) {
      const std::uint64_t base = unit_.read64(kCmdqBase.offset);
      const std::uint64_t next = unit_.read32(kCmdqCons.offset) & ((1u << kQueueBaseBits["LOG2SIZE"].get(base)) - 1);
      tables_.words(PhysAddr{kQueueBaseBits["ADDR"].in_place(base)})[next * kCommandWords] =
          kCommandSync0["Opcode"].max();
    }
    unit_.write(offset, bytes, value);
  }
  void arm() { armed_ = true; }

 private:
  MmioRegion& unit_;
  TableMemory& tables_;
  bool armed_ = false;
};

class ArmSmmuV3Unit : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Messages, ArmSmmuV3Unit, ::testing::Bool());

TEST_P(ArmSmmuV3Unit, ARefusedCommandIsNoDeviceAndTheQueueGoesOn) {
  const auto memory = std::move(*Memory::create({}));
  Findings findings;
  const UnitModel model = arm_smmu_v3_unit_model();
  Options options(model.options);
  options.set("messages", GetParam());
  const auto hardware = std::move(*model.create({.name = "a", .memory = *memory, .findings = findings}, options));
  Saboteur registers(*hardware, memory->tables());
  const std::uint64_t pages = memory->tables().allocated_pages();
  {
    arm_smmu_v3::Unit unit({0, "a", registers, memory->tables(), memory->top()});
    ASSERT_TRUE(unit.start());
    ASSERT_TRUE(unit.make_stream(0x10));
    registers.arm();
    EXPECT_EQ(unit.invalidate_id({1, 1}).error().code, ENODEV);
    EXPECT_TRUE(unit.invalidate_id({1, 1}));
    EXPECT_EQ(unit.make_stream(0x1'0000).error().code, ENODEV) << "beyond the stream ids";
  }
  EXPECT_EQ(memory->tables().allocated_pages(), pages) << "every structure is given back";
  EXPECT_FALSE(hardware->translate({.stream = 0x10, .iova = Iova{0x1000}})) << "switched off, everything is aborted";
}

// ---- Events -----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Driver, ARefusedAccessIsLoggedWithStreamAddressAndDirection) {
  boot(one(""));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_FALSE(reads(kFirst, kWindow));
  EXPECT_EQ(lines_.count("arm-smmu-v3 a: event 0x10 received: F_TRANSLATION stream 0x10 iova 0x40000000 write"), 1u)
      << lines_.all;
  EXPECT_EQ(lines_.count("F_TRANSLATION stream 0x10 iova 0x40000000 read"), 1u) << lines_.all;
}

TEST_F(ArmSmmuV3Driver, ABlockedDeviceIsRefusedWithoutAnEvent) {
  boot(one(""));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("event"), 0u) << lines_.all;
}

TEST_F(ArmSmmuV3Driver, AStormOfEventsNeitherFillsTheLogNorStopsTheQueue) {
  boot(one("event_queue = 4"));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  for (int i = 0; i < 500; ++i) EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("F_TRANSLATION"), 100u);
  EXPECT_EQ(lines_.count("lost"), 0u);
}

}  // namespace
}  // namespace softiommu
