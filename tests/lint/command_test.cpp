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
  int run(const std::string& arguments) { return run_to(arguments, ">" + out() + " 2>&1"); }
  int run_to(const std::string& arguments, const std::string& redirection) {
    const std::string command = std::string(SOFTIOMMU_LINT_PROGRAM) + " " + arguments + " " + redirection;
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
}

TEST_F(Command, ChecksTheDriversThatAreNamed) {
  add("einval_logged.c");
  add("error_dropped.c");
  EXPECT_EQ(run(tree() + " --driver einval_logged"), 1);
  EXPECT_THAT(output(), testing::HasSubstr("1 files"));
  EXPECT_THAT(output(), testing::Not(testing::HasSubstr("error_dropped.c")));
  EXPECT_EQ(run("--driver einval_logged --driver 'error*' " + tree()), 1);
  EXPECT_THAT(output(), testing::HasSubstr("2 files"));
}

TEST_F(Command, KnowsWhichDriversThereAre) {
  add("einval_logged.c");
  EXPECT_EQ(run(tree() + " --driver einval_logged --driver nobody"), 2);
  EXPECT_THAT(output(), testing::HasSubstr("'nobody'; it has: einval_logged"));
}

TEST_F(Command, SaysItsVersion) {
  EXPECT_EQ(run("--version"), 0);
  EXPECT_THAT(output(), testing::StartsWith("softiommu lint "));
}

TEST_F(Command, SaysWhatItWasGivenInsteadOfATree) {
  add("correct.c");
  EXPECT_EQ(run(tree() + "/drivers/iommu"), 2);
  EXPECT_THAT(output(), testing::HasSubstr("give the tree itself: " + tree()));
  EXPECT_EQ(run(tree() + "/drivers/iommu/correct.c"), 2);
  EXPECT_THAT(output(), testing::HasSubstr("is a file"));
}

TEST_F(Command, FailsWhenItsReportCannotBeWritten) {
  add("einval_logged.c");
  for (const char* to : {">/dev/full", ">&-"})
    for (const char* what : {"", " --format json"}) EXPECT_EQ(run_to(tree() + what, to), 2) << to;
  EXPECT_EQ(run_to("--explain all", ">/dev/full"), 2);
  EXPECT_EQ(run_to("--version", ">/dev/full"), 2);
  EXPECT_EQ(run(tree() + " -o /dev/full"), 2);
}

TEST_F(Command, RefusesABaselineThatIsNone) {
  add("einval_logged.c");
  EXPECT_EQ(run(tree() + " --baseline " + tree() + "/Makefile"), 2);
  EXPECT_THAT(output(), testing::HasSubstr("is not a baseline"));
  EXPECT_EQ(run(tree() + " --baseline " + tree()), 2);
}

TEST_F(Command, DoesNotCallATreeCleanThatItCouldNotRead) {
  fs::create_symlink("/nonexistent", fs::path(tree()) / "drivers/iommu/gone-iommu.c");
  std::ofstream(fs::path(tree()) / "drivers/iommu/cut-iommu.c") << "int f(void)\n{\n\tif (a) {\n";
  EXPECT_EQ(run(tree()), 2);
  EXPECT_THAT(output(), testing::HasSubstr("drivers/iommu/gone-iommu.c: cannot be read"));
  EXPECT_THAT(output(), testing::HasSubstr("cut-iommu.c:2: a bracket does not close"));
  EXPECT_THAT(output(), testing::HasSubstr("nothing was checked"));
}

TEST_F(Command, ReadsTheVersionWhereverItStands) {
  add("correct.c");
  std::ofstream(fs::path(tree()) / "Makefile") << "VERSION = 5\nPATCHLEVEL = 19\nSUBLEVEL = 0\n";
  EXPECT_EQ(run(tree()), 0);
  EXPECT_THAT(output(), testing::HasSubstr("Linux 5.19.0"));
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
