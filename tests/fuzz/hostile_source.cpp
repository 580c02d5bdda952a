// SPDX-License-Identifier: BSD-3-Clause
// The samples of the checker of attach paths with random damage: each is judged and reported, whatever is left of it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz_run.h"
#include "lint_source.h"

namespace softiommu::test {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kLongest = 30s;
constexpr std::array<std::string_view, 24> kPieces{"{",
                                                   "}",
                                                   "(",
                                                   ")",
                                                   "[",
                                                   ";",
                                                   "if (ret)\n",
                                                   "else ",
                                                   "goto out;",
                                                   "out:",
                                                   "return -EINVAL;",
                                                   "for (;;) ",
                                                   "while (1)",
                                                   "switch (x) {",
                                                   "case 1:",
                                                   "? ",
                                                   ": ",
                                                   "&& ",
                                                   "#if A\n",
                                                   "#else\n",
                                                   "#endif\n",
                                                   "\"",
                                                   "/*",
                                                   "\\\n"};

std::vector<std::string> samples() {
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::directory_iterator(SOFTIOMMU_SOURCE_DIR "/tests/lint/samples")) {
    std::ifstream file(entry.path());
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

void damage(std::string& text, Choice& choice) {
  const std::size_t at = choice.below(text.size() + 1);
  switch (choice.below(5)) {
    case 0:
      text.erase(at, choice.below(40));
      break;
    case 1:
      for (std::uint64_t times = choice.one_in(20) ? 200 : 1; times > 0; --times) text.insert(at, choice.of(kPieces));
      break;
    case 2:
      if (at < text.size()) text[at] = static_cast<char>(choice.any());
      break;
    case 3:
      text.insert(choice.below(text.size() + 1), text.substr(at, choice.below(400)));
      break;
    default:
      text.resize(at);
      break;
  }
}

TEST(HostileSource, IsJudgedWhateverItIs) {
  const std::vector<std::string> texts = samples();
  Choice choice(fuzz_seed());
  const auto end = std::chrono::steady_clock::now() + std::min(fuzz_seconds(5s), kLongest);
  std::uint64_t judged = 0;
  for (; std::chrono::steady_clock::now() < end; ++judged) {
    std::string text = texts[choice.below(texts.size())];
    for (std::uint64_t times = 1 + choice.below(8); times > 0; --times) damage(text, choice);
    ASSERT_TRUE(judge_source(text)) << text;
  }
  EXPECT_GT(judged, 0U);
  RecordProperty("judged", std::to_string(judged));
}

}  // namespace
}  // namespace softiommu::test
