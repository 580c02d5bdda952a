// SPDX-License-Identifier: BSD-3-Clause
// What is peculiar to the GART driver: one aperture in the machine, what lies outside of it, read-back. The attach
// contract itself is tested in tests/contract.
#include "hw/tegra_gart.h"

#include "check/log_capture.h"
#include "drivers/soc_rig.h"
#include "ioas/domain_set.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

using namespace hw::tegra_gart;

constexpr Iova kIova{0x5800'4000};
const std::string kDc = "54200000.dc", kVde = "6001a000.vde", kVi = "54080000.vi";

std::string board(const std::string& more = {}) {
  const auto client = [](const std::string& name, const std::string& number) {
    return "[[platform_device]]\nname = \"" + name + "\"\niommu = \"gart\"\nstreams = [" + number + "]\n";
  };
  return "[[iommu]]\nname = \"gart\"\nmodel = \"tegra-gart\"\n" + client(kDc, "1") + client(kVde, "13") +
         client(kVi, "14") + more;
}

class TegraGartDriver : public SocRig {
 protected:
  TegraGartDriver() { top_ = "2G"; }
  DomainSet::Fill fill(char mark) {
    return [at = page(mark)](Domain& domain) -> AttachResult<> {
      if (domain.map(kIova, at, kPageSize, kBoth)) return {};
      return driver_says(AttachFailure::no_memory, {"filling"});
    };
  }
  // A page of the program, all `mark`: of two that lie the window's size apart, one is outside of it.
  PhysAddr page_outside_the_window(char mark) {
    const PhysAddr first = page_at(0, mark);
    return in_window(first) ? page_at(kWindowBytes, mark) : first;
  }
  static bool in_window(PhysAddr at) { return at.value - kWindow < kWindowBytes; }
};

TEST_F(TegraGartDriver, TheApertureIsTheWindow) {
  boot(board());
  Domain& made = domain(kDc, kIova, 'A');
  EXPECT_EQ(made.aperture(), (IovaRange{Iova{0x5800'0000}, Iova{0x59ff'ffff}}));
  EXPECT_EQ(made.page_sizes(), kPageSize);
  EXPECT_EQ(made.map(Iova{0x5a00'0000}, pinned_[0], kPageSize, kBoth).error().code, EINVAL);
}

TEST_F(TegraGartDriver, TheApertureInUseByAnotherDomainIsNoSpace) {
  boot(board());
  Domain &first = domain(kDc, kIova, 'A'), &second = domain(kVde, kIova, 'B');
  ASSERT_TRUE(group(kDc).attach(first));
  const check::LogCapture log;
  const auto answer = group(kVde).attach(second);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::no_space);
  EXPECT_EQ(answer.error().code, ENOSPC);
  EXPECT_EQ(log.all(), "");
  EXPECT_EQ(sees(kDc, kIova), 'A');
  EXPECT_EQ(sees(kVde, kIova), '-');
  group(kDc).detach();
  ASSERT_TRUE(group(kVde).attach(second));
  EXPECT_EQ(sees(kVde, kIova), 'B');
}

TEST_F(TegraGartDriver, SeveralGroupsShareTheDomainThatHasTheAperture) {
  boot(board());
  Domain& made = domain(kDc, kIova, 'A');
  ASSERT_TRUE(group(kDc).attach(made));
  ASSERT_TRUE(group(kVde).attach(made));
  EXPECT_EQ(sees(kVde, kIova), 'A');
  group(kDc).detach();
  EXPECT_EQ(sees(kVde, kIova), 'A');
  EXPECT_EQ(sees(kDc, kIova), '-');
}

TEST_F(TegraGartDriver, TheLastUserOfTheApertureMayReplaceItsDomain) {
  boot(board());
  Domain &first = domain(kDc, kIova, 'A'), &second = domain(kDc, kIova, 'B');
  ASSERT_TRUE(group(kDc).attach(first));
  ASSERT_TRUE(group(kDc).replace(second));
  EXPECT_EQ(sees(kDc, kIova), 'B');
  ASSERT_TRUE(group(kVde).attach(second));
  EXPECT_EQ(group(kDc).replace(first).error().failure, AttachFailure::no_space) << "there is another user now";
  EXPECT_EQ(sees(kDc, kIova), 'B');
}

TEST_F(TegraGartDriver, ASearchNeverKeepsADomainWithoutAGroup) {
  boot(board());
  DomainSet first(*system_), second(*system_);
  ASSERT_TRUE(first.attach(group(kDc), {}, fill('A')));
  const std::uint64_t tables = machine_->memory().tables().allocated_pages();
  EXPECT_EQ(second.attach(group(kVde), {}, fill('B')).error().failure, AttachFailure::no_space);
  EXPECT_TRUE(second.empty());
  EXPECT_EQ(machine_->memory().tables().allocated_pages(), tables);
  first.detach(group(kDc));
  EXPECT_TRUE(second.attach(group(kVde), {}, fill('B')));
  second.detach(group(kVde));
}

TEST_F(TegraGartDriver, AddressesOutsideTheWindowPassUntranslated) {
  boot(board());
  const PhysAddr secret = page_outside_the_window('S');
  EXPECT_EQ(sees(kDc, Iova{secret.value}), '-') << "blocked is blocked everywhere";
  ASSERT_TRUE(group(kDc).attach(domain(kDc, kIova, 'A')));
  EXPECT_EQ(sees(kDc, Iova{secret.value}), 'S') << "the hardware has no way to refuse";
  group(kDc).detach();
  EXPECT_EQ(sees(kDc, Iova{secret.value}), '-');
}

TEST_F(TegraGartDriver, AWindowThatCannotBeFilledShowsTheOldDomainAgain) {
  boot(board());
  Domain &first = domain(kDc, kIova, 'A'), &second = domain(kDc, kIova, 'B');
  ASSERT_TRUE(group(kDc).attach(first));
  fault::fail_point("tegra_gart.window", 1);
  EXPECT_EQ(group(kDc).replace(second).error().failure, AttachFailure::no_device);
  fault::disarm();
  EXPECT_EQ(sees(kDc, kIova), 'A');
  EXPECT_FALSE(group(kDc).broken());
}

TEST_F(TegraGartDriver, AClientThatCannotBeSwitchedOnStaysBlockedAndGivesTheApertureBack) {
  boot(board());
  fault::fail_point("tegra_gart.client", 1);
  EXPECT_EQ(group(kDc).attach(domain(kDc, kIova, 'A')).error().failure, AttachFailure::no_device);
  fault::disarm();
  EXPECT_EQ(sees(kDc, kIova), '-');
  EXPECT_TRUE(group(kVde).attach(domain(kVde, kIova, 'B')));
  EXPECT_EQ(sees(kVde, kIova), 'B');
}

// Both devices of one group: the first is refused its way back, the second must see the old domain all the same.
TEST_F(TegraGartDriver, ARefusedWayBackDoesNotLeaveTheNewDomainInTheWindow) {
  boot(board("[[platform_device]]\nname = \"twin\"\niommu = \"gart\"\nstreams = [1, 2]\n"));
  ASSERT_EQ(&group("twin"), &group(kDc));
  Domain &first = domain(kDc, kIova, 'A'), &second = domain(kDc, kIova, 'B');
  ASSERT_TRUE(group(kDc).attach(first));
  fault::fail_point("core.commit", 2);
  fault::fail_point("core.undo", 1);
  EXPECT_FALSE(group(kDc).replace(second));
  fault::disarm();
  EXPECT_TRUE(group(kDc).broken());
  EXPECT_EQ(sees("twin", kIova, 1), 'A');
}

TEST_F(TegraGartDriver, UnmappingReadsTheRegistersBack) {
  boot(board());
  Domain& made = domain(kDc, kIova, 'A');
  ASSERT_TRUE(group(kDc).attach(made));
  ASSERT_TRUE(made.map(kIova + kPageSize, page('N'), kPageSize, kBoth));
  EXPECT_EQ(sees(kDc, kIova + kPageSize), 'N');
  EXPECT_EQ(made.unmap(kIova, 2 * kPageSize), 2 * kPageSize);
  EXPECT_EQ(sees(kDc, kIova), '-');
  EXPECT_EQ(sees(kDc, kIova + kPageSize), '-');
}

TEST_F(TegraGartDriver, WithoutTheReadBackADeviceStillReachesTheOldPage) {
  boot(board());
  Domain& made = domain(kDc, kIova, 'A');
  ASSERT_TRUE(group(kDc).attach(made));
  MmioRegion& registers = *machine_->unit("gart");
  registers.write32(kEntryAddr.offset, 0x4000);
  registers.write32(kEntryData.offset, 0);
  EXPECT_EQ(sees(kDc, kIova), 'A');
  registers.read32(kConfig.offset);
  EXPECT_EQ(sees(kDc, kIova), '-');
}

TEST_F(TegraGartDriver, FaultsAreLoggedWithTheClient) {
  boot(board());
  ASSERT_TRUE(group(kVde).attach(domain(kVde, kIova, 'A')));
  const check::LogCapture log;
  sees(kVde, kIova + kPageSize);
  EXPECT_TRUE(log.has("tegra-mc gart: client 13: read @0x58005000: invalid GART page")) << log.all();
}

}  // namespace
}  // namespace softiommu
