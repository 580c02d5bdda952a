// SPDX-License-Identifier: BSD-3-Clause
#include "hw/ioat.h"

#include "machine/device_bench.h"
#include "machine/mmio_map.h"

namespace softiommu {
namespace {

namespace ioat = hw::ioat;
using ioat::State;

class Ioat : public DeviceBench {
 protected:
  // Where things are in memory.
  static constexpr std::uint64_t kRing = 0, kCompletion = 0x8000, kSource = 0x10000, kDestination = 0x20000;
  static constexpr unsigned kRingSize = 64;
  static constexpr std::uint64_t kUpdate = ioat::kControlWord["COMPLETION"].mask(),
                                 kInterrupt = ioat::kControlWord["INT"].mask(),
                                 kNull = ioat::kControlWord["NULL"].mask(),
                                 kFill = ioat::kControlWord["OP"].put(ioat::kOpFill);

  void SetUp() override {
    DeviceBench::SetUp();
    plug(ioat_device_model());
    start();
  }

  // What DPDK's driver does to start or recover.
  void start(unsigned first = 0) {
    for (unsigned i = 0; i < kRingSize; ++i) word(i, ioat::kWordNext) = descriptor_address((i + 1) % kRingSize);
    bar().write64(ioat::kChainAddress.offset, descriptor_address(first));
    control(ioat::kChannelControl["ANY_ERR_ABORT"].mask() | ioat::kChannelControl["ERR_COMPLETION"].mask());
    bar().write64(ioat::kCompletionAddress.offset, dma(kCompletion));
  }
  std::uint64_t descriptor_address(unsigned index) const { return dma(kRing + index * ioat::kDescriptorBytes); }
  std::uint64_t& word(unsigned index, unsigned w) { return at(kRing + index * ioat::kDescriptorBytes + 8 * w); }
  void describe(unsigned index, std::uint64_t control, std::uint64_t source, std::uint64_t destination) {
    word(index, ioat::kWordControl) = control;
    word(index, ioat::kWordSource) = source;
    word(index, ioat::kWordDestination) = destination;
  }
  void copy(unsigned index, std::uint64_t bytes, std::uint64_t flags = kUpdate) {
    describe(index, bytes | flags, dma(kSource), dma(kDestination));
  }
  void doorbell(unsigned count) { bar().write(ioat::kDmaCount.offset, 2, count); }
  void control(std::uint64_t value) { bar().write(ioat::kChannelControl.offset, 2, value); }
  void tell(hw::Field command) { bar().write(ioat::kChannelCommand.offset, 1, command.mask()); }
  State state() { return static_cast<State>(ioat::kChannelStatus["STATE"].get(status())); }
  std::uint64_t status() { return bar().read64(ioat::kChannelStatus.offset); }
  std::uint32_t error() { return bar().read32(ioat::kChannelError.offset); }
  std::uint64_t completion() { return at(kCompletion); }
  static std::uint64_t with(std::uint64_t address, State state) { return address | static_cast<std::uint64_t>(state); }
};

TEST_F(Ioat, IdentifiesItself) {
  EXPECT_EQ(device_->config_read(0, 4), 0x20218086u);
  EXPECT_EQ(bar().read(ioat::kVersion.offset, 1), 0x33u);
  EXPECT_EQ(bar().read(ioat::kChannelCount.offset, 1), 1u);
  EXPECT_EQ(bar().read(ioat::kTransferCap.offset, 1), 20u);
  EXPECT_EQ(bar().read32(0), 0x1401u);
  EXPECT_EQ(device_->bars()[0].bytes, 16 * kKiB);
  EXPECT_EQ(device_->msix_vectors(), 1u);
}

TEST_F(Ioat, IsHaltedAfterResetAndArmedByAChainAddress) {
  device_->reset();
  enable();
  EXPECT_EQ(status(), 3u);
  bar().write64(ioat::kChainAddress.offset, descriptor_address(0));
  EXPECT_EQ(status(), 4u);
}

TEST_F(Ioat, AChainAddressMayComeInHalves) {
  device_->reset();
  enable();
  bar().write32(ioat::kChainAddress.offset, static_cast<std::uint32_t>(descriptor_address(2)));
  EXPECT_EQ(state(), State::halted);
  bar().write32(ioat::kChainAddress.offset + 4, static_cast<std::uint32_t>(descriptor_address(2) >> 32));
  EXPECT_EQ(state(), State::armed);
  EXPECT_EQ(bar().read64(ioat::kChainAddress.offset), descriptor_address(2));
}

TEST_F(Ioat, CopiesAndReportsTheDescriptor) {
  put(kSource, "sixteen bytes ..");
  copy(0, 16);
  doorbell(1);
  run();
  EXPECT_EQ(text(kDestination, 16), "sixteen bytes ..");
  EXPECT_EQ(completion(), with(descriptor_address(0), State::idle));
  EXPECT_EQ(status(), completion());
}

TEST_F(Ioat, NothingHappensInsideTheDoorbell) {
  put(kSource, "later");
  copy(0, 5);
  doorbell(1);
  EXPECT_EQ(state(), State::active);
  EXPECT_EQ(text(kDestination, 1), std::string_view("\0", 1));
  EXPECT_EQ(completion(), 0u);
}

TEST_F(Ioat, FillsWithAPatternOfAnyLength) {
  for (const std::uint64_t bytes : {8u, 64u, 1024u, 50u, 100u, 89u, 5000u}) {
    std::memset(host_ + kDestination, 0, 8192);
    bar().write64(ioat::kChainAddress.offset, descriptor_address(0));
    describe(0, bytes | kFill | kUpdate, 0xfedcba9876543210, dma(kDestination));
    doorbell(1);
    run();
    for (std::uint64_t i = 0; i < bytes; ++i)
      ASSERT_EQ(at<std::uint8_t>(kDestination + i), 0xfedcba9876543210 >> (8 * (i % 8)) & 0xff) << i << " of " << bytes;
    EXPECT_EQ(at<std::uint8_t>(kDestination + bytes), 0u);
  }
}

TEST_F(Ioat, ANullDescriptorOnlyCompletes) {
  describe(0, 8 | kNull | kUpdate, 1, 1);
  doorbell(1);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(0), State::idle));
  EXPECT_EQ(error(), 0u);
}

