// SPDX-License-Identifier: BSD-3-Clause
// A run's folder with the view of a machine: an edu device with virtual functions, an NVMe, and an edu device behind a
// port.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "drivers/registry.h"
#include "launch/run_options.h"
#include "launch/view/view.h"

namespace softiommu::launch {

namespace fs = std::filesystem;

class BusFixture : public testing::Test {
 protected:
  BusFixture() {
    std::string name = testing::TempDir() + "run-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    view_ = folder_ + "/view";
    fs::create_directory(view_);
    machine_ = *Machine::create(*parse_machine(kMachine, "test"), {});
    system_ = *System::create(*machine_, all_drivers(), {});
    EXPECT_TRUE(write_view(view_, *system_, {}));
  }
  ~BusFixture() override { fs::remove_all(folder_); }

  static constexpr char kMachine[] = R"(
[[iommu]]
name = "dmar0"
model = "intel-vtd"
[[device]]
address = "0000:00:04.0"
model = "edu"
vfs = 4
[[device]]
address = "0000:00:05.0"
model = "nvme"
[[bridge]]
address = "0000:00:1c.0"
kind = "root-port"
bus = 1
[[device]]
address = "0000:01:00.0"
model = "edu"
)";
  std::string folder_, view_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
};

}  // namespace softiommu::launch
