// SPDX-License-Identifier: BSD-3-Clause
// A device with a TLB of its own that requests pages (PCIe 5.0 chapter 10), behind a unit that answers as it is told.
#include "machine/device_tlb.h"

#include <map>

#include "hw/edu.h"
#include "hw/pci.h"
#include "machine/device_bench.h"

namespace softiommu {
namespace {

namespace edu = hw::edu;
namespace pci = hw::pci;

// Translates what `pages` holds, by PASID and page; remembers the requests that it was sent.
class TranslationAgent final : public IommuUnit {
 public:
  using IommuUnit::IommuUnit;
  std::string_view model() const override { return "agent"; }
  std::uint64_t register_bytes() const override { return 0; }
  std::uint64_t read(std::uint64_t, unsigned) override { return 0; }
  void write(std::uint64_t, unsigned, std::uint64_t) override {}
  void reset() override {}
  std::optional<Translation> translate(const Transaction& t) override {
    ++untranslated;
    return find(t);
  }
  std::optional<Translation> translate_for_device(const Transaction& t) override {
    ++translations;
    if (!serves) return std::nullopt;
    return find(t);
  }
  bool admits_translated(const Transaction&, const Translation&) override { return admits; }
  bool request_page(const PageRequestMessage& request) override {
    requests.push_back(request);
    return takes_requests;
  }
  void invalidate(const DeviceTlbInvalidation& what) {
    invalidate_device_tlb(what);
    bump_generation();
  }
  void forget_ports() { bump_generation(); }
  bool answer(const PageResponse& response) { return answer_page_request(response); }

  Translation find(const Transaction& t) const {
    const auto found = pages.find({t.pasid, t.iova.value >> kPageShift});
    return found != pages.end() ? found->second : Translation{};
  }
  std::map<std::pair<Pasid, std::uint64_t>, Translation> pages;
  std::vector<PageRequestMessage> requests;
  unsigned translations = 0, untranslated = 0;
  bool serves = true, admits = true, takes_requests = true;
};

class DeviceTlbs : public DeviceBench {
 protected:
  static constexpr std::uint64_t kIova = 0x7000'0000;
  static constexpr Pasid kPasid = 5;

  void SetUp() override {
    DeviceBench::SetUp();
    agent_ =
        std::make_unique<TranslationAgent>(UnitContext{.name = "agent", .memory = *memory_, .findings = findings_});
    auto where = context();
    where.unit = agent_.get();
    where.services = {.ats = true, .pri = true, .pasid_bits = 20};
    const DeviceModel model = edu_device_model();
    plug(take(model.create(where, Options(model.options))));
    control(pci::extended::kPasid, pci::pasid::kControl.offset, pci::pasid::kControl["ENABLE"].mask());
    control(pci::extended::kAddressTranslationServices, pci::ats::kControl.offset, pci::ats::kControl["ENABLE"].mask());
  }
  void TearDown() override {
    executor_->remove(*device_);
    device_->set_irq_sink(nullptr);
    device_.reset();
    DeviceBench::TearDown();
  }
  void control(std::uint16_t capability, unsigned offset, std::uint64_t value) {
    device_->config_write(device_->find_extended_capability(capability) + offset, 2, static_cast<std::uint32_t>(value));
  }
  void enable_pri() {
    control(pci::extended::kPageRequest, pci::pri::kControl.offset, pci::pri::kControl["ENABLE"].mask());
  }
  // The page at kIova is the host's page at `offset`; a read-only one says so.
  void map(std::uint64_t offset, Pasid pasid = 0) {
    agent_->pages[{pasid, kIova >> kPageShift}] = {.page = PhysAddr{dma(offset)}, .read = true, .write = true};
  }
  void start_read(Pasid pasid = 0) {
    bar().write64(edu::kDmaPasid.offset, pasid);
    bar().write64(edu::kDmaSource.offset, kIova);
    bar().write64(edu::kDmaDestination.offset, edu::kBuffer);
    bar().write64(edu::kDmaCount.offset, sizeof(std::uint64_t));
    bar().write64(edu::kDmaCommand.offset, edu::kDmaCommand["START"].mask());
    run();
  }
  bool waits() { return edu::kDmaCommand["START"].is_set(bar().read64(edu::kDmaCommand.offset)); }
  // What the device has read last.
  std::uint64_t buffer() {
    const std::uint64_t scratch = 0x10'0000;
    agent_->pages[{0, scratch}] = {.page = PhysAddr{dma(scratch)}, .read = true, .write = true};
    bar().write64(edu::kDmaPasid.offset, 0);
    bar().write64(edu::kDmaSource.offset, edu::kBuffer);
    bar().write64(edu::kDmaDestination.offset, scratch << kPageShift);
    bar().write64(edu::kDmaCommand.offset, edu::kDmaCommand["START"].mask() | edu::kDmaCommand["TO_MEMORY"].mask());
    run();
    return at<>(scratch);
  }
  std::uint64_t read(Pasid pasid = 0) {
    start_read(pasid);
    return buffer();
  }
  void invalidate(Pasid pasid, bool all = false) {
    agent_->invalidate({.stream = device_->dma().stream(),
                        .pasid = pasid,
                        .all_pasids = all,
                        .range = IovaRange::of(Iova{kIova}, kPageSize)});
  }
  bool answer(PageResponse::Code code) {
    const PageRequestMessage& last = agent_->requests.back();
    const bool taken = agent_->answer({.stream = last.stream, .pasid = last.pasid, .group = last.group, .code = code});
    run();
    return taken;
  }

