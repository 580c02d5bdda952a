// SPDX-License-Identifier: BSD-3-Clause
#include "machine/pci_function.h"

#include "machine/config_space.h"
#include "machine/device_bench.h"

namespace softiommu {
namespace {

namespace pci = hw::pci;

constexpr FunctionIdentity kIdentity{.vendor = 0x1af4,
                                     .device = 0x1234,
                                     .subsystem_vendor = 0x1111,
                                     .subsystem_device = 0x2222,
                                     .class_code = 0x020000,
                                     .revision = 7};
constexpr BarSpec kBarSpecs[] = {
    {.bytes = 16 * kKiB, .memory64 = true, .prefetchable = true}, {}, {.bytes = 4096}, {.bytes = 32, .io = true}};
constexpr unsigned kTable = 0x2000, kPba = 0x3000, kDeviceWord = 0x200;

// A function with everything: its registers are a row of bytes, its step sends what a test queued.
class Gadget final : public PciFunction {
 public:
  explicit Gadget(const Context& context) : PciFunction(context, kIdentity, kBarSpecs) {
    add_intx_pin(1);
    add_msi(4);
    add_msix(3, 0, kTable, kPba);
    constexpr std::uint8_t body[] = {0x10, 0xff, 0x00}, mask[] = {0, 0x0f};
    vendor_at = add_capability(0x09, body, mask);
    serial_at = add_extended_capability(pci::extended::kDeviceSerialNumber, 1, body, mask);
    define_config({.offset = kDeviceWord, .bytes = 4, .value = 0xff, .clearable = 0x0f});
  }

  std::string_view model() const override { return "gadget"; }
  std::uint64_t step(std::uint64_t) override {
    flush_interrupts();
    for (const unsigned vector : std::exchange(queue, {})) send_message(vector);
    return kIdle;
  }
  using PciFunction::dma_copy;
  using PciFunction::dma_write;
  using PciFunction::set_config_bits;
  using PciFunction::set_intx;
  using PciFunction::wake;

  std::vector<unsigned> queue;
  unsigned vendor_at = 0, serial_at = 0, resets = 0;
  std::uint64_t last_written = 0;

 protected:
  std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned) override { return 0xab00 + 0x10 * bar + offset; }
  void bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t value) override { last_written = value; }
  void reset_registers() override { ++resets; }
};

class PciFunctionTest : public DeviceBench {
 protected:
  void SetUp() override {
    DeviceBench::SetUp();
    auto gadget = std::make_unique<Gadget>(context());
    gadget_ = gadget.get();
    plug(std::move(gadget));
  }
  std::uint32_t read(unsigned offset, unsigned bytes = 4) { return device_->config_read(offset, bytes); }
  void write(unsigned offset, std::uint32_t value, unsigned bytes = 4) { device_->config_write(offset, bytes, value); }
  void send(unsigned vector) {
    gadget_->queue.push_back(vector);
    gadget_->wake();
    run();
  }
  unsigned express() { return device_->find_capability(pci::capability::kExpress); }
  void power(std::uint64_t state) {
    write(device_->find_capability(pci::capability::kPowerManagement) + pci::pm::kControl.offset,
          static_cast<std::uint32_t>(state), 2);
  }

  Gadget* gadget_ = nullptr;
};

TEST(BdfText, PrintsAndParses) {
  const Bdf bdf{.segment = 1, .bus = 0xa, .device = 0x1f, .function = 7};
  EXPECT_EQ(bdf.text(), "0001:0a:1f.7");
  EXPECT_EQ(Bdf::parse("0001:0a:1f.7"), bdf);
  EXPECT_EQ(Bdf::parse("00:02.0"), (Bdf{.device = 2}));
}

TEST(BdfText, NonsenseIsRefused) {
  for (const char* text :
       {"", "00:02", "00:20.0", "00:02.8", "0:02.0", "00:02.0 ", "0000:00:02", "x000:00:02.0", "-1:02.0", "00:02.00"})
    EXPECT_FALSE(Bdf::parse(text)) << text;
}

TEST_F(PciFunctionTest, TheHeaderSaysWhatItIs) {
  EXPECT_EQ(read(0), 0x12341af4u);
  EXPECT_EQ(read(8), 0x02000007u);
  EXPECT_EQ(read(0x2c), 0x22221111u);
  EXPECT_EQ(read(pci::kHeaderType.offset, 1), 0u);
  EXPECT_EQ(read(pci::kInterruptPin.offset, 1), 1u);
}

