// SPDX-License-Identifier: BSD-3-Clause
// One sequence on one fresh machine: each step is asked, with what is to fail, and the laws are judged after it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "check/laws.h"
#include "check/log_capture.h"
#include "check/steps.h"
#include "check/world.h"
#include "core/page_faults.h"

namespace softiommu::check {

struct Finding {
  Law law{};
  FailureKind failure{};  // what failed in the step that broke it
  std::string what = {};
};

class Trial {
 public:
  static Result<std::unique_ptr<Trial>> create(const CheckedDriver& driver, const MachineSpec& spec,
                                               std::span<const UnitModel> models);
  ~Trial();

  // The first law that the step broke.
  std::optional<Finding> run(const Step& step);
  // Everything is detached and freed again.
  std::optional<Finding> end();

  // Did the last step's failure happen, and as what?
  bool struck() const { return struck_; }
  FailureKind struck_as() const { return struck_as_; }
  // Is there something for the last step to do?
  bool asked() const { return asked_; }
  World& world() { return *world_; }

 private:
  struct Answer {
    bool ok = true;
    std::optional<AttachFailure> failure = std::nullopt;  // one of the five, if the code is one of theirs
    int code = 0;
    Reason reason = {};
    friend bool operator==(const Answer&, const Answer&) = default;
  };
  // What a step is about, looked up before it is asked.
  struct Subject {
    const Step& step;
    Group* group = nullptr;
    Domain *from = nullptr, *to = nullptr;  // of the PASID, if the step names one
    bool was_broken = false;
  };
  struct Slot {
    std::unique_ptr<Domain> domain;
    bool mapped = true;
  };

  explicit Trial(std::unique_ptr<World> world) : world_(std::move(world)) {}

  // ---- asking (trial.cpp)
  bool applies(const Step& step);
  bool applies_to_domain(const Step& step, Group* group);
  Subject subject_of(const Step& step);
  Domain* domain_of(const Step& step, const Group* group);
  bool in_use(const Domain& domain);
  std::optional<Finding> once(const Subject& subject);
  Answer ask(const Subject& subject, const Failure& failure);
  Answer act(const Subject& subject);
  Answer make(const Subject& subject);
  void arm(const Failure& failure);
  void disarm(const Step& step, const Failure& failure);
  void crowd(const Group* but);
  void disperse();
  std::optional<Finding> repeat(const Step& step);
  bool take_back(const Subject& subject);

  // ---- judging (judge.cpp)
  std::optional<Finding> judge(const Subject& subject, const Answer& answer);
  std::optional<Finding> judge_answer(const Subject& subject, const Answer& answer);
  std::optional<Finding> judge_log();
  std::optional<Finding> judge_place(const Subject& subject, const Answer& answer);
  std::optional<Finding> judge_devices(const Group* about, Law law);
  std::optional<Finding> judge_group(Group& group, Law law);
  std::optional<Finding> judge_pasids(Group& group, Law law);
  std::optional<Finding> judge_again(const Subject& subject, const Answer& answer);
  std::optional<Finding> judge_natural(const Subject& subject, const Answer& answer);
  std::optional<Finding> another_would_do(const Subject& subject);
  std::optional<Finding> room_would_do(const Subject& subject);
  std::optional<Finding> judge_probe();
  std::optional<Finding> judge_fresh(Group& group);
  char letter_of(const Domain* domain) const;
  Finding finding(Law law, std::string what) const { return {law, struck_as_, std::move(what)}; }

  LogCapture log_{log::Level::info};
  std::unique_ptr<World> world_;
  std::uint64_t table_bytes_ = 0;  // without a system
  std::size_t groups_ = 0;         // that there are when nothing fails
  std::map<char, Slot> slots_;
  std::set<std::string> owned_;  // groups, by their first device
  std::set<std::pair<std::string, Pasid>> pasids_;
  AttachHandle handle_;
  std::vector<std::pair<Group*, std::unique_ptr<Domain>>> crowd_;
  bool struck_ = false, asked_ = false;
  FailureKind struck_as_ = FailureKind::none;
  bool hurt_ = false;     // a unit stopped once: its driver may have given it up
  bool spent_ = false;    // a judgement took the world apart
  bool unknown_ = false;  // what devices reach: the hardware did not even let itself be blocked
};

}  // namespace softiommu::check
