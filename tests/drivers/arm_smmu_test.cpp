// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the SMMUv1/v2 driver: table formats, stages, context banks, stream mapping entries, sharing
// between units, faults. Run against the modelled hardware in paranoid mode: a forgotten invalidation is a finding.
#include <map>

#include "core/hardware.h"
#include "drivers/arm_smmu/domain.h"
#include "drivers/arm_smmu/unit.h"
#include "drivers/driver_rig.h"
#include "drivers/in_front.h"
#include "machine/memory.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class ArmSmmuDriver : public softiommu::testing::DriverRig {
 protected:
  ArmSmmuDriver() : DriverRig("arm-smmu") {}

  // A computer whose memory short descriptors can reach.
  static std::string small_memory() { return "[memory]\ntop = \"4G\"\ntable_arena = \"256M\"\n"; }
  std::uint32_t peek(const std::string& unit, std::uint64_t offset) { return machine_->unit(unit)->read32(offset); }
  void poke(const std::string& unit, std::uint64_t offset, std::uint32_t value) {
    machine_->unit(unit)->write32(offset, value);
  }
  // Of the first 8 context banks of a unit with 8: those that translate.
  unsigned banks_on(const std::string& unit) {
    unsigned on = 0;
    for (unsigned bank = 0; bank < 8; ++bank) on += peek(unit, 0x8000 + 0x1000 * bank) & 1;
    return on;
  }
};

// ---- Every shape of unit ----------------------------------------------------------------------------------------

class EveryOldSmmu : public ArmSmmuDriver, public ::testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(Options, EveryOldSmmu,
                         ::testing::Values("", "stages = \"1\"", "stages = \"2\"", "stages = \"both\"",
                                           "granules = [14]", "granules = [16]", "stages = \"2\"\ngranules = [14]",
                                           "stages = \"2\"\ngranules = [16]", "granules = []",
                                           "stages = \"2\"\ngranules = []", "version = \"1\"",
                                           "version = \"1\"\nstages = \"2\"\ncontext_interrupts = 2",
                                           "coherent = false", "stream_matching = false\nstream_id_bits = 7",
                                           "stream_id_bits = 16", "vmid_bits = \"16\"\nstages = \"2\"",
                                           "register_page = \"64K\"", "input_bits = 40\noutput_bits = 40",
                                           "upstream_bits = 36", "stages = \"2\"\ninput_bits = 42\noutput_bits = 44",
                                           "context_banks = 4\nstage2_banks = 2", "aarch32 = \"none\""));

TEST_P(EveryOldSmmu, UnmappedPagesAreGoneAtOnce) {
  boot(one(GetParam()));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  const std::uint64_t page = std::uint64_t{1} << std::countr_zero(domain->page_sizes()), pages = pages_.size() / page;
  ASSERT_TRUE(domain->map(kWindow, pa_, pages_.size(), kBoth));
  for (std::uint64_t i = 0; i < pages; ++i) EXPECT_TRUE(writes(kFirst, kWindow + i * page));
  EXPECT_EQ(domain->unmap(kWindow, page), page);
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_TRUE(writes(kFirst, kWindow + page));
  EXPECT_EQ(domain->unmap(kWindow, pages_.size()), pages_.size() - page);
  for (std::uint64_t i = 0; i < pages; ++i) EXPECT_FALSE(writes(kFirst, kWindow + i * page));
}

TEST_P(EveryOldSmmu, EachChangeOfDomainTakesEffect) {
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

TEST_P(EveryOldSmmu, IdentityPassesAndBlockedRefuses) {
  boot(one(GetParam()));
  Driver& driver = group(kFirst).driver();
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::identity)));
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}));
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value})) << "the other device's stream is its own";
  ASSERT_TRUE(group(kFirst).replace(*driver.static_domain(DomainType::blocked)));
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

TEST_P(EveryOldSmmu, ReadOnlyMappingsRefuseWrites) {
  boot(one(GetParam()));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, 64 * kKiB, {.read = true}));
  EXPECT_TRUE(reads(kFirst, kWindow) && !writes(kFirst, kWindow));
}

