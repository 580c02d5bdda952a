// SPDX-License-Identifier: BSD-3-Clause
// The extended capabilities of translation as vfio-pci shows them: for reading, and PASIDs not at all.
#include "hw/pci.h"
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

namespace pci = hw::pci;

class ExtendedConfigTest : public VfioTest {
 protected:
  void SetUp() override {
    const auto spec = parse_machine(R"([[iommu]]
name = "dmar0"
model = "intel-vtd"
scalable = true
device_tlb = true
page_requests = true
[[device]]
address = "00:02.0"
model = "edu"
ats = true
pri = true
pasid_bits = 16
)",
                                    "services.toml");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    start_on(*spec);
    attach();
    device_ = open_device();
    ASSERT_GT(device_, 0);
  }
  unsigned hardware(std::uint16_t id) { return system_->device(kName)->function()->find_extended_capability(id); }
  std::vector<std::uint16_t> shown() {
    std::vector<std::uint16_t> ids;
    for (unsigned at = pci::kFirstExtendedCapability; at != 0 && ids.size() < 64;) {
      const auto header = config<std::uint32_t>(device_, at);
      ids.push_back(static_cast<std::uint16_t>(pci::kExtendedHeader["ID"].get(header)));
      at = static_cast<unsigned>(pci::kExtendedHeader["NEXT"].get(header));
    }
    return ids;
  }
  int device_ = -1;
};

TEST_F(ExtendedConfigTest, TranslationAndPageRequestsAreShownAndPasidsAreNot) {
  using namespace pci::extended;
  ASSERT_NE(hardware(kPasid), 0U);
  EXPECT_EQ(shown(), (std::vector<std::uint16_t>{kAdvancedErrorReporting, kAddressTranslationServices, kPageRequest}));
}

TEST_F(ExtendedConfigTest, WhatTheIommusDriverEnabledCannotBeSwitchedOff) {
  const unsigned at = hardware(pci::extended::kAddressTranslationServices) + pci::ats::kControl.offset;
  const auto control = config<std::uint16_t>(device_, at);
  EXPECT_TRUE(pci::ats::kControl["ENABLE"].is_set(control));
  set_config<std::uint16_t>(device_, at, 0);
  EXPECT_EQ(config<std::uint16_t>(device_, at), control);
}

TEST_F(ExtendedConfigTest, AResetKeepsIt) {
  const unsigned at = hardware(pci::extended::kAddressTranslationServices) + pci::ats::kControl.offset;
  const auto control = config<std::uint16_t>(device_, at);
  ASSERT_EQ(call(device_, abi::kDeviceReset), 0);
  EXPECT_EQ(config<std::uint16_t>(device_, at), control);
}

}  // namespace
}  // namespace softiommu::test