TEST_F(Ioat, TheDoorbellCountsTheWholeChain) {
  for (unsigned i = 0; i < 4; ++i) copy(i, 8);
  doorbell(2);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(1), State::idle));
  doorbell(4);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(3), State::idle));
  doorbell(4);
  EXPECT_EQ(state(), State::idle);
}

TEST_F(Ioat, TheDoorbellWrapsAt65536) {
  for (unsigned i = 0; i < kRingSize; ++i) copy(i, 8);
  for (unsigned total = 0; total < 0x10000 + 100; total += 50) {
    doorbell((total + 50) & 0xffff);
    run();
    ASSERT_EQ(status(), with(descriptor_address((total + 49) % kRingSize), State::idle));
  }
}

TEST_F(Ioat, CompletionsAreWrittenOnlyWhereAskedFor) {
  copy(0, 8, 0);
  doorbell(1);
  run();
  EXPECT_EQ(completion(), 0u);
  EXPECT_EQ(status(), with(descriptor_address(0), State::idle));
}

TEST_F(Ioat, AnActiveWordIsBroughtUpToDateWhenTheChannelGoesIdle) {
  copy(0, 8);
  copy(1, 8, 0);
  doorbell(2);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(1), State::idle));
}

TEST_F(Ioat, WithoutACompletionAddressNothingIsWritten) {
  bar().write64(ioat::kCompletionAddress.offset, 0);
  copy(0, 8, 0);
  doorbell(1);
  run();
  EXPECT_EQ(state(), State::idle);
  EXPECT_EQ(error(), 0u);
}

TEST_F(Ioat, ARefusedSourceHaltsWithTheLastGoodDescriptor) {
  for (unsigned i = 0; i < 4; ++i) copy(i, 8);
  describe(2, 8 | kUpdate, 0, dma(kDestination));
  unit_->refused.insert({0, Access::read});
  doorbell(4);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(1), State::halted));
  EXPECT_EQ(status(), completion());
  EXPECT_EQ(error(), ioat::kChannelError["SOURCE"].mask());
  EXPECT_EQ(unit_->faults, 1u);
}

TEST_F(Ioat, ARefusedFirstDescriptorReportsNoAddress) {
  describe(0, 8 | kUpdate, 0, dma(kDestination));
  unit_->refused.insert({0, Access::read});
  doorbell(1);
  run();
  EXPECT_EQ(completion(), with(0, State::halted));
}