  std::unique_ptr<TranslationAgent> agent_;
};

TEST_F(DeviceTlbs, KeepATranslationUntilItIsInvalidated) {
  at<>(0) = 1;
  at<>(kPageSize) = 2;
  map(0);
  EXPECT_EQ(read(), 1u);
  map(kPageSize);
  agent_->forget_ports();
  EXPECT_EQ(read(), 1u) << "the IOMMU's own invalidations do not reach it";
  invalidate(0);
  EXPECT_EQ(read(), 2u);
}

TEST_F(DeviceTlbs, AskInsteadOfSendingUntranslatedRequests) {
  map(0);
  read();
  EXPECT_GT(agent_->translations, 0u);
  EXPECT_EQ(agent_->untranslated, 0u);
}

TEST_F(DeviceTlbs, ThatAreOffSendUntranslatedRequests) {
  control(pci::extended::kAddressTranslationServices, pci::ats::kControl.offset, 0);
  map(0);
  read();
  EXPECT_EQ(agent_->translations, 0u);
  EXPECT_GT(agent_->untranslated, 0u);
}

TEST_F(DeviceTlbs, KeepPasidsApart) {
  at<>(0) = 1;
  at<>(kPageSize) = 2;
  map(0);
  map(kPageSize, kPasid);
  EXPECT_EQ(read(kPasid), 2u);
  EXPECT_EQ(read(0), 1u);
  map(0, kPasid);
  invalidate(0);
  EXPECT_EQ(read(kPasid), 2u) << "another PASID's";
  invalidate(kPasid);
  EXPECT_EQ(read(kPasid), 1u);
}

TEST_F(DeviceTlbs, ForgetEveryPasidWhenToldToDoSo) {
  at<>(0) = 1;
  map(kPageSize, kPasid);
  read(kPasid);
  map(0, kPasid);
  invalidate(0, true);
  EXPECT_EQ(read(kPasid), 1u);
}

TEST_F(DeviceTlbs, AreRefusedTranslatedRequestsThatTheUnitDoesNotAdmit) {
  at<>(0) = 1;
  map(0);
  EXPECT_EQ(read(), 1u);
  at<>(0) = 3;
  agent_->admits = false;
  agent_->forget_ports();
  start_read();
  agent_->admits = true;
  EXPECT_EQ(buffer(), 1u) << "nothing was read";
}

TEST_F(DeviceTlbs, AreWithoutPasidsUntilSoftwareAllowsThem) {
  control(pci::extended::kPasid, pci::pasid::kControl.offset, 0);
  at<>(0) = 1;
  map(0);
  map(kPageSize, kPasid);
  EXPECT_EQ(read(kPasid), 1u);
}

TEST_F(DeviceTlbs, SurviveAResetOfTheFunctionSwitchedOn) {
  map(0);
  device_->reset();
  enable();
  agent_->translations = 0;
  read();
  EXPECT_GT(agent_->translations, 0u);
}

TEST_F(DeviceTlbs, RequestPagesOnlyWhenAllowed) {
  start_read();
  EXPECT_FALSE(waits());
  EXPECT_TRUE(agent_->requests.empty());
  enable_pri();
  start_read(kPasid);
  EXPECT_TRUE(waits());
  ASSERT_EQ(agent_->requests.size(), 1u);
  EXPECT_EQ(agent_->requests[0].pasid, kPasid);
  EXPECT_EQ(agent_->requests[0].address.value, kIova);
  EXPECT_TRUE(agent_->requests[0].read && !agent_->requests[0].write && agent_->requests[0].last);
}

TEST_F(DeviceTlbs, TryAgainWhenThePageIsThere) {
  enable_pri();
  at<>(0) = 7;
  start_read();
  map(0);
  EXPECT_TRUE(answer(PageResponse::Code::success));
  EXPECT_FALSE(waits());
  EXPECT_EQ(buffer(), 7u);
}

TEST_F(DeviceTlbs, AskOnceForAPageHoweverOftenTheyAreWoken) {
  enable_pri();
  start_read();
  run();
  device_->config_write(pci::kCacheLine.offset, 1, 0);
  run();
  EXPECT_EQ(agent_->requests.size(), 1u);
}

TEST_F(DeviceTlbs, GiveUpWhenTheAnswerIsInvalid) {
  enable_pri();
  start_read();
  EXPECT_TRUE(answer(PageResponse::Code::invalid));
  EXPECT_FALSE(waits());
  start_read();
  EXPECT_EQ(agent_->requests.size(), 2u) << "another access asks anew";
}

TEST_F(DeviceTlbs, AskNoMoreAfterAFailure) {
  enable_pri();
  start_read();
  EXPECT_TRUE(answer(PageResponse::Code::failure));
  start_read();
  EXPECT_EQ(agent_->requests.size(), 1u);
  EXPECT_FALSE(waits());
}

TEST_F(DeviceTlbs, DoNotAskForOnePageForEver) {
  enable_pri();
  start_read();
  for (int i = 0; i < 100 && waits(); ++i) EXPECT_TRUE(answer(PageResponse::Code::success));
  EXPECT_FALSE(waits());
  EXPECT_LT(agent_->requests.size(), 20u);
}

TEST_F(DeviceTlbs, RefuseAnswersToWhatWasNotAsked) {
  enable_pri();
  start_read();
  EXPECT_FALSE(agent_->answer({.stream = device_->dma().stream(), .group = 77}));
  EXPECT_TRUE(waits());
}

TEST_F(DeviceTlbs, AreNotHeldUpByAUnitThatTakesNoRequests) {
  enable_pri();
  agent_->takes_requests = false;
  start_read();
  EXPECT_FALSE(waits());
}

}  // namespace
}  // namespace softiommu