// ---- Formats ----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuDriver, AArch64TablesInTheSmallestGranuleAreTaken) {
  boot(two("granules = [12, 16]", "granules = [14, 16]"));
  EXPECT_EQ(domain_for(kFirst)->page_sizes() & (64 * kKiB - 1), 4 * kKiB);
  EXPECT_EQ(domain_for(kSecond)->page_sizes() & (64 * kKiB - 1), 16 * kKiB);
  EXPECT_EQ(domain_for(kFirst)->aperture().last, Iova{(std::uint64_t{1} << 48) - 1});
}

TEST_F(ArmSmmuDriver, LongDescriptorsTake32BitsInStageOneAnd40InStageTwo) {
  boot(two("granules = []\nstages = \"1\"", "granules = []\nstages = \"2\""));
  EXPECT_EQ(domain_for(kFirst)->aperture().last, Iova{0xffff'ffff});
  EXPECT_EQ(domain_for(kSecond)->aperture().last, Iova{(std::uint64_t{1} << 40) - 1});
}

TEST_F(ArmSmmuDriver, ShortDescriptorsAreForMemoryThatTheyReach) {
  boot(small_memory() + two("granules = []", "granules = []\naarch32 = \"long\""));
  Domain* const domain = domain_for(kFirst);
  EXPECT_EQ(domain->page_sizes(), 4 * kKiB | 64 * kKiB | kMiB | 16 * kMiB);
  EXPECT_EQ(domain_for(kSecond)->page_sizes(), 4 * kKiB | 2 * kMiB | kGiB);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, 64 * kPageSize, kBoth));
  for (std::uint64_t i = 0; i < 64; ++i) EXPECT_TRUE(writes(kFirst, kWindow + i * kPageSize));
  EXPECT_EQ(domain->unmap(kWindow, 64 * kPageSize), 64 * kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_STREQ(refusal(kSecond, *domain).reason.property, "table format");
}

TEST_F(ArmSmmuDriver, ADomainIsMappedBeforeItsFirstAttach) {
  boot(one(""));
  Domain* const domain = domain_for(kFirst);
  EXPECT_EQ(domain->aperture().last, Iova{(std::uint64_t{1} << 48) - 1});
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_EQ(domain->iova_to_phys(kWindow), pa_);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

// ---- Sharing ----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuDriver, UnitsThatAgreeShareOneTable) {
  boot(two("", "context_banks = 8\nstream_id_bits = 16\nregister_page = \"64K\""));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(group(kSecond).attach(*domain));
  ASSERT_TRUE(domain->map(kWindow, pa_, 2 * kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow) && writes(kSecond, kWindow));
  EXPECT_EQ(domain->unmap(kWindow, 2 * kPageSize), 2 * kPageSize);
  EXPECT_FALSE(writes(kFirst, kWindow) || writes(kSecond, kWindow));
}

struct Misfit {
  const char *first, *second, *property;
};
class OldSmmusThatDiffer : public ArmSmmuDriver, public ::testing::WithParamInterface<Misfit> {};
INSTANTIATE_TEST_SUITE_P(Properties, OldSmmusThatDiffer,
                         ::testing::Values(Misfit{"stages = \"1\"", "stages = \"2\"", "stage"},
                                           Misfit{"granules = [12]", "granules = []", "table format"},
                                           Misfit{"granules = [12]", "granules = [16]", "granule"},
                                           Misfit{"upstream_bits = 48", "upstream_bits = 44", "input size"},
                                           Misfit{"output_bits = 48", "output_bits = 40", "output size"},
                                           Misfit{"coherent = true", "coherent = false", "coherency"}));

TEST_P(OldSmmusThatDiffer, AreIncompatibleSilentlyAndSayWhy) {
  boot(two(GetParam().first, GetParam().second));
  const AttachError error = refusal(kSecond, *domain_for(kFirst));
  EXPECT_EQ(error.failure, AttachFailure::incompatible);
  EXPECT_STREQ(error.reason.property, GetParam().property);
  EXPECT_EQ(lines_.all, "");
}

TEST_F(ArmSmmuDriver, ADomainOfTheLesserUnitServesTheBetterOne) {
  boot(two("output_bits = 40\nupstream_bits = 36\ncoherent = false", ""));
  Domain* const domain = domain_for(kFirst);
  EXPECT_TRUE(group(kSecond).attach(*domain));
  EXPECT_EQ(group(kFirst).driver().fit(*system_->device(kFirst)),
            group(kFirst).driver().fit(*system_->device(kSecond)));
}

// ---- Context banks ----------------------------------------------------------------------------------------------

TEST_F(ArmSmmuDriver, ManyDomainsOneAfterTheOtherNeedOneBank) {
  boot(one("context_banks = 2"));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst))) << "a bank must come back, round " << i;
    group(kFirst).detach();
  }
}

