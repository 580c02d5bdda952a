// SPDX-License-Identifier: BSD-3-Clause
#include "machine/dma_port.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/guarded_copies.h"
#include "machine/findings.h"
#include "machine/iommu/iotlb.h"
#include "machine/memory.h"
#include "machine/mmio_map.h"

namespace softiommu {
namespace {

constexpr std::uint64_t kPages = 16;

// Hardware with a table of sixteen 4 KiB pages, an IOTLB in front, and one way to invalidate.
class ToyUnit final : public IommuUnit {
 public:
  using IommuUnit::IommuUnit;
  std::string_view model() const override { return "toy"; }
  std::uint64_t register_bytes() const override { return 0; }
  void reset() override {}
  std::uint64_t read(std::uint64_t, unsigned) override { return 0; }
  void write(std::uint64_t, unsigned, std::uint64_t) override {}

  std::optional<Translation> translate(const Transaction& transaction) override {
    ++walks;
    const Iotlb::Ticket ticket = iotlb_.ticket();
    if (auto hit = iotlb_.look_up(1, transaction.iova)) return permitted(*hit, transaction.access);
    const std::uint64_t page = transaction.iova.value >> kPageShift;
    const std::uint64_t entry = page < kPages ? table_[page].load(std::memory_order_acquire) : 0;
    if (entry == 0) {
      interrupt(0);
      return std::nullopt;
    }
    const Translation found{.page = PhysAddr{entry & ~kFlags},
                            .read = (entry & kRead) != 0,
                            .write = (entry & kWrite) != 0,
                            .cacheable = !context_.paranoid};
    iotlb_.insert(ticket, 1, transaction.iova, found);
    return permitted(found, transaction.access);
  }

  static constexpr std::uint64_t kRead = 1, kWrite = 2, kFlags = 3;
  void set(std::uint64_t page, PhysAddr pa, std::uint64_t flags = kFlags) { table_[page] = pa.value | flags; }
  void clear(std::uint64_t page) { table_[page] = 0; }
  void invalidate() {
    iotlb_.invalidate_all();
    bump_generation();
    wait_for_dma();
  }
  std::atomic<std::uint64_t> walks{0};

 private:
  std::optional<Translation> permitted(const Translation& found, Access access) {
    if (access == Access::read ? found.read : found.write) return found;
    return std::nullopt;
  }
  std::atomic<std::uint64_t> table_[kPages] = {};
  Iotlb iotlb_;
};

class DmaPortTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = std::move(Memory::create({})).value();
    memory_->set_findings(&findings_);
    unit_ = std::make_unique<ToyUnit>(UnitContext{"toy0", *memory_, findings_});
    port_ = std::make_unique<DmaPort>(*memory_, unit_.get(), 0x10);
    pages_ = map(nullptr, kPages);
  }
  void TearDown() override {
    port_.reset();
    munmap(pages_, kPages * kPageSize);
  }

  static std::byte* map(std::byte* at, std::uint64_t pages) {
    void* got = mmap(at, pages * kPageSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0), -1, 0);
    EXPECT_NE(got, MAP_FAILED);
    return static_cast<std::byte*>(got);
  }
  std::byte* page(std::uint64_t i) { return pages_ + i * kPageSize; }
  // Pins page `i` of the test's memory and lets the device see it at page `at`.
  PhysAddr expose(std::uint64_t i, std::uint64_t at, std::uint64_t flags = ToyUnit::kFlags) {
    const PhysAddr pa = memory_->pin(reinterpret_cast<std::uint64_t>(page(i)), kPageSize).value().first;
    unit_->set(at, pa, flags);
    return pa;
  }
  static Iova at(std::uint64_t page_number, std::uint64_t offset = 0) { return Iova{page_number * kPageSize + offset}; }
  DmaResult write(Iova to, std::uint8_t value, std::size_t bytes = 1) {
    const std::vector<std::byte> data(bytes, std::byte{value});
    return port_->write(to, data);
  }
  std::uint8_t read(Iova from) {
    std::byte value{};
    EXPECT_TRUE(port_->read(from, {&value, 1}));
    return static_cast<std::uint8_t>(value);
  }

  Findings findings_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<ToyUnit> unit_;
  std::unique_ptr<DmaPort> port_;
  std::byte* pages_ = nullptr;

 private:
  test::GuardedCopies guarded_;
};

