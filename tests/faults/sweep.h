// SPDX-License-Identifier: BSD-3-Clause
// The sweep: a call is made again and again, each time in a fresh world and with the next of its fault points failing,
// until it passes all of them.
//
// Each time one of two things must be true: it answers the errno of what failed and nothing changed, and made again it
// succeeds; or it did without what failed, and then everything is as after a call that nothing happened to.
#pragma once

#include "faults/state.h"
#include "uapi/mock_rig.h"

namespace softiommu::test {

// The rig, with its verbs for everyone, and what scenarios remember between set_up and call.
class Rig : public MockTest {
 public:
  void TestBody() override {}

  using IommufdTest::alloc_hwpt;
  using IommufdTest::alloc_ioas;
  using IommufdTest::attach_to;
  using IommufdTest::attached_device;
  using IommufdTest::bind;
  using IommufdTest::command;
  using IommufdTest::copy;
  using IommufdTest::destroy;
  using IommufdTest::detach;
  using IommufdTest::iommufd_;
  using IommufdTest::kAll;
  using IommufdTest::kBoth;
  using IommufdTest::map_anywhere;
  using IommufdTest::map_fixed;
  using IommufdTest::open_cdev;
  using IommufdTest::open_iommufd;
  using IommufdTest::ranges;
  using IommufdTest::unmap_range;
  using MockTest::address;
  using MockTest::copy_bytes;
  using MockTest::dma_buf;
  using MockTest::event;
  using MockTest::fault_queue;
  using MockTest::faulting;
  using MockTest::hw_queue;
  using MockTest::hwpt;
  using MockTest::ioas_;
  using MockTest::kIotlb;
  using MockTest::map_buffer;
  using MockTest::mock_device;
  using MockTest::mock_pci;
  using MockTest::MockDevice;
  using MockTest::move;
  using MockTest::move_access;
  using MockTest::nest_parent;
  using MockTest::nested;
  using MockTest::nested_request;
  using MockTest::open_access;
  using MockTest::page_request;
  using MockTest::pasid;
  using MockTest::pin;
  using MockTest::Queue;
  using MockTest::revoke;
  using MockTest::test;
  using MockTest::unpin;
  using MockTest::vdevice;
  using MockTest::viommu;
  using VfioTest::add;
  using VfioTest::at;
  using VfioTest::attach;
  using VfioTest::call;
  using VfioTest::container_;
  using VfioTest::group_;
  using VfioTest::kName;
  using VfioTest::map;
  using VfioTest::open_container;
  using VfioTest::open_device;
  using VfioTest::open_group;
  using VfioTest::program_;
  using VfioTest::set_container;
  using VfioTest::set_irqs;
  using VfioTest::set_irqs_count;
  using VfioTest::start_on;
  using VfioTest::system_;
  using VfioTest::unmap;
  using VfioTest::vfio_;
  using VfioTest::write_region;

  static constexpr std::uint64_t kIova = 0x10000, kHugeIova = 0x200000, kMockIova = mabi::kApertureFirst;
  std::uint64_t user(std::size_t page = 0) const { return pages_.address() + page * kPageSize; }
  int memory_file() const { return memory_file_; }
  Event& eventfd(std::size_t i) { return events_[i]; }
  // The iommufd as a process has it that the first one gave it to.
  int file_in_another_process();
  // A call of read() or write() answers for every failure on the way, as that of an ioctl.
  ssize_t pread(int file, void* into, std::size_t bytes);
  ssize_t pwrite(int file, const void* from, std::size_t bytes);

  std::uint32_t ioas = 0, other_ioas = 0;
  int device = -1;
  std::int64_t id = 0, access = 0, number = 0;
  MockDevice mock;
  std::uint32_t parent = 0;
  Queue queue;

  Rig();
  ~Rig() override;
  void begin() { SetUp(); }
  void end() { TearDown(); }
  State state() { return state_of({*system_, program_, pages_.address()}); }

 private:
  Pages pages_{64};
  std::shared_ptr<FakeProgram> other_process_ = std::make_shared<FakeProgram>();
  Event events_[3];
  int memory_file_;
};

struct Scenario {
  const char* name;
  void (*set_up)(Rig&);
  long (*call)(Rig&);  // as ioctl answers; what it makes stays
};
void PrintTo(const Scenario& scenario, std::ostream* out);

// A fixture whose tests are the sweeps of its scenarios.
class Sweep : public ::testing::TestWithParam<Scenario> {
 protected:
  void run();

 private:
  struct Outcome {
    bool struck = false;
    std::string point;  // that failed
    long answer = 0;
    State before, after;
  };
  Outcome attempt(std::uint64_t nth);
  void judge(std::uint64_t nth, const Outcome& outcome, const State& undisturbed) const;
};

std::string name_of(const ::testing::TestParamInfo<Scenario>& info);

}  // namespace softiommu::test