TEST_F(ArmSmmuDriver, ABankThatNobodyUsesIsOff) {
  boot(one("context_banks = 8"));
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  EXPECT_EQ(banks_on("a"), 1u);
  ASSERT_TRUE(group(kFirst).replace(*domain_for(kFirst)));
  EXPECT_EQ(banks_on("a"), 1u);
  group(kFirst).detach();
  EXPECT_EQ(banks_on("a"), 0u);
}

TEST_F(ArmSmmuDriver, StageTwoDomainsTakeTheBanksThatDoOnlyThat) {
  boot(two("stages = \"2\"\ncontext_banks = 8\nstage2_banks = 2", "context_banks = 8\nstage2_banks = 2"));
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  ASSERT_TRUE(group(kSecond).attach(*domain_for(kSecond)));
  EXPECT_EQ(peek("a", 0x8000) & 1, 1u);
  EXPECT_EQ(peek("b", 0xa000) & 1, 1u) << "stage 1 begins behind them";
}

class FewBanks : public ArmSmmuDriver, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Stages, FewBanks, ::testing::Values("stages = \"1\"", "stages = \"2\""));

// Each group needs a bank for its default domain already.
TEST_P(FewBanks, AGroupThatFindsNoBankIsLeftOutAndStaysBlocked) {
  boot(one(GetParam() + "\ncontext_banks = 1"));
  EXPECT_EQ(system_->device(kSecond)->group(), nullptr);
  EXPECT_EQ(lines_.count(fmt::format("errno {}", ENOSPC)), 1u) << lines_.all;
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value}));
}

TEST_P(FewBanks, WithoutAFreeOneAnAttachIsNoSpaceAndNothingChanges) {
  boot(one(GetParam() + "\ncontext_banks = 2"));
  Domain *const first = domain_for(kFirst), *const second = domain_for(kSecond);
  ASSERT_TRUE(first->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*first));
  ASSERT_TRUE(group(kSecond).attach(*second));
  Switch change{.device = system_->device(kFirst), .to = domain_for(kFirst)};
  const auto answer = group(kFirst).driver().prepare({&change, 1});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::no_space);
  EXPECT_STREQ(answer.error().reason.property, "context banks");
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_TRUE(group(kSecond).replace(*first)) << "the domain that is there needs no other bank";
  EXPECT_TRUE(writes(kSecond, kWindow));
}

TEST_P(FewBanks, AReplaceHandsTheBankOn) {
  boot(one(GetParam() + "\ncontext_banks = 1"));
  Domain *const first = domain_for(kFirst), *const second = domain_for(kFirst);
  ASSERT_TRUE(first->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow + kPageSize, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(kFirst).attach(*first));
  EXPECT_TRUE(writes(kFirst, kWindow));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(group(kFirst).replace(*second));
    EXPECT_TRUE(!writes(kFirst, kWindow) && writes(kFirst, kWindow + kPageSize));
    ASSERT_TRUE(group(kFirst).replace(*first));
    EXPECT_TRUE(writes(kFirst, kWindow) && !writes(kFirst, kWindow + kPageSize));
  }
}

// Three functions of one group, one bank: it moves with the first of them.
TEST_P(FewBanks, AReplaceOfAGroupThatFailsHalfWayLeavesAllOnTheOldDomain) {
  std::string toml = unit("a", GetParam() + "\ncontext_banks = 1");
  for (const char* function : {"02.0", "02.1", "02.2"})
    toml += fmt::format("[[device]]\naddress = \"00:{}\"\nmodel = \"edu\"\nacs = false\n", function);
  boot(toml);
  const std::string names[] = {"0000:00:02.0", "0000:00:02.1", "0000:00:02.2"};
  Domain *const first = domain_for(names[0]), *const second = domain_for(names[0]);
  ASSERT_TRUE(first->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow + kPageSize, pa_, kPageSize, kBoth));
  Group& all = group(names[0]);
  ASSERT_TRUE(all.attach(*first));
  for (unsigned failing = 1; failing <= 3; ++failing) {
    for (const char* point : {"core.commit", "driver.commit"}) {
      fault::fail_point(point, failing);
      EXPECT_FALSE(all.replace(*second));
      fault::disarm();
      EXPECT_FALSE(all.broken());
      for (const std::string& name : names)
        EXPECT_TRUE(writes(name, kWindow) && !writes(name, kWindow + kPageSize)) << name << " " << point << failing;
    }
  }
  ASSERT_TRUE(all.replace(*second));
  for (const std::string& name : names) EXPECT_TRUE(!writes(name, kWindow) && writes(name, kWindow + kPageSize));
}

