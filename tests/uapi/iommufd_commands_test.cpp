// SPDX-License-Identifier: BSD-3-Clause
// The table of commands of /dev/iommu: numbers, and their page of documentation.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "iommufd/commands.h"
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class EveryCommand : public MockTest {};

TEST_F(EveryCommand, HasANumberOfItsOwnWithinTheRange) {
  std::set<unsigned> numbers;
  for (const iommufd::Command& row : iommufd::commands()) {
    EXPECT_TRUE(numbers.insert(row.number).second) << row.name;
    EXPECT_TRUE((row.number >= fd::kDestroy && row.number <= fd::kLast) || row.number == tabi::kTestCommand);
    EXPECT_LE(row.minimum, row.bytes) << row.name;
  }
  for (unsigned number = fd::kDestroy; number <= fd::kLast; ++number) EXPECT_TRUE(numbers.contains(number)) << number;
}

TEST_F(EveryCommand, OfTheTestsIsOnlyThereWhenAskedFor) {
  vfio_.reset();
  vfio_ = std::make_unique<Vfio>(*system_, VfioOptions{});
  iommufd_ = open_iommufd();
  tabi::Command ask{};
  EXPECT_EQ(command(tabi::kTestCommand, ask), -ENOTTY);
}

// ---- docs/iommufd.md

std::string documentation() {
  std::string page =
      "# Commands of /dev/iommu\n\n"
      "Made from the table in `src/iommufd/commands.cpp` (`UPDATE_DOCS=1` and the uapi tests rewrite it). Numbers are "
      "the\n"
      "low byte of `_IO(';', n)`. A structure begins with its size: smaller than \"least\" is EINVAL, larger than "
      "\"size\"\n"
      "with anything but zeros in the rest E2BIG.\n\n"
      "| command | number | size | least | what it does |\n|---|---|---|---|---|\n";
  for (const iommufd::Command& row : iommufd::commands())
    page += fmt::format("| `{}` | {:#x} | {} | {} | {} |\n", row.name, row.number & 0xff, row.bytes, row.minimum,
                        row.summary);
  return page;
}

TEST(IommufdDocs, AreWhatTheTableSays) {
  const std::string path = std::string(SOFTIOMMU_SOURCE_DIR) + "/docs/iommufd.md";
  if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << documentation();
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), documentation()) << "run this test once with UPDATE_DOCS=1";
}

}  // namespace
}  // namespace softiommu::test
