// SPDX-License-Identifier: BSD-3-Clause
// HWPT_INVALIDATE: entries are done one by one, and how many were is told whatever happened.
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class InvalidateTest : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
    nested_ = nested(device_, parent_);
    viommu_ = static_cast<std::uint32_t>(viommu(device_, parent_));
    EXPECT_GT(vdevice(viommu_, device_, 0x99), 0);
  }
  template <class Entry>
  fd::HwptInvalidate request_of(std::uint32_t id, const std::vector<Entry>& entries) {
    return {0, id, address(entries.data()), 0xdeadbeef, sizeof(Entry), static_cast<std::uint32_t>(entries.size()), 0};
  }
  // The answer, and how many were done.
  using Answer = std::pair<long, std::uint32_t>;
  Answer invalidate(fd::HwptInvalidate request) {
    const long answer = command(fd::kHwptInvalidate, request);
    return {answer, request.entry_num};
  }
  Answer forget(std::vector<mabi::HwptInvalidate> entries) { return invalidate(request_of(nested_, entries)); }
  Answer forget(std::vector<mabi::ViommuInvalidate> entries) { return invalidate(request_of(viommu_, entries)); }

  MockDevice device_;
  std::uint32_t parent_ = 0, nested_ = 0, viommu_ = 0;
};

TEST_F(InvalidateTest, ForgetsTheEntriesThatAreNamed) {
  EXPECT_EQ(forget(std::vector<mabi::HwptInvalidate>{{0, 0}, {0, 2}}), Answer(0, 2));
  EXPECT_TRUE(iotlb_is(nested_, 0, 0) && iotlb_is(nested_, 2, 0));
  EXPECT_TRUE(iotlb_is(nested_, 1, kIotlb) && iotlb_is(nested_, 3, kIotlb));
}

TEST_F(InvalidateTest, StopsAtTheFirstThatFails) {
  EXPECT_EQ(forget(std::vector<mabi::HwptInvalidate>{{0, 0}, {2, 1}, {0, 2}}), Answer(-EOPNOTSUPP, 1));
  EXPECT_EQ(forget(std::vector<mabi::HwptInvalidate>{{0, 0}, {0, 4}}), Answer(-EINVAL, 1));
  EXPECT_TRUE(iotlb_is(nested_, 2, kIotlb));
}

TEST_F(InvalidateTest, WithoutEntriesOnlyTheTypeIsJudged) {
  fd::HwptInvalidate request = request_of(nested_, std::vector<mabi::HwptInvalidate>{});
  EXPECT_EQ(invalidate(request), Answer(0, 0));
  request.data_type = 1;
  EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0));
}

TEST_F(InvalidateTest, EntriesAreBoundedAsOnLinux) {
  std::vector<mabi::HwptInvalidate> entries{{0, 0}};
  fd::HwptInvalidate request = request_of(nested_, entries);
  request.entry_len = 0;
  EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0));
  request.entry_len = kPageSize + 1;
  EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0));
  request = request_of(nested_, entries);
  request.entry_num = (1u << 19) + 1;
  EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0));
  request = request_of(nested_, entries);
  request.data_uptr = 0;
  EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0));
  request.data_uptr = 8;
  EXPECT_EQ(invalidate(request), Answer(-EFAULT, 0));
}

TEST_F(InvalidateTest, EntriesOfANestedPageTableHaveOneLength) {
  std::vector<mabi::HwptInvalidate> entries(4);
  fd::HwptInvalidate request = request_of(nested_, entries);
  request.entry_num = 1;
  for (const std::uint32_t length : {1u, 7u, 9u}) {
    request.entry_len = length;
    EXPECT_EQ(invalidate(request), Answer(-EINVAL, 0)) << length;
  }
}

TEST_F(InvalidateTest, EntriesOfAVirtualIommuMayBeLongerByZeros) {
  struct Long {
    mabi::ViommuInvalidate known;
    std::uint32_t more;
  };
  EXPECT_EQ(invalidate(request_of(viommu_, std::vector<Long>{{{0, 0x99, 1}, 0}})), Answer(0, 1));
  EXPECT_TRUE(cache_is(device_, 1, 0));
  EXPECT_EQ(invalidate(request_of(viommu_, std::vector<Long>{{{0, 0x99, 2}, 5}})), Answer(-E2BIG, 0));
  EXPECT_FALSE(cache_is(device_, 2, 0));
}

TEST_F(InvalidateTest, ReadsManyEntriesInPiecesAndCountsAll) {
  std::vector<mabi::HwptInvalidate> entries(10'000, {0, 3});
  entries.back() = {0, 1};
  EXPECT_EQ(forget(entries), Answer(0, 10'000));
  EXPECT_TRUE(iotlb_is(nested_, 1, 0));
  entries[9'000] = {0, 9};
  EXPECT_EQ(forget(entries), Answer(-EINVAL, 9'000));
}

TEST_F(InvalidateTest, DoesWhatCanBeReadBeforeBadMemory) {
  Pages pages(2);
  mprotect(pages.at(kPageSize), kPageSize, PROT_NONE);
  const std::size_t count = 4;
  auto* const entries = reinterpret_cast<mabi::HwptInvalidate*>(pages.at(kPageSize)) - count;
  for (std::uint32_t i = 0; i < count; ++i) entries[i] = {0, i};
  const fd::HwptInvalidate request{0, nested_, address(entries), 0xdeadbeef, sizeof *entries, count + 2, 0};
  EXPECT_EQ(invalidate(request), Answer(-EFAULT, count));
  EXPECT_TRUE(iotlb_is(nested_, 3, 0));
}

TEST_F(InvalidateTest, NamesDevicesAsTheGuestDoes) {
  EXPECT_EQ(forget(std::vector<mabi::ViommuInvalidate>{{0, 0x98, 0}}), Answer(-EINVAL, 0)) << "no such name";
  EXPECT_EQ(forget(std::vector<mabi::ViommuInvalidate>{{0, 0x99, 4}}), Answer(-EINVAL, 0)) << "no such cache";
  EXPECT_EQ(forget(std::vector<mabi::ViommuInvalidate>{{mabi::kInvalidateAll, 0x99, 0}}), Answer(0, 1));
  for (unsigned cache = 0; cache < mabi::kDeviceCaches; ++cache) EXPECT_TRUE(cache_is(device_, cache, 0));
}

TEST_F(InvalidateTest, IsNotForAddressSpacesAndTheirPageTables) {
  const std::vector<mabi::HwptInvalidate> entries{{0, 0}};
  for (const std::uint32_t id : {ioas_, parent_, device_.id})
    EXPECT_EQ(invalidate(request_of(id, entries)), Answer(-EINVAL, 0));
}

}  // namespace
}  // namespace softiommu::test
