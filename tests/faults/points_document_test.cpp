// SPDX-License-Identifier: BSD-3-Clause
// docs/faults.md has a row for each fault point of the sources, with its file and errno, and no other.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "base/fault.h"

namespace softiommu {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Point {
  std::string name, code, file;
  friend auto operator<=>(const Point&, const Point&) = default;
};
void PrintTo(const Point& point, std::ostream* out) { *out << point.name << " " << point.code << " " << point.file; }

// Whole lines of comment do not count.
std::set<Point> points_of_the_sources() {
  static const std::regex comment(R"((^|\n)\s*//[^\n]*)"),
      pass(R"-(fault::(?:pass|strikes)\(\s*"([^"]*)"(?:,\s*(E[A-Z]+))?\))-");
  std::set<Point> points{{fault::kHeap, "ENOMEM", "base/fault.h"}};
  const fs::path root = fs::path(SOFTIOMMU_SOURCE_DIR) / "src";
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".cpp" && entry.path().extension() != ".h") continue;
    const std::string source = std::regex_replace(contents(entry.path()), comment, "\n");
    for (std::sregex_iterator found(source.begin(), source.end(), pass), end; found != end; ++found) {
      const std::string code = (*found)[2];
      points.insert({(*found)[1], code.empty() ? "ENOMEM" : code, fs::relative(entry.path(), root).string()});
    }
  }
  return points;
}

std::set<Point> points_of_the_document() {
  static const std::regex row(R"(\n\| `([^`]+)` \| (E[A-Z]+) \| ([a-z0-9_./]+) \| [^|]+ \|)");
  std::set<Point> points;
  const std::string text = contents(fs::path(SOFTIOMMU_SOURCE_DIR) / "docs/faults.md");
  for (std::sregex_iterator found(text.begin(), text.end(), row), end; found != end; ++found)
    points.insert({(*found)[1], (*found)[2], (*found)[3]});
  return points;
}

TEST(FaultPointsDocument, HasEachPointOfTheSources) {
  auto documented = points_of_the_document();
  for (const Point& point : points_of_the_sources())
    EXPECT_EQ(documented.erase(point), 1U) << "docs/faults.md lacks " << ::testing::PrintToString(point);
  for (const Point& point : documented) ADD_FAILURE() << "no such point: " << ::testing::PrintToString(point);
}

TEST(FaultPointsDocument, PointsAreNamedByAreaAndThing) {
  static const std::regex name("[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*");
  for (const Point& point : points_of_the_sources()) EXPECT_TRUE(std::regex_match(point.name, name)) << point.name;
}

}  // namespace
}  // namespace softiommu