TEST_F(DmaPortTest, BytesArriveInTheProgramsMemory) {
  expose(3, 5);
  EXPECT_TRUE(write(at(5, 8), 0x42, 100));
  EXPECT_EQ(page(3)[7], std::byte{0});
  EXPECT_EQ(page(3)[8], std::byte{0x42});
  EXPECT_EQ(page(3)[107], std::byte{0x42});
  EXPECT_EQ(page(3)[108], std::byte{0});
  EXPECT_EQ(read(at(5, 8)), 0x42);
}

TEST_F(DmaPortTest, AnAccessAcrossPagesGoesWhereEachIsMapped) {
  expose(7, 0);
  expose(2, 1);
  EXPECT_EQ(write(at(0, 4000), 9, 200).done, 200u);
  EXPECT_EQ(page(7)[4095], std::byte{9});
  EXPECT_EQ(page(2)[103], std::byte{9});
  EXPECT_EQ(page(2)[104], std::byte{0});
}

TEST_F(DmaPortTest, WhatArrivedBeforeARefusalIsCounted) {
  expose(0, 0);
  const DmaResult result = write(at(0, 4000), 9, 200);
  EXPECT_EQ(result.status, DmaResult::Status::refused);
  EXPECT_EQ(result.done, 96u);
}

TEST_F(DmaPortTest, PermissionsHoldForCachedPagesToo) {
  expose(0, 0, ToyUnit::kRead);
  EXPECT_EQ(read(at(0)), 0);
  EXPECT_EQ(write(at(0), 1).status, DmaResult::Status::refused);
  EXPECT_EQ(read(at(0)), 0);
  EXPECT_EQ(page(0)[0], std::byte{0});
}

TEST_F(DmaPortTest, ACachedPageIsNotAskedForAgain) {
  expose(0, 0);
  expose(1, 1);
  for (int i = 0; i < 10; ++i) {
    write(at(0), 1);
    write(at(1), 1);
    read(at(0));
    read(at(1));
  }
  EXPECT_EQ(unit_->walks, 2u);
}

// Sixteen registers of 4 bytes behind another device's BAR, at a physical address where no memory is.
class DmaToRegisters : public DmaPortTest {
 protected:
  static constexpr PhysAddr kBar{0x1000'0000};
  class Bank final : public MmioRegion {
   public:
    std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
      widths.push_back(bytes);
      return words.at(offset / 4) >> (8 * (offset % 4));
    }
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
      widths.push_back(bytes);
      words.at(offset / 4) = static_cast<std::uint32_t>(value);
    }
    std::array<std::uint32_t, 16> words{};
    std::vector<unsigned> widths;
  };

  void SetUp() override {
    DmaPortTest::SetUp();
    map_.add(kBar, kPageSize, bank_);
    memory_->set_registers(&map_);
    unit_->set(4, kBar, ToyUnit::kFlags);
  }
  Bank bank_;
  MmioMap map_;
};

TEST_F(DmaToRegisters, ReadsAndWritesReachThemAWordAtATime) {
  bank_.words[3] = 0x01020304;
  std::array<std::byte, 8> data{};
  EXPECT_TRUE(port_->read(at(4, 8), data));
  EXPECT_EQ(data[4], std::byte{4});
  EXPECT_TRUE(write(at(4, 4), 0x55, 4));
  EXPECT_EQ(bank_.words[1], 0x55555555u);
  EXPECT_EQ(bank_.widths, (std::vector<unsigned>{4, 4, 4}));
}

TEST_F(DmaToRegisters, ACopyGoesFromMemoryToThemAndBack) {
  expose(0, 0);
  expose(1, 1);
  std::memset(page(0), 0x77, 64);
  EXPECT_TRUE(port_->copy(at(4), at(0), 64));
  EXPECT_EQ(bank_.words[15], 0x77777777u);
  bank_.words[2] = 0x99;
  EXPECT_TRUE(port_->copy(at(1), at(4), 64));
  EXPECT_EQ(page(1)[8], std::byte{0x99});
}

TEST_F(DmaToRegisters, AListReachesThem) {
  expose(0, 0);
  const DmaSegment list[] = {{at(0), 4}, {at(4, 12), 4}};
  const std::array<std::byte, 8> data{std::byte{1}, {}, {}, {}, std::byte{2}};
  EXPECT_TRUE(port_->write(list, data));
  EXPECT_EQ(bank_.words[3], 2u);
}

TEST_F(DmaToRegisters, WithoutARightNothingReachesThem) {
  unit_->set(4, kBar, ToyUnit::kRead);
  EXPECT_EQ(write(at(4), 1, 4).status, DmaResult::Status::refused);
  EXPECT_TRUE(bank_.widths.empty());
}

