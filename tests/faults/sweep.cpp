// SPDX-License-Identifier: BSD-3-Clause
#include "faults/sweep.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ostream>

#include "base/fault.h"
#include "vfio/iommufd_file.h"

namespace softiommu::test {

namespace {

constexpr std::uint64_t kMostPoints = 2000;  // no call of a scenario passes as many

// What a call answers when the point fails.
int errno_of(std::string_view point) {
  if (point.starts_with("program.copy")) return EFAULT;
  if (point == "driver.id") return ENOSPC;
  if (point == "driver.commit") return ENODEV;  // the hardware does not take the change
  if (point == "program.descriptor" || point == "program.eventfd") return EMFILE;
  return ENOMEM;
}

std::string struck_point() {
  for (const fault::Passed& point : fault::passed())
    if (point.failures != 0) return point.point;
  return {};
}

}  // namespace

Rig::Rig() : memory_file_(memfd_create("softiommu-faults", MFD_CLOEXEC)) {
  EXPECT_EQ(ftruncate(memory_file_, 64 * static_cast<off_t>(kPageSize)), 0);
}
Rig::~Rig() { close(memory_file_); }

int Rig::file_in_another_process() {
  const auto& context = dynamic_cast<vfio::IommufdFile&>(program_[iommufd_]).context();
  return *program_.install(std::make_shared<vfio::IommufdFile>(context, *other_process_), 0);
}

ssize_t Rig::pread(int file, void* into, std::size_t bytes) {
  const fault::Call fallible;
  return program_[file].pread(address(into), bytes, 0);
}
ssize_t Rig::pwrite(int file, const void* from, std::size_t bytes) {
  const fault::Call fallible;
  return program_[file].pwrite(address(from), bytes, 0);
}

void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }
std::string name_of(const ::testing::TestParamInfo<Scenario>& info) { return info.param.name; }

// nth 0: nothing fails.
Sweep::Outcome Sweep::attempt(std::uint64_t nth) {
  Rig rig;
  rig.begin();
  GetParam().set_up(rig);
  Outcome outcome;
  outcome.before = rig.state();
  fault::fail_nth(nth);
  outcome.answer = GetParam().call(rig);
  outcome.struck = nth != 0 && fault::struck();
  outcome.point = struck_point();
  fault::disarm();
  outcome.after = rig.state();
  if (outcome.answer < 0) {
    EXPECT_GE(GetParam().call(rig), 0) << "the call fails although nothing is wrong any more";
  }
  rig.end();
  return outcome;
}

void Sweep::judge(std::uint64_t nth, const Outcome& outcome, const State& undisturbed) const {
  SCOPED_TRACE(fmt::format("point {}: {}, answer {}", nth, outcome.point, outcome.answer));
  if (outcome.answer < 0) {
    EXPECT_EQ(outcome.answer, -errno_of(outcome.point));
    EXPECT_EQ(difference(outcome.before, outcome.after), "") << "changed by a call that failed";
  } else {
    EXPECT_EQ(difference(undisturbed, outcome.after), "") << "not what the call does when nothing fails";
  }
}

void Sweep::run() {
  const Outcome undisturbed = attempt(0);
  ASSERT_GE(undisturbed.answer, 0);
  std::uint64_t nth = 1;
  for (; nth < kMostPoints; ++nth) {
    const Outcome outcome = attempt(nth);
    judge(nth, outcome, undisturbed.after);
    if (!outcome.struck || HasFailure()) break;
  }
  ASSERT_LT(nth, kMostPoints);
  RecordProperty("points", static_cast<int>(nth - 1));
}

}  // namespace softiommu::test
