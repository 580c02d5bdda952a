// SPDX-License-Identifier: BSD-3-Clause
// Each command has a sweep: a scenario whose name begins with the command's. GROUP_GET_STATUS is GroupGetStatus,
// IOAS_MAP is IoasMap and IoasMapInADomain; what only a device file is asked, DEVICE_RESET, is Reset of DeviceFaults,
// and type1's calls on an iommufd begin with Compat.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "iommufd/commands.h"
#include "iommufd/selftest/operation.h"

namespace softiommu {
namespace {

namespace fs = std::filesystem;

// Steps of a device that no program's call waits for: what fails there is answered to the device, or told as lost.
const std::set<std::string> kOfDevices = {"TriggerIopf", "TriggerVevent"};

std::string camel(std::string_view command) {
  std::string name;
  bool upper = true;
  for (const char c : command) {
    if (c != '_') name += upper ? c : static_cast<char>(std::tolower(c));
    upper = c == '_';
  }
  return name;
}

// The rows of the tables of src/vfio.
void add_vfio_commands(std::set<std::string>& names) {
  static const std::regex row(R"-(row<&(\w+)::\w+, \w+>\(\s*"([A-Z0-9_]+)")-");
  for (const auto& entry : fs::directory_iterator(fs::path(SOFTIOMMU_SOURCE_DIR) / "src/vfio")) {
    std::ifstream file(entry.path());
    const std::string source{std::istreambuf_iterator<char>(file), {}};
    for (std::sregex_iterator found(source.begin(), source.end(), row), end; found != end; ++found)
      names.insert(((*found)[1] == "IommufdFile" ? "Compat" : "") + camel((*found)[2].str()));
  }
}

std::set<std::string> commands() {
  std::set<std::string> names;
  for (const iommufd::Command& row : iommufd::commands())
    if (row.number != iommufd::selftest::abi::kTestCommand) names.insert(camel(row.name));
  for (const auto operations : {iommufd::selftest::memory_operations(), iommufd::selftest::domain_operations(),
                                iommufd::selftest::device_operations()})
    for (const iommufd::selftest::Operation& row : operations) names.insert(camel(row.name));
  add_vfio_commands(names);
  return names;
}

std::vector<std::string> scenarios() {
  std::vector<std::string> names;
  const auto& program = *::testing::UnitTest::GetInstance();
  for (int i = 0; i < program.total_test_suite_count(); ++i) {
    const ::testing::TestSuite& suite = *program.GetTestSuite(i);
    for (int k = 0; k < suite.total_test_count(); ++k) {
      const std::string test = suite.GetTestInfo(k)->name();
      const auto slash = test.find('/');
      if (slash == std::string::npos) continue;
      const bool of_device = std::string_view(suite.name()).starts_with("DeviceFaults");
      names.push_back((of_device ? "Device" : "") + test.substr(slash + 1));
    }
  }
  return names;
}

// The command with the longest name that the scenario's begins with.
std::string command_of(const std::string& scenario, const std::set<std::string>& names) {
  std::string longest;
  for (const std::string& name : names)
    if (scenario.starts_with(name) && name.size() > longest.size()) longest = name;
  return longest;
}

TEST(FaultSweeps, EachCommandHasOne) {
  const std::set<std::string> names = commands();
  ASSERT_GT(names.size(), 60U);
  std::set<std::string> left = names;
  for (const std::string& scenario : scenarios()) left.erase(command_of(scenario, names));
  for (const std::string& name : kOfDevices) EXPECT_EQ(left.erase(name), 1U) << name << " has a sweep";
  for (const std::string& name : left) ADD_FAILURE() << name << " has no sweep";
}

}  // namespace
}  // namespace softiommu