// A driver that polls the completion word recovers while the device still has the interrupt to send.
TEST_F(Ioat, AnErrorThatIsClearedWhenItsCompletionAppearsStaysCleared) {
  struct Driver final : MmioRegion {
    std::uint64_t read(std::uint64_t, unsigned) override { return 0; }
    void write(std::uint64_t, unsigned, std::uint64_t) override {
      bar->write32(ioat::kChannelError.offset, ~0u);
      in_config = device->config_read(ioat::kConfigChannelError, 4);
    }
    MmioRegion* bar = nullptr;
    PciFunction* device = nullptr;
    std::uint32_t in_config = 0;
  } driver;
  driver.bar = &bar();
  driver.device = device_.get();
  const PhysAddr polled{memory_->top()};  // no memory is there
  MmioMap map;
  map.add(polled, kPageSize, driver);
  memory_->set_registers(&map);
  bar().write64(ioat::kCompletionAddress.offset, polled.value);
  describe(0, 8 | kUpdate, 0, dma(kDestination));
  unit_->refused.insert({0, Access::read});
  doorbell(1);
  run();
  EXPECT_EQ(driver.in_config, ioat::kChannelError["SOURCE"].mask()) << "all registers show it before memory does";
  EXPECT_EQ(error(), 0u);
  tell(ioat::kChannelCommand["RESET"]);
  start(1);
  EXPECT_EQ(state(), State::armed);
}

TEST_F(Ioat, EachErrorHasItsBit) {
  const auto error_of = [&](std::uint64_t control, std::uint64_t source, std::uint64_t destination) {
    bar().write32(ioat::kChannelError.offset, ~0u);
    start();
    describe(0, control, source, destination);
    doorbell(1);
    run();
    EXPECT_EQ(state(), State::halted);
    return error();
  };
  refuse(kDestination, Access::write);
  unit_->refused.insert({0, Access::read});
  EXPECT_EQ(error_of(8, 0, dma(kSource)), ioat::kChannelError["SOURCE"].mask());
  EXPECT_EQ(error_of(8, dma(kSource), dma(kDestination)), ioat::kChannelError["DESTINATION"].mask());
  EXPECT_EQ(error_of(8 | kFill, 0, dma(kDestination)), ioat::kChannelError["DESTINATION"].mask());
  EXPECT_EQ(error_of(kMiB + 1, dma(kSource), dma(kSource)), ioat::kChannelError["LENGTH"].mask());
  EXPECT_EQ(error_of(ioat::kControlWord["OP"].put(0x87), 0, 0), ioat::kChannelError["CONTROL"].mask());
  refuse(kRing, Access::read);
  EXPECT_EQ(error_of(8, dma(kSource), dma(kSource)), ioat::kChannelError["READ"].mask());
}

TEST_F(Ioat, ARefusedCompletionHalts) {
  refuse(kCompletion, Access::write);
  copy(0, 8);
  doorbell(1);
  run();
  EXPECT_EQ(state(), State::halted);
  EXPECT_EQ(error(), ioat::kChannelError["COMPLETION"].mask());
}

TEST_F(Ioat, ErrorsAppearInConfigurationSpaceUntilCleared) {
  refuse(kSource, Access::read);
  copy(0, 8);
  doorbell(1);
  run();
  EXPECT_EQ(device_->config_read(ioat::kConfigChannelError, 4), 1u);
  device_->config_write(ioat::kConfigChannelError, 4, 1);
  EXPECT_EQ(device_->config_read(ioat::kConfigChannelError, 4), 0u);
  EXPECT_EQ(device_->config_read(ioat::kConfigUncorrectableStatus, 4), 0u);
}

TEST_F(Ioat, AHaltedChannelIgnoresTheDoorbell) {
  tell(ioat::kChannelCommand["RESET"]);
  copy(0, 8);
  doorbell(1);
  run();
  EXPECT_EQ(status(), 3u);
}

TEST_F(Ioat, AChainIsNotTakenBeforeErrorsAreCleared) {
  refuse(kSource, Access::read);
  copy(0, 8);
  doorbell(1);
  run();
  start();
  EXPECT_EQ(state(), State::halted);
  bar().write32(ioat::kChannelError.offset, error());
  start();
  EXPECT_EQ(state(), State::armed);
}

TEST_F(Ioat, ADriverRecoversAndRunsTheRest) {
  for (unsigned i = 0; i < 4; ++i) copy(i, 8);
  describe(1, 8 | kUpdate, 0, dma(kDestination));
  unit_->refused.insert({0, Access::read});
  doorbell(4);
  run();
  bar().write32(ioat::kChannelError.offset, error());
  tell(ioat::kChannelCommand["RESET"]);
  start(2);
  EXPECT_EQ(status(), 4u);
  doorbell(2);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(3), State::idle));
}

