// SPDX-License-Identifier: BSD-3-Clause
// A machine whose functions come and go (hot_plug_machine.h), and what sysfs and an operator can do to them.
#pragma once

#include <gmock/gmock.h>

#include <deque>
#include <vector>

#include "hw/edu.h"
#include "hw/pci.h"
#include "uapi/hot_plug_machine.h"
#include "uapi/iommufd_rig.h"
#include "vfio/pci_control.h"
#include "vfio/vf_token.h"

namespace softiommu::test {

class HotPlugTest : public IommufdTest {
 protected:
  using Removal = PciControl::Removal;
  using Wait = PciControl::Wait;
  static constexpr const char* kToken = "52ac9bff-3a88-4fbd-901a-0d767c3b6c97";
  static constexpr const char* kWrong = "88594674-90a0-47a9-aea8-9d9b352ac08a";
  static constexpr std::uint64_t kIova = 0x100000;

  void SetUp() override { begin("intel-vtd"); }
  void begin(std::string_view unit) {
    const auto spec = parse_machine(hot_plug_machine(unit), "hot.toml");
    ASSERT_TRUE(spec) << spec.error().what;
    start_on(*spec);
    control_ = std::make_unique<PciControl>(*system_, *vfio_);
    iommufd_ = open_iommufd();
  }
  void TearDown() override {
    program_.close_all();
    control_.reset();
    IommufdTest::TearDown();
  }

  void enable(unsigned number) { ASSERT_EQ(code(control_->set_num_vfs(kPf, number)), 0); }
  // As it is now; what was found stays until the test ends.
  const PciControl::Function* find(const std::string& bdf) {
    const auto& functions = found_.emplace_back(control_->functions());
    const auto found = std::ranges::find(functions, bdf, &PciControl::Function::bdf);
    return found != functions.end() ? &*found : nullptr;
  }
  PciFunction& hardware(const std::string& bdf) { return *machine_->function(*Bdf::parse(bdf)); }
  long bind_with(int device, const char* token) {
    vfio::Uuid uuid{};
    if (token != nullptr) uuid = *vfio::parse_uuid(token);
    const abi::BindIommufd request{sizeof request, token != nullptr ? abi::kBindToken : 0, iommufd_, 0,
                                   reinterpret_cast<std::uint64_t>(uuid.data())};
    return call(device, abi::kDeviceBindIommufd, &request);
  }
  // The first virtual function, by a program that has the physical one, too.
  int open_vf() {
    EXPECT_EQ(bind_with(open_cdev(kPf), kToken), 0);
    const int vf = open_cdev(kVf);
    EXPECT_EQ(bind_with(vf, kToken), 0);
    return vf;
  }
  // A device of a group in a container of its own.
  int open_in_container(const std::string& bdf, const char* token = nullptr) {
    attach(abi::Extension::type1_v2, bdf);
    return open_device(token == nullptr ? bdf : bdf + " vf_token=" + token);
  }
  long request_eventfd(int device, const Event& event) {
    return set_irqs(device, abi::kIrqSetActionTrigger, abi::kReqIrq, 0, {event.descriptor()});
  }
  // The edu device behind the file moves eight bytes from one IOVA to another. False: they did not arrive.
  bool moves(int device, Pages& pages) {
    namespace edu = hw::edu;
    std::memcpy(pages.at(), "softiomm", 8);
    std::memset(pages.at(8), 0, 8);
    set_config<std::uint16_t>(device, 4, 6);
    const auto set = [&](std::uint64_t offset, std::uint64_t value) { write_region(device, 0, offset, value); };
    set(edu::kDmaSource.offset, kIova);
    set(edu::kDmaDestination.offset, edu::kBuffer);
    set(edu::kDmaCount.offset, 8);
    set(edu::kDmaCommand.offset, 1);
    run();
    set(edu::kDmaSource.offset, edu::kBuffer);
    set(edu::kDmaDestination.offset, kIova + 8);
    set(edu::kDmaCommand.offset, 3);
    run();
    return std::memcmp(pages.at(), pages.at(8), 8) == 0;
  }

  std::unique_ptr<PciControl> control_;
  std::deque<std::vector<PciControl::Function>> found_;
};

}  // namespace softiommu::test
