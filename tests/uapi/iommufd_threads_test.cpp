// SPDX-License-Identifier: BSD-3-Clause
// Four threads on one iommufd: whatever they do at once, each call answers what it answers alone, nothing stays pinned,
// and the sanitizer sees no race. And the races that Linux decides by rule: an access beside an unmap, the readers of a
// queue beside its end.
#include <atomic>
#include <random>
#include <thread>

#include "iommufd/access.h"
#include "mock_rig.h"
#include "vfio/iommufd_file.h"

namespace softiommu::test {
namespace {

constexpr int kRounds = 200;

// ---- everything at once

class ThreadsTest : public MockTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  static constexpr unsigned kThreads = 4, kSlots = 8, kDevices = 2;

  // One thread's choices, of which the seed is all that it shares with others.
  class Choices {
   public:
    explicit Choices(unsigned seed) : random_(seed) {}
    std::uint32_t operator()(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
    // A page of the mock's aperture that all threads fight for.
    std::uint64_t iova() { return mabi::kApertureFirst + (*this)(kSlots)*kPageSize; }
    std::uint64_t bytes() { return (1 + (*this)(2)) * kPageSize; }

   private:
    std::mt19937 random_;
  };

  void SetUp() override {
    MockTest::SetUp();
    other_ = alloc_ioas();
    for (MockDevice& device : devices_) device = mock_device(ioas_, mabi::kDevicePasid);
    for (const std::uint32_t in : {ioas_, other_}) EXPECT_GT(alloc_hwpt(devices_[0].id, in), 0) << "it keeps the space";
    access_ = open_access();
    copier_ = open_access(0);
  }
  std::uint32_t space(Choices& choose) { return choose(2) == 0 ? ioas_ : other_; }
  const MockDevice& device(Choices& choose) { return devices_[choose(kDevices)]; }

  // What a call may answer beside others; anything else names itself.
  static void expect(std::int64_t answer, std::initializer_list<int> errnos, std::string_view what) {
    if (answer >= 0) return;
    EXPECT_TRUE(std::ranges::count(errnos, static_cast<int>(-answer)) == 1) << what << " answers " << answer;
  }

  void map_and_unmap(Choices& choose) {
    const std::uint32_t in = space(choose), to = space(choose);
    switch (choose(3)) {
      case 0:
        expect(map_fixed(in, choose.iova(), pages_.address() + choose(4) * kPageSize, choose.bytes()), {EEXIST}, "map");
        break;
      case 1:
        expect(unmap_range(in, choose.iova(), choose.bytes()), {ENOENT, EDEADLOCK}, "unmap");
        break;
      default:
        expect(copy(in, choose.iova(), to, choose.iova(), choose.bytes()), {ENOENT, EEXIST}, "copy");
    }
  }
  void attach(Choices& choose) {
    const MockDevice& of = device(choose);
    switch (choose(4)) {
      case 0:
        expect(move(of, space(choose)), {EINVAL}, "move");
        break;
      case 1: {
        const auto made = alloc_hwpt(of.id, space(choose), fd::kHwptPasid);
        expect(made, {}, "hwpt");
        if (made > 0) {
          expect(move(of, static_cast<std::uint32_t>(made)), {ENOENT, EINVAL}, "move to a page table");
          expect(pasid(tabi::Op::pasid_attach, of, 5, static_cast<std::uint32_t>(made)), {ENOENT, EINVAL, EBUSY},
                 "attach of a PASID");
          expect(destroy(static_cast<std::uint32_t>(made)), {EBUSY, ENOENT}, "destroy of a page table");
        }
        break;
      }
      case 2:
        expect(pasid(tabi::Op::pasid_detach, of, 5, 0), {}, "detach of a PASID");
        break;
      default:
        EXPECT_EQ(destroy(space(choose)), -EBUSY);
        EXPECT_EQ(destroy(of.id), -EBUSY);
        const MockDevice own = mock_device(space(choose));
        expect(destroy(own.hwpt), {EBUSY}, "destroy of what others may be on");
        EXPECT_EQ(destroy(own.object), 0);
    }
  }
  void access(Choices& choose) {
    std::string text(kPageSize, static_cast<char>('a' + choose(26)));
    switch (choose(4)) {
      case 0: {
        const auto number = pin(access_, choose.iova(), choose.bytes());
        expect(number, {ENOENT, EINVAL}, "pin");
        if (number >= 0 && choose(2) == 0) expect(unpin(access_, number), {ENOENT}, "unpin");
        break;
      }
      case 1:
        expect(copy_bytes(copier_, choose.iova(), text, choose(2) * tabi::kRwWrite | choose(2) * tabi::kRwSlow),
               {ENOENT, EINVAL}, "copy of bytes");
        break;
      case 2:
        expect(move_access(choose(2) == 0 ? access_ : copier_, space(choose)), {EBUSY, ENOENT}, "move of an access");
        break;
      default: {
        const auto own = open_access(tabi::kAccessNeedsPin, space(choose));
        expect(own, {}, "access");
        expect(pin(own, choose.iova(), choose.bytes()), {ENOENT, EINVAL}, "pin");
        program_.close(static_cast<int>(own));
      }
    }
  }
  void work(unsigned thread) {
    Choices choose(GetParam() * kThreads + thread);
    for (int i = 0; i < kRounds; ++i) {
      switch (choose(4)) {
        case 0:
          attach(choose);
          break;
        case 1:
          access(choose);
          break;
        default:
          map_and_unmap(choose);
      }
    }
  }

