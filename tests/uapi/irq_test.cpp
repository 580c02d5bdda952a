// SPDX-License-Identifier: BSD-3-Clause
// DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS for all five kinds.
#include <unistd.h>

#include "base/fault.h"
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

constexpr std::uint32_t kTrigger = abi::kIrqSetActionTrigger, kMask = abi::kIrqSetActionMask,
                        kUnmask = abi::kIrqSetActionUnmask;

class IrqTest : public VfioTest {
 protected:
  void SetUp() override {
    VfioTest::SetUp();
    attach();
    device_ = open_device();
    ASSERT_GT(device_, 0);
    set_config<std::uint16_t>(device_, 4, 6);  // messages are writes of the device: it must master
  }
  abi::IrqInfo info(std::uint32_t index) {
    abi::IrqInfo info{.argsz = sizeof info, .index = index};
    EXPECT_EQ(call(device_, abi::kDeviceGetIrqInfo, &info), 0);
    return info;
  }
  long events(std::uint32_t index, std::uint32_t start, std::vector<std::int32_t> descriptors) {
    return set_irqs(device_, kTrigger, index, start, std::move(descriptors));
  }
  long none(std::uint32_t action, std::uint32_t index, std::uint32_t start, std::uint32_t count) {
    return set_irqs_count(device_, action, index, start, count);
  }
  int device_ = -1;
  Event a_, b_, c_;
};

TEST_F(IrqTest, InfoSaysHowManyAndOfWhatKind) {
  EXPECT_EQ(info(abi::kIntxIrq).count, 1U);
  EXPECT_EQ(info(abi::kIntxIrq).flags, abi::kIrqInfoEventfd | abi::kIrqInfoMaskable | abi::kIrqInfoAutomasked);
  EXPECT_EQ(info(abi::kMsiIrq).count, 4U);
  EXPECT_EQ(info(abi::kMsiIrq).flags, abi::kIrqInfoEventfd | abi::kIrqInfoNoresize);
  EXPECT_EQ(info(abi::kMsixIrq).count, 3U);
  EXPECT_EQ(info(abi::kMsixIrq).flags, abi::kIrqInfoEventfd);
  EXPECT_EQ(info(abi::kErrIrq).count, 1U);
  EXPECT_EQ(info(abi::kReqIrq).count, 1U);
  abi::IrqInfo bad{.argsz = sizeof bad, .index = 5};
  EXPECT_EQ(call(device_, abi::kDeviceGetIrqInfo, &bad), -EINVAL);
  bad = {.argsz = 15, .index = 0};
  EXPECT_EQ(call(device_, abi::kDeviceGetIrqInfo, &bad), -EINVAL);
}

TEST_F(IrqTest, RequestsAreChecked) {
  EXPECT_EQ(none(kTrigger, 5, 0, 1), -EINVAL);
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 0, 4), -EINVAL) << "it has three";
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 3, 0), -EINVAL);
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 1, 0xffffffff), -EINVAL);
  EXPECT_EQ(none(kTrigger | 64, abi::kMsixIrq, 0, 1), -EINVAL);
  EXPECT_EQ(none(kTrigger | abi::kIrqSetDataBool, abi::kMsixIrq, 0, 1), -EINVAL) << "two kinds of data";
  EXPECT_EQ(none(kTrigger | kMask, abi::kIntxIrq, 0, 1), -ENOTTY);
  EXPECT_EQ(none(kMask, abi::kMsixIrq, 0, 1), -ENOTTY);
  EXPECT_EQ(none(kMask, abi::kReqIrq, 0, 1), -ENOTTY);
  const abi::IrqSet no_room{sizeof no_room, kTrigger | abi::kIrqSetDataEventfd, abi::kMsixIrq, 0, 1};
  EXPECT_EQ(call(device_, abi::kDeviceSetIrqs, &no_room), -EINVAL);
  EXPECT_EQ(call(device_, abi::kDeviceSetIrqs, std::uint64_t{0}), -EFAULT);
  EXPECT_EQ(events(abi::kMsixIrq, 0, {4000}), -EBADF);
  EXPECT_EQ(events(abi::kMsixIrq, 0, {STDIN_FILENO}), -EINVAL);
}

