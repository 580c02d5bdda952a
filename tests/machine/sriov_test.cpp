// SPDX-License-Identifier: BSD-3-Clause
// Functions that come and go: virtual ones, and those that are unplugged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "hw/edu.h"
#include "hw/ioat.h"
#include "hw/pci.h"
#include "machine/describe.h"
#include "machine/machine.h"
#include "machine/mmio_map.h"

namespace softiommu {
namespace {

namespace pci = hw::pci;
namespace edu = hw::edu;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kMachine = R"([[bridge]]
address = "00:1c.0"
kind = "root-port"
bus = 1
[[device]]
address = "01:00.0"
model = "edu"
vfs = 4
)";

class SriovTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 4 * kPageSize;

  void SetUp() override {
    auto spec = parse_machine(kMachine, "m.toml");
    ASSERT_TRUE(spec) << spec.error().what;
    machine_ = *Machine::create(*spec, {.time = Executor::Time::virtual_time});
    pf_ = machine_->function(*Bdf::parse("01:00.0"));
    at_ = pf_->find_extended_capability(pci::extended::kSingleRootIo);
    memory_ = static_cast<char*>(std::aligned_alloc(kPageSize, kBytes));
    std::memset(memory_, 0, kBytes);
    run_ = *machine_->memory().pin(reinterpret_cast<std::uint64_t>(memory_), kBytes);
  }
  void TearDown() override {
    machine_->memory().unpin(run_);
    machine_.reset();
    std::free(memory_);
  }

  template <std::size_t N>
  std::uint32_t read(const hw::Register<N>& row) {
    return pf_->config_read(at_ + row.offset, row.bytes);
  }
  template <std::size_t N>
  void write(const hw::Register<N>& row, std::uint64_t value) {
    pf_->config_write(at_ + row.offset, row.bytes, static_cast<std::uint32_t>(value));
  }
  void enable(unsigned number) {
    write(pci::sriov::kNumber, number);
    write(pci::sriov::kControl, pci::sriov::kControl["VFE"].mask() | pci::sriov::kControl["MSE"].mask());
  }
  void disable() { write(pci::sriov::kControl, 0); }
  PciFunction& vf(unsigned number) { return *pf_->virtual_functions()[number]; }
  static void master(PciFunction& function) {
    function.config_write(pci::kCommand.offset, 2,
                          static_cast<std::uint32_t>(pci::kCommand["MASTER"].mask() | pci::kCommand["MEM"].mask()));
  }
  // The function copies eight bytes of memory into its buffer; true: they arrived.
  bool reads_memory(PciFunction& function) {
    std::memcpy(memory_, "softiomm", 8);
    MmioRegion& bar = function.bar_window(0);
    bar.write64(edu::kDmaSource.offset, run_.first.value);
    bar.write64(edu::kDmaDestination.offset, edu::kBuffer);
    bar.write64(edu::kDmaCount.offset, 8);
    bar.write64(edu::kDmaCommand.offset, 1);
    machine_->executor().run();
    bar.write64(edu::kDmaSource.offset, edu::kBuffer);
    bar.write64(edu::kDmaDestination.offset, run_.first.value + kPageSize);
    bar.write64(edu::kDmaCommand.offset, 3);
    machine_->executor().run();
    const bool same = std::memcmp(memory_, memory_ + kPageSize, 8) == 0;
    std::memset(memory_ + kPageSize, 0, 8);
    return same;
  }

  std::unique_ptr<Machine> machine_;
  PciFunction* pf_ = nullptr;
  unsigned at_ = 0;
  char* memory_ = nullptr;
  PhysRun run_{};
};

TEST_F(SriovTest, TheCapabilityOffersWhatTheFileSays) {
  ASSERT_NE(at_, 0u);
  EXPECT_EQ(read(pci::sriov::kTotal), 4u);
  EXPECT_EQ(read(pci::sriov::kInitial), 4u);
  EXPECT_EQ(read(pci::sriov::kNumber), 0u);
  EXPECT_EQ(read(pci::sriov::kOffset), 0x80u);
  EXPECT_EQ(read(pci::sriov::kStride), 1u);
  EXPECT_EQ(read(pci::sriov::kDeviceId), edu::kDeviceId);
}

