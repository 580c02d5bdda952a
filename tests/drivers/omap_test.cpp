// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the OMAP driver: several MMUs of one client, clients that share MMUs, preserved TLB entries. The
// attach contract itself is tested in tests/contract.
#include "check/log_capture.h"
#include "drivers/soc_rig.h"
#include "hw/omap_mmu.h"
#include "ioas/domain_set.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using namespace hw::omap_mmu;

constexpr Iova kIova{0x1000'0000};
const std::string kDsp = "40800000.dsp", kIpu = "58820000.ipu", kIsp = "480bc000.isp";

std::string unit(const std::string& name, const std::string& keys = {}) {
  return "[[iommu]]\nname = \"" + name + "\"\nmodel = \"omap-mmu\"\n" + keys + "\n";
}
std::string client(const std::string& name, const std::string& iommu, const std::string& streams = "[0]") {
  return "[[platform_device]]\nname = \"" + name + "\"\niommu = \"" + iommu + "\"\nstreams = " + streams + "\n";
}

class OmapDriver : public SocRig {
 protected:
  Domain* join(DomainSet& set, const std::string& device, char mark) {
    const auto fill = [&](Domain& domain) -> AttachResult<> {
      EXPECT_TRUE(domain.map(kIova, page(mark), kPageSize, kBoth));
      return {};
    };
    return set.attach(group(device), {}, fill).value();
  }
};

TEST_F(OmapDriver, EveryMmuOfTheClientIsSwitched) {
  boot(unit("mmus", "mmus = 2") + client(kDsp, "mmus", "[0, 1]"));
  EXPECT_EQ(all_ports_see(kDsp, kIova), "--");
  Domain& made = domain(kDsp, kIova, 'A');
  ASSERT_TRUE(group(kDsp).attach(made));
  EXPECT_EQ(all_ports_see(kDsp, kIova), "AA");
  made.unmap(kIova, kPageSize);
  EXPECT_EQ(all_ports_see(kDsp, kIova), "--");
}

TEST_F(OmapDriver, AnMmuThatFailsTakesThoseBeforeItBack) {
  boot(unit("mmus", "mmus = 3") + client(kDsp, "mmus", "[0, 1, 2]"));
  Domain &old = domain(kDsp, kIova, 'A'), &next = domain(kDsp, kIova, 'B');
  ASSERT_TRUE(group(kDsp).attach(old));
  for (const unsigned mmu : {1u, 2u, 3u}) {
    fault::fail_point("omap.control", mmu);
    EXPECT_EQ(group(kDsp).replace(next).error().failure, AttachFailure::no_device);
    fault::disarm();
    EXPECT_EQ(all_ports_see(kDsp, kIova), "AAA");
  }
  ASSERT_TRUE(group(kDsp).replace(next));
  EXPECT_EQ(all_ports_see(kDsp, kIova), "BBB");
}

TEST_F(OmapDriver, AnMmuThatLosesItsControlRegisterBlocksNobodyElsesDomain) {
  static const UnitModel models[] = {in_front_of<WatchedUnit, omap_mmu_unit_model>()};
  boot(unit("mmus", "mmus = 2") + client(kDsp, "mmus", "[0, 1]"), models);
  Domain& made = domain(kDsp, kIova, 'A');
  auto& hardware = dynamic_cast<WatchedUnit&>(*machine_->unit("mmus"));
  hardware.lost = {{kRegisterBytes + kCntl.offset, 0x6}};  // of the second: on, with walks
  EXPECT_EQ(group(kDsp).attach(made).error().code, ENODEV);
  EXPECT_EQ(all_ports_see(kDsp, kIova), "--");
  hardware.lost.clear();
  EXPECT_TRUE(group(kDsp).attach(made));
}

TEST_F(OmapDriver, AGroupMayHoldTwoClientsThatShareItsDomain) {
  boot(unit("mmu") + client(kDsp, "mmu") + client(kIpu, "mmu", "[1]"));
  ASSERT_EQ(&group(kDsp), &group(kIpu));
  ASSERT_TRUE(group(kDsp).attach(domain(kDsp, kIova, 'A')));
  EXPECT_EQ(sees(kDsp, kIova), 'A');
  EXPECT_EQ(sees(kIpu, kIova), 'A');
}

TEST_F(OmapDriver, ADomainInUseByAnotherGroupIsIncompatibleAndTheSearchMakesASecond) {
  boot(unit("a") + unit("b") + client(kDsp, "a") + client(kIpu, "b"));
  DomainSet set(*system_);
  Domain* const first = join(set, kDsp, 'A');
  const check::LogCapture log;
  EXPECT_EQ(group(kIpu).attach(*first).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(log.all(), "");
  EXPECT_NE(join(set, kIpu, 'B'), first);
  EXPECT_EQ(set.members().size(), 2u);
  EXPECT_EQ(sees(kDsp, kIova), 'A');
  EXPECT_EQ(sees(kIpu, kIova), 'B');
  set.detach(group(kDsp));
  set.detach(group(kIpu));
}

TEST_F(OmapDriver, WhatFirmwareHasPreservedInTheTlbIsGoneAfterASwitch) {
  boot(unit("mmu", "tlb_entries = 8") + client(kDsp, "mmu"));
  MmioRegion& registers = *machine_->unit("mmu");
  const PhysAddr secret = page('S');
  registers.write32(kLock.offset, 7 << 4);
  registers.write32(kCam.offset, static_cast<std::uint32_t>(kIova.value | 0xe));
  registers.write32(kRam.offset, static_cast<std::uint32_t>(secret.value));
  registers.write32(kLdTlb.offset, 1);
  ASSERT_EQ(sees(kDsp, kIova), 'S') << "even of a device that is blocked";
  ASSERT_TRUE(group(kDsp).attach(domain(kDsp, kIova, 'A')));
  EXPECT_EQ(sees(kDsp, kIova), 'A');
}

TEST_F(OmapDriver, LargePagesAreMappedLargeAndFlushedWhole) {
  boot(unit("mmu") + client(kDsp, "mmu"));
  Domain& made = domain(kDsp, kIova, 'A');
  ASSERT_TRUE(group(kDsp).attach(made));
  const Iova large{0x2000'0000};
  ASSERT_TRUE(made.map(large, PhysAddr{0x100'0000}, 16 * kMiB, kBoth));
  sees(kDsp, large);
  EXPECT_EQ(made.unmap(large, 16 * kMiB), 16 * kMiB);
  EXPECT_EQ(sees(kDsp, large), '-');
  EXPECT_EQ(made.page_sizes(), 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB);
}

TEST_F(OmapDriver, ClientsAreUntranslatedUntilSomebodyOwnsThem) {
  boot(unit("mmu") + client(kDsp, "mmu"));
  const PhysAddr here = page('P');
  group(kDsp).release_dma_owner();
  EXPECT_EQ(sees(kDsp, Iova{here.value}), 'P');
  ASSERT_TRUE(group(kDsp).claim_dma_owner(this));
  EXPECT_EQ(sees(kDsp, Iova{here.value}), '-');
}

TEST_F(OmapDriver, FaultsAreLoggedWithTheirCause) {
  boot(unit("mmu") + client(kDsp, "mmu"));
  const check::LogCapture log;
  sees(kDsp, kIova);
  ASSERT_TRUE(group(kDsp).attach(domain(kDsp, kIova, 'A')));
  sees(kDsp, kIova + kPageSize);
  EXPECT_TRUE(log.has("omap-iommu mmu: MMU 0: TLB miss without table walk da:0x10000000")) << log.all();
  EXPECT_TRUE(log.has("omap-iommu mmu: MMU 0: translation fault da:0x10001000")) << log.all();
}

}  // namespace
}  // namespace softiommu