TEST_F(IrqTest, MsixSignalsTheVectorsEvent) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor(), -1, c_.descriptor()}), 0);
  tell(device_, Gadget::send_message, 2);
  EXPECT_EQ(c_.take(), 1U);
  EXPECT_EQ(a_.take(), 0U);
  tell(device_, Gadget::send_message, 1);
  tell(device_, Gadget::send_message, 0);
  EXPECT_EQ(a_.take(), 1U);
}

TEST_F(IrqTest, MsixVectorsComeAndGoWhileOthersAreInUse) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0);
  ASSERT_EQ(events(abi::kMsixIrq, 2, {c_.descriptor()}), 0);
  tell(device_, Gadget::send_message, 2);
  EXPECT_EQ(c_.take(), 1U);
  ASSERT_EQ(events(abi::kMsixIrq, 0, {-1}), 0);
  tell(device_, Gadget::send_message, 0);
  EXPECT_EQ(a_.take(), 0U);
}

TEST_F(IrqTest, ACountOfZeroSwitchesOff) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0);
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 0, 0), 0);
  tell(device_, Gadget::send_message, 0);
  EXPECT_EQ(a_.take(), 0U);
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 0, 0), -EINVAL) << "it is off";
  EXPECT_EQ(events(abi::kMsixIrq, 0, {}), -ERANGE);
}

TEST_F(IrqTest, OneKindAtATime) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0);
  EXPECT_EQ(events(abi::kMsiIrq, 0, {a_.descriptor()}), -EINVAL);
  EXPECT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), -EINVAL);
  ASSERT_EQ(none(kTrigger, abi::kMsixIrq, 0, 0), 0);
  EXPECT_EQ(events(abi::kMsiIrq, 0, {a_.descriptor()}), 0);
}

TEST_F(IrqTest, ABadDescriptorLeavesNoneOfTheCall) {
  EXPECT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor(), 4000}), -EBADF);
  EXPECT_EQ(events(abi::kMsiIrq, 0, {b_.descriptor()}), 0) << "nothing is in use";
}

TEST_F(IrqTest, MsiHasAsManyVectorsAsItWasEnabledWith) {
  ASSERT_EQ(events(abi::kMsiIrq, 0, {a_.descriptor(), b_.descriptor()}), 0);
  tell(device_, Gadget::send_message, 1);
  EXPECT_EQ(b_.take(), 1U);
  EXPECT_EQ(events(abi::kMsiIrq, 2, {c_.descriptor()}), -EINVAL);
}

TEST_F(IrqTest, TriggersCanBeTriedOut) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor(), b_.descriptor()}), 0);
  EXPECT_EQ(none(kTrigger, abi::kMsixIrq, 0, 2), 0);
  EXPECT_EQ(a_.take() + b_.take(), 2U);
  struct {
    abi::IrqSet head;
    std::uint8_t flags[4];
  } const request{{sizeof request, kTrigger | abi::kIrqSetDataBool, abi::kMsixIrq, 0, 2}, {0, 1, 0, 0}};
  EXPECT_EQ(call(device_, abi::kDeviceSetIrqs, &request), 0);
  EXPECT_EQ(a_.take(), 0U);
  EXPECT_EQ(b_.take(), 1U);
}

TEST_F(IrqTest, AFullCounterDoesNotStopTheDevice) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0);
  const std::uint64_t most = ~std::uint64_t{0} - 1;
  ASSERT_EQ(write(a_.descriptor(), &most, sizeof most), 8);
  tell(device_, Gadget::send_message, 0);
  EXPECT_EQ(a_.take(), most);
}

TEST_F(IrqTest, MessagesSurviveAReset) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0);
  ASSERT_EQ(call(device_, abi::kDeviceReset), 0);
  tell(device_, Gadget::send_message, 0);
  EXPECT_EQ(a_.take(), 1U);
}

TEST_F(IrqTest, IntxMasksItselfUntilItIsUnmasked) {
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 1U);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 0U);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), 0);
  EXPECT_EQ(a_.take(), 1U) << "still asserted";
  tell(device_, Gadget::lower_intx);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), 0);
  EXPECT_EQ(a_.take(), 0U);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 1U);
}

TEST_F(IrqTest, AnUnmaskLooksAtTheLineAsItIsNow) {
  const auto line = [&](Gadget to) { write_region(device_, 2, 0, static_cast<std::uint32_t>(to)); };
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 1U);
  line(Gadget::lower_intx);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), 0);
  EXPECT_EQ(a_.take(), 0U) << "the device has not had its next step";
  line(Gadget::raise_intx);
  run();
  EXPECT_EQ(a_.take(), 1U) << "a line that rises again is another interrupt";
}

