// SPDX-License-Identifier: BSD-3-Clause
// docs/hardware/ holds every register and table entry of src/hw/, a page for each header: its opening comment, and what
// its layouts say. UPDATE_DOCS=1 rewrites the pages instead of comparing them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "hw/layout.h"

namespace softiommu::hw {

struct HardwarePage {
  std::string name, rows;
};

}  // namespace softiommu::hw

#include "hardware_pages.inc"

namespace softiommu::hw {
namespace {

const std::filesystem::path kSource{SOFTIOMMU_SOURCE_DIR};
const std::filesystem::path kFolder = kSource / "docs/hardware";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A bar would end a cell.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string table(const auto& layout) {
  std::string out = "| bits | field | meaning |\n| --- | --- | --- |\n";
  for (const Field& field : layout.fields) {
    const std::string bits =
        field.hi == field.lo ? fmt::format("{}", field.lo) : fmt::format("{}:{}", field.hi, field.lo);
    out += fmt::format("| {} | {} | {} |\n", bits, cell(field.name), cell(field.doc));
  }
  return out;
}

constexpr std::string_view access_text(RegisterAccess access) {
  switch (access) {
    case RegisterAccess::rw:
      return "read and write";
    case RegisterAccess::ro:
      return "read only";
    case RegisterAccess::wo:
      return "write only";
    default:
      return "write one to clear";
  }
}

struct Row {
  template <std::size_t N>
  std::string operator()(const Layout<N>& layout) const {
    return fmt::format("\n## {}\n\n{}\n\n{}", layout.name, layout.spec, table(layout));
  }
  template <std::size_t N>
  std::string operator()(const Register<N>& reg) const {
    return fmt::format("\n## {}\n\n{}. Offset {:#x}, {} bytes, {}, {:#x} after reset.\n\n{}", reg.layout.name,
                       reg.layout.spec, reg.offset, reg.bytes, access_text(reg.access), reg.reset, table(reg.layout));
  }
};

// The paragraphs of the comment that opens a header, behind the licence.
std::string opening_comment(const std::string& name) {
  std::ifstream file(kSource / "src/hw" / (name + ".h"));
  std::string out, line;
  std::getline(file, line);
  while (std::getline(file, line) && line.starts_with("//")) out += line.size() > 3 ? line.substr(3) + "\n" : "\n";
  return out;
}

std::vector<HardwarePage> pages() {
  std::vector<HardwarePage> all = hardware_pages(Row{});
  std::string index =
      "# Hardware\n\nEvery register and table entry of the models, as `src/hw/` has them. Made by the tests"
      " (`UPDATE_DOCS=1`).\n\n";
  for (HardwarePage& page : all) {
    const std::string comment = opening_comment(page.name);
    index += fmt::format("- [{}]({}.md)\n", page.name, page.name);
    page.rows = fmt::format("# {}\n\n{}{}", page.name, comment, page.rows);
  }
  all.push_back({"README", index});
  return all;
}

bool updating() { return std::getenv("UPDATE_DOCS") != nullptr; }

TEST(HardwareDocs, PagesSayWhatTheLayoutsSay) {
  if (updating()) std::filesystem::create_directories(kFolder);
  for (const HardwarePage& page : pages()) {
    const auto path = kFolder / (page.name + ".md");
    if (updating()) std::ofstream(path) << page.rows;
    EXPECT_EQ(read_file(path), page.rows) << path << ": run this test once with UPDATE_DOCS=1";
  }
}

TEST(HardwareDocs, NoPageIsLeftOfAHeaderThatIsGone) {
  std::set<std::string> known;
  for (const HardwarePage& page : pages()) known.insert(page.name + ".md");
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename().string();
    if (updating() && !known.contains(name)) std::filesystem::remove(entry.path());
    EXPECT_TRUE(updating() || known.contains(name)) << name;
  }
}

// The list is made by looking at the headers' text, so nothing it looks for may be written in another way.
TEST(HardwareDocs, EveryLayoutOfEveryHeaderIsListed) {
  std::size_t declared = 0, listed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "src/hw")) {
    if (entry.path().extension() != ".h" || entry.path().filename() == "layout.h") continue;
    const std::string text = read_file(entry.path());
    for (const std::string_view kind : {"constexpr Layout k", "constexpr Register k"})
      for (std::size_t at = 0; (at = text.find(kind, at)) != std::string::npos; ++at) ++declared;
  }
  for (const HardwarePage& page : hardware_pages(Row{}))
    for (std::size_t at = 0; (at = page.rows.find("\n## ", at)) != std::string::npos; at += 4) ++listed;
  EXPECT_EQ(listed, declared);
}

}  // namespace
}  // namespace softiommu::hw
