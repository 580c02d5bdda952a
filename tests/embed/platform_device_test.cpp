// SPDX-License-Identifier: BSD-3-Clause
// Platform devices through the public library alone.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>

#include "softiommu/softiommu.h"

namespace {

constexpr std::string_view kBoard = R"toml(
[memory]
top = "4G"
table_arena = "256M"
[[iommu]]
name = "mmu"
model = "rockchip-iommu"
[[platform_device]]
name = "ff900000.vop"
)toml";
constexpr std::uint64_t kIova = 0x1000'0000, kPage = 4096;
// Its registers: docs/hardware/platform_dma.md.
constexpr std::uint64_t kSource = 0x10, kDestination = 0x18, kCount = 0x20, kCommand = 0x24, kStatus = 0x28;

alignas(kPage) std::array<std::byte, 2 * kPage> memory;

void start_copy(softiommu::api::Device& device, std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
  device.enable();
  device.write(0, kSource, 8, from);
  device.write(0, kDestination, 8, to);
  device.write(0, kCount, 4, bytes);
  device.write(0, kCommand, 4, 1);
}

class PlatformDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = softiommu::api::Computer::parse(kBoard);
    ASSERT_TRUE(made) << made.error().why;
    computer_ = *std::move(made);
    device_ = computer_->device("ff900000.vop");
    ASSERT_NE(device_, nullptr);
    std::memset(memory.data(), 'x', memory.size());
  }
  std::unique_ptr<softiommu::api::Computer> computer_;
  softiommu::api::Device* device_ = nullptr;
};

TEST_F(PlatformDevice, IsAmongTheDevicesAndHasOneWindowOfRegisters) {
  EXPECT_EQ(computer_->device_names(), std::vector<std::string>{"ff900000.vop"});
  EXPECT_EQ(device_->read(0, 0, 4), 0x0100'5d3au);
  EXPECT_EQ(device_->read(1, 0, 4), ~std::uint64_t{0});
  EXPECT_EQ(device_->config_read(0, 4), ~std::uint32_t{0});
}

TEST_F(PlatformDevice, CopiesThroughItsIommuWhereItIsAttached) {
  const auto space = computer_->make_address_space();
  ASSERT_TRUE(space->attach(*device_));
  ASSERT_TRUE(space->map(kIova, memory.data(), memory.size()));
  memory[5] = std::byte{'!'};
  start_copy(*device_, kIova, kIova + kPage, 16);
  computer_->run();
  EXPECT_EQ(device_->read(0, kStatus, 4), 1u);
  EXPECT_EQ(memory[kPage + 5], std::byte{'!'});
}

TEST_F(PlatformDevice, ReachesNothingWhereItIsNot) {
  const auto space = computer_->make_address_space();
  ASSERT_TRUE(space->attach(*device_));
  std::byte byte{};
  EXPECT_FALSE(device_->dma_read(kIova, {&byte, 1}));
  ASSERT_TRUE(space->map(kIova, memory.data(), kPage));
  EXPECT_TRUE(device_->dma_read(kIova, {&byte, 1}));
  EXPECT_EQ(byte, std::byte{'x'});
  ASSERT_TRUE(space->unmap(kIova));
  EXPECT_FALSE(device_->dma_write(kIova, {&byte, 1}));
}

// Programs find no files for them (docs/machine-file.md): the library is their way, on every machine that has any.
TEST(EveryMachine, ItsPlatformDevicesCopyThroughTheirIommus) {
  constexpr std::uint64_t kEverywhere = 0x5810'0000;  // within a GART's window
  unsigned copied = 0;
  for (const auto& file : std::filesystem::directory_iterator(SOFTIOMMU_SOURCE_DIR "/machines")) {
    const auto computer = softiommu::api::Computer::load(file.path());
    ASSERT_TRUE(computer) << computer.error().why;
    for (const std::string& name : (*computer)->device_names()) {
      if (name.find(':') != std::string::npos) continue;  // PCI
      SCOPED_TRACE(file.path().filename().string() + " " + name);
      softiommu::api::Device& device = *(*computer)->device(name);
      const auto space = (*computer)->make_address_space();
      ASSERT_TRUE(space->attach(device));
      ASSERT_TRUE(space->map(kEverywhere, memory.data(), memory.size()));
      std::memset(memory.data(), static_cast<int>('a' + copied % 26), kPage);
      start_copy(device, kEverywhere, kEverywhere + kPage, kPage);
      (*computer)->run();
      EXPECT_EQ(device.read(0, kStatus, 4), 1u);
      EXPECT_EQ(std::memcmp(memory.data(), memory.data() + kPage, kPage), 0);
      ++copied;
    }
  }
  EXPECT_GE(copied, 17u);
}

}  // namespace