TEST_F(DmaToRegisters, AnAddressWithNeitherIsReported) {
  unit_->set(5, kBar + kPageSize, ToyUnit::kFlags);
  EXPECT_EQ(write(at(5), 1, 4).status, DmaResult::Status::no_memory);
  EXPECT_TRUE(bank_.widths.empty());
}

TEST_F(DmaPortTest, ParanoidHardwareIsAskedEachTime) {
  port_.reset();
  unit_ = std::make_unique<ToyUnit>(UnitContext{"toy1", *memory_, findings_, true});
  port_ = std::make_unique<DmaPort>(*memory_, unit_.get(), 0x10);
  expose(0, 0);
  for (int i = 0; i < 10; ++i) write(at(0), 1);
  EXPECT_EQ(unit_->walks, 10u);
}

TEST_F(DmaPortTest, OnlyAnInvalidationMakesItForget) {
  expose(0, 0);
  write(at(0), 1);
  unit_->clear(0);
  EXPECT_TRUE(write(at(0), 2)) << "stale, as on hardware";
  unit_->invalidate();
  EXPECT_EQ(write(at(0), 3).status, DmaResult::Status::refused);
  EXPECT_EQ(page(0)[0], std::byte{2});
}

TEST_F(DmaPortTest, EpochsThatComeRoundFindNoOldLines) {
  expose(0, 0);
  write(at(0), 1);
  unit_->clear(0);
  for (int i = 0; i < 5000; ++i) {
    unit_->invalidate();
    ASSERT_EQ(write(at(0), 2).status, DmaResult::Status::refused);
  }
}

TEST_F(DmaPortTest, DeviceCopiesWithoutABounce) {
  expose(0, 0);
  expose(1, 1);
  expose(2, 2);
  std::memset(page(0), 0x33, kPageSize);
  EXPECT_EQ(port_->copy(at(1, 100), at(0), kPageSize).done, kPageSize);
  EXPECT_EQ(page(1)[99], std::byte{0});
  EXPECT_EQ(page(1)[4095], std::byte{0x33});
  EXPECT_EQ(page(2)[99], std::byte{0x33});
  EXPECT_EQ(port_->copy(at(9), at(0), 8).status, DmaResult::Status::refused);
}

TEST_F(DmaPortTest, WithoutAUnitAddressesArePhysical) {
  DmaPort bare(*memory_, nullptr, 1);
  const PhysAddr pa = expose(4, 0);
  const std::byte value{0x77};
  EXPECT_TRUE(bare.write(Iova{pa.value + 1}, {&value, 1}));
  EXPECT_EQ(page(4)[1], value);
  EXPECT_EQ(bare.write(Iova{0x10}, {&value, 1}).status, DmaResult::Status::no_memory);
}

TEST_F(DmaPortTest, MemoryThatIsGoneIsReportedOncePerPageAndNeverACrash) {
  expose(4, 0);
  ASSERT_TRUE(write(at(0), 1));
  munmap(page(4), kPageSize);
  const DmaResult result = write(at(0, 8), 1, 8);
  EXPECT_EQ(result.status, DmaResult::Status::no_memory);
  EXPECT_EQ(result.done, 0u);
  write(at(0, 16), 1, 8);
  EXPECT_EQ(findings_.all().size(), 1u);
}

TEST_F(DmaPortTest, AMovedPageIsFoundAgain) {
  expose(4, 0);
  ASSERT_TRUE(write(at(0), 1));
  ASSERT_TRUE(memory_->move_aside(reinterpret_cast<std::uint64_t>(page(4)), kPageSize));
  map(page(4), 1);
  EXPECT_TRUE(write(at(0, 1), 2));
  EXPECT_EQ(page(4)[1], std::byte{0}) << "the new page is not the device's";
  EXPECT_EQ(read(at(0)), 1);
  EXPECT_EQ(read(at(0, 1)), 2);
  EXPECT_TRUE(findings_.all().empty());
}

