// SPDX-License-Identifier: BSD-3-Clause
// Every machine of machines/: each device can be attached, mapped and do DMA, whatever the order in which the drivers
// come; and one address space serves all groups of the museum, which has every kind of IOMMU.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "contract/orders.h"
#include "core/system.h"
#include "drivers/registry.h"
#include "ioas/domain_set.h"
#include "machine/machine.h"

namespace softiommu::testing {
namespace {

// An address that every aperture of the museum has.
constexpr Iova kEverywhere{0x5810'0000};

class Board {
 public:
  Board(const MachineSpec& spec, std::span<const MakeDriver> drivers)
      : machine_(*Machine::create(spec, {.time = Executor::Time::virtual_time, .paranoid = true})),
        system_(*System::create(*machine_, drivers, {})) {
    page_ =
        static_cast<std::byte*>(mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memset(page_, 'A', kPageSize);
    pa_ = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(page_), kPageSize)->first;
  }
  ~Board() {
    system_.reset();
    machine_->memory().unpin({pa_, kPageSize});
    machine_.reset();
    munmap(page_, kPageSize);
  }
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  System& system() { return *system_; }
  Machine& machine() { return *machine_; }
  Result<> map(Domain& domain, Iova iova) { return domain.map(iova, pa_, kPageSize, {.read = true, .write = true}); }
  // One letter for each port of each device.
  std::string sees(const Group& group, Iova iova) {
    std::string seen;
    for (const Device* device : group.devices()) {
      if (device->function() != nullptr) {
        seen += read(device->function()->dma(), iova);
        continue;
      }
      PlatformDevice& platform = *machine_->platform_device(device->name());
      for (unsigned port = 0; port < platform.streams().size(); ++port) seen += read(platform.dma(port), iova);
    }
    return seen;
  }

 private:
  static char read(DmaPort& port, Iova iova) {
    std::byte byte{};
    return port.read(iova, {&byte, 1}) ? static_cast<char>(byte) : '-';
  }
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::byte* page_ = nullptr;
  PhysAddr pa_;
};

const std::filesystem::path& folder() {
  static const auto path = std::filesystem::path(SOFTIOMMU_SOURCE_DIR) / "machines";
  return path;
}

// By name, so that a new file is tested by itself.
std::vector<std::string> machines() {
  std::vector<std::string> all;
  for (const auto& file : std::filesystem::directory_iterator(folder())) all.push_back(file.path().stem());
  std::ranges::sort(all);
  return all;
}

MachineSpec load(const std::string& name) { return load_machine(folder() / (name + ".toml")).value(); }

// Those that have a unit in the machine.
std::vector<MakeDriver> drivers_of(const MachineSpec& spec) {
  std::vector<MakeDriver> drivers;
  const auto is_there = [&](MakeDriver make) {
    return std::ranges::find(spec.units, make()->unit_model(), &UnitSpec::model) != spec.units.end();
  };
  std::ranges::copy_if(all_drivers(), std::back_inserter(drivers), is_there);
  return drivers;
}

bool all_read(const std::string& seen) { return !seen.empty() && seen.find_first_not_of('A') == std::string::npos; }
bool none_reads(const std::string& seen) { return seen.find_first_not_of('-') == std::string::npos; }

// A domain of its own for each group, one after the other.
void use_every_group(const std::string& name, const MachineSpec& spec, std::span<const MakeDriver> drivers) {
  Board board(spec, drivers);
  for (const auto& device : board.system().devices())
    EXPECT_EQ(device->group() != nullptr, device->present()) << name << device->name();
  for (const auto& group : board.system().groups()) {
    ASSERT_TRUE(group->claim_dma_owner(&board)) << name;
    {
      const auto domain = board.system().allocate_domain(*group);
      ASSERT_TRUE(domain) << name << " " << group->device_names() << ": " << domain.error().why;
      const Iova iova{std::max((*domain)->aperture().first.value, std::uint64_t{0x10'0000})};
      ASSERT_TRUE(board.map(**domain, iova)) << name << " " << group->device_names();
      ASSERT_TRUE(group->attach(**domain)) << name << " " << group->device_names();
      EXPECT_TRUE(all_read(board.sees(*group, iova))) << name << " " << group->device_names();
      group->detach();
      EXPECT_TRUE(none_reads(board.sees(*group, iova))) << name << " " << group->device_names();
    }
    group->release_dma_owner();
  }
  EXPECT_TRUE(board.machine().findings().all().empty()) << name;
}

class EveryMachine : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Files, EveryMachine, ::testing::ValuesIn(machines()), [](const auto& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(EveryMachine, EveryDeviceCanBeAttachedMappedAndDoDmaWhateverTheOrderOfTheDrivers) {
  const MachineSpec spec = load(GetParam());
  const std::vector<MakeDriver> there = drivers_of(spec);
  for (const Order& order : orders_of(there.size())) {
    std::vector<MakeDriver> drivers;
    for (const unsigned n : order) drivers.push_back(there[n]);
    ASSERT_NO_FATAL_FAILURE(use_every_group(GetParam(), spec, drivers));
  }
}

TEST(Machines, TheDocumentListsEachFile) {
  std::ifstream file(std::filesystem::path(SOFTIOMMU_SOURCE_DIR) / "docs/machine-file.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  for (const std::string& name : machines())
    EXPECT_NE(document.find("| `" + name + ".toml` |"), std::string::npos) << name;
}

TEST(Museum, HasAUnitForEveryDriverThatThereIs) { EXPECT_EQ(drivers_of(load("museum")).size(), all_drivers().size()); }

TEST(Museum, OneAddressSpaceServesAllGroups) {
  Board board(load("museum"), all_drivers());
  DomainSet set(board.system());
  const auto fill = [&](Domain& domain) -> AttachResult<> {
    if (board.map(domain, kEverywhere)) return {};
    return driver_says(AttachFailure::no_memory, {"filling"});
  };
  for (const auto& group : board.system().groups()) {
    ASSERT_TRUE(group->claim_dma_owner(&board));
    const auto answer = set.attach(*group, {}, fill);
    ASSERT_TRUE(answer) << group->device_names() << ": " << answer.error().reason.property;
  }
  // One of each kind, but two table versions of Rockchip, and three OMAP clients.
  EXPECT_EQ(set.members().size(), 11u);
  for (const auto& group : board.system().groups()) {
    EXPECT_TRUE(all_read(board.sees(*group, kEverywhere))) << group->device_names();
    set.detach(*group);
    EXPECT_TRUE(none_reads(board.sees(*group, kEverywhere))) << group->device_names();
    group->release_dma_owner();
  }
  EXPECT_TRUE(set.empty());
}

// No domain of one driver is ever tried on another's device, so the search asks only where it can succeed.
TEST(Museum, TheSearchTriesNoDomainThatItsIndexRulesOut) {
  Board board(load("museum"), all_drivers());
  DomainSet set(board.system());
  const auto fill = [&](Domain& domain) -> AttachResult<> {
    return board.map(domain, kEverywhere) ? AttachResult<>{} : driver_says(AttachFailure::no_memory, {"filling"});
  };
  for (const auto& group : board.system().groups()) ASSERT_TRUE(group->claim_dma_owner(&board));
  board.system().journal().clear();
  for (const auto& group : board.system().groups()) ASSERT_TRUE(set.attach(*group, {}, fill));
  for (const AttachRecord& record : board.system().journal().all())
    EXPECT_FALSE(record.error) << record.devices << ": " << record.error->reason.property;
  for (const auto& group : board.system().groups()) {
    set.detach(*group);
    group->release_dma_owner();
  }
}

}  // namespace
}  // namespace softiommu::testing