TEST_F(IrqTest, IntxCanBeMaskedByHandAndByTheCommandRegister) {
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  EXPECT_EQ(none(kMask, abi::kIntxIrq, 0, 1), 0);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 0U);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), 0);
  EXPECT_EQ(a_.take(), 1U);
  tell(device_, Gadget::lower_intx);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), 0);
  set_config<std::uint16_t>(device_, 4, 0x402);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 0U);
  set_config<std::uint16_t>(device_, 4, 0x002);
  EXPECT_EQ(a_.take(), 1U);
  EXPECT_EQ(set_irqs(device_, kMask, abi::kIntxIrq, 0, {a_.descriptor()}), -ENOTTY);
}

TEST_F(IrqTest, AnUnmaskEventUnmasks) {
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  ASSERT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {b_.descriptor()}), 0);
  EXPECT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {b_.descriptor()}), -EBUSY);
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 1U);
  tell(device_, Gadget::lower_intx);
  b_.signal();
  run();
  tell(device_, Gadget::raise_intx);
  EXPECT_EQ(a_.take(), 1U);
  EXPECT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {-1}), 0);
}

TEST_F(IrqTest, AnUnmaskEventStaysWhenItCannotBeLookedAt) {
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  ASSERT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {b_.descriptor()}), 0);
  fault::fail_point("program.eventfd", 1);
  EXPECT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {c_.descriptor()}), -EBUSY);
  fault::disarm();
}

TEST_F(IrqTest, AnUnmaskEventThatTheProgramClosedMakesRoomForAnother) {
  ASSERT_EQ(events(abi::kIntxIrq, 0, {a_.descriptor()}), 0);
  {
    const Event closed;
    ASSERT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {closed.descriptor()}), 0);
  }
  EXPECT_EQ(set_irqs(device_, kUnmask, abi::kIntxIrq, 0, {b_.descriptor()}), 0);
}

TEST_F(IrqTest, IntxThatIsNotInUseCannotBeMasked) {
  EXPECT_EQ(none(kMask, abi::kIntxIrq, 0, 1), -EINVAL);
  EXPECT_EQ(none(kUnmask, abi::kIntxIrq, 0, 1), -EINVAL);
  EXPECT_EQ(none(kTrigger, abi::kIntxIrq, 0, 0), -EINVAL);
}

TEST_F(IrqTest, ErrorsAndRequestsHaveOneEventEach) {
  for (const std::uint32_t index : {std::uint32_t{abi::kErrIrq}, std::uint32_t{abi::kReqIrq}}) {
    EXPECT_EQ(none(kTrigger, index, 0, 1), -EINVAL) << "none is set";
    EXPECT_EQ(events(index, 0, {}), -EINVAL);
    ASSERT_EQ(events(index, 0, {a_.descriptor()}), 0);
    EXPECT_EQ(none(kTrigger, index, 0, 1), 0);
    EXPECT_EQ(a_.take(), 1U);
    EXPECT_EQ(events(index, 0, {-1}), 0);
    EXPECT_EQ(none(kTrigger, index, 0, 0), -EINVAL);
    EXPECT_EQ(events(index, 0, {-2}), -EINVAL);
  }
}

TEST_F(IrqTest, ADescriptorThatIsNoneLeavesEveryVectorAsItWas) {
  ASSERT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor(), b_.descriptor()}), 0);
  EXPECT_EQ(events(abi::kMsixIrq, 0, {c_.descriptor(), 9999}), -EBADF);
  tell(device_, Gadget::send_message, 0);
  tell(device_, Gadget::send_message, 1);
  EXPECT_EQ(a_.take(), 1U);
  EXPECT_EQ(b_.take(), 1U);
  EXPECT_EQ(c_.take(), 0U);
}

TEST_F(IrqTest, MessagesThatCannotBeEnabledStayOff) {
  EXPECT_EQ(events(abi::kMsiIrq, 0, {a_.descriptor(), 9999}), -EBADF);
  EXPECT_EQ(none(kTrigger, abi::kMsiIrq, 0, 0), -EINVAL) << "not in use";
  EXPECT_EQ(events(abi::kMsixIrq, 0, {a_.descriptor()}), 0) << "another kind may be";
}

}  // namespace
}  // namespace softiommu::test