TEST_F(DmaPortTest, AListIsOneStreamOfBytes) {
  expose(0, 0);
  expose(1, 1);
  expose(2, 2);
  std::memset(page(0), 0x11, kPageSize);
  std::memset(page(1), 0x22, kPageSize);
  std::memset(page(2), 0x33, kPageSize);
  const DmaSegment list[] = {{at(2, 8), 3}, {at(0), 0}, {at(0, 4094), 4}, {at(1, 100), 1}, {at(2), 1000}};
  std::vector<std::byte> got(10);
  EXPECT_EQ(port_->read(list, got).done, 10u) << "no more than the buffer holds";
  const std::uint8_t expected[] = {0x33, 0x33, 0x33, 0x11, 0x11, 0x22, 0x22, 0x22, 0x33, 0x33};
  EXPECT_EQ(std::memcmp(got.data(), expected, sizeof expected), 0);
  std::ranges::fill(got, std::byte{0x44});
  EXPECT_EQ(port_->write(std::span(list).first(3), got).done, 7u) << "no more than the list holds";
  EXPECT_EQ(page(1)[1], std::byte{0x44});
  EXPECT_EQ(page(1)[2], std::byte{0x22});
}

TEST_F(DmaPortTest, AListOfManyPagesArrivesWhole) {
  std::vector<DmaSegment> list;
  std::vector<std::byte> data(3 * kPages * 600);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 >> 3);
  for (std::uint64_t i = 0; i < kPages; ++i) expose(i, i);
  for (std::uint64_t i = 0; i < 3 * kPages; ++i) list.push_back({at(i * 7 % kPages, i / kPages * 1000 + 40), 600});
  ASSERT_EQ(port_->write(list, data).done, data.size());
  EXPECT_EQ(unit_->walks, kPages);
  std::vector<std::byte> got(data.size());
  ASSERT_EQ(port_->read(list, got).done, data.size());
  EXPECT_EQ(got, data);
}

TEST_F(DmaPortTest, AListEndsAtARefusalThatIsRecordedOnce) {
  expose(0, 0);
  expose(1, 1);
  unsigned faults = 0;
  unit_->on_interrupt([&](unsigned) { ++faults; });
  const DmaSegment list[] = {{at(0), 10}, {at(1), 10}, {at(5), 10}, {at(6), 10}};
  std::vector<std::byte> data(40, std::byte{7});
  const DmaResult result = port_->write(list, data);
  EXPECT_EQ(result.status, DmaResult::Status::refused);
  EXPECT_EQ(result.done, 20u);
  EXPECT_EQ(faults, 1u);
  EXPECT_EQ(page(1)[9], std::byte{7});
}

TEST_F(DmaPortTest, AListEndsWhereMemoryIsGoneAndSaysSo) {
  for (std::uint64_t i = 0; i < 3; ++i) expose(i, i);
  munmap(page(1), kPageSize);
  const DmaSegment list[] = {{at(0), 10}, {at(1), 10}, {at(2), 10}};
  const std::vector<std::byte> data(30, std::byte{7});
  const DmaResult result = port_->write(list, data);
  EXPECT_EQ(result.status, DmaResult::Status::no_memory);
  EXPECT_EQ(result.done, 10u);
  EXPECT_EQ(page(2)[0], std::byte{0});
  EXPECT_EQ(findings_.all().size(), 1u);
}

TEST_F(DmaPortTest, TranslationsOfManyAddressesAreThoseOfEach) {
  std::vector<Iova> iovas;
  for (std::uint64_t i = 0; i < kPages; i += 2) expose(i, i);
  for (std::uint64_t i = 0; i < 3 * kPages; ++i) iovas.push_back(at(i * 5 % kPages, i));
  std::vector<std::byte*> hosts(iovas.size());
  port_->translate(Access::write, iovas, hosts);
  for (std::uint64_t i = 0; i < iovas.size(); ++i) {
    const std::uint64_t number = iovas[i].value / kPageSize;
    EXPECT_EQ(hosts[i], number % 2 == 0 ? page(number) + iovas[i].value % kPageSize : nullptr) << i;
  }
}

TEST_F(DmaPortTest, APortTurnsHotByCopyingAndColdByAnInvalidation) {
  if (!DmaFence::has_system_call()) GTEST_SKIP() << "without membarrier all ports stay cold";
  expose(0, 0);
  const auto copy = [&](unsigned times) {
    for (unsigned i = 0; i < times; ++i) write(at(0), 1);
  };
  copy(DmaActivity::kHotAfter - 1);
  EXPECT_FALSE(port_->activity().is_hot());
  unit_->invalidate();
  copy(DmaActivity::kHotAfter - 1);
  EXPECT_FALSE(port_->activity().is_hot()) << "counted between invalidations";
  copy(2);
  EXPECT_TRUE(port_->activity().is_hot());
  unit_->invalidate();
  EXPECT_FALSE(port_->activity().is_hot());
  EXPECT_TRUE(write(at(0), 2));
}

