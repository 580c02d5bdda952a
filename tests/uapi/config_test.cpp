// SPDX-License-Identifier: BSD-3-Clause
// Configuration space as a program sees it: what is virtual, what is written through, what is refused.
#include "hw/pci.h"
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

namespace pci = hw::pci;

class ConfigTest : public VfioTest {
 protected:
  void SetUp() override {
    VfioTest::SetUp();
    attach();
    device_ = open_device();
    ASSERT_GT(device_, 0);
  }
  template <typename T>
  T get(std::uint64_t offset) {
    return config<T>(device_, offset);
  }
  template <typename T>
  void set(std::uint64_t offset, T value) {
    set_config<T>(device_, offset, value);
  }
  PciFunction& function() { return *system_->device(kName)->function(); }
  int device_ = -1;
};

TEST_F(ConfigTest, IdsAreReadAndCannotBeWritten) {
  EXPECT_EQ(get<std::uint32_t>(0), 0x12341af4U);
  set<std::uint32_t>(0, 0);
  EXPECT_EQ(get<std::uint32_t>(0), 0x12341af4U);
}

TEST_F(ConfigTest, MasteringIsOffAndMemoryOnAtOpen) {
  EXPECT_EQ(get<std::uint16_t>(4) & 7, 3);
  set<std::uint16_t>(4, 6);
  EXPECT_TRUE(function().bus_master());
  EXPECT_EQ(get<std::uint16_t>(4) & 7, 6);
}

TEST_F(ConfigTest, AnAccessOutsideIsAFault) {
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, abi::kConfigRegion, 4096, &value), -EFAULT);
  EXPECT_EQ(read_region(device_, abi::kConfigRegion, 4094, &value), -EFAULT);
  EXPECT_EQ(program_[device_].pread(1, 4, at(abi::kConfigRegion, 0)), -EFAULT);
}

TEST_F(ConfigTest, AllOfItIsReadAtOnce) {
  std::vector<std::uint8_t> all(4096), one(4096);
  ASSERT_EQ(program_[device_].pread(reinterpret_cast<std::uint64_t>(all.data()), all.size(), at(abi::kConfigRegion, 0)),
            4096);
  for (std::size_t i = 0; i < one.size(); ++i) one[i] = get<std::uint8_t>(i);
  EXPECT_EQ(all, one);
}

TEST_F(ConfigTest, SizingABarWorksOnTheCopy) {
  const std::uint32_t address = function().config_read(0x10, 4);
  set<std::uint32_t>(0x10, 0xffffffff);
  set<std::uint32_t>(0x14, 0xffffffff);
  EXPECT_EQ(get<std::uint32_t>(0x10), 0xffffc00cU) << "16K, 64 bits, prefetchable";
  EXPECT_EQ(get<std::uint32_t>(0x14), 0xffffffffU);
  set<std::uint32_t>(0x18, 0xffffffff);
  EXPECT_EQ(get<std::uint32_t>(0x18), 0xfffff000U);
  set<std::uint32_t>(0x1c, 0xffffffff);
  EXPECT_EQ(get<std::uint32_t>(0x1c), 0xffffffe1U) << "32 bytes of I/O";
  set<std::uint32_t>(0x24, 0xffffffff);
  EXPECT_EQ(get<std::uint32_t>(0x24), 0U) << "the function has no such BAR";
  set<std::uint32_t>(0x30, 0xffffffff);
  EXPECT_EQ(get<std::uint32_t>(0x30), 0U) << "no ROM";
  EXPECT_EQ(function().config_read(0x10, 4), address) << "the hardware's BAR stays";
}

TEST_F(ConfigTest, InterruptLineIsForTheProgramAlone) {
  set<std::uint8_t>(0x3c, 0x2a);
  EXPECT_EQ(get<std::uint8_t>(0x3c), 0x2a);
  EXPECT_NE(function().config_read(0x3c, 1), 0x2aU);
  set<std::uint8_t>(0x3d, 3);
  EXPECT_EQ(get<std::uint8_t>(0x3d), 1);
}

TEST_F(ConfigTest, IntxDisableIsVirtual) {
  set<std::uint16_t>(4, 0x402);
  EXPECT_EQ(get<std::uint16_t>(4) & 0x400, 0x400);
  EXPECT_EQ(function().config_read(4, 2) & 0x400, 0U);
}

TEST_F(ConfigTest, MessagesAreEnabledByTheirIoctlOnly) {
  const unsigned msi = function().find_capability(pci::capability::kMsi);
  const unsigned msix = function().find_capability(pci::capability::kMsix);
  set<std::uint16_t>(msi + 2, 0x71);
  EXPECT_EQ(get<std::uint16_t>(msi + 2) & 0x71, 0) << "neither on nor with vectors";
  set<std::uint32_t>(msi + 4, 0xfee01000);
  EXPECT_EQ(get<std::uint32_t>(msi + 4), 0xfee01000U) << "the program's copy";
  EXPECT_EQ(function().config_read(msi + 4, 4), 0U);
  set<std::uint16_t>(msix + 2, 0x8000);
  EXPECT_EQ(get<std::uint16_t>(msix + 2) & 0xc000, 0);
}

TEST_F(ConfigTest, AFunctionLevelResetIsDoneForTheProgram) {
  const unsigned control = function().find_capability(pci::capability::kExpress) + 8;
  write_region(device_, 2, 8, std::uint32_t{0x1234});
  set<std::uint16_t>(4, 6);
  set<std::uint16_t>(control, 0x8000);
  EXPECT_EQ(get<std::uint16_t>(control) & 0x8000, 0);
  std::uint32_t value = 1;
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(value, 0U);
  EXPECT_EQ(get<std::uint16_t>(4) & 7, 6) << "the configuration is brought back";
}

TEST_F(ConfigTest, MaximumPayloadIsVirtual) {
  const unsigned control = function().find_capability(pci::capability::kExpress) + 8;
  const auto before = function().config_read(control, 2);
  set<std::uint16_t>(control, static_cast<std::uint16_t>(before ^ 0x20));
  EXPECT_EQ(get<std::uint16_t>(control) & 0xe0, (before ^ 0x20) & 0xe0);
  EXPECT_EQ(function().config_read(control, 2) & 0xe0, before & 0xe0);
}

TEST_F(ConfigTest, InD3hotMemoryIsGone) {
  const unsigned control = function().find_capability(pci::capability::kPowerManagement) + 4;
  set<std::uint16_t>(control, 3);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 2, 8, &value), -EIO);
  set<std::uint16_t>(control, 0);
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
}

TEST_F(ConfigTest, CapabilitiesAreListedAsTheyAre) {
  std::vector<unsigned> ids;
  for (unsigned at = get<std::uint8_t>(0x34); at != 0; at = get<std::uint8_t>(at + 1))
    ids.push_back(get<std::uint8_t>(at));
  EXPECT_EQ(ids.size(), 4U) << "power management, Express, MSI, MSI-X";
  EXPECT_EQ(get<std::uint32_t>(0x100) & 0xffff, 1U) << "error reporting";
}

}  // namespace
}  // namespace softiommu::test
