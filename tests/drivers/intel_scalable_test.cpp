// SPDX-License-Identifier: BSD-3-Clause
// The VT-d driver on units with scalable mode: which tables a domain is on, PASIDs, nesting, dirty state, device TLBs
// and page requests, against the modelled hardware in paranoid mode.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

#include "base/program.h"
#include "core/user_data.h"
#include "drivers/driver_rig.h"
#include "hw/edu.h"
#include "hw/pci.h"

namespace softiommu {
namespace {

using namespace std::string_literals;
using softiommu::testing::kBoth;

constexpr Iova kWindow{0x10'0000};
constexpr Pasid kPasid = 0x1234;

// A program whose memory is this process's.
class OwnProgram final : public Program {
 public:
  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override {
    std::memcpy(to, reinterpret_cast<const void*>(user), bytes);
    return {};
  }
  Result<> copy_out(std::uint64_t, const void*, std::size_t) override { return fail(EFAULT, "read only"); }
  Result<> check_pinnable(std::uint64_t, std::uint64_t, bool) override { return {}; }
  Result<int> install(std::shared_ptr<File>, int) override { return fail(EMFILE, "no descriptors"); }
  void take_back(int) override {}
  Result<std::shared_ptr<File>> file_of(int) override { return fail(EBADF, "no descriptors"); }
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart&) override { return fail(EBADF, "no files"); }
  Result<int> take_eventfd(int) override { return fail(EBADF, "no descriptors"); }
};

class IntelScalable : public softiommu::testing::DriverRig {
 protected:
  static constexpr std::size_t kPages = 8;

  IntelScalable() : DriverRig("intel-vtd") {}
  void boot(const std::string& unit_options = "", const std::string& device_options = "pasid_bits = 20\n") {
    ASSERT_NO_FATAL_FAILURE(
        DriverRig::boot(unit("u0", "scalable = true\n" + unit_options) + edu(2, "u0", device_options)));
    for (std::size_t i = 0; i < kPages; ++i) {
      std::memset(page_at(i), static_cast<int>('a' + i), kPageSize);
      at_[i] = pa_ + i * kPageSize;
    }
  }
  void TearDown() override {
    if (system_) {
      if (group().domain(kPasid) != nullptr) group().detach_pasid(kPasid);
      group().detach();
      while (!domains_.empty()) domains_.pop_back();  // nested domains before their parents
    }
    DriverRig::TearDown();
  }
  Device& device() { return *system_->device(kFirst); }
  Group& group() { return *device().group(); }
  static std::byte* page_at(std::size_t index) { return pages_.data() + index * kPageSize; }
  // These live until nothing is attached to them any more.
  Domain* make(const DomainRequest& request = {}) { return domain_for(kFirst, request); }
  Domain* keep(std::unique_ptr<Domain> domain) { return domains_.emplace_back(std::move(domain)).get(); }
  // Reads a byte of the window; '-': refused.
  char read(Pasid pasid = 0, Iova iova = kWindow) {
    std::byte byte{};
    device().function()->dma().use_pasid(pasid);
    return device().function()->dma().read(iova, {&byte, 1}) ? static_cast<char>(byte) : '-';
  }
  bool write(Pasid pasid = 0, Iova iova = kWindow) {
    const std::byte byte{'w'};
    device().function()->dma().use_pasid(pasid);
    return static_cast<bool>(device().function()->dma().write(iova, {&byte, 1}));
  }
  int refusal(const DomainRequest& request) {
    const auto domain = system_->allocate_domain(group(), request);
    return domain ? 0 : domain.error().code;
  }

