// SPDX-License-Identifier: BSD-3-Clause
// Devices come and go while other threads look, open, attach and close: each call answers what it may answer, nothing
// hangs, and the sanitizer sees no race.
#include <atomic>
#include <functional>
#include <thread>

#include "uapi/hot_plug_rig.h"

namespace softiommu::test {
namespace {

constexpr int kRounds = 30;

class HotPlugThreads : public HotPlugTest {
 protected:
  // Both at once: `first` so often, `other` until that has ended, at least once.
  void beside(const std::function<void()>& first, const std::function<void()>& other) {
    std::atomic<bool> ended{false};
    std::thread changer([&] {
      for (int i = 0; i < kRounds; ++i) first();
      ended = true;
    });
    do other();
    while (!ended);
    changer.join();
  }
  static void expect(long answer, std::initializer_list<int> errnos) {
    if (answer >= 0) return;
    EXPECT_EQ(std::ranges::count(errnos, static_cast<int>(-answer)), 1) << answer;
  }
};

TEST_F(HotPlugThreads, WhoLooksSeesWholeDevices) {
  const auto toggle = [&] {
    EXPECT_EQ(code(control_->set_num_vfs(kPf, 3)), 0);
    EXPECT_EQ(code(control_->set_num_vfs(kPf, 0)), 0);
  };
  beside(toggle, [&] {
    for (const PciControl::Function& function : control_->functions()) EXPECT_FALSE(function.bdf.empty());
    for (const auto& group : system_->groups())
      for (const Device* device : group->devices()) EXPECT_EQ(device->group(), group.get());
  });
}

TEST_F(HotPlugThreads, ADeviceIsOpenedOrItIsGone) {
  const auto toggle = [&] {
    EXPECT_EQ(code(control_->remove(kAlone)), 0);
    EXPECT_EQ(code(control_->rescan()), 0);
  };
  beside(toggle, [&] {
    const int device = open_cdev(kAlone);
    if (device < 0) return expect(device, {ENODEV});
    const long bound = bind_with(device, nullptr);
    expect(bound, {});
    std::uint32_t value = 0;
    if (bound == 0) {
      EXPECT_EQ(read_region(device, 0, 0, &value), 4);
    }
    program_.close(device);
  });
}

TEST_F(HotPlugThreads, AGroupIsTakenWithWhoeverIsInIt) {
  const auto toggle = [&] {
    EXPECT_EQ(code(control_->remove(kOther)), 0);
    EXPECT_EQ(code(control_->rescan()), 0);
  };
  beside(toggle, [&] {
    attach(abi::Extension::type1_v2, kTwin);
    const int device = open_device(kTwin);
    EXPECT_GT(device, 0);
    const int other = open_device(kOther);
    expect(other, {ENODEV});
    for (const int file : {other, device, group_, container_})
      if (file > 0) program_.close(file);
  });
}

TEST_F(HotPlugThreads, ASurpriseNeverHangs) {
  const auto toggle = [&] {
    expect(-code(control_->unplug(kAlone)), {ENODEV});
    expect(-code(control_->plug(kAlone)), {EBUSY, EEXIST});
    expect(-code(control_->rescan()), {});
  };
  beside(toggle, [&] {
    const int device = open_cdev(kAlone);
    if (device < 0) return;
    if (bind_with(device, nullptr) == 0) {
      Pages pages(1);
      moves(device, pages);
      expect(call(device, abi::kDeviceReset), {EAGAIN});
    }
    program_.close(device);
  });
}

}  // namespace
}  // namespace softiommu::test
