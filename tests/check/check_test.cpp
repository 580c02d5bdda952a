// SPDX-License-Identifier: BSD-3-Clause
// The engine on our own drivers, in small: what it asks strikes, what it says is the same however it is divided.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "check/bench.h"
#include "check/machines.h"
#include "check/matrix.h"
#include "check/report.h"

namespace softiommu::check {
namespace {

using ::testing::Gt;

class OneDriver : public ::testing::Test {
 protected:
  void choose(std::string_view machine) {
    for (CheckedDriver& driver : own_drivers()) {
      std::erase_if(driver.machines, [&](const CheckedMachine& candidate) { return candidate.name != machine; });
      if (!driver.machines.empty()) drivers_ = {std::move(driver)};
    }
    models_ = faulty_models({});
    spec_ = parse_machine(drivers_[0].machines[0].toml, "check.toml", models_, {}).value();
  }
  Outcome run(std::string_view steps) {
    return run_steps({drivers_[0], drivers_[0].machines[0], spec_, models_}, parse_steps(steps).value());
  }
  std::string check_as_json(const CheckOptions& options) {
    const auto report = check(drivers_, options);
    EXPECT_TRUE(report) << report.error().why;
    return report ? report_json(*report) : "";
  }

  std::vector<CheckedDriver> drivers_;
  std::span<const UnitModel> models_;
  MachineSpec spec_;
};

TEST_F(OneDriver, StepsThatMakeNoSenseDoNothing) {
  choose("intel");
  const Outcome outcome = run("attach 0000:00:02.0 A; drop A; release 0000:00:02.0; own nobody; own 0000:00:02.0");
  EXPECT_FALSE(outcome.finding);
  EXPECT_EQ(outcome.asked[0], 1u);
}

TEST_F(OneDriver, EachKindOfFailureStrikes) {
  struct Row {
    const char *machine, *failure;
    FailureKind as;
  };
  constexpr Row kRows[] = {
      {"intel", "!memory:1", FailureKind::memory},
      {"intel", "!ids", FailureKind::ids},
      {"intel", "!way-back:1", FailureKind::way_back},
      {"rockchip", "!registers:1", FailureKind::registers},
      {"intel-by-register", "!registers:2", FailureKind::registers},
      {"amd", "!queue:1", FailureKind::queue},
      {"arm_smmu_v3", "!queue:1", FailureKind::queue},
      {"virtio_iommu", "!answers:1", FailureKind::answers},
      {"virtio_iommu", "!answers:8", FailureKind::answers},
  };
  for (const Row& row : kRows) {
    choose(row.machine);
    const Outcome outcome =
        run(std::string("own 0000:00:02.0; make A 0000:00:02.0; attach 0000:00:02.0 A ") + row.failure);
    EXPECT_EQ(outcome.struck_as, row.as) << row.machine << " " << row.failure;
    EXPECT_FALSE(outcome.finding) << row.machine << " " << row.failure << ": " << outcome.finding->what;
  }
}

TEST_F(OneDriver, APointOfTheHardwareIsCountedAsSuch) {
  choose("omap");
  bool struck = false;
  for (int n = 1; n < 10; ++n)
    struck |=
        run("own 0000:00:02.0; make A 0000:00:02.0; attach 0000:00:02.0 A !memory:" + std::to_string(n)).struck_as ==
        FailureKind::hardware;
  EXPECT_TRUE(struck);
}

// The checker tries late places only here and there; a bring-up is short enough for each of them.
TEST_F(OneDriver, ABringUpLosesNothingWhicheverAllocationFails) {
  for (const HardwareRow& row : hardware_rows()) {
    choose(row.machine);
    unsigned tried = 0;
    for (bool struck = true; struck; ++tried) {
      const Outcome outcome = run("probe !memory:" + std::to_string(tried + 1));
      EXPECT_FALSE(outcome.finding) << row.machine << ", allocation " << tried + 1 << ": " << outcome.finding->what;
      struck = outcome.struck;
    }
    EXPECT_THAT(tried, Gt(50u)) << row.machine;
  }
}

TEST_F(OneDriver, WhatShardsSayTogetherIsWhatTheWholeSays) {
  choose("omap");
  const CheckOptions whole{.sequences = 3, .jobs = 0};
  std::vector<CheckReport> parts;
  for (const unsigned i : {2u, 3u, 1u}) {
    CheckOptions part = whole;
    part.shard = {i, 3};
    parts.push_back(check(drivers_, part).value());
  }
  EXPECT_EQ(report_json(merge(std::move(parts)).value()), check_as_json(whole));
}

TEST_F(OneDriver, ProcessesSayWhatOneSays) {
  choose("omap");
  EXPECT_EQ(check_as_json({.sequences = 2, .jobs = 3}), check_as_json({.sequences = 2, .jobs = 0}));
}

TEST_F(OneDriver, TheSeedChoosesTheSequences) {
  choose("tegra_gart");
  const std::vector<Seat> seats = survey({drivers_[0], drivers_[0].machines[0], spec_, models_}).value();
  EXPECT_EQ(random_steps(seats, 1), random_steps(seats, 1));
  EXPECT_NE(random_steps(seats, 1), random_steps(seats, 2));
}

TEST_F(OneDriver, TheMatrixHasDomainsThatFitAndSuchThatDoNot) {
  for (const HardwareRow& row : hardware_rows()) {
    choose(row.machine);
    const auto seats = survey({drivers_[0], drivers_[0].machines[0], spec_, models_});
    ASSERT_TRUE(seats) << row.machine;
    EXPECT_THAT(seats->size(), Gt(1u));
    EXPECT_TRUE(std::ranges::none_of(*seats, [](const Seat& seat) { return seat.foreign.empty(); })) << row.machine;
    EXPECT_TRUE(row.driver == "tegra_gart" ||
                std::ranges::any_of(*seats, [](const Seat& seat) { return !seat.misfits.empty(); }))
        << row.machine;
  }
}

TEST_F(OneDriver, AMachineWithoutItsHardwareIsRefused) {
  choose("omap");
  drivers_[0].machines[0].toml = "[[iommu]]\nname = \"u\"\nmodel = \"intel-vtd\"\n";
  EXPECT_EQ(check(drivers_, {.jobs = 0}).error().code, EINVAL);
  drivers_[0].machines[0].toml = "nonsense";
  EXPECT_EQ(check(drivers_, {.jobs = 0}).error().code, EINVAL);
  choose("omap");
  EXPECT_EQ(check(drivers_, {.jobs = 0, .shard = {3, 2}}).error().code, EINVAL);
  EXPECT_EQ(check(drivers_, {.jobs = 0, .steps = "fly"}).error().code, EINVAL);
}

}  // namespace
}  // namespace softiommu::check
