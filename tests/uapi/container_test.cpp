// SPDX-License-Identifier: BSD-3-Clause
// GET_API_VERSION, CHECK_EXTENSION, SET_IOMMU, IOMMU_GET_INFO.
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

using Extension = abi::Extension;

class ContainerTest : public VfioTest {
 protected:
  long has(Extension extension) {
    return call(container_, abi::kCheckExtension, static_cast<std::uint64_t>(extension));
  }
  long set_iommu(Extension type) { return call(container_, abi::kSetIommu, static_cast<std::uint64_t>(type)); }
};

TEST_F(ContainerTest, TheVersionIsZero) {
  container_ = open_container();
  EXPECT_EQ(call(container_, abi::kGetApiVersion), 0);
}

TEST_F(ContainerTest, ExtensionsAreType1AndItsOwn) {
  container_ = open_container();
  EXPECT_EQ(has(Extension::type1), 1);
  EXPECT_EQ(has(Extension::type1_v2), 1);
  EXPECT_EQ(has(Extension::unmap_all), 1);
  EXPECT_EQ(has(Extension::type1_nesting), 0);
  EXPECT_EQ(has(Extension::noiommu), 0);
  EXPECT_EQ(has(Extension::update_vaddr), 0) << "only with an IOMMU";
  EXPECT_EQ(has(Extension::dma_cc), 0) << "only with an IOMMU";
  EXPECT_EQ(has(static_cast<Extension>(99)), 0);
}

TEST_F(ContainerTest, CoherencyIsToldOnceThereIsAnIommu) {
  attach();
  EXPECT_EQ(has(Extension::dma_cc),
            system_->device(kName)->driver()->can_enforce_cache_coherency(*system_->device(kName)));
  EXPECT_EQ(has(Extension::update_vaddr), 1);
}

TEST_F(ContainerTest, AnIommuNeedsAGroupFirst) {
  container_ = open_container();
  EXPECT_EQ(set_iommu(Extension::type1_v2), -EINVAL);
}

TEST_F(ContainerTest, AnUnknownIommuIsNoDeviceAndASecondOneIsInvalid) {
  container_ = open_container();
  group_ = open_group(kName);
  ASSERT_EQ(set_container(group_, container_), 0);
  EXPECT_EQ(set_iommu(Extension::noiommu), -ENODEV);
  EXPECT_EQ(set_iommu(Extension::unmap_all), -EINVAL);
  EXPECT_EQ(set_iommu(Extension::type1), 0);
  EXPECT_EQ(set_iommu(Extension::type1), -EINVAL);
}

TEST_F(ContainerTest, BeforeTheIommuOtherCommandsAreInvalidAndThenUnknownOnesAreNotTty) {
  container_ = open_container();
  abi::Type1Info info{.argsz = sizeof info};
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, &info), -EINVAL);
  EXPECT_EQ(call(container_, 0x1234), -EINVAL);
  attach();
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, &info), 0);
  EXPECT_EQ(call(container_, 0x1234), -ENOTTY);
  EXPECT_EQ(call(container_, abi::command(15)), -ENOTTY);
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, std::uint64_t{16}), -EFAULT);
}

TEST_F(ContainerTest, InterruptsThatAreNotIsolatedNeedTheWayOut) {
  start({}, "isolated_msi = false");
  container_ = open_container();
  group_ = open_group(kName);
  ASSERT_EQ(set_container(group_, container_), 0);
  EXPECT_EQ(set_iommu(Extension::type1_v2), -EPERM);
  start({.memlock = {}, .dma_entry_limit = 65535, .allow_unsafe_interrupts = true}, "isolated_msi = false");
  attach();
}

TEST_F(ContainerTest, WithTheLastGroupTheIommuGoes) {
  attach();
  Pages pages(1);
  ASSERT_EQ(map(0x10000, pages.address(), 4096), 0);
  EXPECT_EQ(locked_pages(), 1U);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), 0);
  EXPECT_EQ(locked_pages(), 0U);
  EXPECT_EQ(map(0x10000, pages.address(), 4096), -EINVAL);
}

TEST_F(ContainerTest, TheContainerLivesAsLongAsAGroupInIt) {
  attach();
  Pages pages(1);
  pages.at()[0] = 'x';
  ASSERT_EQ(map(0x10000, pages.address(), 4096), 0);
  program_.close(container_);
  EXPECT_EQ(dma_read(0x10000), 'x');
}

TEST_F(ContainerTest, InfoFillsWhatTheCallerHasRoomFor) {
  attach();
  abi::Type1Info info{.argsz = 15};
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, &info), -EINVAL);
  info = {.argsz = abi::kType1InfoMinimum, .cap_offset = 77};
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, &info), 0);
  EXPECT_EQ(info.flags, abi::kInfoPgsizes | abi::kInfoCaps);
  EXPECT_EQ(info.cap_offset, 77U) << "beyond what an old program has";
  EXPECT_NE(info.iova_pgsizes & kPageSize, 0U);
  info = {.argsz = sizeof info, .cap_offset = 77};
  EXPECT_EQ(call(container_, abi::kIommuGetInfo, &info), 0);
  EXPECT_EQ(info.cap_offset, 0U) << "no room for the chain";
  EXPECT_GT(info.argsz, sizeof info);
}

TEST_F(ContainerTest, TheChainHoldsRangesLimitsAndWhatIsLeft) {
  attach();
  Pages pages(1);
  ASSERT_EQ(map(0x10000, pages.address(), 4096), 0);
  alignas(8) char buffer[512] = {};
  auto* const info = reinterpret_cast<abi::Type1Info*>(buffer);
  info->argsz = sizeof buffer;
  ASSERT_EQ(call(container_, abi::kIommuGetInfo, info), 0);
  std::map<unsigned, std::uint32_t> where;
  for (std::uint32_t at = info->cap_offset; at != 0;) {
    abi::CapHeader header;
    std::memcpy(&header, buffer + at, sizeof header);
    EXPECT_EQ(header.version, 1);
    where[header.id] = at;
    at = header.next;
  }
  ASSERT_EQ(where.size(), 3U);
  abi::CapDmaAvail avail;
  std::memcpy(&avail, buffer + where[abi::kInfoCapDmaAvail], sizeof avail);
  EXPECT_EQ(avail.avail, 65534U);
  abi::CapMigration migration;
  std::memcpy(&migration, buffer + where[abi::kInfoCapMigration], sizeof migration);
  EXPECT_EQ(migration.pgsize_bitmap, kPageSize);
  EXPECT_EQ(migration.max_dirty_bitmap_size, abi::kDirtyBitmapMost);
  abi::CapIovaRange ranges;
  std::memcpy(&ranges, buffer + where[abi::kInfoCapIovaRange], sizeof ranges);
  ASSERT_EQ(ranges.nr_iovas, 2U) << "below and above the interrupt window";
  abi::IovaRangeEntry low;
  std::memcpy(&low, buffer + where[abi::kInfoCapIovaRange] + sizeof ranges, sizeof low);
  EXPECT_EQ(low.start, 0U);
  EXPECT_EQ(low.end, 0xfedfffffU);
}

}  // namespace
}  // namespace softiommu::test
