// SPDX-License-Identifier: BSD-3-Clause
// The virtio IOMMU model: transport, queues, each request, events. Driven by registers and memory alone; offsets and
// words are written out from virtio 1.2, not taken from hw/virtio_iommu.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "machine/findings.h"
#include "machine/memory.h"
#include "machine/registry.h"

namespace softiommu::test {
namespace {

constexpr std::uint64_t kStatus = 0x70, kNotify = 0x50, kInterruptStatus = 0x60, kInterruptAck = 0x64, kBypass = 0x124;
constexpr std::uint32_t kOk = 0, kUnsupported = 2, kInvalid = 4, kRange = 5, kNoEntry = 6;
constexpr std::uint32_t kRead = 1, kWrite = 2, kBoth = 3;
constexpr std::uint32_t kDevice = 0x10;
constexpr std::uint32_t kFeaturesOk = 0xb, kDriverOk = 0xf;

class VirtioIommuTest : public ::testing::Test {
 protected:
  using Words = std::vector<std::uint32_t>;
  void SetUp() override { power_on(); }
  struct Choice {
    std::string_view key;
    std::uint64_t value;
  };
  void power_on(std::initializer_list<Choice> choices = {}) {
    const UnitModel model = virtio_iommu_unit_model();
    Options options(model.options);
    for (const Choice& choice : choices) options.set(choice.key, choice.value);
    unit_ = std::move(*model.create({.name = "v", .memory = *memory_, .findings = findings_}, options));
    unit_->on_interrupt([this](unsigned) { ++interrupts_; });
    sent_ = offered_ = 0;
  }
  std::uint32_t r32(std::uint64_t offset) { return unit_->read32(offset); }
  void w32(std::uint64_t offset, std::uint32_t value) { unit_->write32(offset, value); }
  template <class T>
  T& at(std::uint64_t address) {
    return *memory_->tables().as<T>(PhysAddr{address});
  }
  // Features (0: what the device has), queues of 4, bypass off.
  void start(std::uint64_t features = 0) {
    w32(kStatus, 3);
    std::uint64_t has = 0;
    for (const std::uint32_t half : {1u, 0u}) {
      w32(0x14, half);
      has = has << 32 | r32(0x10);
    }
    features = features == 0 ? has : features;
    for (const std::uint32_t half : {0u, 1u}) {
      w32(0x24, half);
      w32(0x20, static_cast<std::uint32_t>(features >> 32 * half));
    }
    w32(kStatus, kFeaturesOk);
    for (const std::uint32_t queue : {0u, 1u}) {
      pages_[queue] = memory_->tables().allocate(1)->value;
      w32(0x30, queue);
      w32(0x38, 4);
      const std::uint64_t parts[] = {pages_[queue], pages_[queue] + 0x400, pages_[queue] + 0x800};
      for (unsigned i = 0; i < 3; ++i) {
        w32(0x80 + 0x10 * i, static_cast<std::uint32_t>(parts[i]));
        w32(0x84 + 0x10 * i, static_cast<std::uint32_t>(parts[i] >> 32));
      }
      w32(0x44, 1);
    }
    buffer_ = memory_->tables().allocate(1)->value;
    w32(kStatus, kDriverOk);
    unit_->write(kBypass, 1, 0);
  }
  void describe(unsigned queue, unsigned n, std::uint64_t address, std::uint32_t bytes, std::uint32_t flags) {
    at<std::uint64_t>(pages_[queue] + 16 * n) = address;
    at<std::uint32_t>(pages_[queue] + 16 * n + 8) = bytes;
    at<std::uint32_t>(pages_[queue] + 16 * n + 12) = flags | (n + 1) << 16;
  }
  void offer(unsigned queue, std::uint16_t head, std::uint16_t& count) {
    at<std::uint16_t>(pages_[queue] + 0x404 + 2 * (count % 4)) = head;
    at<std::uint16_t>(pages_[queue] + 0x402) = ++count;
  }
  // Sends a request and returns its status.
  std::uint32_t ask(const Words& words, std::uint32_t reply_words = 0) {
    std::copy(words.begin(), words.end(), &at<std::uint32_t>(buffer_));
    at<std::uint32_t>(buffer_ + 0x400 + 4 * reply_words) = 0xff;
    describe(0, 0, buffer_, static_cast<std::uint32_t>(4 * words.size()), 1);
    describe(0, 1, buffer_ + 0x400, 4 * reply_words + 4, 2);
    offer(0, 0, sent_);
    w32(kNotify, 0);
    EXPECT_EQ(at<std::uint16_t>(pages_[0] + 0x802), sent_);
    return at<std::uint32_t>(buffer_ + 0x400 + 4 * reply_words);
  }
  std::uint32_t attach(std::uint32_t domain, std::uint32_t endpoint = kDevice, std::uint32_t flags = 0) {
    return ask({1, domain, endpoint, flags, 0});
  }
  std::uint32_t detach(std::uint32_t domain, std::uint32_t endpoint = kDevice) {
    return ask({2, domain, endpoint, 0, 0});
  }
  std::uint32_t map(std::uint32_t domain, std::uint64_t first, std::uint64_t last, std::uint64_t pa,
                    std::uint32_t flags = kBoth) {
    return ask({3, domain, low(first), high(first), low(last), high(last), low(pa), high(pa), flags});
  }
  std::uint32_t unmap(std::uint32_t domain, std::uint64_t first, std::uint64_t last) {
    return ask({4, domain, low(first), high(first), low(last), high(last), 0});
  }
  static std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
  static std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }
  std::optional<std::uint64_t> where(std::uint64_t iova, Access access = Access::read, std::uint32_t stream = kDevice) {
    const auto page = unit_->translate({.stream = stream, .iova = Iova{iova}, .access = access});
    if (!page) return std::nullopt;
    return page->page.value + (iova & ((std::uint64_t{1} << page->page_lg2) - 1));
  }

  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({}));
  Findings findings_;
  std::unique_ptr<IommuUnit> unit_;
  std::uint64_t pages_[2]{}, buffer_ = 0;
  std::uint16_t sent_ = 0, offered_ = 0;
  unsigned interrupts_ = 0;
};

