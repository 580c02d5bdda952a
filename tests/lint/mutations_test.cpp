// SPDX-License-Identifier: BSD-3-Clause
// A correct driver is broken in fifty ways (samples/mutations.txt); each is reported under its rule, or the list says
// why it cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lint_rig.h"

namespace softiommu::lint {
namespace {

struct Mutation {
  std::string name, rule, why_not;
  std::string old_text, new_text;
};

std::vector<Mutation> read_mutations() {
  std::vector<Mutation> out;
  std::istringstream in(read_sample("mutations.txt"));
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("== "))
      out.push_back({line.substr(3), "", "", "", ""});
    else if (line.starts_with("rule: "))
      out.back().rule = line.substr(6);
    else if (line.starts_with("why not: "))
      out.back().why_not = line.substr(9);
    else if (line.starts_with("-"))
      out.back().old_text += line.substr(1) + "\n";
    else if (line.starts_with("+"))
      out.back().new_text += line.substr(1) + "\n";
  }
  return out;
}

class MutationTest : public testing::TestWithParam<Mutation> {};

TEST_P(MutationTest, IsReportedOrExplained) {
  const Mutation& mutation = GetParam();
  std::string text = read_sample("correct.c");
  const std::size_t at = text.find(mutation.old_text);
  ASSERT_NE(at, std::string::npos) << "the text to replace is not in correct.c";
  text.replace(at, mutation.old_text.size(), mutation.new_text);
  std::set<std::string> found;
  for (const Finding& finding : judge_text(text).findings) found.emplace(finding.rule->id);
  if (mutation.rule.empty()) {
    EXPECT_FALSE(mutation.why_not.empty());
    EXPECT_THAT(found, testing::IsEmpty()) << "it is reported after all: say under which rule";
  } else {
    EXPECT_THAT(found, testing::Contains(mutation.rule));
  }
}

INSTANTIATE_TEST_SUITE_P(All, MutationTest, testing::ValuesIn(read_mutations()),
                         [](const auto& test) { return test.param.name; });

TEST(Mutations, AreFiftyAndMostAreFound) {
  const std::vector<Mutation> all = read_mutations();
  std::size_t found = 0;
  for (const Mutation& mutation : all) found += !mutation.rule.empty();
  EXPECT_GE(all.size(), 50U);
  EXPECT_GE(found * 10, all.size() * 9);
}

TEST(Mutations, StartFromADriverWithoutFindings) {
  EXPECT_THAT(places(judge_text(read_sample("correct.c"))), testing::IsEmpty());
}

}  // namespace
}  // namespace softiommu::lint
