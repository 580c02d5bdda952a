// SPDX-License-Identifier: BSD-3-Clause
// The laws of the DMA sanitizer, with a device that is only said to access memory.
#include "launch/dma_sanitizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>

#include "machine/memory.h"

namespace softiommu::launch {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Each stack is a number that the test sets.
class NumberedStacks final : public StackTraces {
 public:
  StackId take() noexcept override { return now; }
  std::string describe(StackId stack) const override { return fmt::format("stack {}", stack); }
  StackId now = 1;
};

class DmaSanitizerTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kIova = 0x100000, kBytes = 4 * kPageSize;
  static constexpr std::string_view kDevice = "0000:00:06.0", kOther = "0000:00:07.0";

  void SetUp() override {
    log::set_threshold(log::Level::error);
    log::set_sink([](void*, log::Level, std::string_view) noexcept {}, nullptr);
    memory_ = *Memory::create({});
    sanitizer_ = std::make_unique<DmaSanitizer>(*memory_, findings_, stacks_);
    pages_ =
        static_cast<std::byte*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(pages_, MAP_FAILED);
    attach("0000:00:06.0, 0000:00:07.0", 7);
  }
  void TearDown() override {
    ::munmap(pages_, kBytes);
    log::set_sink(nullptr, nullptr);
  }

  std::uint64_t user() const { return reinterpret_cast<std::uint64_t>(pages_); }
  void attach(std::string_view devices, std::uint64_t domain, Pasid pasid = 0) {
    sanitizer_->attached({.devices = devices, .domain = domain, .pasid = pasid});
  }
  void map(Prot prot = {.read = true, .write = true}, std::uint64_t domain = 7) {
    stacks_.now = 11;
    sanitizer_->mapped({.domain = domain, .range = IovaRange::of(Iova{kIova}, kBytes), .user = user(), .prot = prot});
  }
  void unmap(std::uint64_t domain = 7) {
    stacks_.now = 22;
    sanitizer_->unmapping(domain, IovaRange::of(Iova{kIova}, kBytes));
  }
  PhysRun pin() { return *memory_->pin(user(), kBytes); }
  static DmaTouch access(std::uint64_t iova, std::string_view device = kDevice, Access how = Access::write) {
    return {.device = device, .iova = Iova{iova}, .bytes = 64, .access = how};
  }
  void touch(std::uint64_t iova) { sanitizer_->touches(access(iova), pages_ + (iova - kIova)); }
  // Of a device that was last told something at that tick.
  void write(std::string_view device, std::uint64_t offset, std::uint64_t told) {
    DmaTouch touch = access(kIova + offset, device);
    touch.told = told;
    sanitizer_->touches(touch, pages_ + offset);
  }
  std::vector<std::string> told() const { return findings_.all(); }

  NumberedStacks stacks_;
  Findings findings_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<DmaSanitizer> sanitizer_;
  std::byte* pages_ = nullptr;
};