// ---- Transport --------------------------------------------------------------------------------------------------

TEST_F(VirtioIommuTest, SaysWhatItIs) {
  EXPECT_EQ(r32(0x00), 0x7472'6976u);
  EXPECT_EQ(r32(0x04), 2u);
  EXPECT_EQ(r32(0x08), 23u);
  EXPECT_EQ(r32(0x10), 0x57u);  // input and domain range, map, probe, bypass
  w32(0x14, 1);
  EXPECT_EQ(r32(0x10), 1u);  // VERSION_1
  EXPECT_EQ(unit_->read64(0x100), ~std::uint64_t{0xfff});
  EXPECT_EQ(unit_->read64(0x110), (std::uint64_t{1} << 48) - 1);
  EXPECT_EQ(r32(0x118), 1u);
  EXPECT_EQ(r32(0x11c), 65535u);
  EXPECT_EQ(r32(0x120), 512u);
  EXPECT_EQ(unit_->read(kBypass, 1), 1u);
}

TEST_F(VirtioIommuTest, EachOptionShowsInFeaturesOrConfiguration) {
  power_on({{"granule", 16},
            {"input_bits", 40},
            {"input_first", 0x1'0000},
            {"domains", 7},
            {"bypass_config", 0},
            {"probe", 0},
            {"queue_size", 3}});
  EXPECT_EQ(r32(0x10), 0x07u);
  EXPECT_EQ(unit_->read64(0x100), ~std::uint64_t{0xffff});
  EXPECT_EQ(unit_->read64(0x108), 0x1'0000u);
  EXPECT_EQ(unit_->read64(0x110), (std::uint64_t{1} << 40) - 1);
  EXPECT_EQ(r32(0x11c), 7u);
  EXPECT_EQ(r32(0x120), 0u);
  EXPECT_EQ(r32(0x34), 8u);
}

TEST_F(VirtioIommuTest, FeaturesThatItHasNotAreNotOk) {
  start(std::uint64_t{1} << 32 | 0x20);
  w32(kStatus, kFeaturesOk);
  EXPECT_EQ(r32(kStatus), 3u);
  w32(kStatus, 0);
  start(0x07);
  w32(kStatus, kFeaturesOk);
  EXPECT_EQ(r32(kStatus), 3u) << "without VERSION_1";
}

TEST_F(VirtioIommuTest, EndpointsBypassUntilToldOtherwiseIfThatCanBeChosen) {
  EXPECT_EQ(where(0x1234), 0x1234u);
  start();
  EXPECT_FALSE(where(0x1234));
  w32(kStatus, 0);
  EXPECT_EQ(where(0x1234), 0x1234u) << "a reset";
  power_on({{"bypass_config", 0}});
  EXPECT_FALSE(where(0x1234));
}

TEST_F(VirtioIommuTest, RingsThatMakeNoSenseNeedAReset) {
  start();
  offer(0, 9, sent_);
  w32(kNotify, 0);
  EXPECT_EQ(r32(kStatus) & 0x40, 0x40u);
  power_on();
  start();
  describe(0, 0, buffer_, 4, 1);
  describe(0, 1, buffer_, 4, 1);
  describe(0, 2, buffer_, 4, 1);
  describe(0, 3, buffer_, 4, 1);
  at<std::uint16_t>(pages_[0] + 16 * 3 + 14) = 0;  // in a circle
  offer(0, 0, sent_);
  w32(kNotify, 0);
  EXPECT_EQ(r32(kStatus) & 0x40, 0x40u);
}

// ---- Requests ---------------------------------------------------------------------------------------------------

TEST_F(VirtioIommuTest, AMappingIsReachedByTheEndpointsOfItsDomain) {
  start();
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(map(5, 0x4000, 0x7fff, 0x12'3456'4000), kOk);
  EXPECT_EQ(where(0x4008), 0x12'3456'4008u);
  EXPECT_EQ(where(0x7fff, Access::write), 0x12'3456'7fffu);
  EXPECT_FALSE(where(0x8000));
  EXPECT_FALSE(where(0x4000, Access::read, 0x11));
  ASSERT_EQ(attach(5, 0x11), kOk);
  EXPECT_TRUE(where(0x4000, Access::read, 0x11));
}

TEST_F(VirtioIommuTest, PagesAreAsLargeAsTheMappingAllows) {
  start();
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(map(5, 0x20'0000, 0x3f'ffff, 0x1'0040'0000), kOk);
  ASSERT_EQ(map(5, 0x40'0000, 0x5f'ffff, 0x2'0000'1000), kOk);
  EXPECT_EQ(unit_->translate({.stream = kDevice, .iova = Iova{0x21'2345}})->page_lg2, 21);
  EXPECT_EQ(unit_->translate({.stream = kDevice, .iova = Iova{0x41'2345}})->page_lg2, 12);
  EXPECT_EQ(where(0x41'2345), 0x2'0001'3345u);
}

TEST_F(VirtioIommuTest, RightsAreKept) {
  start();
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(map(5, 0x4000, 0x4fff, 0x6000, kRead), kOk);
  ASSERT_EQ(map(5, 0x5000, 0x5fff, 0x6000, kWrite), kOk);
  EXPECT_TRUE(where(0x4000) && !where(0x4000, Access::write));
  EXPECT_TRUE(!where(0x5000) && where(0x5000, Access::write));
}

TEST_F(VirtioIommuTest, MappingsThatCannotBeAreRefused) {
  start();
  EXPECT_EQ(map(5, 0x4000, 0x4fff, 0x6000), kNoEntry) << "no such domain";
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(map(5, 0x4000, 0x5fff, 0x6000), kOk);
  EXPECT_EQ(map(5, 0x5000, 0x6fff, 0x6000), kInvalid) << "overlaps";
  EXPECT_EQ(map(5, 0x3000, 0x4fff, 0x6000), kInvalid);
  EXPECT_EQ(map(5, 0x8800, 0x97ff, 0x6000), kRange);
  EXPECT_EQ(map(5, 0x8000, 0x8fff, 0x6800), kRange);
  EXPECT_EQ(map(5, 0x8000, 0x7fff, 0x6000), kInvalid);
  EXPECT_EQ(map(5, std::uint64_t{1} << 48, (std::uint64_t{1} << 48) + 0xfff, 0x6000), kRange);
  EXPECT_EQ(map(5, 0x8000, 0x8fff, 0x6000, 8), kInvalid);
}

TEST_F(VirtioIommuTest, WholeMappingsAreUnmappedAndNoneIsSplit) {
  start();
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(map(5, 0x4000, 0x5fff, 0x6000), kOk);
  ASSERT_EQ(map(5, 0x8000, 0x8fff, 0x6000), kOk);
  EXPECT_EQ(unmap(5, 0x5000, 0x8fff), kRange);
  EXPECT_EQ(unmap(5, 0x4000, 0x4fff), kRange);
  EXPECT_TRUE(where(0x4000) && where(0x8000));
  EXPECT_EQ(unmap(5, 0, 0xffff), kOk);
  EXPECT_FALSE(where(0x4000) || where(0x8000));
  EXPECT_EQ(unmap(5, 0, 0xffff), kOk) << "nothing is there";
  EXPECT_EQ(unmap(6, 0, 0xffff), kNoEntry);
}

TEST_F(VirtioIommuTest, ADomainIsGoneWithItsLastEndpoint) {
  start();
  ASSERT_EQ(attach(5), kOk);
  ASSERT_EQ(attach(5, 0x11), kOk);
  ASSERT_EQ(map(5, 0x4000, 0x4fff, 0x6000), kOk);
  ASSERT_EQ(attach(6), kOk) << "which takes it out of 5";
  EXPECT_FALSE(where(0x4000));
  EXPECT_TRUE(where(0x4000, Access::read, 0x11));
  EXPECT_EQ(detach(5), kInvalid) << "it is not in 5";
  ASSERT_EQ(detach(5, 0x11), kOk);
  ASSERT_EQ(attach(5), kOk);
  EXPECT_FALSE(where(0x4000));
}

TEST_F(VirtioIommuTest, ADomainMayLetAddressesPass) {
  start();
  ASSERT_EQ(attach(5, kDevice, 1), kOk);
  EXPECT_EQ(where(0x1234), 0x1234u);
  EXPECT_EQ(map(5, 0x4000, 0x4fff, 0x6000), kInvalid);
  EXPECT_EQ(attach(5, 0x11), kInvalid) << "without the flag";
  power_on({{"bypass_config", 0}});
  start();
  EXPECT_EQ(attach(5, kDevice, 1), kInvalid);
}

TEST_F(VirtioIommuTest, WhatIsMalformedIsRefused) {
  power_on({{"domains", 8}});
  start();
  EXPECT_EQ(attach(0), kRange);
  EXPECT_EQ(attach(9), kRange);
  EXPECT_EQ(attach(5, kDevice, 2), kInvalid);
  EXPECT_EQ(ask({1, 5, kDevice, 0}), kInvalid) << "too short";
  EXPECT_EQ(ask({0x101, 5, kDevice, 0, 0}), kInvalid) << "reserved bits";
  EXPECT_EQ(ask({9, 5, kDevice, 0, 0}), kUnsupported);
}

TEST_F(VirtioIommuTest, AProbeTellsOfTheMessageWindow) {
  power_on({{"message_window", 1}});
  start();
  Words probe(18);
  probe[0] = 5;
  probe[1] = kDevice;
  ASSERT_EQ(ask(probe, 128), kOk);
  const std::uint32_t* const told = &at<std::uint32_t>(buffer_ + 0x400);
  EXPECT_EQ(Words(told, told + 7), (Words{0x0014'0001, 1, 0xfee0'0000, 0, 0xfeef'ffff, 0, 0}));
  power_on({{"probe", 0}});
  start();
  EXPECT_EQ(ask(probe, 128), kUnsupported);
}

// ---- Interrupts and events --------------------------------------------------------------------------------------

TEST_F(VirtioIommuTest, UsedBuffersRaiseTheInterruptUnlessTheDriverLooksItself) {
  start();
  attach(5);
  EXPECT_EQ(interrupts_, 1u);
  EXPECT_EQ(r32(kInterruptStatus), 1u);
  w32(kInterruptAck, 1);
  EXPECT_EQ(r32(kInterruptStatus), 0u);
  at<std::uint16_t>(pages_[0] + 0x400) = 1;
  attach(6);
  EXPECT_EQ(interrupts_, 1u);
}

TEST_F(VirtioIommuTest, ARefusedAccessIsAnEventWhereThereIsABufferForIt) {
  start();
  EXPECT_FALSE(where(0x12'3456'7008, Access::write));
  describe(1, 0, buffer_ + 0x800, 24, 2);
  offer(1, 0, offered_);
  EXPECT_FALSE(where(0x12'3456'7008, Access::write));
  EXPECT_EQ(at<std::uint16_t>(pages_[1] + 0x802), 1u);
  const std::uint32_t* const event = &at<std::uint32_t>(buffer_ + 0x800);
  EXPECT_EQ(Words(event, event + 6), (Words{1, 0x102, kDevice, 0, 0x3456'7008, 0x12}));
  ASSERT_EQ(attach(5), kOk);
  offer(1, 0, offered_);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(Words(event, event + 6), (Words{2, 0x101, kDevice, 0, 0x1000, 0}));
}

}  // namespace
}  // namespace softiommu::test