  Pages pages_{8};
  std::uint32_t other_ = 0;
  MockDevice devices_[kDevices];
  std::int64_t access_ = -1, copier_ = -1;
};

TEST_P(ThreadsTest, MapUnmapCopyAttachAccessAndDestroy) {
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) threads.emplace_back([this, thread] { work(thread); });
  }
  // Afterwards everything works as ever.
  for (const std::uint32_t in : {ioas_, other_}) {
    EXPECT_GE(unmap_range(in, 0, kAll), 0);
    EXPECT_EQ(map_fixed(in, mabi::kApertureFirst, pages_.address(), kPageSize), 0);
    EXPECT_EQ(unmap_range(in, 0, kAll), static_cast<std::int64_t>(kPageSize));
  }
  EXPECT_EQ(iommufd_pages(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, ThreadsTest, ::testing::Range(1U, 5U));

// ---- an access beside an unmap

class UnmapTest : public MockTest {
 protected:
  static constexpr std::uint64_t kIova = mabi::kApertureFirst;
  static constexpr iommufd::IoPagetable::PinRequest kPin{.iova = kIova, .length = kPageSize};

  // A driver that lets go when it has been asked `patience` times.
  class Driver final : public iommufd::AccessUser {
   public:
    explicit Driver(unsigned patience) : patience_(patience) {}
    void unmap(IovaRange range) override {
      EXPECT_EQ(range, IovaRange::of(Iova{kIova}, 2 * kPageSize)) << "the whole mapping";
      if (++asked == patience_) access->unpin(kPin);
    }
    unsigned asked = 0;
    std::unique_ptr<iommufd::Access> access;

   private:
    const unsigned patience_;
  };
  std::shared_ptr<Driver> pinned_by(unsigned patience) {
    EXPECT_EQ(map_fixed(ioas_, kIova, pages_.address(), pages_.bytes()), 0);
    auto driver = std::make_shared<Driver>(patience);
    const auto& context = dynamic_cast<vfio::IommufdFile&>(program_[iommufd_]).context();
    driver->access = *iommufd::Access::create(context, iommufd::Access::Kind::pins, driver);
    EXPECT_TRUE(driver->access->attach(ioas_));
    EXPECT_TRUE(driver->access->pin(kPin));
    return driver;
  }

  Pages pages_{2};
};

TEST_F(UnmapTest, AsksTheDriverUntilItLetsGo) {
  const auto driver = pinned_by(3);
  EXPECT_EQ(unmap_range(ioas_, 0, kAll), static_cast<std::int64_t>(pages_.bytes()));
  EXPECT_EQ(driver->asked, 3U);
}

TEST_F(UnmapTest, GivesUpOnADriverThatDoesNotLetGo) {
  constexpr unsigned kTries = 101;  // Linux's patience
  const auto driver = pinned_by(kTries + 1);
  EXPECT_EQ(unmap_range(ioas_, 0, kAll), -EDEADLOCK);
  EXPECT_EQ(driver->asked, kTries);
  EXPECT_EQ(driver->access->pin(kPin).error().code, EINVAL) << "nothing more is pinned of what shall go";
  driver->access->unpin(kPin);
  EXPECT_EQ(unmap_range(ioas_, 0, kAll), static_cast<std::int64_t>(pages_.bytes()));
}

TEST_F(UnmapTest, BesidePinsEndsAndNothingStaysPinned) {
  const auto access = open_access();
  std::atomic<bool> done{false};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!done) {
          const auto number = pin(access, kIova, pages_.bytes());
          EXPECT_TRUE(number >= 0 || number == -ENOENT || number == -EINVAL) << number;
          if (number < 0) continue;
          const long answer = unpin(access, number);
          EXPECT_TRUE(answer == 0 || answer == -ENOENT) << answer;
        }
      });
    }
    for (int i = 0; i < kRounds; ++i) {
      ASSERT_EQ(map_fixed(ioas_, kIova, pages_.address(), pages_.bytes()), 0);
      if (i % 2 == 0) std::this_thread::yield();
      ASSERT_EQ(unmap_range(ioas_, kIova, pages_.bytes()), static_cast<std::int64_t>(pages_.bytes()));
    }
    done = true;
  }
  EXPECT_EQ(iommufd_pages(), 0U);
}