// ---- Stream mapping entries -------------------------------------------------------------------------------------

TEST_F(ArmSmmuDriver, ADeviceThatFindsNoEntryIsLeftOutAndStaysBlocked) {
  boot(one("stream_entries = 1"));
  EXPECT_NE(system_->device(kFirst)->group(), nullptr);
  EXPECT_EQ(system_->device(kSecond)->group(), nullptr);
  EXPECT_EQ(lines_.count("every stream mapping entry is in use"), 1u) << lines_.all;
  EXPECT_FALSE(writes(kSecond, Iova{pa_.value}));
}

TEST_F(ArmSmmuDriver, ADeviceWhoseIdIsTooWideIsLeftOutAndStaysBlocked) {
  boot(unit("a", "stream_id_bits = 4") + edu(1, "a") + edu(2, "a"));
  EXPECT_NE(system_->device("0000:00:01.0")->group(), nullptr);
  EXPECT_EQ(system_->device(kFirst)->group(), nullptr);
  EXPECT_EQ(lines_.count("fewer bits"), 1u) << lines_.all;
  EXPECT_FALSE(writes(kFirst, Iova{pa_.value}));
}

TEST_F(ArmSmmuDriver, DevicesWithOneIdShareItsEntryAndAGroup) {
  boot(unit("a", "stream_entries = 4") + edu(2, "a") +  // each has its own id, and both have the bridge's
       "[[bridge]]\naddress = \"00:1c.0\"\nkind = \"root-port\"\nbus = 1\n"
       "[[bridge]]\naddress = \"01:00.0\"\nkind = \"pcie-to-pci\"\nbus = 2\n"
       "[[device]]\naddress = \"02:01.0\"\nmodel = \"edu\"\n[[device]]\naddress = \"02:02.0\"\nmodel = \"edu\"\n");
  const std::string left = "0000:02:01.0", right = "0000:02:02.0";
  EXPECT_EQ(system_->device(left)->group(), system_->device(right)->group());
  Domain* const domain = domain_for(left);
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  ASSERT_TRUE(group(left).attach(*domain));
  EXPECT_TRUE(writes(left, kWindow) && writes(right, kWindow) && !writes(kFirst, kWindow));
  group(left).detach();
  EXPECT_FALSE(writes(left, kWindow) || writes(right, kWindow));
}

TEST_F(ArmSmmuDriver, WithoutASubsystemEverythingIsRefused) {
  boot(one(""));
  ASSERT_TRUE(group(kFirst).replace(*group(kFirst).driver().static_domain(DomainType::identity)));
  const auto unit = machine_->unit("a");
  EXPECT_TRUE(unit->translate({.stream = 0x10, .iova = Iova{0x1000}}));
  for (const auto& each : system_->groups()) {
    each->detach();
    each->release_dma_owner();
  }
  system_.reset();
  EXPECT_FALSE(unit->translate({.stream = 0x10, .iova = Iova{0x1000}}));
}

// ---- Requests ---------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuDriver, WhatTheHardwareHasNotIsNotSupported) {
  boot(one(""));
  for (const DomainRequest& request :
       {DomainRequest{.dirty_tracking = true}, DomainRequest{.nest_parent = true}, DomainRequest{.pasid = true}})
    EXPECT_EQ(system_->allocate_domain(group(kFirst), request).error().code, EOPNOTSUPP);
}

