// SPDX-License-Identifier: BSD-3-Clause
// Page requests: who gets them, in what sets, and that each set is answered exactly once.
#include "core/page_faults.h"

#include <gtest/gtest.h>

#include "base/fault.h"
#include "contract/world.h"

namespace softiommu::testing {
namespace {

constexpr Pasid kPasid = 100;

class Collector final : public PageRequestHandler {
 public:
  void handle(PageRequestSet requests) override {
    if (throws) throw std::bad_alloc();
    sets.push_back(std::move(requests));
  }
  std::vector<PageRequestSet> sets;
  bool throws = false;
};

class PageRequests : public ::testing::Test {
 protected:
  PageRequests() {
    domain_ = world.domain(world.own(group()), 'A');
    domain_->set_page_request_handler(collector_);
    EXPECT_TRUE(group().attach(*domain_, &handle_));
  }
  ~PageRequests() override {
    fault::disarm();
    group().detach();
  }

  Group& group() { return world.alone(); }
  std::vector<PageAnswer>& answers() { return world.flat().page_answers; }
  int report(const PageRequest& request) {
    const auto done = group().page_faults().report(*group().devices().front(), request);
    return done ? 0 : done.error().code;
  }

  World world{driver_cases().front(), {.knobs = {.pasid_bits = {{0x10, 20}}}}};
  Collector collector_;
  std::unique_ptr<Domain> domain_;
  AttachHandle handle_;
};

TEST_F(PageRequests, GoToTheHandlerOfTheDomainWithTheHandleOfTheAttach) {
  ASSERT_EQ(report({.index = 3, .rights = PageRight::write, .address = 0x5000}), 0);
  ASSERT_EQ(collector_.sets.size(), 1u);
  EXPECT_EQ(&collector_.sets[0].handle(), &handle_);
  EXPECT_EQ(collector_.sets[0].requests().front().address, 0x5000u);
  EXPECT_TRUE(answers().empty());
}

TEST_F(PageRequests, OfOneIndexComeTogetherWithTheLast) {
  ASSERT_EQ(report({.index = 1, .last = false, .address = 0x1000}), 0);
  ASSERT_EQ(report({.index = 2, .last = false, .address = 0x2000}), 0);
  ASSERT_EQ(report({.index = 1, .last = true, .address = 0x3000}), 0);
  ASSERT_EQ(collector_.sets.size(), 1u);
  const auto& requests = collector_.sets[0].requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].address, 0x1000u);
  EXPECT_EQ(requests[1].address, 0x3000u);
}

TEST_F(PageRequests, AreAnsweredOnce) {
  ASSERT_EQ(report({}), 0);
  collector_.sets[0].answer(PageAnswer::success);
  collector_.sets[0].answer(PageAnswer::invalid);
  collector_.sets.clear();
  EXPECT_EQ(answers(), (std::vector{PageAnswer::success}));
}

TEST_F(PageRequests, ThatAreDroppedAreAnsweredInvalid) {
  ASSERT_EQ(report({}), 0);
  collector_.sets.clear();
  EXPECT_EQ(answers(), (std::vector{PageAnswer::invalid}));
}

TEST_F(PageRequests, ThatAHandlerThrowsAtAreAnsweredInvalid) {
  collector_.throws = true;
  EXPECT_EQ(report({}), ENOMEM);
  EXPECT_EQ(answers(), (std::vector{PageAnswer::invalid}));
}

TEST_F(PageRequests, WithoutMemoryAreAnsweredFailureSoThatTheDeviceStops) {
  fault::fail_point("core.page_request");
  EXPECT_EQ(report({}), ENOMEM);
  EXPECT_EQ(answers(), (std::vector{PageAnswer::failure}));
}

TEST_F(PageRequests, WithAPasidGoToWhatItIsAttachedTo) {
  EXPECT_EQ(report({.pasid = kPasid}), EINVAL);
  EXPECT_EQ(answers(), (std::vector{PageAnswer::invalid})) << "nothing is attached, and it must be told";
  AttachHandle of_pasid;
  ASSERT_TRUE(group().attach_pasid(*domain_, kPasid, of_pasid));
  ASSERT_EQ(report({.pasid = kPasid}), 0);
  EXPECT_EQ(&collector_.sets.back().handle(), &of_pasid);
  collector_.sets.clear();
  group().detach_pasid(kPasid);
}

TEST_F(PageRequests, OfADomainWithoutAHandlerFail) {
  const auto plain = world.domain(group(), 'B');
  ASSERT_TRUE(group().replace(*plain, &handle_));
  EXPECT_EQ(report({}), EINVAL);
  EXPECT_EQ(report({.last = false}), EINVAL);
  EXPECT_EQ(answers(), (std::vector{PageAnswer::invalid})) << "only the last of an index is answered";
  group().detach();  // before the domain ends
}

TEST_F(PageRequests, FailOnceTheGroupIsDetached) {
  ASSERT_EQ(report({.index = 1, .last = false}), 0);
  group().detach();
  EXPECT_EQ(report({.index = 1}), EINVAL);
  ASSERT_TRUE(group().attach(*domain_, &handle_));
  ASSERT_EQ(report({.index = 1}), 0);
  EXPECT_EQ(collector_.sets.back().requests().size(), 1u) << "the request from before is forgotten";
}

TEST_F(PageRequests, OfAnAttachWithoutAHandleFail) {
  ASSERT_TRUE(group().replace(*domain_, nullptr));
  EXPECT_EQ(report({}), EINVAL);
}

}  // namespace
}  // namespace softiommu::testing