TEST_F(UnmapTest, BesideTheEndOfAnAccess) {
  for (int i = 0; i < kRounds / 4; ++i) {
    ASSERT_EQ(map_fixed(ioas_, kIova, pages_.address(), pages_.bytes()), 0);
    const auto access = open_access();
    ASSERT_GE(pin(access, kIova, pages_.bytes()), 0);
    const std::jthread closing([&] { program_.close(static_cast<int>(access)); });
    EXPECT_EQ(unmap_range(ioas_, kIova, pages_.bytes()), static_cast<std::int64_t>(pages_.bytes()));
  }
  EXPECT_EQ(iommufd_pages(), 0U);
}

// ---- readers of a queue beside its end

class QueueEndTest : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
  }
  // Two threads that read, answer and poll as long as they have the file.
  std::vector<std::jthread> readers(int file) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([held = *program_.file_of(file)] {
        for (int k = 0; k < 20; ++k) {
          std::byte bytes[4 * sizeof(fd::PageFault)];
          EXPECT_GE(held->pread(address(bytes), sizeof bytes, 0), 0);
          const fd::PageResponse response{1, fd::kPageResponseSuccess};
          const ssize_t written = held->pwrite(address(&response), sizeof response, 0);
          EXPECT_TRUE(written == sizeof response || written == -EINVAL) << written;
          held->poll();
        }
      });
    }
    return threads;
  }
  // A queue is destroyed once the last reader has left it.
  void destroy_queue(const Queue& queue) {
    program_.close(queue.file);
    long answer = -EBUSY;
    while ((answer = destroy(queue.id)) == -EBUSY) std::this_thread::yield();
    EXPECT_EQ(answer, 0);
  }

  MockDevice device_;
  std::uint32_t parent_ = 0;
};

TEST_F(QueueEndTest, OfPageRequests) {
  for (int i = 0; i < kRounds / 10; ++i) {
    const Queue queue = fault_queue();
    const std::uint32_t faults = faulting(device_, parent_, queue);
    ASSERT_EQ(move(device_, faults), 0);
    const auto threads = readers(queue.file);
    for (int k = 0; k < 4; ++k) page_request(device_);
    ASSERT_EQ(move(device_, ioas_), 0);
    EXPECT_EQ(destroy(queue.id), -EBUSY) << "a page table uses it";
    EXPECT_EQ(destroy(faults), 0);
    destroy_queue(queue);
  }
}

TEST_F(QueueEndTest, OfEvents) {
  const auto guest = static_cast<std::uint32_t>(viommu(device_, parent_));
  ASSERT_GT(vdevice(guest, device_, 0x99), 0);
  ASSERT_EQ(move(device_, nested(device_, guest)), 0);
  for (int i = 0; i < kRounds / 10; ++i) {
    fd::VeventqAlloc request{0, 0, guest, mabi::kVeventqType, 4, 0, 0, 0};
    ASSERT_EQ(command(fd::kVeventqAlloc, request), 0);
    const auto threads = readers(static_cast<int>(request.out_veventq_fd));
    for (int k = 0; k < 4; ++k) EXPECT_EQ(event(device_), 0);
    destroy_queue({request.out_veventq_id, static_cast<int>(request.out_veventq_fd)});
  }
}

}  // namespace
}  // namespace softiommu::test
