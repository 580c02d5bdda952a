// SPDX-License-Identifier: BSD-3-Clause
// Groups join one address space: how many domains there are afterwards, what the search cost, and that every device
// reaches what was mapped before and after it came, byte by byte, and nothing else.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <memory>

#include "drivers/registry.h"
#include "ioas/address_space.h"
#include "ioas/search_rows.h"
#include "machine/machine.h"

namespace softiommu::testing {
namespace {

class AddressSpaceSearch : public ::testing::TestWithParam<SearchRow> {
 protected:
  static constexpr std::size_t kPages = 32;

  void SetUp() override {
    void* const mapped = mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    memory_ = static_cast<std::byte*>(mapped);
    auto machine = Machine::create(search_machine(GetParam().machine), {.time = Executor::Time::virtual_time});
    ASSERT_TRUE(machine) << machine.error().why;
    machine_ = *std::move(machine);
    auto system = System::create(*machine_, all_drivers(), {.rules = GetParam().rules});
    ASSERT_TRUE(system) << system.error().why;
    system_ = *std::move(system);
    space_ = std::make_unique<AddressSpace>(*system_, locked_, MemlockLimit{});
    for (const std::string_view device : GetParam().devices) ASSERT_TRUE(group(device).claim_dma_owner(this));
    system_->journal().clear();
  }
  void TearDown() override {
    space_.reset();
    EXPECT_EQ(locked_.pages(), 0u);
    if (system_)
      for (const std::string_view device : GetParam().devices) group(device).release_dma_owner();
    system_.reset();
    machine_.reset();
    munmap(memory_, kPages * kPageSize);
  }

  Group& group(std::string_view device) { return *system_->device(device)->group(); }
  void join(std::string_view device) {
    const auto joined = space_->attach(group(device), group(device).reserved_regions().value());
    ASSERT_TRUE(joined) << device << ": " << joined.error().reason.property;
    joined_.push_back(device);
  }
  // Pages are 2 MiB apart, so that each needs a table of its own.
  static Iova iova(std::size_t page) { return Iova{kGiB + page * 2 * kMiB}; }
  std::byte* bytes(std::size_t page) const { return memory_ + page * kPageSize; }
  void map_next() {
    const auto range = IovaRange::of(iova(mapped_.size()), kPageSize);
    ASSERT_LT(mapped_.size(), kPages);
    ASSERT_TRUE(
        space_->map(range, reinterpret_cast<std::uint64_t>(bytes(mapped_.size())), {.read = true, .write = true}));
    mapped_.push_back(true);
  }
  void unmap(std::size_t page) {
    space_->unmap(space_->areas().seek(iova(page)));
    mapped_[page] = false;
  }
  void join_all_with_a_mapping_before_and_after_each() {
    for (const std::string_view device : GetParam().devices) {
      map_next();
      join(device);
      ASSERT_EQ(wrong(), "") << "after " << device << " came";
      map_next();
      ASSERT_EQ(wrong(), "") << "after the mapping that followed " << device;
    }
  }

  // The device writes a word that nobody wrote before, and reads another one.
  bool reaches(std::string_view device, std::size_t page) {
    DmaPort& port = system_->device(device)->function()->dma();
    std::array<std::uint64_t, 2> words{++last_word_, 0};
    const std::uint64_t told = ++last_word_;
    if (!port.write(iova(page) + 64, std::as_bytes(std::span(words).first(1)))) return false;
    std::memcpy(bytes(page) + 128, &told, sizeof told);
    if (!port.read(iova(page) + 128, std::as_writable_bytes(std::span(words).last(1)))) return false;
    return std::memcmp(bytes(page) + 64, words.data(), sizeof told) == 0 && words[1] == told;
  }
  bool is_refused(std::string_view device, std::size_t page) {
    DmaPort& port = system_->device(device)->function()->dma();
    std::array<std::byte, 8> word{};
    return port.read(iova(page), word).status == DmaResult::Status::refused &&
           port.write(iova(page), word).status == DmaResult::Status::refused;
  }
  // Each device that joined against each page: what is not as it must be, as "device/page ".
  std::string wrong() {
    std::string text;
    for (const std::string_view device : joined_) {
      for (std::size_t page = 0; page <= mapped_.size(); ++page) {  // the last one was never mapped
        const bool is_mapped = page < mapped_.size() && mapped_[page];
        if (is_mapped ? !reaches(device, page) : !is_refused(device, page))
          text += std::string(device) + "/" + std::to_string(page) + " ";
      }
    }
    return text;
  }
  std::uint64_t table_pages() { return machine_->memory().tables().allocated_pages(); }

