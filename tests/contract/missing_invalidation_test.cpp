// SPDX-License-Identifier: BSD-3-Clause
// A driver whose invalidations are lost: the device goes on with the old page, as on real hardware, and paranoid mode
// says what is missing. With the invalidations in place neither happens.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "contract/deaf_unit.h"
#include "core/system.h"
#include "drivers/registry.h"

namespace softiommu::testing {
namespace {

struct UnitRow {
  std::string_view name, model, keys;
  std::string_view id;       // what the hardware calls the tag of an address space
  std::string_view missing;  // the command; {} is that tag
  std::string_view device = "";  // keys of the device
  friend void PrintTo(const UnitRow& row, std::ostream* out) { *out << row.name; }
};

constexpr UnitRow kRows[] = {
    {"VtdByQueue", "intel-vtd", "", "domain id", "missing: an IOTLB invalidation of domain {} covering 0x40000000"},
    {"VtdByRegister", "intel-vtd", "queued_invalidation = false", "domain id",
     "missing: an IOTLB invalidation of domain {} covering 0x40000000"},
    {"VtdFirstStage", "intel-vtd", "scalable = true", "domain id",
     "missing: a PASID-based IOTLB invalidation of domain {} PASID 0 covering 0x40000000"},
    {"VtdScalableSecondStage", "intel-vtd", "scalable = true\nfirst_stage = false", "domain id",
     "missing: an IOTLB invalidation of domain {} covering 0x40000000"},
    {"SmmuStage1", "arm-smmu-v3", "stages = \"1\"", "ASID", "missing: CMD_TLBI_NH_VA or CMD_TLBI_NH_ASID"},
    {"SmmuWithoutRanges", "arm-smmu-v3", "stages = \"1\"\nrange_invalidation = false", "ASID",
     "missing: CMD_TLBI_NH_VA or CMD_TLBI_NH_ASID"},
    {"SmmuStage2", "arm-smmu-v3", "stages = \"2\"", "VMID", "missing: CMD_TLBI_S2_IPA or CMD_TLBI_S12_VMALL"},
    {"SmmuSubstreams", "arm-smmu-v3", "substream_bits = 20", "ASID", "missing: CMD_TLBI_NH_VA or CMD_TLBI_NH_ASID",
     "pasid_bits = 20"},
    {"SmmuDeviceTlb", "arm-smmu-v3", "ats = true", "ASID", "missing: CMD_ATC_INV", "ats = true"},
    {"SmmuDeviceTlbStage2", "arm-smmu-v3", "ats = true\nstages = \"2\"", "VMID", "missing: CMD_ATC_INV", "ats = true"},
    {"AmdHostTables", "amd-iommu", "", "domain id", "missing: INVALIDATE_IOMMU_PAGES of domain {}"},
    {"AmdGuestTables", "amd-iommu", "host_levels = \"none\"", "domain id",
     "missing: INVALIDATE_IOMMU_PAGES of domain {}, PASID 0"},
    {"SmmuV2Stage1", "arm-smmu", "stages = \"1\"", "ASID", "missing: SMMU_CBn_TLBIVA or SMMU_CBn_TLBIASID"},
    {"SmmuV2LongDescriptors", "arm-smmu", "stages = \"1\"\ngranules = []", "ASID",
     "missing: SMMU_CBn_TLBIVA or SMMU_CBn_TLBIASID"},
    {"SmmuV2Stage2", "arm-smmu", "stages = \"2\"", "VMID", "missing: SMMU_CBn_TLBIIPAS2 or SMMU_TLBIVMID"},
    {"SmmuV1Stage2", "arm-smmu", "stages = \"2\"\nversion = \"1\"", "VMID", "missing: SMMU_TLBIVMID"},
    {"Omap", "omap-mmu", "", "MMU", "missing: MMU_FLUSH_ENTRY or MMU_GFLUSH of MMU {}"},
    {"RockchipV1", "rockchip-iommu", "", "MMU", "missing: MMU_ZAP_ONE_LINE or ZAP_CACHE of MMU {}"},
    {"RockchipV2", "rockchip-iommu", "version = 2\nmmus = 1", "MMU",
     "missing: MMU_ZAP_ONE_LINE or ZAP_CACHE of MMU {}"},
};

class MissingInvalidation : public ::testing::TestWithParam<UnitRow> {
 protected:
  static constexpr Iova kWindow{0x4000'0000};
  static constexpr Prot kBoth{.read = true, .write = true};

  void boot(bool paranoid) {
    const auto spec =
        parse_machine("[memory]\ntop = \"4G\"\ntable_arena = \"256M\"\n[[iommu]]\nname = \"u0\"\nmodel = \"" +
                          std::string(GetParam().model) + "\"\n" + std::string(GetParam().keys) +
                          "\n[[device]]\naddress = \"00:02.0\"\nmodel = \"edu\"\n" +
                          std::string(GetParam().device) + "\n",
                      "deaf.toml", deaf_unit_models(), {});
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    machine_ = *Machine::create(
        *spec, {.time = Executor::Time::virtual_time, .paranoid = paranoid, .extra_unit_models = deaf_unit_models()});
    system_ = *System::create(*machine_, all_drivers(), {});
    for (unsigned i = 0; i < 2; ++i) {
      std::memset(pages_[i], i == 0 ? 'o' : 'n', kPageSize);
      at_[i] = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(pages_[i]), kPageSize)->first;
    }
    ASSERT_TRUE(group().claim_dma_owner(this));
    domain_ = *system_->allocate_domain(group());
    ASSERT_TRUE(domain_->map(kWindow, old_page(), kPageSize, kBoth));
    ASSERT_TRUE(group().attach(*domain_));
    ASSERT_EQ(dma_read(), 'o');
  }
  void TearDown() override {
    if (!system_) return;
    unit().deaf = false;
    group().detach();
    group().release_dma_owner();
    domain_.reset();
    for (const PhysAddr page : at_) machine_->memory().unpin({page, kPageSize});
    system_.reset();
  }