TEST_F(PciFunctionTest, AMultifunctionDeviceSaysSo) {
  PciFunction::Context both = context();
  both.multifunction = both.acs = true;
  Gadget gadget(both);
  EXPECT_EQ(gadget.config_read(pci::kHeaderType.offset, 1), 0x80u);
  EXPECT_NE(gadget.find_extended_capability(pci::extended::kAccessControlServices), 0u);
  EXPECT_EQ(device_->find_extended_capability(pci::extended::kAccessControlServices), 0u);
}

TEST_F(PciFunctionTest, ReadOnlyBitsStay) {
  write(0, ~0u);
  write(8, ~0u);
  write(pci::kCommand.offset, 0xffff, 2);
  EXPECT_EQ(read(0), 0x12341af4u);
  EXPECT_EQ(read(8), 0x02000007u);
  EXPECT_EQ(read(pci::kCommand.offset, 2), 0x0547u);
  EXPECT_EQ(read(pci::kStatus.offset, 2), 0x0010u);
}

TEST_F(PciFunctionTest, AByteWriteChangesOneByte) {
  write(pci::kInterruptLine.offset, 0x2a, 1);
  EXPECT_EQ(read(0x3c), 0x0000012au);
  write(pci::kCommand.offset + 1, 0x04, 1);
  EXPECT_EQ(read(pci::kCommand.offset, 2), 0x0406u);
}

TEST_F(PciFunctionTest, AccessesThatAreNoneReadOnesAndWriteNothing) {
  EXPECT_EQ(read(1, 2), ~0u);
  EXPECT_EQ(read(0, 3), ~0u);
  EXPECT_EQ(read(4096, 1), ~0u);
  write(pci::kInterruptLine.offset - 2, ~0u, 8);
  EXPECT_EQ(read(pci::kInterruptLine.offset, 1), 0u);
}

TEST_F(PciFunctionTest, StatusBitsAreClearedByWritingOne) {
  gadget_->set_config_bits(pci::kStatus.offset, 2, 0x3000);
  write(pci::kStatus.offset, 0x1000, 2);
  EXPECT_EQ(read(pci::kStatus.offset, 2), 0x2010u);
  write(kDeviceWord, 0x33);
  EXPECT_EQ(read(kDeviceWord), 0xfcu);
}

TEST_F(PciFunctionTest, BarsAnswerTheirSize) {
  for (unsigned bar = 0; bar < PciFunction::kBars; ++bar) write(pci::kBar0.offset + 4 * bar, ~0u);
  EXPECT_EQ(read(0x10), 0xffffc00cu);
  EXPECT_EQ(read(0x14), 0xffffffffu);
  EXPECT_EQ(read(0x18), 0xfffff000u);
  EXPECT_EQ(read(0x1c), 0xffffffe1u);
  EXPECT_EQ(read(0x20), 0u);
  EXPECT_EQ(read(0x24), 0u);
}

TEST_F(PciFunctionTest, AssignedBarsSurviveSizingAndReset) {
  device_->assign_bar(0, 0x12'3456'4000);
  EXPECT_EQ(read(0x10), 0x3456400cu);
  EXPECT_EQ(read(0x14), 0x12u);
  write(0x10, ~0u);
  device_->reset();
  EXPECT_EQ(read(0x10), 0x3456400cu);
  EXPECT_EQ(device_->bar_address(0), 0x12'3456'4000u);
}

TEST_F(PciFunctionTest, WindowsDecodeOnlyWhileEnabled) {
  EXPECT_EQ(bar().read32(4), 0xab04u);
  EXPECT_EQ(device_->bar_window(3).read32(0), ~0u);
  command(pci::kCommand["IO"].mask());
  EXPECT_EQ(bar().read(4, 2), 0xffffu);
  EXPECT_EQ(device_->bar_window(3).read32(0), 0xab30u);
  bar().write32(0, 5);
  EXPECT_EQ(gadget_->last_written, 0u);
}

TEST_F(PciFunctionTest, NothingIsBeyondAWindow) {
  EXPECT_EQ(bar().read32(16 * kKiB), ~0u);
  EXPECT_EQ(bar().read64(16 * kKiB - 4), ~std::uint64_t{0});
  EXPECT_EQ(device_->bar_window(5).read32(0), ~0u);
}

