// SPDX-License-Identifier: BSD-3-Clause
// A machine from text, its subsystem, and memory that devices write to: what the tests of one driver have in common.
// Paranoid mode is on: a forgotten invalidation is a finding, and that fails the test.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "core/system.h"
#include "drivers/registry.h"
#include "machine/findings.h"
#include "machine/machine.h"

namespace softiommu::testing {

inline constexpr Iova kWindow{0x4000'0000};
inline constexpr Prot kBoth{.read = true, .write = true};

struct Lines {
  static void take(void* self, log::Level, std::string_view line) noexcept {
    static_cast<Lines*>(self)->all += std::string(line) + "\n";
  }
  unsigned count(std::string_view part) const {
    unsigned found = 0;
    for (std::size_t at = 0; (at = all.find(part, at)) != std::string::npos; ++at) ++found;
    return found;
  }
  std::string all;
};

class DriverRig : public ::testing::Test {
 protected:
  static constexpr const char *kFirst = "0000:00:02.0", *kSecond = "0000:00:03.0";

  // The hardware of the units.
  explicit DriverRig(std::string_view model) : model_(model) {}

  void SetUp() override {
    log::set_sink(Lines::take, &lines_);
    log::set_threshold(log::Level::warning);
  }
  // Up to groups on their default domains; boot() claims them, too.
  void bring_up(const std::string& toml, std::span<const UnitModel> models = {}) {
    auto spec = parse_machine(toml, "test", models, {});
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    machine_ =
        *Machine::create(*spec, {.time = Executor::Time::virtual_time, .paranoid = true, .extra_unit_models = models});
    system_ = *System::create(*machine_, all_drivers(), {.rules = rules_});
    const auto run = machine_->memory().pin(reinterpret_cast<std::uintptr_t>(pages_.data()), pages_.size());
    ASSERT_TRUE(run);
    ASSERT_EQ(run->bytes, pages_.size());
    pa_ = run->first;
  }
  void claim() {
    for (const auto& group : system_->groups()) ASSERT_TRUE(group->claim_dma_owner(this));
  }
  void boot(const std::string& toml, std::span<const UnitModel> models = {}) {
    ASSERT_NO_FATAL_FAILURE(bring_up(toml, models));
    claim();
  }
  void TearDown() override {
    fault::disarm();
    if (system_) {
      const auto findings = machine_->findings().all();
      EXPECT_EQ(findings.size(), expected_findings_) << (findings.empty() ? "none" : findings.front());
      for (const auto& group : system_->groups()) {
        if (!group->dma_owner_claimed()) continue;
        group->detach();
        group->release_dma_owner();
      }
    }
    domains_.clear();
    system_.reset();
    log::set_sink(nullptr, nullptr);
    log::set_threshold(log::Level::error);
  }

  Group& group(const std::string& name) { return *system_->device(name)->group(); }
  DmaPort& port(const std::string& name) { return system_->device(name)->function()->dma(); }
  // Lives until everything is detached.
  Domain* domain_for(const std::string& name, const DomainRequest& request = {}) {
    auto domain = system_->allocate_domain(group(name), request);
    EXPECT_TRUE(domain);
    return domains_.emplace_back(domain ? std::move(*domain) : nullptr).get();
  }
  bool writes(const std::string& name, Iova iova) {
    return static_cast<bool>(port(name).write(iova, std::as_bytes(std::span(kWord))));
  }
  bool reads(const std::string& name, Iova iova) {
    std::array<std::byte, 8> word{};
    return static_cast<bool>(port(name).read(iova, word));
  }
  AttachError refusal(const std::string& name, Domain& domain) {
    const auto answer = group(name).attach(domain);
    EXPECT_FALSE(answer);
    return answer ? AttachError{} : answer.error();
  }
  // Maps, uses and unmaps `count` pages, first the one at the start (and what the table made one page with it), then
  // the others together; nothing stale may remain.
  void map_use_unmap(const std::string& name, std::uint64_t count) {
    Domain* const domain = domain_for(name);
    ASSERT_TRUE(group(name).attach(*domain));
    ASSERT_TRUE(domain->map(kWindow, pa_, count * kPageSize, kBoth));
    for (std::uint64_t i = 0; i < count; ++i) EXPECT_TRUE(writes(name, kWindow + i * kPageSize));
    const std::uint64_t first = domain->unmap(kWindow, kPageSize);
    EXPECT_GE(first, kPageSize);
    EXPECT_FALSE(writes(name, kWindow));
    EXPECT_EQ(domain->unmap(kWindow, count * kPageSize), count * kPageSize - first);
    for (std::uint64_t i = 0; i < count; ++i) EXPECT_FALSE(writes(name, kWindow + i * kPageSize));
    group(name).detach();
  }

  std::string unit(const std::string& name, const std::string& options) const {
    return fmt::format("[[iommu]]\nname = \"{}\"\nmodel = \"{}\"\n{}\n", name, model_, options);
  }
  static std::string edu(int slot, const std::string& unit, const std::string& options = "") {
    return fmt::format("[[device]]\naddress = \"0000:00:0{}.0\"\nmodel = \"edu\"\niommu = \"{}\"\n{}\n", slot, unit,
                       options);
  }
  static std::string edu_at(unsigned bus, unsigned id) {
    return fmt::format("[[device]]\naddress = \"0000:{:02x}:{:02x}.{}\"\nmodel = \"edu\"\niommu = \"a\"\n", bus, id / 8,
                       id % 8);
  }
  std::string one(const std::string& options) const { return unit("a", options) + edu(2, "a") + edu(3, "a"); }
  std::string two(const std::string& options, const std::string& others) const {
    return unit("a", options) + unit("b", others) + edu(2, "a") + edu(3, "b");
  }

  static constexpr std::array<char, 8> kWord{'w', 'r', 'i', 't', 't', 'e', 'n', '.'};
  // Whole pages of any granule, in one physical run: those end where an address is a multiple of 1 GiB.
  alignas(128 * kPageSize) inline static std::array<std::byte, 128 * kPageSize> pages_{};
  std::string_view model_;
  Rules rules_ = Rules::contract;
  std::size_t expected_findings_ = 0;
  Lines lines_;
  PhysAddr pa_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::vector<std::unique_ptr<Domain>> domains_;
};

}  // namespace softiommu::testing
