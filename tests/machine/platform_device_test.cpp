// SPDX-License-Identifier: BSD-3-Clause
// A device that is not on PCI: its registers, its ports, its interrupt, and how a machine file names it.
#include "machine/platform_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "hw/platform_dma.h"
#include "machine/describe.h"
#include "machine/machine.h"

namespace softiommu {
namespace {

using namespace hw::platform_dma;

constexpr std::string_view kFile = R"toml(
[[platform_device]]
name = "dma"
streams = [0, 3]
)toml";

class PlatformDma : public ::testing::Test {
 protected:
  void SetUp() override {
    machine_ = *Machine::create(*parse_machine(kFile, "test"), {.time = Executor::Time::virtual_time});
    std::memset(pages_, 'a', kPageSize);
    std::memset(pages_ + kPageSize, 'b', kPageSize);
    at_ = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(pages_), 2 * kPageSize)->first;
  }
  void TearDown() override { machine_->memory().unpin({at_, 2 * kPageSize}); }
  PlatformDevice& device() { return *machine_->platform_device("dma"); }
  void copy(std::uint64_t from, std::uint64_t to, std::uint32_t bytes, std::uint64_t more = 0) {
    device().write64(kSource.offset, from);
    device().write64(kDestination.offset, to);
    device().write32(kCount.offset, bytes);
    device().write32(kCommand.offset, static_cast<std::uint32_t>(kCommand["START"].mask() | more));
    machine_->executor().run();
  }

  alignas(2 * kPageSize) inline static char pages_[2 * kPageSize];
  PhysAddr at_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(PlatformDma, SaysWhoItIs) {
  EXPECT_EQ(device().read32(kIdentification.offset), 0x0101'5d3au) << "two ports";
  EXPECT_THAT(device().streams(), ::testing::ElementsAre(0u, 3u));
  EXPECT_EQ(device().dma(1).stream(), 3u);
}

TEST_F(PlatformDma, CopiesAndRaisesItsInterrupt) {
  unsigned interrupts = 0;
  device().on_interrupt([&] { ++interrupts; });
  copy(at_.value, at_.value + kPageSize, 100, kCommand["IRQ"].mask() | kCommand["PORT"].put(1));
  EXPECT_EQ(pages_[kPageSize + 99], 'a');
  EXPECT_EQ(pages_[kPageSize + 100], 'b');
  EXPECT_EQ(device().read32(kStatus.offset), 1u);
  EXPECT_EQ(interrupts, 1u);
  device().write32(kStatus.offset, 1);
  EXPECT_EQ(device().read32(kStatus.offset), 0u);
}

TEST_F(PlatformDma, ACopyToNowhereOrThroughNoPortIsAnError) {
  copy(at_.value, 0, 8);
  EXPECT_EQ(device().read32(kStatus.offset), 3u);
  copy(at_.value, at_.value + kPageSize, 8, kCommand["PORT"].put(2));
  EXPECT_EQ(device().read32(kStatus.offset), 3u);
  EXPECT_EQ(pages_[kPageSize], 'b');
}

TEST_F(PlatformDma, IsShownWithItsIds) {
  EXPECT_THAT(describe(*machine_), ::testing::HasSubstr("Platform devices\n  dma sends as 0, 3, behind no IOMMU\n"));
}

std::string complaint(const std::string& toml) {
  const auto spec = parse_machine(toml, "m.toml");
  return spec ? "" : spec.error().where + ": " + spec.error().what;
}

TEST(PlatformDeviceFile, NamesAreUniqueAndIdsBelongToOneKindOfDevice) {
  const std::string one = "[[platform_device]]\nname = 'x'\n";
  EXPECT_THAT(complaint(one + one), ::testing::StartsWith("m.toml:4:8: there is a platform device \"x\" already"));
  EXPECT_THAT(complaint(one + "iommu = 'no'\n"), ::testing::HasSubstr("there is no IOMMU \"no\""));
  EXPECT_THAT(complaint(one + "streams = []\n"), ::testing::HasSubstr("needs at least one id"));
  EXPECT_THAT(complaint("[[platform_device]]\nname = 'a/b'\n"), ::testing::HasSubstr("is no name"));
  EXPECT_THAT(complaint("[[iommu]]\nname = 'u'\nmodel = 'intel-vtd'\n[[device]]\naddress = '00:02.0'\nmodel = 'edu'\n" +
                        one + "streams = [16]\n"),
              ::testing::HasSubstr("id 16 is that of 0000:00:02.0"));
}

TEST(SmallMemory, TablesAreInTheFirstGiBAndProgramsBehindThem) {
  const auto memory = *Memory::create({.top = 2 * kGiB, .table_arena = 64 * kMiB});
  EXPECT_LT(memory->tables().allocate()->value, kGiB);
  alignas(kPageSize) static char page[kPageSize];
  const auto run = memory->pin(reinterpret_cast<std::uintptr_t>(page), kPageSize);
  EXPECT_LT(run->first.value, 2 * kGiB);
  memory->unpin(*run);
  EXPECT_THAT(complaint("[memory]\ntop = '2G'\ntable_arena = '1G'\n"),
              ::testing::HasSubstr("table_arena leaves no whole GiB below top"));
}

}  // namespace
}  // namespace softiommu