TEST_F(Ioat, RecoveringBehindTheLastDescriptorStaysArmed) {
  tell(ioat::kChannelCommand["RESET"]);
  start(1);
  doorbell(0);
  run();
  EXPECT_EQ(status(), 4u);
}

TEST_F(Ioat, ResetIsDoneWhenTheCommandReadsZero) {
  copy(0, 8);
  doorbell(1);
  tell(ioat::kChannelCommand["RESET"]);
  EXPECT_EQ(bar().read(ioat::kChannelCommand.offset, 1), 0u);
  EXPECT_EQ(status(), 3u);
  run();
  EXPECT_EQ(completion(), 0u);
}

TEST_F(Ioat, SuspendStopsAndResumeGoesOn) {
  copy(0, 8);
  doorbell(1);
  tell(ioat::kChannelCommand["SUSPEND"]);
  run();
  EXPECT_EQ(state(), State::suspended);
  EXPECT_EQ(completion(), 0u);
  tell(ioat::kChannelCommand["RESUME"]);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(0), State::idle));
}

TEST_F(Ioat, ASuspendedChannelTakesANewChain) {
  copy(0, 8);
  doorbell(1);
  run();
  tell(ioat::kChannelCommand["SUSPEND"]);
  EXPECT_EQ(state(), State::suspended);
  bar().write64(ioat::kChainAddress.offset, descriptor_address(0));
  doorbell(1);
  run();
  EXPECT_EQ(state(), State::idle);
}

TEST_F(Ioat, AnArmedChannelCannotBeSuspended) {
  tell(ioat::kChannelCommand["SUSPEND"]);
  EXPECT_EQ(state(), State::armed);
}

TEST_F(Ioat, AbortHalts) {
  copy(0, 8);
  doorbell(1);
  tell(ioat::kChannelCommand["ABORT"]);
  run();
  EXPECT_EQ(state(), State::halted);
  EXPECT_EQ(completion(), 0u);
}

TEST_F(Ioat, ALoopOfOneDescriptorRunsAsOftenAsAsked) {
  describe(0, 8, dma(kSource), dma(kDestination));
  word(0, ioat::kWordNext) = descriptor_address(0);
  doorbell(0xffff);
  run();
  EXPECT_EQ(status(), with(descriptor_address(0), State::idle));
}

TEST_F(Ioat, AStepIsBoundedSoThatOtherDevicesGetTheirTurn) {
  for (unsigned i = 0; i < 3; ++i) describe(i, kMiB | kUpdate, dma(0x40000), dma(0x40000 + kMiB / 2));
  doorbell(3);
  EXPECT_EQ(device_->step(7), 7u);
  EXPECT_EQ(state(), State::active);
  EXPECT_EQ(completion(), 0u);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(2), State::idle));
}

TEST_F(Ioat, SuspendLetsADescriptorUnderWayFinish) {
  describe(0, kMiB | kUpdate, dma(0x40000), dma(0x40000 + kMiB / 2));
  copy(1, 8);
  doorbell(2);
  device_->step(0);
  tell(ioat::kChannelCommand["SUSPEND"]);
  EXPECT_EQ(state(), State::active);
  run();
  EXPECT_EQ(completion(), with(descriptor_address(0), State::suspended));
}

TEST_F(Ioat, WithoutBusMasteringNothingMovesAndTheChannelHalts) {
  put(kSource, "secret");
  copy(0, 6);
  command(hw::pci::kCommand["MEM"].mask());
  doorbell(1);
  run();
  EXPECT_EQ(state(), State::halted);
  EXPECT_EQ(text(kDestination, 1), std::string_view("\0", 1));
  EXPECT_EQ(unit_->faults, 0u);
}

TEST_F(Ioat, OneInterruptThenNoneUntilRearmed) {
  enable_msix();
  copy(0, 8, kInterrupt);
  copy(1, 8, kInterrupt);
  copy(2, 8, kInterrupt);
  doorbell(2);
  run();
  EXPECT_EQ(irqs_.messages.size(), 1u);
  EXPECT_EQ(bar().read32(ioat::kAttention.offset), 1u);
  control(ioat::kChannelControl["INT_DISABLE"].mask());
  EXPECT_EQ(bar().read32(ioat::kAttention.offset), 0u);
  doorbell(3);
  run();
  EXPECT_EQ(irqs_.messages.size(), 2u);
}

