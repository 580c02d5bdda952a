// SPDX-License-Identifier: BSD-3-Clause
// Every machine of machines/, and one with every kind of IOMMU: each device can be attached, mapped and do DMA,
// whatever the order in which the drivers come; and one address space serves all of a machine's groups.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/system.h"
#include "drivers/registry.h"
#include "ioas/domain_set.h"
#include "machine/machine.h"

namespace softiommu::testing {
namespace {

// All that can be within 2 GiB, at an address that the narrowest aperture has.
constexpr std::string_view kMuseum = R"toml(
[memory]
top = "2G"
table_arena = "256M"
[[iommu]]
name = "vtd"
model = "intel-vtd"
[[iommu]]
name = "smmu"
model = "arm-smmu-v3"
[[iommu]]
name = "rk1"
model = "rockchip-iommu"
mmus = 2
[[iommu]]
name = "rk2"
model = "rockchip-iommu"
version = 2
[[iommu]]
name = "dsp"
model = "omap-mmu"
mmus = 2
[[iommu]]
name = "ipu"
model = "omap-mmu"
[[iommu]]
name = "gart"
model = "tegra-gart"
[[device]]
address = "00:02.0"
model = "edu"
[[device]]
address = "00:03.0"
model = "edu"
iommu = "smmu"
[[platform_device]]
name = "vpu"
iommu = "rk1"
streams = [0, 1]
[[platform_device]]
name = "vop"
iommu = "rk2"
[[platform_device]]
name = "dsp.0"
iommu = "dsp"
streams = [0, 1]
[[platform_device]]
name = "ipu.0"
iommu = "ipu"
[[platform_device]]
name = "ipu.1"
iommu = "ipu"
streams = [1]
[[platform_device]]
name = "dc"
iommu = "gart"
streams = [1]
[[platform_device]]
name = "vi"
iommu = "gart"
streams = [14]
)toml";
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

std::vector<std::pair<std::string, MachineSpec>> machines() {
  std::vector<std::pair<std::string, MachineSpec>> all{{"museum", parse_machine(kMuseum, "museum").value()}};
  const auto folder = std::filesystem::path(SOFTIOMMU_SOURCE_DIR) / "machines";
  for (const auto& file : std::filesystem::directory_iterator(folder))
    all.emplace_back(file.path().filename(), load_machine(file.path()).value());
  return all;
}

bool all_read(const std::string& seen) { return !seen.empty() && seen.find_first_not_of('A') == std::string::npos; }
bool none_reads(const std::string& seen) { return seen.find_first_not_of('-') == std::string::npos; }

// A domain of its own for each group, one after the other.
void use_every_group(const std::string& name, const MachineSpec& spec, std::span<const MakeDriver> drivers) {
  Board board(spec, drivers);
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

TEST(EveryMachine, EveryDeviceCanBeAttachedMappedAndDoDma) {
  for (const auto& [name, spec] : machines()) use_every_group(name, spec, all_drivers());
}

TEST(EveryMachine, TheOrderOfTheDriversDoesNotMatter) {
  std::vector<MakeDriver> drivers(all_drivers().begin(), all_drivers().end());
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same orders each time
  for (int i = 0; i < 10; ++i) {
    std::ranges::shuffle(drivers, random);
    use_every_group("museum", parse_machine(kMuseum, "museum").value(), drivers);
  }
}

TEST(EveryMachine, OneAddressSpaceServesAllGroupsOfAMachineWithEveryKindOfIommu) {
  Board board(parse_machine(kMuseum, "museum").value(), all_drivers());
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
  // vtd, smmu, two table versions of Rockchip, one for each OMAP client, one for both behind the GART.
  EXPECT_EQ(set.members().size(), 7u);
  for (const auto& group : board.system().groups()) {
    EXPECT_TRUE(all_read(board.sees(*group, kEverywhere))) << group->device_names();
    set.detach(*group);
    EXPECT_TRUE(none_reads(board.sees(*group, kEverywhere))) << group->device_names();
    group->release_dma_owner();
  }
  EXPECT_TRUE(set.empty());
}

// No domain of one driver is ever tried on another's device, so the search asks only where it can succeed.
TEST(EveryMachine, TheSearchTriesNoDomainThatItsIndexRulesOut) {
  Board board(parse_machine(kMuseum, "museum").value(), all_drivers());
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