  std::byte* memory_ = nullptr;
  LockedMemory locked_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<AddressSpace> space_;
  std::vector<std::string_view> joined_;
  std::vector<bool> mapped_;
  std::uint64_t last_word_ = 0x5eed'0000;
};

INSTANTIATE_TEST_SUITE_P(Machines, AddressSpaceSearch, ::testing::ValuesIn(search_rows()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(AddressSpaceSearch, MakesAsManyDomainsAndAttachesAsThePropertiesAsk) {
  for (const std::string_view device : GetParam().devices) join(device);
  EXPECT_EQ(search_cost(*system_, GetParam().devices), GetParam().cost);
  EXPECT_EQ(space_->domains().size(), GetParam().cost.domains);
}

TEST_P(AddressSpaceSearch, MappingsMadeBeforeAndAfterEachAttachReachEveryDevice) {
  join_all_with_a_mapping_before_and_after_each();
  EXPECT_EQ(search_cost(*system_, GetParam().devices), GetParam().cost);
}

TEST_P(AddressSpaceSearch, WhatIsUnmappedIsRefusedToEveryDevice) {
  join_all_with_a_mapping_before_and_after_each();
  for (std::size_t page = 0; page < mapped_.size(); page += 3) unmap(page);
  EXPECT_EQ(wrong(), "");
  space_->unmap_all();
  mapped_.assign(mapped_.size(), false);
  EXPECT_EQ(wrong(), "");
}

TEST_P(AddressSpaceSearch, ADeviceThatLeavesIsRefusedAndTheOthersGoOn) {
  join_all_with_a_mapping_before_and_after_each();
  const std::string_view leaver = joined_.front();
  space_->detach(group(leaver));
  EXPECT_TRUE(is_refused(leaver, 0));
  joined_.erase(joined_.begin());
  EXPECT_EQ(wrong(), "");
}

TEST_P(AddressSpaceSearch, PageTablesAreCountedOncePerDomain) {
  for (int i = 0; i < 8; ++i) map_next();
  const std::uint64_t none = table_pages();
  join(GetParam().devices.front());
  const std::uint64_t first = table_pages() - none;
  for (std::size_t i = 1; i < GetParam().devices.size(); ++i) join(GetParam().devices[i]);
  EXPECT_GT(first, mapped_.size()) << "one for each page and those above";
  if (GetParam().cost.domains == 1) {
    EXPECT_EQ(table_pages() - none, first);
  } else {
    EXPECT_GT(table_pages() - none, first + mapped_.size());
    EXPECT_LE(table_pages() - none, GetParam().cost.domains * (first + 2)) << "the other may have levels more";
  }
  space_->unmap_all();
  mapped_.clear();
  for (const std::string_view device : GetParam().devices) space_->detach(group(device));
  joined_.clear();
  EXPECT_EQ(table_pages(), none);
}

TEST_P(AddressSpaceSearch, AMappingThatIsMadeLaterTakesItsTablesOncePerDomain) {
  for (const std::string_view device : GetParam().devices) join(device);
  map_next();  // the tables above
  const std::uint64_t before = table_pages();
  map_next();
  EXPECT_EQ(table_pages() - before, GetParam().cost.domains);
}

}  // namespace
}  // namespace softiommu::testing
