// SPDX-License-Identifier: BSD-3-Clause
// The lexer and the parser on what kernel code does to C.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lint/tree.h"

namespace softiommu::lint {
namespace {

SourceFile parsed(std::string text) {
  SourceFile file;
  file.path = "drivers/iommu/x-iommu.c";
  file.text = std::move(text);
  parse(file);
  return file;
}

Node* first_statement(SourceFile& file) { return file.functions.at(0).body->kids.at(0); }

TEST(Parser, FindsFunctionsBesideTablesPrototypesAndMacros) {
  const SourceFile file = parsed(
      "struct a { int x; };\nint declared(int a);\nEXPORT_SYMBOL(declared);\n"
      "static struct b table[] = { { .f = one, }, };\nstatic int __must_check one(struct a *a)\n{ return 0; }\n"
      "static inline void __two(void) { }\nDEFINE_MUTEX(lock);\n");
  ASSERT_EQ(file.functions.size(), 2U);
  EXPECT_EQ(file.functions[0].name, "one");
  EXPECT_EQ(file.functions[1].name, "__two");
}

TEST(Parser, TellsCastsFromCallsInParentheses) {
  SourceFile file = parsed("int f(void) { return (u32)(x) + (y) * (struct s *)z - (n)(1); }");
  EXPECT_TRUE(file.functions[0].complaints.empty());
  EXPECT_EQ(first_statement(file)->kind, Kind::return_);
}

TEST(Parser, TakesBothBranchesOfAConditionalWhereTheyAreStatements) {
  SourceFile file = parsed("int f(void) {\n#ifdef A\n\ta();\n#else\n\tb();\n#endif\n\treturn 0;\n}");
  const Node* both = first_statement(file);
  ASSERT_EQ(both->kind, Kind::config_if);
  EXPECT_EQ(both->kids.size(), 2U);
}

TEST(Parser, TakesTheFirstBranchWhereAStatementIsCut) {
  SourceFile file =
      parsed("int f(void) {\n#ifdef A\n\tif (a) {\n#else\n\tif (b) {\n#endif\n\t\treturn 1;\n\t}\n\treturn 0;\n}");
  ASSERT_EQ(first_statement(file)->kind, Kind::if_);
  EXPECT_EQ(flat_source(*first_statement(file)->kids[0]), "a");
}

TEST(Parser, SkipsWhatIsSwitchedOff) {
  SourceFile file = parsed("int f(void) {\n#if 0\n\tbroken ( {\n#endif\n\treturn 0;\n}");
  EXPECT_TRUE(file.functions[0].complaints.empty());
  EXPECT_EQ(first_statement(file)->kind, Kind::return_);
}

TEST(Parser, SaysWhereItDoesNotUnderstandAndGoesOn) {
  SourceFile file = parsed("int f(void) {\n\ta = ? ;\n\treturn 0;\n}\nint g(void) { return 1; }");
  ASSERT_EQ(file.functions.size(), 2U);
  ASSERT_EQ(file.functions[0].complaints.size(), 1U);
  EXPECT_EQ(file.functions[0].complaints[0].line, 2U);
  EXPECT_TRUE(file.functions[1].complaints.empty());
}

TEST(Parser, SurvivesTextThatIsNoC) {
  for (const char* text :
       {"", "}", "{{{", "int f(", "int f() {", "/* open", "\"open", "#if\nint f(){", "int f(){(({[", "'"})
    parsed(text);
}

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// What opens a level, and what stands inside; levels are not closed again in the last two.
class Deep : public testing::TestWithParam<std::pair<std::string_view, std::string_view>> {};

TEST_P(Deep, NestingIsComplainedAboutAndTheRestIsRead) {
  const auto [open, close] = GetParam();
  constexpr int kLevels = 100'000;
  const SourceFile file = parsed("int f(void)\n{\n\tx = 0;\n" + repeated(open, kLevels) + "x" +
                                 repeated(close, kLevels) + ";\n}\nint g(void)\n{\n\treturn 0;\n}\n");
  ASSERT_FALSE(file.functions.empty());
  const auto& complaints = file.functions[0].complaints;
  ASSERT_FALSE(complaints.empty());
  EXPECT_EQ(complaints[0].what, "nested too deeply");
  if (!close.empty() || open.find_first_of("({[") == std::string_view::npos) {
    EXPECT_EQ(file.functions.back().name, "g");
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Deep,
                         testing::Values(std::pair{"{", "}"}, std::pair{"(", ")"}, std::pair{"f(", ")"},
                                         std::pair{"a[", "]"}, std::pair{"!", ""}, std::pair{"a + ", ""},
                                         std::pair{"a = ", ""}, std::pair{"a.", ""}, std::pair{"a ? b : ", ""},
                                         std::pair{"a ? ", " : b"}, std::pair{"if (a) b; else ", ""},
                                         std::pair{"if (a) ", ""}, std::pair{"do ", "; while (1)"},
                                         std::pair{"for (;;) ", ""}, std::pair{"a = {", "}"}, std::pair{"({", ";})"},
                                         std::pair{"(", ""}, std::pair{"{", ""}));

TEST(Parser, ReadsConditionalsNestedAHundredThousandTimes) {
  const SourceFile file =
      parsed("int f(void)\n{\n" + repeated("#if A\n", 100'000) + "a();\n" + repeated("#endif\n", 100'000) + "}\n");
  EXPECT_EQ(file.functions.size(), 1U);
}

TEST(Parser, FindsOpsInMacrosAndAssignments) {
  const SourceFile file =
      parsed("#define OPS \\\n\t.attach_dev = one, \\\n\t.x = 2\nvoid f(void) { ops->attach_dev = &two; }");
  ASSERT_EQ(file.ops.size(), 2U);
  EXPECT_THAT((std::vector<std::string_view>{file.ops[0].function, file.ops[1].function}),
              testing::UnorderedElementsAre("one", "two"));
}

TEST(Drivers, AreNamedByTheirPlace) {
  EXPECT_EQ(driver_of("drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c"), "arm-smmu-v3");
  EXPECT_EQ(driver_of("drivers/iommu/arm/arm-smmu/qcom_iommu.c"), "qcom");
  EXPECT_EQ(driver_of("drivers/iommu/intel/pasid.c"), "intel");
  EXPECT_EQ(driver_of("drivers/iommu/mtk_iommu_v1.c"), "mtk_v1");
  EXPECT_EQ(driver_of("drivers/iommu/iommu.c"), "core");
  EXPECT_EQ(driver_of("arch/s390/pci/pci.c"), "s390");
}

}  // namespace
}  // namespace softiommu::lint
