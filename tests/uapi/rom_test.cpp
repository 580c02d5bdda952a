// SPDX-License-Identifier: BSD-3-Clause
// The expansion ROM of a device, as VFIO shows it.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "uapi/rig.h"

namespace softiommu::test {
namespace {

class RomTest : public VfioTest {
 protected:
  static constexpr std::size_t kBytes = 5000;

  void SetUp() override {
    // Each test its own: they run side by side, and each takes its file away.
    const std::string path = testing::TempDir() + "softiommu-rom-" + std::to_string(::getpid());
    std::FILE* const file = std::fopen(path.c_str(), "wb");
    for (std::size_t i = 0; i < kBytes; ++i) std::fputc(static_cast<int>(i % 251), file);
    std::fclose(file);
    const auto spec = parse_machine(
        "[[iommu]]\nname = 'dmar0'\nmodel = 'intel-vtd'\n[[device]]\naddress = '00:02.0'\n"
        "model = 'edu'\nrom = '" +
            path + "'\n",
        "rom.toml");
    ASSERT_TRUE(spec) << spec.error().what;
    start_on(*spec);
    std::remove(path.c_str());
    attach();
    device_ = open_device();
    ASSERT_GT(device_, 0);
  }
  int device_ = -1;
};

TEST_F(RomTest, TheRegionIsAsLargeAsItsRegisterSays) {
  abi::RegionInfo info{.argsz = sizeof info, .index = abi::kRomRegion};
  ASSERT_EQ(call(device_, abi::kDeviceGetRegionInfo, &info), 0);
  EXPECT_EQ(info.size, 8192U);
  EXPECT_EQ(info.flags, abi::kRegionRead);
  set_config<std::uint32_t>(device_, 0x30, 0xffffffff);
  EXPECT_EQ(config<std::uint32_t>(device_, 0x30), 0xffffe001U);
}

TEST_F(RomTest, ItIsReadToItsEndAndOnesBehind) {
  std::vector<unsigned char> bytes(8192);
  const auto user = reinterpret_cast<std::uint64_t>(bytes.data());
  ASSERT_EQ(program_[device_].pread(user, 9000, at(abi::kRomRegion, 0)), 8192);
  for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], i < kBytes ? i % 251 : 0xff) << i;
  EXPECT_EQ(program_[device_].pread(user, 4, at(abi::kRomRegion, 300)), 4);
  EXPECT_EQ(bytes[0], 300 % 251);
  EXPECT_EQ(program_[device_].pread(user, 4, at(abi::kRomRegion, 8192)), -EINVAL);
}

TEST_F(RomTest, ItIsNeitherWrittenNorMapped) {
  EXPECT_EQ(write_region(device_, abi::kRomRegion, 0, std::uint32_t{1}), -EINVAL);
  MmapPlan plan;
  EXPECT_EQ(program_[device_].mmap(abi::region_offset(abi::kRomRegion), kPageSize, PROT_READ, MAP_SHARED, plan),
            -EINVAL);
}

TEST_F(RomTest, AFileThatIsNotThereIsNoMachine) {
  const auto spec = parse_machine("[[device]]\naddress = '00:02.0'\nmodel = 'edu'\nrom = '/nonexistent'\n", "rom.toml");
  ASSERT_TRUE(spec);
  EXPECT_EQ(Machine::create(*spec, {}).error().code, EINVAL);
}

}  // namespace
}  // namespace softiommu::test