TEST_F(SriovTest, FunctionsAreThereWhileTheyAreEnabled) {
  EXPECT_FALSE(vf(0).present());
  EXPECT_EQ(vf(0).config_read(pci::kClass.offset, 4), 0xffff'ffffu);
  enable(2);
  EXPECT_TRUE(vf(0).present() && vf(1).present());
  EXPECT_FALSE(vf(2).present());
  EXPECT_EQ(vf(0).config_read(pci::kClass.offset, 4), edu::kClassCode << 8 | edu::kRevision);
  disable();
  EXPECT_FALSE(vf(0).present());
}

TEST_F(SriovTest, TheHeaderOfAVirtualFunctionHasNoIdsAndNoBars) {
  enable(1);
  EXPECT_EQ(vf(0).config_read(0, 4), 0xffff'ffffu);
  EXPECT_EQ(vf(0).config_read(pci::kBar0.offset, 4), 0u);
  EXPECT_EQ(vf(0).config_read(pci::kInterruptPin.offset, 1), 0u);
  EXPECT_FALSE(vf(0).has_intx());
  EXPECT_EQ(vf(0).find_extended_capability(pci::extended::kSingleRootIo), 0u);
  master(vf(0));
  EXPECT_EQ(vf(0).config_read(pci::kCommand.offset, 2), pci::kCommand["MASTER"].mask()) << "no memory enable";
}

TEST_F(SriovTest, BarsFollowEachOtherFromTheCapabilitysAddress) {
  const std::uint64_t first = pf_->config_read(at_ + pci::sriov::kBar0Offset, 4);
  for (unsigned number = 0; number < 4; ++number) {
    EXPECT_EQ(vf(number).bar_address(0), first + number * edu::kBarBytes);
    const auto found = machine_->memory().registers()->find(PhysAddr{vf(number).bar_address(0)});
    EXPECT_EQ(found.registers, &vf(number).bar_window(0));
  }
  EXPECT_NE(first, pf_->bar_address(0));
}

TEST_F(SriovTest, MemoryDecodesWhereThePhysicalFunctionSaysSo) {
  write(pci::sriov::kNumber, 1);
  write(pci::sriov::kControl, pci::sriov::kControl["VFE"].mask());
  EXPECT_EQ(vf(0).bar_window(0).read32(0), 0xffff'ffffu);
  enable(1);
  EXPECT_EQ(vf(0).bar_window(0).read32(0), edu::kIdentification.reset);
}

TEST_F(SriovTest, VirtualFunctionsSendUnderTheirOwnIds) {
  EXPECT_EQ(vf(0).bdf().text(), "0000:01:10.0");
  EXPECT_EQ(vf(3).bdf().text(), "0000:01:10.3");
  EXPECT_EQ(vf(3).dma().stream(), 0x0183u);
  EXPECT_THAT(machine_->stream_ids(vf(3)), ElementsAre(0x0183u));
}

TEST_F(SriovTest, EachDoesDmaOnceItMasters) {
  enable(2);
  EXPECT_FALSE(reads_memory(vf(1)));
  master(vf(1));
  EXPECT_TRUE(reads_memory(vf(1)));
}

TEST_F(SriovTest, ADisabledFunctionBeginsAnew) {
  enable(1);
  master(vf(0));
  vf(0).bar_window(0).write32(edu::kLiveness.offset, 5);
  disable();
  EXPECT_FALSE(vf(0).bus_master());
  EXPECT_FALSE(reads_memory(vf(0)));
  enable(1);
  EXPECT_EQ(vf(0).config_read(pci::kCommand.offset, 2), 0u);
  EXPECT_EQ(vf(0).bar_window(0).read32(edu::kLiveness.offset), 0u);
}

TEST_F(SriovTest, AResetOfThePhysicalFunctionResetsTheVirtualOnes) {
  enable(1);
  vf(0).bar_window(0).write32(edu::kLiveness.offset, 5);
  pf_->reset();
  EXPECT_TRUE(vf(0).present()) << "Linux puts the capability back as it was";
  EXPECT_EQ(vf(0).bar_window(0).read32(edu::kLiveness.offset), 0u);
}

TEST_F(SriovTest, AnUnpluggedFunctionReadsAsOnesAndMastersNothing) {
  master(*pf_);
  EXPECT_TRUE(reads_memory(*pf_));
  pf_->unplug();
  EXPECT_FALSE(pf_->present());
  EXPECT_EQ(pf_->config_read(0, 4), 0xffff'ffffu);
  EXPECT_EQ(pf_->config_read(0, 2), 0xffffu);
  EXPECT_EQ(pf_->bar_window(0).read32(0), 0xffff'ffffu);
  EXPECT_FALSE(reads_memory(*pf_));
}

TEST_F(SriovTest, WhatIsPluggedAgainIsAsAfterPowerOn) {
  master(*pf_);
  enable(2);
  pf_->unplug();
  EXPECT_FALSE(vf(0).present()) << "its virtual functions go with it";
  pf_->plug();
  EXPECT_TRUE(pf_->present());
  EXPECT_EQ(pf_->config_read(pci::kCommand.offset, 2), 0u);
  EXPECT_EQ(pf_->config_read(pci::kVendor.offset, 2), edu::kVendorId);
  EXPECT_EQ(read(pci::sriov::kNumber), 0u);
  EXPECT_FALSE(vf(0).present());
}

TEST_F(SriovTest, WithAccessControlEachIsIsolated) {
  ASSERT_EQ(machine_->isolation_sets().size(), 5u);
  for (const IsolationSet& set : machine_->isolation_sets()) EXPECT_EQ(set.reason, "alone");
}

TEST_F(SriovTest, BelowAPortWithoutItAllAreOneSet) {
  std::string text(kMachine);
  text.insert(text.find("bus = 1\n"), "acs = false\n");
  const auto machine = *Machine::create(*parse_machine(text, "m.toml"), {.time = Executor::Time::virtual_time});
  ASSERT_EQ(machine->isolation_sets().size(), 1u);
  EXPECT_EQ(machine->isolation_sets()[0].functions.size(), 5u);
}

TEST_F(SriovTest, TheDescriptionNamesThem) {
  EXPECT_THAT(describe(*machine_), HasSubstr("0000:01:10.1 edu, virtual function 1 of 0000:01:00.0\n"));
}

TEST(SriovIoat, OptionalCapabilitiesLeaveTheModelsOwnWordsAlone) {
  const auto spec = parse_machine(
      "[[iommu]]\nname = 'dmar0'\nmodel = 'intel-vtd'\n[[device]]\naddress = '00:04.0'\n"
      "model = 'ioat'\nats = true\npasid_bits = 8\nvfs = 2\n",
      "m.toml");
  ASSERT_TRUE(spec) << spec.error().what;
  const auto machine = *Machine::create(*spec, {.time = Executor::Time::virtual_time});
  PciFunction& function = *machine->function(*Bdf::parse("00:04.0"));
  for (const std::uint16_t id :
       {pci::extended::kAddressTranslationServices, pci::extended::kPasid, pci::extended::kSingleRootIo})
    EXPECT_GT(function.find_extended_capability(id), hw::ioat::kConfigChannelErrorMask) << id;
  EXPECT_EQ(function.virtual_functions().size(), 2u);
  EXPECT_EQ(function.virtual_functions()[0]->model(), "ioat");
}

// ---- the machine file

std::string complaint(std::string_view toml) {
  const auto spec = parse_machine(toml, "m.toml");
  return spec ? "" : spec.error().what;
}

TEST(SriovSpec, NvmeHasNone) {
  EXPECT_THAT(complaint("[[device]]\naddress = '00:04.0'\nmodel = 'nvme'\nvfs = 1\n"), HasSubstr("nvme"));
}

TEST(SriovSpec, ThereIsNoRoomBehindHighDeviceNumbers) {
  EXPECT_THAT(complaint("[[device]]\naddress = '00:10.0'\nmodel = 'edu'\nvfs = 1\n"), HasSubstr("use 00 to 0f"));
  EXPECT_EQ(complaint("[[device]]\naddress = '00:0f.0'\nmodel = 'edu'\nvfs = 8\n"), "");
  EXPECT_THAT(complaint("[[device]]\naddress = '00:0f.0'\nmodel = 'edu'\nvfs = 9\n"), HasSubstr("beyond the bus"));
}

TEST(SriovSpec, AnAddressIsTakenOnce) {
  EXPECT_THAT(complaint("[[device]]\naddress = '00:04.0'\nmodel = 'edu'\nvfs = 2\n"
                        "[[device]]\naddress = '00:14.0'\nmodel = 'edu'\n"),
              HasSubstr("something is at 0000:00:14.0 already"));
}

TEST(SriovSpec, ConventionalPciHasNone) {
  EXPECT_THAT(complaint("[[bridge]]\naddress = '00:1c.0'\nkind = 'pcie-to-pci'\nbus = 1\n"
                        "[[device]]\naddress = '01:00.0'\nmodel = 'edu'\nvfs = 2\n"),
              HasSubstr("conventional PCI"));
}

}  // namespace
}  // namespace softiommu
