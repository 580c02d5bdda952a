// SPDX-License-Identifier: BSD-3-Clause
// The program itself: exit status, baseline, and a tree on disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>

#include "lint_rig.h"

namespace softiommu::lint {
namespace {

namespace fs = std::filesystem;

class Command : public testing::Test {
 protected:
  Command() : root_(fs::path(testing::TempDir()) / ("lint_tree_" + std::to_string(::getpid()))) {
    fs::create_directories(root_ / "drivers/iommu");
    std::ofstream(root_ / "Makefile") << "# x\nVERSION = 9\nPATCHLEVEL = 1\nSUBLEVEL = 2\n";
  }
  ~Command() override { fs::remove_all(root_); }

  void add(const std::string& sample) { std::ofstream(root_ / "drivers/iommu" / sample) << read_sample(sample); }
  int run(const std::string& arguments) {
    const std::string command = std::string(SOFTIOMMU_LINT_PROGRAM) + " " + arguments + " >" + out() + " 2>&1";
    return WEXITSTATUS(std::system(command.c_str()));
  }
  std::string tree() const { return root_.string(); }
  std::string out() const { return (root_ / "out").string(); }
  std::string output() const {
    std::ifstream in(out());
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  fs::path root_;
};

TEST_F(Command, AnswersZeroForATreeWithoutFindings) {
  add("correct.c");
  EXPECT_EQ(run(tree()), 0);
  EXPECT_THAT(output(), testing::HasSubstr("Linux 9.1.2: 0 findings"));
}

TEST_F(Command, AnswersOneForFindings) {
  add("einval_logged.c");
  EXPECT_EQ(run(tree()), 1);
  EXPECT_EQ(run(tree() + " --severity error"), 0);
  EXPECT_EQ(run(tree() + " --driver nobody"), 0);
}

TEST_F(Command, AnswersTwoForWrongUsage) {
  EXPECT_EQ(run(""), 2);
  EXPECT_EQ(run("/nonexistent"), 2);
  EXPECT_EQ(run(tree() + " --format pdf"), 2);
  EXPECT_EQ(run("--explain no-such-rule"), 2);
  EXPECT_EQ(run(tree()), 2) << "a tree without callbacks is not a clean one";
}

TEST_F(Command, ShowsOnlyWhatTheBaselineDoesNotKnow) {
  add("einval_logged.c");
  EXPECT_EQ(run(tree() + " --write-baseline " + tree() + "/known"), 1);
  EXPECT_EQ(run(tree() + " --baseline " + tree() + "/known"), 0);
  add("error_dropped.c");
  EXPECT_EQ(run(tree() + " --baseline " + tree() + "/known"), 1);
  EXPECT_THAT(output(), testing::Not(testing::HasSubstr("einval-logged")));
}

TEST_F(Command, ExplainsEveryRule) {
  EXPECT_EQ(run("--explain all"), 0);
  for (const Rule& rule : rules()) EXPECT_THAT(output(), testing::HasSubstr(std::string(rule.id)));
}

TEST_F(Command, WritesEveryFormat) {
  add("not_an_errno.c");
  for (const char* format : {"text", "json", "sarif", "html", "markdown", "paths"}) {
    EXPECT_EQ(run(tree() + " --format " + format + " -o " + tree() + "/report"), 1);
    EXPECT_GT(fs::file_size(tree() + "/report"), 100U) << format;
  }
}

}  // namespace
}  // namespace softiommu::lint
