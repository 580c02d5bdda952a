// SPDX-License-Identifier: BSD-3-Clause
// A machine with a unit of every kind that there is a driver for: whatever order drivers, units and devices come up in,
// every device can be attached and does DMA through its own domain.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "contract/orders.h"
#include "core/system.h"
#include "drivers/registry.h"
#include "machine/findings.h"
#include "machine/machine.h"

namespace softiommu::testing {
namespace {

class ProbeOrder : public ::testing::TestWithParam<Order> {
 protected:
  static constexpr Iova kWindow{0x5801'0000};  // within the window of a GART

  void SetUp() override {
    const Order& order = GetParam();
    std::string toml = "[machine]\nname = \"every-kind\"\n[memory]\ntop = \"4G\"\ntable_arena = \"256M\"\n";
    for (const unsigned n : order)
      toml += fmt::format("[[iommu]]\nname = \"u{}\"\nmodel = \"{}\"\n", n, all_drivers()[n]()->unit_model());
    for (const unsigned n : order)
      toml += fmt::format("[[device]]\naddress = \"{}\"\nmodel = \"edu\"\niommu = \"u{}\"\n", name_of(n), n);
    const auto spec = parse_machine(toml, "every-kind.toml");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    machine_ = *Machine::create(*spec, {.time = Executor::Time::virtual_time, .paranoid = true});
    std::vector<MakeDriver> drivers;
    for (const unsigned n : order) drivers.push_back(all_drivers()[(n + 1) % order.size()]);  // not the units' order
    system_ = *System::create(*machine_, drivers, {});
    page_ = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(bytes_), kPageSize)->first;
  }
  void TearDown() override {
    for (const unsigned n : GetParam()) {
      group(n).detach();
      group(n).release_dma_owner();
    }
    domains_.clear();
    system_.reset();
    EXPECT_TRUE(machine_->findings().all().empty());
  }

  static std::string name_of(unsigned n) { return fmt::format("0000:00:{:02x}.0", n); }
  Group& group(unsigned n) { return *system_->device(name_of(n))->group(); }
  bool reads(unsigned n, Iova iova) {
    std::byte byte{};
    return static_cast<bool>(system_->device(name_of(n))->function()->dma().read(iova, {&byte, 1}));
  }

  alignas(kPageSize) std::byte bytes_[kPageSize]{};
  PhysAddr page_{};
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::vector<std::unique_ptr<Domain>> domains_;
};

INSTANTIATE_TEST_SUITE_P(Orders, ProbeOrder, ::testing::ValuesIn(orders_of(all_drivers().size())));

TEST_P(ProbeOrder, EveryDeviceIsServedByItsDriverAndReachesItsOwnDomain) {
  for (const unsigned n : GetParam()) {
    ASSERT_NE(system_->device(name_of(n))->group(), nullptr) << name_of(n);
    EXPECT_EQ(group(n).driver().name(), all_drivers()[n]()->name());
    ASSERT_TRUE(group(n).claim_dma_owner(this));
    domains_.push_back(*system_->allocate_domain(group(n)));
    ASSERT_TRUE(domains_.back()->map(kWindow + n * kPageSize, page_, kPageSize, {.read = true, .write = true}));
    ASSERT_TRUE(group(n).attach(*domains_.back())) << name_of(n);
  }
  for (const unsigned n : GetParam())
    for (const unsigned page : GetParam()) EXPECT_EQ(reads(n, kWindow + page * kPageSize), n == page) << n << page;
}

}  // namespace
}  // namespace softiommu::testing