TEST_F(PciFunctionTest, TheCapabilityListHoldsEachOnce) {
  for (const int id : {0x01, 0x10, 0x05, 0x11, 0x09})
    EXPECT_NE(device_->find_capability(static_cast<std::uint8_t>(id)), 0u) << id;
  EXPECT_EQ(device_->find_capability(0x0d), 0u);
  EXPECT_EQ(device_->find_extended_capability(pci::extended::kAdvancedErrorReporting), 0x100u);
  EXPECT_EQ(device_->find_extended_capability(pci::extended::kDeviceSerialNumber), gadget_->serial_at);
  EXPECT_EQ(device_->find_extended_capability(pci::extended::kPasid), 0u);
}

TEST_F(PciFunctionTest, CapabilitiesOfModelsHaveTheirMasks) {
  write(gadget_->vendor_at, ~0u);
  EXPECT_EQ(read(gadget_->vendor_at, 2) & 0xff, 9u);
  EXPECT_EQ(read(gadget_->vendor_at + 2, 1), 0x10u);
  write(gadget_->vendor_at + 3, 0, 1);
  EXPECT_EQ(read(gadget_->vendor_at + 3, 1), 0xf0u);
}

TEST_F(PciFunctionTest, AnEndpointOnTheRootBusIsIntegrated) {
  Gadget integrated(context({.bus = 0, .device = 3}));
  EXPECT_EQ(integrated.config_read(express() + 2, 2), 0x0092u);
  EXPECT_EQ(read(express() + 2, 2), 0x0002u);
}

TEST_F(PciFunctionTest, WithoutExpressTheSpaceHas256Bytes) {
  class Old final : public PciFunction {
   public:
    explicit Old(const Context& c)
        : PciFunction(c,
                      {.vendor = 1,
                       .device = 2,
                       .subsystem_vendor = 0,
                       .subsystem_device = 0,
                       .class_code = 0,
                       .revision = 0,
                       .pcie = false},
                      {}) {}
    std::string_view model() const override { return "old"; }
    std::uint64_t step(std::uint64_t) override { return kIdle; }
    std::uint64_t bar_read(unsigned, std::uint64_t, unsigned) override { return 0; }
    void bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t) override {}
    void reset_registers() override {}
  } old(context());
  EXPECT_EQ(old.config_bytes(), 256u);
  EXPECT_EQ(old.config_read(0x100, 4), ~0u);
  EXPECT_EQ(old.config_read(pci::kStatus.offset, 2), 0u);
  EXPECT_EQ(old.find_extended_capability(1), 0u);
}

TEST_F(PciFunctionTest, FunctionLevelResetClearsConfigurationAndRegisters) {
  write(pci::kInterruptLine.offset, 9, 1);
  enable_msix();
  const unsigned control = express() + pci::express::kDeviceControl.offset;
  write(control, read(control, 2) | 0x8000, 2);
  EXPECT_EQ(gadget_->resets, 1u);
  EXPECT_EQ(read(pci::kCommand.offset, 2), 0u);
  EXPECT_EQ(read(pci::kInterruptLine.offset, 1), 0u);
  EXPECT_EQ(read(control, 2), pci::express::kDeviceControl.reset);
  enable();
  EXPECT_EQ(bar().read32(kTable + 12), 1u);
}

TEST_F(PciFunctionTest, OnlyTheResetBitResets) {
  const unsigned control = express() + pci::express::kDeviceControl.offset;
  write(control, 0x7fff, 2);
  write(control + 2, 0x8000, 2);
  write(control - 4, 0x80008000);
  EXPECT_EQ(gadget_->resets, 0u);
  write(control + 1, 0x80, 1);
  EXPECT_EQ(gadget_->resets, 1u);
}

TEST_F(PciFunctionTest, InD3hotNothingDecodesOrMasters) {
  power(pci::pm::kD3hot);
  EXPECT_EQ(bar().read32(4), ~0u);
  EXPECT_FALSE(device_->bus_master());
  EXPECT_EQ(read(pci::kCommand.offset, 2), 6u);
  power(pci::pm::kD0);
  EXPECT_EQ(bar().read32(4), 0xab04u);
  EXPECT_TRUE(device_->bus_master());
}

TEST_F(PciFunctionTest, WithoutBusMasteringDmaIsRefused) {
  const std::byte byte{1};
  EXPECT_TRUE(gadget_->dma_write(Iova{dma(0)}, std::span(&byte, 1)));
  command(pci::kCommand["MEM"].mask());
  const DmaResult result = gadget_->dma_write(Iova{dma(1)}, std::span(&byte, 1));
  EXPECT_EQ(result.status, DmaResult::Status::refused);
  EXPECT_EQ(text(0, 2), std::string_view("\1\0", 2));
}