TEST_F(Ioat, APartialControlWriteDoesNotRearm) {
  copy(0, 8, kInterrupt);
  doorbell(1);
  run();
  bar().write(ioat::kChannelControl.offset + 1, 1, 1);
  EXPECT_EQ(bar().read(ioat::kChannelControl.offset, 2), 0x010du);
}

TEST_F(Ioat, ErrorsInterruptOnlyWhenEnabledAndNotMasked) {
  enable_msix();
  refuse(kSource, Access::read);
  copy(0, 8);
  doorbell(1);
  run();
  EXPECT_TRUE(irqs_.messages.empty());
  bar().write32(ioat::kChannelError.offset, error());
  start();
  control(ioat::kChannelControl["ERR_INT"].mask());
  doorbell(1);
  run();
  EXPECT_EQ(irqs_.messages.size(), 1u);
}

TEST_F(Ioat, TheLegacyLineNeedsTheMasterEnable) {
  bar().write(ioat::kInterruptControl.offset, 1, ioat::kInterruptControl["MASTER"].mask());
  copy(0, 8, kInterrupt);
  doorbell(1);
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
  const auto line = [&] { return hw::pci::kStatus["INTX"].is_set(device_->config_read(hw::pci::kStatus.offset, 2)); };
  EXPECT_TRUE(line());
  EXPECT_EQ(bar().read(ioat::kInterruptControl.offset, 1), 7u);
  EXPECT_FALSE(line());
  EXPECT_EQ(bar().read(ioat::kInterruptControl.offset, 1), 2u) << "a read clears the master enable";
  control(ioat::kChannelControl["INT_DISABLE"].mask());
  run();
  EXPECT_EQ(irqs_.levels, (std::vector<bool>{true, false}));
}

TEST_F(Ioat, FunctionLevelResetForgetsTheChain) {
  copy(0, 8);
  doorbell(1);
  device_->reset();
  enable();
  run();
  EXPECT_EQ(status(), 3u);
  EXPECT_EQ(completion(), 0u);
  EXPECT_EQ(bar().read64(ioat::kChainAddress.offset), 0u);
}

TEST_F(Ioat, WideAndNarrowAccessesSeeTheSameRegisters) {
  copy(0, 8);
  bar().write64(ioat::kChannelControl.offset, std::uint64_t{1} << 48 | 4);
  run();
  EXPECT_EQ(state(), State::idle);
  EXPECT_EQ(bar().read64(ioat::kChannelControl.offset), std::uint64_t{1} << 48 | 4);
  EXPECT_EQ(bar().read32(ioat::kChannelStatus.offset + 4), static_cast<std::uint32_t>(status() >> 32));
}

TEST(IoatVersions, EachHasItsDeviceId) {
  const auto memory = take(Memory::create({}));
  const auto executor = take(Executor::create(Executor::Time::virtual_time));
  const auto id = [&](std::uint64_t version) {
    Options options(ioat_device_model().options);
    options.set("version", version - 0x32);
    const PciFunction::Context context{
        .bdf = {}, .memory = *memory, .unit = nullptr, .stream = 0, .executor = *executor};
    return take(ioat_device_model().create(context, options))->config_read(2, 2);
  };
  EXPECT_EQ(id(0x32), 0x2021u);
  EXPECT_EQ(id(0x33), 0x2021u);
  EXPECT_EQ(id(0x34), 0x0b00u);
}

// In real time: a driver that rings and resets while the executor copies never sees the channel in two minds.
TEST_F(Ioat, ResetsRaceWithCopies) {
  const auto real = take(Executor::create(Executor::Time::real));
  PciFunction::Context context{
      .bdf = {.bus = 1, .device = 3}, .memory = *memory_, .unit = nullptr, .stream = 0, .executor = *real};
  executor_->remove(*device_);
  device_ = take(ioat_device_model().create(context, Options(ioat_device_model().options)));
  real->set_latency(0);
  real->add(*device_);
  real->start();
  enable();
  for (unsigned i = 0; i < kRingSize; ++i) describe(i, 4096, dma(kSource), dma(kDestination));
  for (unsigned round = 0; round < 2000; ++round) {
    start();
    doorbell(kRingSize);
    if (round % 3 == 0)
      while (state() == State::active) continue;
    if (round % 7 == 0) {
      device_->reset();
      enable();
    }
    tell(ioat::kChannelCommand["RESET"]);
    ASSERT_EQ(status(), 3u);
    while (bar().read(ioat::kChannelCommand.offset, 1) != 0) continue;
  }
  EXPECT_EQ(error(), 0u);
  real->remove(*device_);
  device_.reset();
}

}  // namespace
}  // namespace softiommu
