// SPDX-License-Identifier: BSD-3-Clause
// docs/differences.md promises a test for each row: each that it names must be there.
//
// A row's last cell has references `folder/file_test`, most followed by a test's name in backquotes: whole, cut short
// with
// "...", or "Suite.*" for all of a suite.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace softiommu::testing {
namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, '|');) out.push_back(cell);
  if (!out.empty()) out.erase(out.begin());  // before the first bar
  return out;
}

// Does `source` have a test that `name` stands for?
bool has_test(const std::string& source, std::string name) {
  static const std::regex test(R"(TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\))");
  const bool whole_suite = name.ends_with(".*"), cut = name.ends_with("...");
  name = name.substr(0, name.size() - (whole_suite ? 2 : cut ? 3 : 0));
  for (std::sregex_iterator found(source.begin(), source.end(), test), end; found != end; ++found) {
    const std::string suite = (*found)[1], title = (*found)[2];
    if (whole_suite ? suite == name : cut ? title.starts_with(name) : title == name) return true;
  }
  return false;
}

// What is wrong with the references of one cell, and how many tests it names.
struct Verdict {
  std::vector<std::string> missing;
  unsigned named = 0;
};
Verdict judge(const std::string& cell) {
  static const std::regex reference(R"(([a-z_]+/[a-z0-9_]+_test)(?: `([^`]+)`)?)");
  Verdict verdict;
  for (std::sregex_iterator found(cell.begin(), cell.end(), reference), end; found != end; ++found) {
    const std::string file = (*found)[1], name = (*found)[2];
    const std::string source = contents(std::filesystem::path(SOFTIOMMU_SOURCE_DIR) / "tests" / (file + ".cpp"));
    const bool there = name.empty() ? !source.empty() : has_test(source, name);
    if (!there) verdict.missing.push_back(file + " " + name);
    verdict.named += !name.empty();
  }
  return verdict;
}

TEST(DifferencesDocument, EveryRowNamesATestThatExists) {
  std::istringstream document(contents(std::filesystem::path(SOFTIOMMU_SOURCE_DIR) / "docs/differences.md"));
  unsigned rows = 0;
  for (std::string line; std::getline(document, line);) {
    if (!line.starts_with("| ") || line.starts_with("| where")) continue;
    const auto columns = cells(line);
    ASSERT_EQ(columns.size(), 5u) << line;
    ++rows;
    const Verdict verdict = judge(columns.back());
    EXPECT_GE(verdict.named, 1u) << line;
    for (const std::string& missing : verdict.missing)
      ADD_FAILURE() << "no test " << missing << " for: " << columns.front();
  }
  EXPECT_GE(rows, 12u);
}

TEST(DifferencesDocument, ANameThatNoTestHasIsFound) {
  EXPECT_EQ(judge("contract/differences_document_test `EveryRowNames...`").missing.size(), 0u);
  EXPECT_EQ(judge("contract/differences_document_test `DifferencesDocument.*`").missing.size(), 0u);
  EXPECT_EQ(judge("contract/differences_document_test `EveryRow`").missing.size(), 1u) << "not the whole name";
  EXPECT_EQ(judge("contract/differences_document_test `NoSuch...`, contract/no_such_test").missing.size(), 2u);
  EXPECT_EQ(judge("by hand").named, 0u);
}

}  // namespace
}  // namespace softiommu::testing