  std::array<PhysAddr, kPages> at_{};
};

// ---- Which tables -----------------------------------------------------------------------------------------------

TEST_F(IntelScalable, DomainsWithoutWishesAreOnFirstStageTables) {
  boot();
  EXPECT_EQ(make()->aperture().last.value, (std::uint64_t{1} << 47) - 1) << "the lower half";
  EXPECT_EQ(make({.dirty_tracking = true})->aperture().last.value, (std::uint64_t{1} << 48) - 1);
  EXPECT_EQ(make({.nest_parent = true})->aperture().last.value, (std::uint64_t{1} << 48) - 1);
}

TEST_F(IntelScalable, WithoutAFirstStageTheyAreOnTheSecond) {
  boot("first_stage = false\n");
  EXPECT_EQ(make()->aperture().last.value, (std::uint64_t{1} << 48) - 1);
}

TEST_F(IntelScalable, WishesThatTheUnitCannotGrantAreRefused) {
  boot("nested = false\ndirty = false\n");
  EXPECT_EQ(refusal({.nest_parent = true}), EOPNOTSUPP);
  EXPECT_EQ(refusal({.dirty_tracking = true}), EOPNOTSUPP);
  EXPECT_EQ(refusal({.pasid = true}), 0);
}

class IntelStages : public IntelScalable, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Units, IntelStages, ::testing::Values("", "first_stage = false\n", "second_stage = false\n"));

TEST_P(IntelStages, DevicesReachWhatIsMapped) {
  boot(GetParam());
  Domain* const domain = make();
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  EXPECT_EQ(read(), '-') << "blocked until attached";
  ASSERT_TRUE(group().attach(*domain));
  EXPECT_EQ(read(), 'a');
  EXPECT_EQ(domain->unmap(kWindow, kPageSize), kPageSize);
  EXPECT_EQ(read(), '-');
  ASSERT_TRUE(domain->map(kWindow, at_[1], kPageSize, kBoth));
  EXPECT_EQ(read(), 'b');
  group().detach();
  EXPECT_EQ(read(), '-');
}

TEST_F(IntelScalable, ReplaceMovesADeviceFromOneStageToTheOther) {
  boot();
  Domain *const first = make(), *const second = make({.dirty_tracking = true});
  ASSERT_TRUE(first->map(kWindow, at_[0], kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow, at_[1], kPageSize, kBoth));
  ASSERT_TRUE(group().attach(*first));
  EXPECT_EQ(read(), 'a');
  ASSERT_TRUE(group().replace(*second));
  EXPECT_EQ(read(), 'b');
  ASSERT_TRUE(group().replace(*first));
  EXPECT_EQ(read(), 'a');
}

TEST_F(IntelScalable, CoherencyIsEnforcedAfterAttachToo) {
  boot();
  Domain* const domain = make();
  ASSERT_TRUE(group().attach(*domain));
  EXPECT_TRUE(domain->enforce_cache_coherency());
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  EXPECT_EQ(read(), 'a');
}

TEST_F(IntelScalable, CachingModeWorks) {
  boot("caching_mode = true\n");
  Domain* const domain = make({.dirty_tracking = true});
  ASSERT_TRUE(group().attach(*domain));
  EXPECT_EQ(read(), '-');
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  EXPECT_EQ(read(), 'a');
}

// ---- PASIDs -----------------------------------------------------------------------------------------------------

TEST_F(IntelScalable, PasidsHaveDomainsOfTheirOwn) {
  boot();
  AttachHandle handle;
  Domain *const without = make(), *const with = make({.pasid = true}), *const second = make({.dirty_tracking = true});
  ASSERT_TRUE(without->map(kWindow, at_[0], kPageSize, kBoth));
  ASSERT_TRUE(with->map(kWindow, at_[1], kPageSize, kBoth));
  ASSERT_TRUE(second->map(kWindow, at_[2], kPageSize, kBoth));
  ASSERT_TRUE(group().attach(*without));
  EXPECT_EQ(read(kPasid), '-');
  ASSERT_TRUE(group().attach_pasid(*with, kPasid, handle));
  EXPECT_EQ(read(kPasid), 'b');
  EXPECT_EQ(read(0), 'a');
  ASSERT_TRUE(group().replace_pasid(*second, kPasid, handle));
  EXPECT_EQ(read(kPasid), 'c');
  group().detach_pasid(kPasid);
  EXPECT_EQ(read(kPasid), '-');
  EXPECT_EQ(read(0), 'a');
}

TEST_F(IntelScalable, UnmapReachesEveryPasidOfADomain) {
  boot();
  AttachHandle handle;
  Domain* const domain = make({.pasid = true});
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  ASSERT_TRUE(group().attach(*domain));
  ASSERT_TRUE(group().attach_pasid(*domain, kPasid, handle));
  EXPECT_EQ(read(0), 'a');
  EXPECT_EQ(read(kPasid), 'a');
  domain->unmap(kWindow, kPageSize);
  EXPECT_EQ(read(0), '-');
  EXPECT_EQ(read(kPasid), '-');
}

TEST_F(IntelScalable, DevicesAndUnitsLimitPasids) {
  boot("pasid_bits = 16\n", "pasid_bits = 18\n");
  AttachHandle handle;
  Domain* const domain = make({.pasid = true});
  EXPECT_FALSE(group().attach_pasid(*domain, 1 << 16, handle));
  EXPECT_TRUE(group().attach_pasid(*domain, (1 << 16) - 1, handle));
  group().detach_pasid((1 << 16) - 1);
}

// ---- Dirty state ------------------------------------------------------------------------------------------------

TEST_F(IntelScalable, DirtyPagesAreThoseThatTheDeviceWrote) {
  boot();
  Domain* const domain = make({.dirty_tracking = true});
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  ASSERT_TRUE(domain->map(kWindow + kPageSize, at_[1], kPageSize, kBoth));
  ASSERT_TRUE(group().attach(*domain));
  const auto dirty = [&] {
    std::vector<std::uint64_t> all;
    EXPECT_TRUE(domain->read_dirty(IovaRange::of(kWindow, 2 * kPageSize), true, [&](Iova first, std::uint64_t bytes) {
      all.push_back(first.value);
      all.push_back(bytes);
    }));
    return all;
  };
  ASSERT_TRUE(write());
  EXPECT_TRUE(dirty().empty()) << "tracking is off";
  ASSERT_TRUE(domain->set_dirty_tracking(true));
  read();
  ASSERT_TRUE(write(0, kWindow + kPageSize));
  EXPECT_EQ(dirty(), (std::vector<std::uint64_t>{kWindow.value + kPageSize, kPageSize}));
  EXPECT_TRUE(dirty().empty());
  ASSERT_TRUE(write(0, kWindow + kPageSize));
  EXPECT_EQ(dirty().size(), 2u) << "and again after it was cleared";
  ASSERT_TRUE(domain->set_dirty_tracking(false));
}

TEST_F(IntelScalable, OnlyDomainsMadeForItTrack) {
  boot();
  EXPECT_FALSE(make()->set_dirty_tracking(true));
}

// ---- Nesting ----------------------------------------------------------------------------------------------------

// A guest with one page of memory for each of its table levels and two for data; guest-physical page n is page_at(n).
class IntelNested : public IntelScalable {
 protected:
  struct Config {
    std::uint64_t flags, pgtbl_addr;
    std::uint32_t addr_width, reserved;
  };
  struct Invalidation {
    std::uint64_t addr, npages;
    std::uint32_t flags, reserved;
  };