TEST_F(PciFunctionTest, ACopySaysWhichSideStopped) {
  refuse(4096, Access::write);
  refuse(8192, Access::read);
  const DmaResult to = gadget_->dma_copy(Iova{dma(4090)}, Iova{dma(0)}, 16);
  EXPECT_EQ(to.side, Access::write);
  EXPECT_EQ(to.done, 6u);
  EXPECT_EQ(gadget_->dma_copy(Iova{dma(0)}, Iova{dma(8192)}, 16).side, Access::read);
}

TEST_F(PciFunctionTest, ACopyMayOverlapItself) {
  put(0, "abcdef");
  EXPECT_TRUE(gadget_->dma_copy(Iova{dma(2)}, Iova{dma(0)}, 6));
  EXPECT_EQ(text(0, 8), "ababcdef");
}

TEST_F(PciFunctionTest, MessagesNeedAnEnabledCapability) {
  send(0);
  EXPECT_TRUE(irqs_.messages.empty());
  enable_msi();
  send(0);
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{0});
}

TEST_F(PciFunctionTest, MsiVectorsFoldIntoThoseGranted) {
  const unsigned control = device_->find_capability(pci::capability::kMsi) + 2;
  write(control,
        static_cast<std::uint32_t>(pci::msi::kControl["ENABLE"].mask() | pci::msi::kControl["MULTIPLE"].put(1)), 2);
  send(3);
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{1});
}

TEST_F(PciFunctionTest, MessagesAreMemoryWritesAndNeedBusMastering) {
  enable_msi();
  command(pci::kCommand["MEM"].mask());
  send(0);
  EXPECT_TRUE(irqs_.messages.empty());
}

TEST_F(PciFunctionTest, MsixVectorsStartMasked) {
  EXPECT_EQ(bar().read32(kTable + 12), 1u);
  EXPECT_EQ(bar().read32(kTable + 28), 1u);
  EXPECT_EQ(bar().read64(kPba), 0u);
}

TEST_F(PciFunctionTest, AMaskedVectorIsPendingUntilUnmasked) {
  enable_msix();
  send(2);
  EXPECT_TRUE(irqs_.messages.empty());
  EXPECT_EQ(bar().read64(kPba), 4u);
  mask_vector(2, false);
  EXPECT_TRUE(irqs_.messages.empty()) << "not on the thread that unmasks";
  run();
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{2});
  EXPECT_EQ(bar().read64(kPba), 0u);
}

TEST_F(PciFunctionTest, TheFunctionMaskHoldsBackEveryVector) {
  enable_msix();
  msix_control(pci::msix::kControl["ENABLE"].mask() | pci::msix::kControl["MASK"].mask());
  send(0);
  send(0);
  EXPECT_EQ(bar().read64(kPba), 1u);
  msix_control(pci::msix::kControl["ENABLE"].mask());
  run();
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{0});
}

TEST_F(PciFunctionTest, MsixTableEntriesAreReadableAndPendingBitsAreNotWritable) {
  bar().write64(kTable + 16, 0xfee0'0003);
  bar().write64(kTable + 24, ~std::uint64_t{0});
  bar().write64(kPba, ~std::uint64_t{0});
  EXPECT_EQ(bar().read64(kTable + 16), 0xfee0'0000u);
  EXPECT_EQ(bar().read64(kTable + 24), 0x1'ffff'ffffu);
  EXPECT_EQ(bar().read64(kPba), 0u);
  EXPECT_EQ(gadget_->last_written, 0u);
}

TEST_F(PciFunctionTest, TheLineFollowsTheModelAndTheStatusBitAtOnce) {
  gadget_->set_intx(true);
  EXPECT_EQ(read(pci::kStatus.offset, 2), 0x0018u);
  gadget_->wake();
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
  gadget_->wake();
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
}

TEST_F(PciFunctionTest, ALineThatFellAndRoseBetweenTwoStepsIsToldTwice) {
  gadget_->set_intx(true);
  gadget_->wake();
  run();
  gadget_->set_intx(false);
  gadget_->set_intx(true);
  gadget_->wake();
  run();
  EXPECT_EQ(irqs_.levels, (std::vector<bool>{true, false, true}));
}

TEST_F(PciFunctionTest, ANewSinkHearsOfALineThatIsUp) {
  gadget_->set_intx(true);
  device_->set_irq_sink(nullptr);
  run();
  device_->set_irq_sink(&irqs_);
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
}

}  // namespace
}  // namespace softiommu
