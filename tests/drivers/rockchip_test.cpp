// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the Rockchip driver: several MMUs alike, handshakes that fail, zaps, two table versions. The
// attach contract itself is tested in tests/contract.
#include "check/log_capture.h"
#include "drivers/soc_rig.h"
#include "hw/rockchip_mmu.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using namespace hw::rockchip_mmu;

constexpr Iova kIova{0x1000'0000};
const std::string kVop = "ff900000.vop", kVpu = "ff650000.vpu";

std::string unit(const std::string& name, const std::string& keys = {}) {
  return "[[iommu]]\nname = \"" + name + "\"\nmodel = \"rockchip-iommu\"\n" + keys + "\n";
}
std::string device(const std::string& name, const std::string& iommu, const std::string& streams = "[0]") {
  return "[[platform_device]]\nname = \"" + name + "\"\niommu = \"" + iommu + "\"\nstreams = " + streams + "\n";
}

class RockchipDriver : public SocRig {
 protected:
  void boot_watched(const std::string& keys) {
    static const UnitModel models[] = {in_front_of<WatchedUnit, rockchip_unit_model>()};
    boot(unit("mmu", keys) + device(kVop, "mmu", "[0, 1]"), models);
  }
  WatchedUnit& watched_unit() { return dynamic_cast<WatchedUnit&>(*machine_->unit("mmu")); }
  static WatchedUnit::Write command(Command command, unsigned mmu) {
    return {mmu * kRegisterBytes + kCommand.offset, std::to_underlying(command)};
  }
};

TEST_F(RockchipDriver, EveryMmuOfAnIommuIsProgrammedAlike) {
  boot(unit("mmu", "mmus = 3") + device(kVop, "mmu", "[0, 1, 2]"));
  EXPECT_EQ(all_ports_see(kVop, kIova), "---");
  Domain& made = domain(kVop, kIova, 'A');
  ASSERT_TRUE(group(kVop).attach(made));
  EXPECT_EQ(all_ports_see(kVop, kIova), "AAA");
  made.unmap(kIova, kPageSize);
  EXPECT_EQ(all_ports_see(kVop, kIova), "---");
}

TEST_F(RockchipDriver, DevicesBehindOneIommuAreOneGroup) {
  boot(unit("mmu") + unit("other") + device(kVop, "mmu") + device(kVpu, "mmu", "[1]") + device("x", "other"));
  EXPECT_EQ(&group(kVop), &group(kVpu));
  EXPECT_NE(&group(kVop), &group("x"));
  ASSERT_TRUE(group(kVop).attach(domain(kVop, kIova, 'A')));
  EXPECT_EQ(sees(kVpu, kIova), 'A');
}

TEST_F(RockchipDriver, AHandshakeThatFailsLeavesTheDeviceOnItsOldDomain) {
  boot(unit("mmu", "mmus = 2") + device(kVop, "mmu", "[0, 1]"));
  Domain &old = domain(kVop, kIova, 'A'), &next = domain(kVop, kIova, 'B');
  ASSERT_TRUE(group(kVop).attach(old));
  for (const char* point : {"rockchip.stall", "rockchip.directory", "rockchip.paging", "rockchip.resume"}) {
    fault::fail_point(point);
    const auto answer = group(kVop).replace(next);
    fault::disarm();
    ASSERT_FALSE(answer) << point;
    EXPECT_EQ(answer.error().failure, AttachFailure::no_device) << point;
    EXPECT_EQ(all_ports_see(kVop, kIova), "AA") << point;
    EXPECT_FALSE(group(kVop).broken());
  }
  ASSERT_TRUE(group(kVop).replace(next));
  EXPECT_EQ(all_ports_see(kVop, kIova), "BB");
}

TEST_F(RockchipDriver, AHandshakeThatFailsLeavesAnIdentityDeviceUntranslated) {
  boot(unit("mmu") + device(kVop, "mmu"));
  Domain& identity = *group(kVop).driver().static_domain(DomainType::identity);
  Domain& next = domain(kVop, kIova, 'B');
  ASSERT_TRUE(group(kVop).attach(identity));
  for (const char* point : {"rockchip.directory_register", "rockchip.reset", "rockchip.directory", "rockchip.paging"}) {
    fault::fail_point(point);
    EXPECT_FALSE(group(kVop).replace(next)) << point;
    fault::disarm();
    EXPECT_EQ(sees(kVop, Iova{pinned_[0].value}), 'B') << point << ": the physical address passes";
  }
  ASSERT_TRUE(group(kVop).replace(next));
  EXPECT_EQ(sees(kVop, kIova), 'B');
}

// The old state is only reachable by commands that are lost too: then the device is blocked, never open.
TEST_F(RockchipDriver, AnMmuThatDoesNotAnswerAnyMoreIsNoDevice) {
  boot_watched("mmus = 2");
  Domain &old = domain(kVop, kIova, 'A'), &next = domain(kVop, kIova, 'B');
  ASSERT_TRUE(group(kVop).attach(old));
  watched_unit().lost = {command(Command::enable_stall, 1)};
  EXPECT_EQ(group(kVop).replace(next).error().code, ENODEV);
  EXPECT_EQ(all_ports_see(kVop, kIova), "AA");
  watched_unit().lost.clear();
  EXPECT_TRUE(group(kVop).replace(next));
}

TEST_F(RockchipDriver, NoMmuIsResetWhileItTranslates) {
  boot_watched("mmus = 2");
  Domain &old = domain(kVop, kIova, 'A'), &next = domain(kVop, kIova, 'B');
  watched_unit().writes.clear();
  ASSERT_TRUE(group(kVop).attach(old));
  ASSERT_TRUE(group(kVop).replace(next));
  group(kVop).detach();
  for (const Command way_out : {Command::force_reset, Command::disable_paging})
    EXPECT_THAT(watched_unit().writes, ::testing::Not(::testing::Contains(command(way_out, 0))));
}

TEST_F(RockchipDriver, APageMappedBesideOneInUseIsSeen) {
  boot(unit("mmu") + device(kVop, "mmu"));
  Domain& made = domain(kVop, kIova, 'A');
  ASSERT_TRUE(group(kVop).attach(made));
  EXPECT_EQ(sees(kVop, kIova), 'A');
  ASSERT_TRUE(made.map(kIova + kPageSize, page('N'), kPageSize, kBoth));
  EXPECT_EQ(sees(kVop, kIova + kPageSize), 'N');
}

TEST_F(RockchipDriver, ALargeUnmapZapsTheWholeCache) {
  boot_watched("mmus = 1");
  Domain& made = domain(kVop, kIova, 'A');
  ASSERT_TRUE(group(kVop).attach(made));
  watched_unit().writes.clear();
  EXPECT_EQ(made.unmap(kIova, 4 * kMiB), kPageSize);
  EXPECT_LE(watched_unit().writes.size(), 1u);
  EXPECT_EQ(sees(kVop, kIova), '-');
}

TEST_F(RockchipDriver, OneDomainServesSeveralIommusOfOneVersion) {
  boot(unit("a") + unit("b", "mmus = 2") + unit("c", "version = 2") + device(kVop, "a") + device(kVpu, "b", "[0, 1]") +
       device("x", "c"));
  Domain& made = domain(kVop, kIova, 'A');
  ASSERT_TRUE(group(kVop).attach(made));
  ASSERT_TRUE(group(kVpu).attach(made));
  EXPECT_EQ(all_ports_see(kVpu, kIova), "AA");
  const auto answer = group("x").attach(made);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_STREQ(answer.error().reason.property, "table version");
}

TEST_F(RockchipDriver, VersionTwoMapsMemoryAboveFourGiB) {
  top_ = "64G";
  boot(unit("mmu", "version = 2") + device(kVop, "mmu"));
  Domain& made = domain(kVop, kIova, 'A');
  ASSERT_TRUE(group(kVop).attach(made));
  EXPECT_EQ(sees(kVop, kIova), 'A');
}

TEST_F(RockchipDriver, VersionOneRefusesMemoryAboveFourGiB) {
  boot(unit("mmu") + device(kVop, "mmu"));
  Domain& made = domain(kVop, kIova, 'A');
  EXPECT_EQ(made.map(kIova + kPageSize, PhysAddr{4 * kGiB}, kPageSize, kBoth).error().code, EINVAL);
}

TEST_F(RockchipDriver, FaultsAreLoggedWithMmuAddressAndDirection) {
  boot(unit("mmu", "mmus = 2") + device(kVop, "mmu", "[0, 1]"));
  const check::LogCapture log;
  sees(kVop, kIova, 1);
  EXPECT_TRUE(log.has("rk_iommu mmu: MMU 1: Page fault at 0x10000000 of type read")) << log.all();
  ASSERT_TRUE(group(kVop).attach(domain(kVop, kIova, 'A')));
  EXPECT_EQ(sees(kVop, kIova, 1), 'A') << "the MMU goes on";
}

TEST_F(RockchipDriver, AWindowWithoutAnMmuIsNoDevice) {
  struct Nobody final : MmioRegion {
    std::uint64_t read(std::uint64_t, unsigned) override { return ~std::uint64_t{0}; }
    void write(std::uint64_t, unsigned, std::uint64_t) override {}
  } nobody;
  const auto memory = *Memory::create({.top = 4 * kGiB, .table_arena = 64 * kMiB});
  const auto driver = make_rockchip_driver();
  const UnitHardware parts{0, "none", nobody, memory->tables(), memory->top()};
  EXPECT_EQ(driver->add_unit(parts).error().code, ENODEV);
}

}  // namespace
}  // namespace softiommu
