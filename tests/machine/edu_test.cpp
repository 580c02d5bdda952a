// SPDX-License-Identifier: BSD-3-Clause
#include "hw/edu.h"

#include "machine/device_bench.h"

namespace softiommu {
namespace {

namespace edu = hw::edu;

class Edu : public DeviceBench {
 protected:
  static constexpr std::uint64_t kStart = edu::kDmaCommand["START"].mask(),
                                 kToMemory = edu::kDmaCommand["TO_MEMORY"].mask(),
                                 kIrq = edu::kDmaCommand["IRQ"].mask();

  void SetUp() override {
    DeviceBench::SetUp();
    plug(edu_device_model());
  }
  void transfer(std::uint64_t source, std::uint64_t destination, std::uint64_t count, std::uint64_t command) {
    bar().write64(edu::kDmaSource.offset, source);
    bar().write64(edu::kDmaDestination.offset, destination);
    bar().write64(edu::kDmaCount.offset, count);
    bar().write64(edu::kDmaCommand.offset, command | kStart);
  }
  bool transferring() { return edu::kDmaCommand["START"].is_set(bar().read64(edu::kDmaCommand.offset)); }
  std::uint32_t factorial(std::uint32_t n) {
    bar().write32(edu::kFactorial.offset, n);
    run();
    return bar().read32(edu::kFactorial.offset);
  }
  std::uint32_t interrupts() { return bar().read32(edu::kInterruptStatus.offset); }
};

TEST_F(Edu, IdentifiesItself) {
  EXPECT_EQ(device_->config_read(0, 4), 0x11e81234u);
  EXPECT_EQ(bar().read32(0), 0x010000edu);
  EXPECT_EQ(device_->bars()[0].bytes, kMiB);
}

TEST_F(Edu, LivenessReadsInverted) {
  bar().write32(edu::kLiveness.offset, 0x12345678);
  EXPECT_EQ(bar().read32(edu::kLiveness.offset), 0xedcba987u);
}

TEST_F(Edu, FactorialIsComputedModulo32Bits) {
  EXPECT_EQ(factorial(0), 1u);
  EXPECT_EQ(factorial(10), 3628800u);
  EXPECT_EQ(factorial(13), 1932053504u);
  EXPECT_EQ(factorial(33), 0x80000000u);
  EXPECT_EQ(factorial(34), 0u);
  EXPECT_EQ(factorial(0xffffffff), 0u);
}

TEST_F(Edu, FactorialIsNotReadyWhenTheStoreReturns) {
  bar().write32(edu::kFactorial.offset, 5);
  EXPECT_EQ(bar().read32(edu::kStatus.offset), edu::kStatus["COMPUTING"].mask());
  bar().write32(edu::kFactorial.offset, 3);
  run();
  EXPECT_EQ(bar().read32(edu::kStatus.offset), 0u);
  EXPECT_EQ(bar().read32(edu::kFactorial.offset), 120u);
}

TEST_F(Edu, FactorialInterruptsOnlyWhenAsked) {
  enable_msi();
  factorial(4);
  EXPECT_TRUE(irqs_.messages.empty());
  bar().write32(edu::kStatus.offset, ~0u);
  EXPECT_EQ(bar().read32(edu::kStatus.offset), edu::kStatus["IRQ"].mask());
  factorial(4);
  EXPECT_EQ(irqs_.messages.size(), 1u);
  EXPECT_EQ(interrupts(), 1u);
}

TEST_F(Edu, DmaGoesIntoTheBufferAndOutAgain) {
  put(0, "from memory");
  transfer(dma(0), edu::kBuffer + 100, 11, 0);
  run();
  transfer(edu::kBuffer + 100, dma(8192), 11, kToMemory);
  run();
  EXPECT_EQ(text(8192, 11), "from memory");
}

TEST_F(Edu, DmaIsNotDoneWhenTheStoreReturns) {
  transfer(edu::kBuffer, dma(0), 8, kToMemory);
  EXPECT_TRUE(transferring());
  run();
  EXPECT_FALSE(transferring());
}

TEST_F(Edu, DmaRegistersKeepTheirValuesWhileATransferRuns) {
  put(0, "old");
  transfer(dma(0), edu::kBuffer, 3, 0);
  bar().write64(edu::kDmaSource.offset, 0);
  bar().write64(edu::kDmaCommand.offset, kStart | kIrq);
  EXPECT_EQ(bar().read64(edu::kDmaSource.offset), dma(0));
  run();
  EXPECT_EQ(interrupts(), 0u);
}

TEST_F(Edu, ACommandWithoutStartIsIgnored) {
  bar().write64(edu::kDmaCommand.offset, kIrq);
  EXPECT_EQ(bar().read64(edu::kDmaCommand.offset), 0u);
}

TEST_F(Edu, DmaInterruptsWhenAsked) {
  enable_msi();
  transfer(dma(0), edu::kBuffer, 4, kIrq);
  run();
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{0});
  EXPECT_EQ(interrupts(), edu::kInterruptStatus["DMA"].mask());
}

TEST_F(Edu, ATransferThatLeavesTheBufferMovesNothingAndEnds) {
  for (const std::uint64_t outside : {edu::kBuffer - 1, edu::kBuffer + 4093, ~std::uint64_t{0}}) {
    transfer(outside, dma(0), 4, kToMemory);
    at(0) = 0x5555;
    run();
    EXPECT_FALSE(transferring());
    EXPECT_EQ(at(0), 0x5555u);
  }
}

TEST_F(Edu, ARefusedTransferEndsAndFaults) {
  refuse(0, Access::write);
  transfer(edu::kBuffer, dma(0), 4, kToMemory);
  run();
  EXPECT_FALSE(transferring());
  EXPECT_EQ(unit_->faults, 1u);
}

TEST_F(Edu, WithoutBusMasteringNothingMoves) {
  put(0, "kept");
  command(hw::pci::kCommand["MEM"].mask());
  transfer(edu::kBuffer, dma(0), 4, kToMemory);
  run();
  EXPECT_EQ(text(0, 4), "kept");
  EXPECT_EQ(unit_->faults, 0u);
}

TEST_F(Edu, RaisedInterruptsHoldTheLineUntilAcknowledged) {
  bar().write32(edu::kRaise.offset, 6);
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
  bar().write32(edu::kAcknowledge.offset, 2);
  run();
  EXPECT_EQ(interrupts(), 4u);
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
  bar().write32(edu::kAcknowledge.offset, 4);
  run();
  EXPECT_EQ(irqs_.levels, (std::vector<bool>{true, false}));
}

TEST_F(Edu, TheStatusRegisterShowsAnAcknowledgeAtOnce) {
  bar().write32(edu::kRaise.offset, 1);
  EXPECT_TRUE(hw::pci::kStatus["INTX"].is_set(device_->config_read(hw::pci::kStatus.offset, 2)));
  bar().write32(edu::kAcknowledge.offset, 1);
  EXPECT_FALSE(hw::pci::kStatus["INTX"].is_set(device_->config_read(hw::pci::kStatus.offset, 2)));
}

TEST_F(Edu, EachRaiseSendsOneMessage) {
  enable_msi();
  bar().write32(edu::kRaise.offset, 1);
  bar().write32(edu::kRaise.offset, 1);
  run();
  EXPECT_EQ(irqs_.messages.size(), 2u);
  EXPECT_TRUE(irqs_.levels.empty());
}

TEST_F(Edu, RegistersAnswerOnlyTheirWidths) {
  EXPECT_EQ(bar().read(0, 1), 0xffu);
  EXPECT_EQ(bar().read(0, 8), ~std::uint64_t{0});
  bar().write(edu::kLiveness.offset, 2, 0);
  EXPECT_EQ(bar().read32(edu::kLiveness.offset), 0u);
  bar().write64(edu::kDmaCount.offset, 0x1'0000'0002);
  EXPECT_EQ(bar().read32(edu::kDmaCount.offset), 2u);
  EXPECT_EQ(bar().read(edu::kDmaCount.offset, 2), 0xffffu);
}

TEST_F(Edu, ResetClearsRegistersAndDropsTheLine) {
  bar().write32(edu::kLiveness.offset, 1);
  bar().write32(edu::kRaise.offset, 1);
  run();
  device_->reset();
  enable();
  run();
  EXPECT_EQ(bar().read32(edu::kLiveness.offset), 0u);
  EXPECT_EQ(irqs_.levels, (std::vector<bool>{true, false}));
}

class NarrowEdu : public Edu {
 protected:
  void SetUp() override {
    DeviceBench::SetUp();
    plug(edu_device_model(), {{"dma_mask", 28}});
  }
};

TEST_F(NarrowEdu, DrivesOnly28AddressBits) {
  constexpr std::uint64_t kTop = std::uint64_t{1} << 28;
  unit_->refused.insert({(dma(0) & (kTop - 1)) >> kPageShift, Access::write});
  transfer(edu::kBuffer, dma(0) | kTop, 4, kToMemory);
  run();
  EXPECT_EQ(unit_->faults, 1u);
}

}  // namespace
}  // namespace softiommu