  void boot_guest(const std::string& device_options = "pasid_bits = 20\n", const std::string& unit_options = "") {
    boot(unit_options, device_options);
    parent_ = make({.nest_parent = true});
    for (std::size_t i = 0; i < kPages; ++i) ASSERT_TRUE(parent_->map(Iova{i * kPageSize}, at_[i], kPageSize, kBoth));
    for (std::size_t i = 0; i < 4; ++i) std::memset(page_at(i), 0, kPageSize);
    constexpr std::uint64_t kTable = 0x67;
    for (std::size_t level = 0; level < 3; ++level) put(level, 0, (level + 1) * kPageSize | kTable);
    point_to(4);
  }
  void put(std::size_t page, std::size_t index, std::uint64_t entry) {
    std::memcpy(page_at(page) + index * sizeof entry, &entry, sizeof entry);
  }
  // The guest's page at kGuest is the guest-physical page.
  void point_to(std::size_t page) { put(3, kGuest.value >> kPageShift, page * kPageSize | 0x67); }
  Result<Domain*> nest(Config config, std::uint32_t type = 1) {
    const UserData data(program_, type, sizeof config, reinterpret_cast<std::uint64_t>(&config));
    return keep(TRY(group().driver().allocate_nested(device(), *parent_, {}, data)));
  }
  Result<> invalidate(Domain& domain, Invalidation entry) {
    std::vector<std::byte> bytes(sizeof entry);
    std::memcpy(bytes.data(), &entry, sizeof entry);
    UserArray array(0, sizeof entry, std::move(bytes));
    return domain.cache_invalidate_user(array);
  }

