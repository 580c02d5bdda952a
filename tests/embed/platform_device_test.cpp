// SPDX-License-Identifier: BSD-3-Clause
// Platform devices through the public library alone.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstring>

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
  device_->enable();
  device_->write(0, kSource, 8, kIova);
  device_->write(0, kDestination, 8, kIova + kPage);
  device_->write(0, kCount, 4, 16);
  device_->write(0, kCommand, 4, 1);
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

}  // namespace