TEST_F(DmaPortTest, APortThatGoesAwayIsNotWaitedFor) {
  std::vector<std::unique_ptr<DmaPort>> ports;
  for (StreamId i = 0; i < 40; ++i) ports.push_back(std::make_unique<DmaPort>(*memory_, unit_.get(), i));
  std::byte value{};
  expose(0, 0);
  for (const auto& port : ports) EXPECT_TRUE(port->read(at(0), {&value, 1}));
  ports.erase(ports.begin() + 3, ports.begin() + 30);
  unit_->invalidate();
  for (StreamId i = 0; i < 20; ++i) ports.push_back(std::make_unique<DmaPort>(*memory_, unit_.get(), i));
  unit_->clear(0);
  unit_->invalidate();
  for (const auto& port : ports) EXPECT_FALSE(port->read(at(0), {&value, 1}));
}

TEST_F(DmaPortTest, AFaultInterruptMayWaitForDma) {
  unsigned handled = 0;
  unit_->on_interrupt([&](unsigned) {
    unit_->invalidate();
    ++handled;
  });
  EXPECT_EQ(write(at(3), 1).status, DmaResult::Status::refused);
  EXPECT_EQ(handled, 1u);
  EXPECT_EQ(port_->activity().count() % 2, 0u);
}

// A device that writes all of page 0 without end, on a thread of its own.
class Writer {
 public:
  explicit Writer(DmaPort& port) : thread_([this, &port] { run(port); }) {
    while (written == 0) std::this_thread::yield();
  }
  ~Writer() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::atomic<std::uint64_t> written{0}, failed{0};

 private:
  void run(DmaPort& port) {
    const std::vector<std::byte> data(kPageSize, std::byte{0xdd});
    while (!stop_) (port.write(Iova{0}, data) ? written : failed).fetch_add(1, std::memory_order_relaxed);
  }
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A mark at the end of a page, where a copy arrives last. Volatile: what the device writes is outside of the
// program's knowledge.
constexpr std::uint64_t kMark = 0xaaaa'aaaa'aaaa'aaaa;
volatile std::uint64_t& mark_of(std::byte* page) {
  return *(reinterpret_cast<volatile std::uint64_t*>(page + kPageSize) - 1);
}

TEST_F(DmaPortTest, NoStaleByteArrivesAfterAnInvalidationIsComplete) {
  PhysAddr pa[kPages];
  for (std::uint64_t i = kPages; i-- > 0;) pa[i] = expose(i, 0);  // page 0 is the one mapped at first
  for (std::uint64_t i = 1; i < kPages; ++i) mark_of(page(i)) = kMark;
  Writer device(*port_);
  unsigned stale = 0;
  for (std::uint64_t round = 0; round < 5000; ++round) {
    const std::uint64_t old_page = round % kPages, new_page = (round + 1) % kPages;
    stale += mark_of(page(new_page)) != kMark;  // retired for fifteen rounds
    unit_->set(0, pa[new_page]);
    unit_->invalidate();
    mark_of(page(old_page)) = kMark;
    if (round % 4 == 0) std::this_thread::yield();
    // Now and then the port copies long enough to turn hot.
    const std::uint64_t enough = round % 64 == 0 ? device.written + 2 * DmaActivity::kHotAfter : 0;
    while (device.written < enough && device.failed == 0) std::this_thread::yield();
  }
  device.stop();
  EXPECT_EQ(stale, 0u);
  EXPECT_EQ(device.failed, 0u);
}

TEST_F(DmaPortTest, NoStaleByteArrivesInMemoryThatReplacedAPinnedPage) {
  PhysAddr old_pa = expose(0, 0);
  Writer device(*port_);
  unsigned stale = 0;
  for (unsigned round = 0; round < 400; ++round) {
    const auto user = reinterpret_cast<std::uint64_t>(page(0));
    ASSERT_TRUE(memory_->move_aside(user, kPageSize));
    map(page(0), 1);
    mark_of(page(0)) = kMark;
    for (int look = 0; look < 5; ++look) std::this_thread::yield();
    stale += mark_of(page(0)) != kMark;
    // The device changes over to the new page, and the old one is let go.
    const PhysAddr new_pa = expose(0, 0);
    unit_->invalidate();
    memory_->unpin({old_pa, kPageSize});
    old_pa = new_pa;
  }
  device.stop();
  EXPECT_EQ(stale, 0u);
  EXPECT_EQ(device.failed, 0u);
  EXPECT_TRUE(findings_.all().empty());
}

}  // namespace
}  // namespace softiommu