TEST_F(ArmSmmuDriver, TheMessageWindowIsReservedForSoftware) {
  boot(one(""));
  const auto regions = group(kFirst).driver().reserved_regions(*system_->device(kFirst));
  ASSERT_EQ(regions.size(), 1u);
  EXPECT_EQ(regions[0].kind, ReservedRegion::Kind::software_msi);
  EXPECT_EQ(regions[0].range, (IovaRange{Iova{0x800'0000}, Iova{0x80f'ffff}}));
}

// ---- Faults -----------------------------------------------------------------------------------------------------

class OldSmmuFaults : public ArmSmmuDriver, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Versions, OldSmmuFaults,
                         ::testing::Values("", "stages = \"2\"",
                                           "version = \"1\"\nstages = \"2\"\ncontext_interrupts = 1"));

TEST_P(OldSmmuFaults, ARefusedAccessIsLoggedWithStreamAddressAndDirection) {
  boot(one(GetParam()));
  ASSERT_TRUE(group(kSecond).attach(*domain_for(kSecond)));
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_FALSE(reads(kFirst, kWindow));
  EXPECT_EQ(lines_.count("arm-smmu a: context fault TF: bank 1 stream 0x10 iova 0x40000000 write"), 1u) << lines_.all;
  EXPECT_EQ(lines_.count("context fault TF: bank 1 stream 0x10 iova 0x40000000 read"), 1u) << lines_.all;
}

TEST_P(OldSmmuFaults, AFaultDoesNotStopTheContext) {
  boot(one(GetParam()));
  Domain* const domain = domain_for(kFirst);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  EXPECT_FALSE(writes(kFirst, kWindow));
  ASSERT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  EXPECT_TRUE(writes(kFirst, kWindow));
}

TEST_F(ArmSmmuDriver, ABlockedDeviceIsRefusedWithoutAWarning) {
  boot(one(""));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.all, "");
  log::set_threshold(log::Level::info);
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("arm-smmu a: global fault ICF: stream 0x10 iova 0x40000000 write"), 1u) << lines_.all;
}

TEST_F(ArmSmmuDriver, AStormOfFaultsDoesNotFillTheLog) {
  boot(one(""));
  ASSERT_TRUE(group(kFirst).attach(*domain_for(kFirst)));
  for (int i = 0; i < 500; ++i) EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(lines_.count("context fault"), 100u);
}

// ---- Hardware that does not answer ------------------------------------------------------------------------------

// A unit whose synchronisations do not end while it hangs, and whose registers say what they are told to.
class OddSmmu final : public check::WrappedUnit {
 public:
  using WrappedUnit::WrappedUnit;
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    if (const auto told = says.find(offset); told != says.end()) return told->second;
    const bool status = offset == hw::smmu::kTlbGstatus.offset || (offset & 0xfff) == hw::smmu::kTlbStatus.offset;
    return hangs && status ? 1 : WrappedUnit::read(offset, bytes);
  }
  bool hangs = false;
  std::map<std::uint64_t, std::uint64_t> says;
};

class ArmSmmuUnit : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([](void*, log::Level, std::string_view) noexcept {}, nullptr);
    const UnitModel model = arm_smmu_unit_model();
    const UnitContext context{.name = "a", .memory = *memory_, .findings = findings_};
    hardware_ = std::make_unique<OddSmmu>(context, std::move(*model.create(context, Options(model.options))));
    unit_ = std::make_unique<arm_smmu::Unit>(UnitHardware{0, "a", *hardware_, memory_->tables(), memory_->top()});
  }
  void TearDown() override { log::set_sink(nullptr, nullptr); }
  bool passes() { return hardware_->translate({.stream = 0x10, .iova = Iova{0x1000}}).has_value(); }

  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({}));
  Findings findings_;
  std::unique_ptr<OddSmmu> hardware_;
  std::unique_ptr<arm_smmu::Unit> unit_;
};

TEST_F(ArmSmmuUnit, ASynchronisationThatDoesNotEndIsNoDevice) {
  ASSERT_TRUE(unit_->start());
  const auto entry = unit_->take_entry(0x10);
  ASSERT_TRUE(entry);
  hardware_->hangs = true;
  EXPECT_EQ(unit_->route({*entry}, {hw::smmu::StreamType::bypass}).error().code, ENODEV);
  EXPECT_EQ(unit_->route({*entry}, {hw::smmu::StreamType::fault}).error().code, ENODEV);
  EXPECT_FALSE(passes()) << "but refused it is";
}

