// SPDX-License-Identifier: BSD-3-Clause
// Groups join one container by ioctl: how many domains there are, what the search cost, and that every device reaches
// by DMA what was mapped before and after its group came, and nothing else.
#include "ioas/search_rows.h"
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

using testing::SearchRow;

class ContainerSearch : public VfioTest, public ::testing::WithParamInterface<SearchRow> {
 protected:
  static constexpr std::size_t kPages = 32;

  void SetUp() override {
    start_on(testing::search_machine(GetParam().machine), {}, GetParam().rules);
    system_->journal().clear();
  }
  // The first group brings the container its IOMMU: nothing can be mapped before.
  void join(std::string_view device) {
    if (joined_.empty()) {
      attach(abi::Extension::type1_v2, std::string(device));
    } else {
      ASSERT_EQ(add(std::string(device)), 0) << device;
    }
    joined_.emplace_back(device);
  }
  void join_all() {
    for (const std::string_view device : GetParam().devices) ASSERT_NO_FATAL_FAILURE(join(device));
  }
  void join_all_with_mappings_between() {
    for (const std::string_view device : GetParam().devices) {
      ASSERT_NO_FATAL_FAILURE(join(device));
      ASSERT_EQ(wrong(), "") << "after " << device << " came";
      map_next();
      ASSERT_EQ(wrong(), "") << "after the mapping that followed " << device;
    }
  }
  static std::uint64_t iova(std::size_t page) { return kGiB + page * 2 * kMiB; }
  void map_next() {
    ASSERT_EQ(map(iova(mapped_.size()), pages_.address() + mapped_.size() * kPageSize, kPageSize), 0);
    mapped_.push_back(true);
  }
  // A byte that the device writes and one that it reads, never the ones of the last time.
  bool reaches(const std::string& device, std::size_t page) {
    char* const bytes = pages_.at(page * kPageSize);
    const char written = next_letter(), told = next_letter();
    bytes[1] = told;
    return dma_write(iova(page), written, device) && bytes[0] == written && dma_read(iova(page) + 1, device) == told;
  }
  bool is_refused(const std::string& device, std::size_t page) {
    return dma_read(iova(page), device) == '-' && !dma_write(iova(page), 'x', device);
  }
  std::string wrong() {
    std::string text;
    for (const std::string& device : joined_) {
      for (std::size_t page = 0; page <= mapped_.size(); ++page) {  // the last one was never mapped
        const bool is_mapped = page < mapped_.size() && mapped_[page];
        if (is_mapped ? !reaches(device, page) : !is_refused(device, page))
          text += device + "/" + std::to_string(page) + " ";
      }
    }
    return text;
  }
  char next_letter() {
    letter_ = letter_ == 'Z' ? 'A' : static_cast<char>(letter_ + 1);
    return letter_;
  }
  std::uint64_t table_pages() { return machine_->memory().tables().allocated_pages(); }

  Pages pages_{kPages};
  std::vector<std::string> joined_;
  std::vector<bool> mapped_;
  char letter_ = 'Z';
};

INSTANTIATE_TEST_SUITE_P(Machines, ContainerSearch, ::testing::ValuesIn(testing::search_rows()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(ContainerSearch, MakesAsManyDomainsAndAttachesAsThePropertiesAsk) {
  join_all();
  EXPECT_EQ(testing::search_cost(*system_, GetParam().devices), GetParam().cost);
}

TEST_P(ContainerSearch, GroupsThatAreThereBeforeTheIommuAreSearchedForAlike) {
  container_ = open_container();
  for (const std::string_view device : GetParam().devices)
    ASSERT_EQ(set_container(open_group(std::string(device)), container_), 0);
  ASSERT_EQ(call(container_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1_v2)), 0);
  EXPECT_EQ(testing::search_cost(*system_, GetParam().devices), GetParam().cost);
}

TEST_P(ContainerSearch, MappingsMadeBeforeAndAfterEachAttachReachEveryDevice) {
  join_all_with_mappings_between();
  EXPECT_EQ(testing::search_cost(*system_, GetParam().devices), GetParam().cost);
}

TEST_P(ContainerSearch, WhatIsUnmappedIsRefusedToEveryDevice) {
  join_all_with_mappings_between();
  ASSERT_EQ(unmap(iova(1), kPageSize), std::pair(0L, kPageSize));
  mapped_[1] = false;
  EXPECT_EQ(wrong(), "");
  ASSERT_EQ(unmap(0, 0, abi::kUnmapAll).first, 0);
  mapped_.assign(mapped_.size(), false);
  EXPECT_EQ(wrong(), "");
}

TEST_P(ContainerSearch, PageTablesAreCountedOncePerDomain) {
  join(GetParam().devices.front());
  const std::uint64_t none = table_pages();
  for (int i = 0; i < 8; ++i) map_next();
  const std::uint64_t first = table_pages() - none;
  for (std::size_t i = 1; i < GetParam().devices.size(); ++i) join(GetParam().devices[i]);
  EXPECT_GE(first, mapped_.size());
  if (GetParam().cost.domains == 1) {
    EXPECT_EQ(table_pages() - none, first);
  } else {
    EXPECT_GE(table_pages() - none, 2 * first);
  }
}

}  // namespace
}  // namespace softiommu::test