  Device& device() { return *system_->device("0000:00:02.0"); }
  Group& group() { return *device().group(); }
  DeafUnit& unit() { return dynamic_cast<DeafUnit&>(*machine_->unit("u0")); }
  PhysAddr old_page() const { return at_[0]; }
  PhysAddr new_page() const { return at_[1]; }
  char old_byte() const { return static_cast<char>(pages_[0][0]); }
  char new_byte() const { return static_cast<char>(pages_[1][0]); }
  void move_to_the_new_page() {
    ASSERT_EQ(domain_->unmap(kWindow, kPageSize), kPageSize);
    ASSERT_TRUE(domain_->map(kWindow, new_page(), kPageSize, kBoth));
  }
  char dma_read() {
    std::byte byte{};
    return device().function()->dma().read(kWindow, {&byte, 1}) ? static_cast<char>(byte) : '-';
  }
  bool dma_write(char value) {
    return static_cast<bool>(device().function()->dma().write(kWindow, std::as_bytes(std::span(&value, 1))));
  }
  std::vector<std::string> findings() { return machine_->findings().all(); }

  alignas(kPageSize) std::byte pages_[2][kPageSize];
  std::array<PhysAddr, 2> at_{};
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Domain> domain_;
};

INSTANTIATE_TEST_SUITE_P(Units, MissingInvalidation, ::testing::ValuesIn(kRows),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(MissingInvalidation, WithItTheDeviceWritesToTheNewPage) {
  boot(false);
  move_to_the_new_page();
  EXPECT_TRUE(dma_write('x'));
  EXPECT_EQ(new_byte(), 'x');
  EXPECT_EQ(old_byte(), 'o');
}

TEST_P(MissingInvalidation, WithoutItTheDeviceWritesToTheOldPage) {
  boot(false);
  unit().deaf = true;
  move_to_the_new_page();
  EXPECT_GE(unit().swallowed, 1u);
  EXPECT_TRUE(dma_write('x'));
  EXPECT_EQ(old_byte(), 'x');
  EXPECT_EQ(new_byte(), 'n');
  EXPECT_EQ(dma_read(), 'x');
  EXPECT_THAT(findings(), ::testing::IsEmpty()) << "only paranoid mode looks";
}

TEST_P(MissingInvalidation, WithoutItWhatIsUnmappedIsStillReachable) {
  boot(false);
  unit().deaf = true;
  ASSERT_EQ(domain_->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_TRUE(dma_write('x'));
  EXPECT_EQ(old_byte(), 'x');
  unit().deaf = false;
  ASSERT_TRUE(domain_->map(kWindow, new_page(), kPageSize, kBoth));
  ASSERT_EQ(domain_->unmap(kWindow, kPageSize), kPageSize);  // a driver that invalidates
  EXPECT_EQ(dma_read(), '-');
}

TEST_P(MissingInvalidation, ParanoidModeNamesTheAddressTheDomainAndTheCommand) {
  boot(true);
  unit().deaf = true;
  move_to_the_new_page();
  dma_write('x');
  ASSERT_THAT(findings(), ::testing::SizeIs(1));
  const std::string finding = findings().front();
  EXPECT_THAT(finding, ::testing::StartsWith("u0: stale translation: "));
  EXPECT_THAT(finding, ::testing::HasSubstr("iova 0x40000000"));
  EXPECT_THAT(finding, ::testing::HasSubstr(fmt::format("{} {},", GetParam().id, unit().last_id)));
  EXPECT_THAT(finding, ::testing::EndsWith(fmt::format(fmt::runtime(GetParam().missing), unit().last_id)));
}

TEST_P(MissingInvalidation, ParanoidModeNamesItForAnUnmapToo) {
  boot(true);
  unit().deaf = true;
  ASSERT_EQ(domain_->unmap(kWindow, kPageSize), kPageSize);
  dma_read();
  ASSERT_THAT(findings(), ::testing::SizeIs(1));
  EXPECT_THAT(findings().front(), ::testing::HasSubstr("iova 0x40000000"));
}

TEST_P(MissingInvalidation, ParanoidModeIsSilentWithIt) {
  boot(true);
  move_to_the_new_page();
  EXPECT_EQ(dma_read(), 'n');
  ASSERT_EQ(domain_->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_EQ(dma_read(), '-');
  EXPECT_THAT(findings(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace softiommu::testing