TEST_F(ArmSmmuUnit, AUnitWithoutTablesThatWeMakeIsNotStarted) {
  using namespace hw::smmu;
  hardware_->says[kIdr2.offset] = kIdr2["UBS"].put(5);  // no AArch64 tables
  hardware_->says[kIdr0.offset] = hardware_->read32(kIdr0.offset) | kIdr0["PTFS"].put(2);
  EXPECT_EQ(unit_->start().error().code, ENODEV);
}

TEST_F(ArmSmmuUnit, AUnitThatSaysNonsenseIsNotStarted) {
  using namespace hw::smmu;
  const std::uint64_t idr0 = hardware_->read32(kIdr0.offset), idr1 = hardware_->read32(kIdr1.offset);
  const std::pair<std::uint64_t, std::uint64_t> kNonsense[] = {
      {kIdr0.offset, 0xffff'ffff},
      {kIdr0.offset, idr0 & ~(kIdr0["S1TS"].mask() | kIdr0["S2TS"].mask())},
      {kIdr0.offset, idr0 & ~kIdr0["NUMSMRG"].mask()},
      {kIdr0.offset, idr0 & ~kIdr0["NUMIRPT"].mask()},
      {kIdr1.offset, kIdr1["NUMS2CB"].set(idr1, 65)},
      {kCr0.offset, 0},
  };
  for (const auto& [offset, value] : kNonsense) {
    hardware_->says = {{offset, value}};
    EXPECT_EQ(unit_->start().error().code, ENODEV) << offset << " " << value;
  }
}

class ArmSmmuTimeout : public ArmSmmuUnit, public ::testing::WithParamInterface<Rules> {};
INSTANTIATE_TEST_SUITE_P(Rules, ArmSmmuTimeout, ::testing::Values(Rules::contract, Rules::linux7));

TEST_P(ArmSmmuTimeout, AnAttachThatTheHardwareDoesNotAnswerIsNoDeviceAndLinuxGoesOn) {
  const Hardware hardware{.tables = memory_->tables(),
                          .memory_top = memory_->top(),
                          .units = {hardware_.get()},
                          .functions = {{"0000:00:02.0", {0x10}, hardware_.get()}}};
  std::vector<std::unique_ptr<Driver>> drivers;
  drivers.push_back(make_arm_smmu_driver());
  const auto system = *System::bring_up(hardware, std::move(drivers), {.rules = GetParam()});
  const bool contract = GetParam() == Rules::contract;
  Group& group = *system->groups().front();
  ASSERT_TRUE(group.claim_dma_owner(this));
  const auto domain = *system->allocate_domain(group);
  ASSERT_TRUE(domain->map(Iova{0x1000}, PhysAddr{0x7000}, kPageSize, kBoth));
  hardware_->hangs = true;
  const auto answer = group.attach(*domain);
  EXPECT_EQ(answer.has_value(), !contract);
  if (contract) {
    EXPECT_EQ(answer.error().failure, AttachFailure::no_device);
  }
  EXPECT_EQ(passes(), !contract);
  EXPECT_EQ(group.broken(), contract) << "the way back was not answered either";
  hardware_->hangs = false;
  group.detach();
  EXPECT_FALSE(passes());
  group.release_dma_owner();
}

TEST_F(ArmSmmuUnit, AUnitThatHangsIsNotStarted) {
  hardware_->hangs = true;
  EXPECT_EQ(unit_->start().error().code, ENODEV);
}

TEST_F(ArmSmmuUnit, AnEntryIsFreeWhenItsLastDeviceIsGone) {
  ASSERT_TRUE(unit_->start());
  const auto first = unit_->take_entry(0x10), again = unit_->take_entry(0x10), other = unit_->take_entry(0x18);
  EXPECT_EQ(*first, *again);
  EXPECT_NE(*first, *other);
  ASSERT_TRUE(unit_->route({*first}, {hw::smmu::StreamType::bypass}));
  unit_->give_entry(*first);
  EXPECT_TRUE(passes());
  unit_->give_entry(*first);
  EXPECT_FALSE(passes());
  EXPECT_EQ(*unit_->take_entry(0x20), *first);
}

}  // namespace
}  // namespace softiommu