  static constexpr Iova kGuest{0x5000};
  OwnProgram program_;
  Domain* parent_ = nullptr;
};

TEST_F(IntelNested, TheGuestsTablesTranslateThroughTheParent) {
  boot_guest();
  const auto nested = nest({0, 0, 48, 0});
  ASSERT_TRUE(nested) << nested.error().why;
  ASSERT_TRUE(group().attach(**nested));
  EXPECT_EQ(read(0, kGuest), 'e');
  EXPECT_EQ(read(0, Iova{0x7000}), '-');
  point_to(5);
  EXPECT_TRUE(invalidate(**nested, {kGuest.value, 1, 0, 0}));
  EXPECT_EQ(read(0, kGuest), 'f');
}

TEST_F(IntelNested, UnmapInTheParentIsSeenAtOnce) {
  boot_guest();
  const auto nested = nest({0, 0, 48, 0});
  ASSERT_TRUE(group().attach(**nested));
  EXPECT_EQ(read(0, kGuest), 'e');
  parent_->unmap(Iova{4 * kPageSize}, kPageSize);
  EXPECT_EQ(read(0, kGuest), '-');
}

TEST_F(IntelNested, APasidCanBeNested) {
  boot_guest();
  AttachHandle handle;
  const auto nested = nest({0, 0, 48, 0});
  ASSERT_TRUE(group().attach_pasid(**nested, kPasid, handle));
  EXPECT_EQ(read(kPasid, kGuest), 'e');
  EXPECT_EQ(read(0, kGuest), '-');
  point_to(6);
  EXPECT_TRUE(invalidate(**nested, {0, ~std::uint64_t{0}, 0, 0}));
  EXPECT_EQ(read(kPasid, kGuest), 'g');
  group().detach_pasid(kPasid);
}

TEST_F(IntelNested, WrongDataIsRefused) {
  boot_guest();
  EXPECT_EQ(nest({0, 0, 48, 0}, 2).error().code, EOPNOTSUPP);
  parent_ = make({.dirty_tracking = true});
  EXPECT_EQ(nest({0, 0, 48, 0}).error().code, EINVAL) << "not made as a parent";
}

TEST_F(IntelNested, WhatTheUnitCannotWalkIsIncompatibleAndTheOldDomainStays) {
  boot_guest();
  ASSERT_TRUE(group().attach(**nest({0, 0, 48, 0})));
  for (const Config config : {Config{0, 0, 57, 0}, Config{0, 0, 39, 0}, Config{1, 0, 48, 0}, Config{2, 0, 48, 0}}) {
    const auto nested = nest(config);
    ASSERT_TRUE(nested);
    const auto answer = group().replace(**nested);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
    EXPECT_EQ(read(0, kGuest), 'e');
  }
}

TEST_F(IntelNested, WrongInvalidationsAreRefused) {
  boot_guest();
  const auto nested = nest({0, 0, 48, 0});
  EXPECT_EQ(invalidate(**nested, {0x5001, 1, 0, 0}).error().code, EINVAL);
  EXPECT_EQ(invalidate(**nested, {0x5000, ~std::uint64_t{0}, 0, 0}).error().code, EINVAL);
  EXPECT_EQ(invalidate(**nested, {0x5000, 1, 2, 0}).error().code, EOPNOTSUPP);
  EXPECT_EQ(invalidate(**nested, {0x5000, 1, 0, 1}).error().code, EOPNOTSUPP);
}

TEST_F(IntelNested, ParentsHaveNoReadOnlyPages) {
  boot_guest();
  const auto mapped = parent_->map(Iova{0x100'0000}, at_[0], kPageSize, {.read = true});
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, EINVAL);
}

// ---- Device TLBs and page requests --------------------------------------------------------------------------------

TEST_F(IntelScalable, DeviceTlbsAreInvalidatedWithTheUnits) {
  boot("device_tlb = true\n", "ats = true\npasid_bits = 20\n");
  AttachHandle handle;
  Domain* const domain = make({.pasid = true});
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  ASSERT_TRUE(group().attach(*domain));
  ASSERT_TRUE(group().attach_pasid(*domain, kPasid, handle));
  EXPECT_EQ(read(0), 'a');
  EXPECT_EQ(read(kPasid), 'a');
  domain->unmap(kWindow, kPageSize);
  ASSERT_TRUE(domain->map(kWindow, at_[1], kPageSize, kBoth));
  EXPECT_EQ(read(0), 'b');
  EXPECT_EQ(read(kPasid), 'b');
  group().detach_pasid(kPasid);
  EXPECT_EQ(read(kPasid), '-');
  Domain* const other = make();
  ASSERT_TRUE(group().replace(*other));
  EXPECT_EQ(read(0), '-');
}

TEST_F(IntelNested, DeviceTlbsForgetNestedTranslationsWithEitherStage) {
  boot_guest("ats = true\npasid_bits = 20\n", "device_tlb = true\n");
  const auto nested = nest({0, 0, 48, 0});
  ASSERT_TRUE(group().attach(**nested));
  EXPECT_EQ(read(0, kGuest), 'e');
  point_to(5);
  EXPECT_TRUE(invalidate(**nested, {kGuest.value, 1, 1, 0}));
  EXPECT_EQ(read(0, kGuest), 'f');
  parent_->unmap(Iova{5 * kPageSize}, kPageSize);
  EXPECT_EQ(read(0, kGuest), '-');
}

// Keeps the last set of requests until it is told to answer.
class Keeper final : public PageRequestHandler {
 public:
  void handle(PageRequestSet requests) override { kept.emplace(std::move(requests)); }
  std::optional<PageRequestSet> kept;
};

TEST_F(IntelScalable, PageRequestsReachTheDomainsHandlerAndAnswersTheDevice) {
  boot("device_tlb = true\npage_requests = true\n", "ats = true\npri = true\npasid_bits = 20\n");
  AttachHandle handle;
  Keeper keeper;
  Domain* const domain = make({.pasid = true});
  domain->set_page_request_handler(keeper);
  ASSERT_TRUE(group().attach_pasid(*domain, kPasid, handle));
  namespace edu = hw::edu;
  PciFunction& function = *device().function();
  function.config_write(
      hw::pci::kCommand.offset, 2,
      static_cast<std::uint32_t>(hw::pci::kCommand["MEM"].mask() | hw::pci::kCommand["MASTER"].mask()));
  MmioRegion& bar = function.bar_window(0);
  bar.write64(edu::kDmaPasid.offset, kPasid);
  bar.write64(edu::kDmaSource.offset, kWindow.value);
  bar.write64(edu::kDmaDestination.offset, edu::kBuffer);
  bar.write64(edu::kDmaCount.offset, 1);
  bar.write64(edu::kDmaCommand.offset, edu::kDmaCommand["START"].mask());
  const auto waits = [&] { return edu::kDmaCommand["START"].is_set(bar.read64(edu::kDmaCommand.offset)); };
  machine_->executor().run();
  EXPECT_TRUE(waits());
  ASSERT_TRUE(keeper.kept);
  const PageRequest& request = keeper.kept->requests().front();
  EXPECT_EQ(request.address, kWindow.value);
  EXPECT_EQ(request.pasid, kPasid);
  EXPECT_EQ(request.rights, PageRight::read);
  ASSERT_TRUE(domain->map(kWindow, at_[0], kPageSize, kBoth));
  keeper.kept->answer(PageAnswer::success);
  machine_->executor().run();
  EXPECT_FALSE(waits());
  keeper.kept.reset();
  group().detach_pasid(kPasid);
}

TEST_F(IntelScalable, PageRequestsThatNobodyHandlesFail) {
  boot("device_tlb = true\npage_requests = true\n", "ats = true\npri = true\npasid_bits = 20\n");
  Domain* const domain = make();
  ASSERT_TRUE(group().attach(*domain));
  EXPECT_EQ(read(0), '-');
  EXPECT_EQ(read(0), '-');
}

}  // namespace
}  // namespace softiommu
