// SPDX-License-Identifier: BSD-3-Clause
// The mock IOMMU: devices that come and go, and page tables with pages that are smaller than the CPU's.
#include "drivers/mock.h"

#include <gtest/gtest.h>

#include "core/user_data.h"
#include "drivers/registry.h"

namespace softiommu::mock {
namespace {

class MockDriverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    machine_ = *Machine::create(*parse_machine(default_machine_toml(), "default"), {});
    system_ = *System::create(*machine_, all_drivers(), {});
    auto driver = std::make_unique<MockDriver>(machine_->memory().tables());
    driver_ = driver.get();
    system_->add_driver(std::move(driver));
  }
  std::unique_ptr<PluggedDevice> plug(std::uint32_t flags = 0) { return *driver_->add_device(*system_, flags); }
  std::unique_ptr<Domain> domain(PluggedDevice& device, const DomainRequest& request = {}) {
    auto made = system_->allocate_domain(device.group(), request);
    EXPECT_TRUE(made);
    return made ? std::move(*made) : nullptr;
  }
  static constexpr Iova kFirst{abi::kApertureFirst};
  static constexpr PhysAddr kMemory{std::uint64_t{5} << 30};
  static constexpr Prot kBoth{.read = true, .write = true};

  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  MockDriver* driver_ = nullptr;
};

TEST_F(MockDriverTest, ADeviceComesWithAGroupOfItsOwn) {
  const std::size_t groups = system_->groups().size(), devices = system_->devices().size();
  const auto one = plug(), two = plug();
  EXPECT_NE(one->group().id(), two->group().id());
  EXPECT_EQ(one->device().group(), &one->group());
  EXPECT_EQ(system_->group(one->group().id()), nullptr) << "the boot's groups stay those of the boot";
  EXPECT_EQ(system_->groups().size(), groups);
  EXPECT_EQ(system_->devices().size(), devices);
  EXPECT_EQ(one->group().domain()->type(), DomainType::blocked) << "until it is attached";
}

TEST_F(MockDriverTest, NamesAndGroupsAreNotUsedAgain) {
  const unsigned group = plug()->group().id();
  const auto next = plug();
  EXPECT_EQ(next->group().id(), group + 1);
  EXPECT_EQ(next->device().name(), "iommufd_mock1");
}

TEST_F(MockDriverTest, UnknownFlagsAreRefused) {
  EXPECT_EQ(driver_->add_device(*system_, 1 << 1).error().code, EINVAL);
}

TEST_F(MockDriverTest, ADomainServesAllItsDevices) {
  const auto one = plug(), two = plug();
  const auto shared = domain(*one);
  EXPECT_TRUE(one->group().attach(*shared));
  EXPECT_TRUE(two->group().attach(*shared));
  one->group().detach();
  two->group().detach();
}

TEST_F(MockDriverTest, AnotherDriversDomainNeverReachesIt) {
  const auto device = plug();
  const auto foreign = system_->allocate_domain(*system_->groups().front());
  ASSERT_TRUE(foreign);
  EXPECT_EQ(device->group().attach(**foreign).error().failure, AttachFailure::incompatible);
}

TEST_F(MockDriverTest, ADeviceWithoutDirtyTrackingFitsNoDomainThatTracks) {
  const auto able = plug(), unable = plug(abi::kDeviceNoDirty);
  const auto tracking = domain(*able, {.dirty_tracking = true});
  EXPECT_EQ(unable->group().attach(*tracking).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(system_->allocate_domain(unable->group(), {.dirty_tracking = true}).error().code, EOPNOTSUPP);
}

TEST_F(MockDriverTest, PagesAreHalfAsLargeAsTheCpus) {
  const auto device = plug();
  const auto made = domain(*device);
  EXPECT_EQ(made->page_sizes() & (~made->page_sizes() + 1), abi::kPage);
  ASSERT_TRUE(made->map(kFirst + 2048, kMemory + 6144, 2048, kBoth));
  EXPECT_EQ(made->iova_to_phys(kFirst + 2049), kMemory + 6145);
  EXPECT_FALSE(made->iova_to_phys(kFirst));
  EXPECT_FALSE(made->iova_to_phys(kFirst + 4096));
  EXPECT_EQ(made->unmap(kFirst + 2048, 2048), 2048U);
}

TEST_F(MockDriverTest, ItsApertureIsSmall) {
  const auto device = plug();
  const auto made = domain(*device);
  EXPECT_EQ(made->aperture(), (IovaRange{kFirst, Iova{abi::kApertureLast}}));
  EXPECT_EQ(made->map(kFirst - 4096, kMemory, 4096, kBoth).error().code, EINVAL);
  EXPECT_TRUE(made->map(Iova{abi::kApertureLast} - 4095, kMemory, 4096, kBoth));
  made->unmap(made->aperture().first, made->aperture().bytes());
}

TEST_F(MockDriverTest, WritesLeaveTheirPageDirtyOnce) {
  const auto device = plug();
  const auto made = domain(*device, {.dirty_tracking = true});
  auto& mock = dynamic_cast<MockDomain&>(*made);
  for (unsigned page = 0; page < 4; ++page)
    ASSERT_TRUE(made->map(kFirst + page * 2048, kMemory + page * 2048, 2048, kBoth));
  ASSERT_TRUE(made->set_dirty_tracking(true));
  mock.set_dirty(kFirst + 3 * 2048 - 1);
  mock.set_dirty(kFirst + 4 * 2048);  // nothing is mapped there
  std::vector<std::uint64_t> found;
  const auto read = [&](bool clear) {
    found.clear();
    return made->read_dirty(made->aperture(), clear, [&](Iova first, std::uint64_t bytes) {
      found.insert(found.end(), {first - kFirst, bytes});
    });
  };
  ASSERT_TRUE(read(true));
  EXPECT_EQ(found, (std::vector<std::uint64_t>{4096, 2048}));
  ASSERT_TRUE(read(true));
  EXPECT_TRUE(found.empty());
  made->unmap(made->aperture().first, made->aperture().bytes());
}

TEST_F(MockDriverTest, ADomainThatWasNotMadeForItTracksNothing) {
  const auto device = plug();
  EXPECT_EQ(domain(*device)->set_dirty_tracking(true).error().code, EOPNOTSUPP);
}

TEST_F(MockDriverTest, ItSaysWhatItIs) {
  const auto device = plug();
  const HardwareInfo info = driver_->hardware_info(device->device());
  EXPECT_EQ(info.type, abi::kHwInfoType);
  EXPECT_EQ(info.bytes, sizeof(abi::HwInfo));
}

}  // namespace
}  // namespace softiommu::mock
