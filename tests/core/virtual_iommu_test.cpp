// SPDX-License-Identifier: BSD-3-Clause
#include "core/virtual_iommu.h"

#include <gtest/gtest.h>

#include "core/device.h"

namespace softiommu {
namespace {

class NoOwner final : public VirtualIommuOwner {
 public:
  Result<std::uint64_t> offer_mmap(std::shared_ptr<SharedMemory>) override { return fail(ENOMEM, "no"); }
  Result<> report(std::uint32_t, std::span<const std::byte>) override { return fail(EOPNOTSUPP, "no"); }
};

// Refuses one name, and notices whether it is reserved while it is asked.
class Picky final : public VirtualIommu {
 public:
  using VirtualIommu::VirtualIommu;
  Result<std::unique_ptr<VirtualDevice>> make_device(const Device& device, std::uint64_t id) override {
    if (id == 13) return fail(EIO, "not this name");
    seen_while_asked = with_device(id, [](const Device&) {}).has_value();
    return VirtualIommu::make_device(device, id);
  }
  bool seen_while_asked = true;
};

class DeviceNames : public ::testing::Test {
 protected:
  NoOwner owner_;
  Picky viommu_{owner_};
  Device first_{"first", nullptr, {1}, 0}, second_{"second", nullptr, {2}, 1};
};

TEST_F(DeviceNames, LeadToTheirDeviceAndBack) {
  ASSERT_TRUE(viommu_.add_device(first_, 0x99));
  EXPECT_EQ(viommu_.virtual_id(first_), 0x99u);
  const Device* found = nullptr;
  ASSERT_TRUE(viommu_.with_device(0x99, [&](const Device& device) { found = &device; }));
  EXPECT_EQ(found, &first_);
}

TEST_F(DeviceNames, AreGivenOnce) {
  ASSERT_TRUE(viommu_.add_device(first_, 0x99));
  EXPECT_EQ(viommu_.add_device(second_, 0x99).error().code, EEXIST);
  EXPECT_EQ(viommu_.virtual_id(second_), std::nullopt);
}

TEST_F(DeviceNames, MayBeZeroAndMayBeTheLargest) {
  EXPECT_TRUE(viommu_.add_device(first_, 0));
  EXPECT_TRUE(viommu_.add_device(second_, ~std::uint64_t{0}));
}

TEST_F(DeviceNames, ThatTheDriverRefusesAreFreeAgain) {
  EXPECT_EQ(viommu_.add_device(first_, 13).error().code, EIO);
  EXPECT_EQ(viommu_.add_device(first_, 13).error().code, EIO) << "not EEXIST";
}

TEST_F(DeviceNames, MeanNothingBeforeTheDriverHasAcceptedThem) {
  ASSERT_TRUE(viommu_.add_device(first_, 1));
  EXPECT_FALSE(viommu_.seen_while_asked);
}

TEST_F(DeviceNames, ThatWereRemovedMeanNothing) {
  ASSERT_TRUE(viommu_.add_device(first_, 0x99));
  viommu_.remove_device(0x99);
  EXPECT_EQ(viommu_.with_device(0x99, [](const Device&) {}).error().code, EINVAL);
  EXPECT_TRUE(viommu_.add_device(second_, 0x99));
}

}  // namespace
}  // namespace softiommu