TEST_F(DmaSanitizerTest, AnAccessToWhatIsMappedIsNoFinding) {
  map();
  touch(kIova);
  touch(kIova + kBytes - 64);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(DmaSanitizerTest, AnAccessAfterTheUnmapNamesWhoMappedAndWhoUnmapped) {
  map();
  unmap();
  sanitizer_->refused(access(kIova + 16));
  EXPECT_THAT(told(), ElementsAre(AllOf(HasSubstr("use after unmap: 0000:00:06.0 writes 64 bytes at IOVA 0x100010"),
                                        HasSubstr("mapped by:\nstack 11"), HasSubstr("unmapped by:\nstack 22"))));
}

TEST_F(DmaSanitizerTest, ACauseIsToldOnceAndCounted) {
  map();
  unmap();
  for (int i = 0; i < 5; ++i) sanitizer_->refused(access(kIova + 64u * static_cast<unsigned>(i)));
  ASSERT_EQ(findings_.counted().size(), 1u);
  EXPECT_EQ(findings_.counted()[0].count, 5u);
}

TEST_F(DmaSanitizerTest, ADomainThatTheDeviceHasLeftIsRemembered) {
  map();
  unmap();
  attach("0000:00:06.0", 8);
  sanitizer_->refused(access(kIova));
  EXPECT_THAT(told(), ElementsAre(HasSubstr("use after unmap")));
}

TEST_F(DmaSanitizerTest, AnotherDevicesMappingIsNotMine) {
  attach("0000:00:07.0", 9);
  map({.read = true, .write = true}, 9);
  sanitizer_->refused(access(kIova));
  EXPECT_THAT(told(), ElementsAre(HasSubstr("nothing was ever mapped")));
}

TEST_F(DmaSanitizerTest, AnAccessPastTheEndSaysHowFar) {
  map();
  sanitizer_->refused(access(kIova + kBytes + 32));
  EXPECT_THAT(told(), ElementsAre(HasSubstr("32 bytes past the end of the mapping below it")));
}

TEST_F(DmaSanitizerTest, AWriteToAMappingForReadingLacksTheRight) {
  map({.read = true});
  sanitizer_->refused(access(kIova));
  EXPECT_THAT(told(), ElementsAre(HasSubstr("a right that its mapping lacks")));
}

TEST_F(DmaSanitizerTest, OfAMappingThatIsGivenUpInPartTheRestIsFine) {
  const PhysRun run = pin();
  map();
  stacks_.now = 33;
  sanitizer_->gave_up(user() + kPageSize, kPageSize, "munmap");
  touch(kIova);
  touch(kIova + 2 * kPageSize);
  EXPECT_THAT(told(), IsEmpty());
  touch(kIova + kPageSize);
  EXPECT_THAT(told(), ElementsAre(AllOf(HasSubstr("use after free"), HasSubstr("gave up by munmap"),
                                        HasSubstr("IOVA 0x101000 to 0x101fff"), HasSubstr("given up by:\nstack 33"))));
  memory_->unpin(run);
}

TEST_F(DmaSanitizerTest, AMappingThatIsMadeAnewIsFineAgain) {
  const PhysRun run = pin();
  map();
  sanitizer_->gave_up(user(), kBytes, "munmap");
  unmap();
  map();
  touch(kIova);
  EXPECT_THAT(told(), IsEmpty());
  memory_->unpin(run);
}

TEST_F(DmaSanitizerTest, WhatMovesIsGivenUpAtItsNewPlace) {
  const PhysRun run = pin();
  map();
  sanitizer_->moved(user() + kPageSize, user(), kPageSize);  // any address that is pinned
  sanitizer_->gave_up(user() + kPageSize, kPageSize, "munmap");
  touch(kIova + kPageSize);
  EXPECT_THAT(told(), IsEmpty());
  sanitizer_->gave_up(user(), kPageSize, "munmap");
  touch(kIova + kPageSize);
  EXPECT_THAT(told(), ElementsAre(HasSubstr("use after free")));
  memory_->unpin(run);
}

TEST_F(DmaSanitizerTest, AFreedBlockStaysOutOfTheHeapAsLongAsADeviceReachesIt) {
  const PhysRun run = pin();
  map();
  ASSERT_TRUE(sanitizer_->keep_freed(user() + 128, 64));
  touch(kIova);  // beside it
  EXPECT_THAT(told(), IsEmpty());
  touch(kIova + 100);
  EXPECT_THAT(told(), ElementsAre(HasSubstr("in the block of 64 bytes")));
  EXPECT_EQ(sanitizer_->take_freed(), 0u);
  memory_->unpin(run);
  EXPECT_EQ(sanitizer_->take_freed(), user() + 128);
  EXPECT_EQ(sanitizer_->take_freed(), 0u);
}

TEST_F(DmaSanitizerTest, ABlockThatIsFreedTwiceIsToldAndGoesToTheHeapOnce) {
  const PhysRun run = pin();
  stacks_.now = 33;
  ASSERT_TRUE(sanitizer_->keep_freed(user(), 64));
  stacks_.now = 44;
  EXPECT_TRUE(sanitizer_->keep_freed(user(), 64));
  EXPECT_THAT(told(), ElementsAre(AllOf(HasSubstr("freed twice"), HasSubstr("freed first by:\nstack 33"),
                                        HasSubstr("freed again by:\nstack 44"))));
  memory_->unpin(run);
  EXPECT_TRUE(sanitizer_->keep_freed(user(), 64)) << "it would go to the heap now, and again by take_freed()";
  EXPECT_EQ(sanitizer_->take_freed(), user());
  EXPECT_EQ(sanitizer_->take_freed(), 0u);
}

TEST_F(DmaSanitizerTest, ABlockThatNoDeviceReachesGoesToTheHeap) { EXPECT_FALSE(sanitizer_->keep_freed(user(), 64)); }

TEST_F(DmaSanitizerTest, TwoDevicesOverlapWhenTheSecondWasToldBeforeTheFirstWrote) {
  const std::uint64_t first_told = sanitizer_->tick(), second_told = sanitizer_->tick();
  write(kDevice, 0, first_told);
  write(kOther, 32, second_told);
  EXPECT_THAT(told(), ElementsAre(HasSubstr("two devices write the same memory")));
}

TEST_F(DmaSanitizerTest, TwoDevicesInTurnDoNotOverlap) {
  write(kDevice, 0, sanitizer_->tick());
  write(kOther, 32, sanitizer_->tick());
  write(kDevice, 0, sanitizer_->tick());
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(DmaSanitizerTest, TwoDevicesSideBySideDoNotOverlap) {
  const std::uint64_t told_at = sanitizer_->tick();
  write(kDevice, 0, told_at);
  write(kOther, 64, told_at);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(DmaSanitizerTest, APoisonedByteIsAFinding) {
  static const void* poisoned;
  poisoned = pages_ + 70;
  sanitizer_->use_poison([](void* memory, std::size_t bytes) -> void* {
    auto* const first = static_cast<std::byte*>(memory);
    return first <= poisoned && poisoned < first + bytes ? const_cast<void*>(poisoned) : nullptr;
  });
  map();
  touch(kIova);
  EXPECT_THAT(told(), IsEmpty());
  touch(kIova + 64);
  EXPECT_THAT(told(), ElementsAre(HasSubstr("AddressSanitizer has poisoned")));
}

TEST_F(DmaSanitizerTest, APasidHasMappingsOfItsOwn) {
  attach("0000:00:06.0", 8, 5);
  map({.read = true, .write = true}, 8);
  unmap(8);
  DmaTouch touch = access(kIova);
  touch.pasid = 5;
  sanitizer_->refused(touch);
  sanitizer_->refused(access(kIova));
  EXPECT_THAT(told(), ElementsAre(HasSubstr("PASID 5, where nothing is mapped any more"), HasSubstr("ever mapped")));
}

}  // namespace
}  // namespace softiommu::launch
