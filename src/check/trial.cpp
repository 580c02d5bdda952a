// SPDX-License-Identifier: BSD-3-Clause
#include "check/trial.h"

#include <algorithm>

#include "base/fault.h"

namespace softiommu::check {

namespace {

bool is_hardware(FailureKind kind) {
  return kind == FailureKind::registers || kind == FailureKind::queue || kind == FailureKind::answers;
}

// The countdown over all fault points, whatever they stand for.
bool is_countdown(FailureKind kind) {
  return kind == FailureKind::memory || kind == FailureKind::ids || kind == FailureKind::hardware ||
         kind == FailureKind::way_back;
}

// What a fault point stands for, by the end or the start of its name.
struct PointRow {
  std::string_view start, end;
  FailureKind kind;
};
constexpr PointRow kPoints[] = {
    {"heap.", "", FailureKind::memory},      {"memory.", "", FailureKind::memory},
    {"core.", "", FailureKind::memory},      {"", ".prepare", FailureKind::memory},
    {"", ".domain", FailureKind::memory},    {"", ".start", FailureKind::memory},
    {"", ".endpoint", FailureKind::memory},  {"", ".id", FailureKind::ids},
    {"", "_id", FailureKind::ids},           {"", ".context_bank", FailureKind::ids},
    {"", ".stream_entry", FailureKind::ids},
};
FailureKind kind_of_point(std::string_view name) {
  const auto row = std::ranges::find_if(
      kPoints, [&](const PointRow& point) { return name.starts_with(point.start) && name.ends_with(point.end); });
  return row != std::end(kPoints) ? row->kind : FailureKind::hardware;
}

constexpr std::string_view kWaysBack[] = {"core.undo", "driver.undo"};

}  // namespace

Result<std::unique_ptr<Trial>> Trial::create(const CheckedDriver& driver, const MachineSpec& spec,
                                             std::span<const UnitModel> models) {
  return without_throwing([&]() -> Result<std::unique_ptr<Trial>> {
    std::unique_ptr<Trial> trial(new Trial(nullptr));  // the log is quiet from here on
    trial->world_ = TRY(World::create(driver, spec, models));
    trial->groups_ = trial->world_->system().groups().size();
    return trial;
  });
}

// Whatever state a breach left.
Trial::~Trial() {
  fault::disarm();
  if (world_ == nullptr || !world_->is_up()) return;
  (void)world_->disarm();
  disperse();
  for (const auto& [name, pasid] : pasids_)
    if (Group* const group = world_->group(name)) group->detach_pasid(pasid);
  for (const std::string& name : owned_) {
    world_->group(name)->detach();
    world_->group(name)->release_dma_owner();
  }
  slots_.clear();
}

// ---- what makes sense -------------------------------------------------------------------------------------------

Domain* Trial::domain_of(const Step& step, const Group* group) {
  if (step.domain == kBlocked) return group != nullptr ? group->driver().static_domain(DomainType::blocked) : nullptr;
  if (step.domain == kIdentity) return group != nullptr ? group->driver().static_domain(DomainType::identity) : nullptr;
  const auto slot = slots_.find(step.domain);
  return slot != slots_.end() ? slot->second.domain.get() : nullptr;
}

bool Trial::in_use(const Domain& domain) {
  const auto uses = [&](const std::unique_ptr<Group>& group) { return group->domain() == &domain; };
  const auto uses_pasid = [&](const auto& used) { return world_->group(used.first)->domain(used.second) == &domain; };
  return std::ranges::any_of(world_->system().groups(), uses) || std::ranges::any_of(pasids_, uses_pasid);
}

bool Trial::applies(const Step& step) {
  if (!world_->is_up()) return false;
  Group* const group = world_->group(step.group);
  if (row_of(step.verb).group && group == nullptr) return false;
  const bool owned = owned_.contains(step.group);
  switch (step.verb) {
    case Verb::own:
      return !owned;
    case Verb::make:
    case Verb::make_pasid:
      return !slots_.contains(step.domain) && step.domain >= 'A';
    case Verb::probe:
      return owned_.empty() && slots_.empty();
    case Verb::release:
    case Verb::detach:
      return owned;
    case Verb::detach_pasid:
      return owned && group->domain(step.pasid) != nullptr;
    default:
      return applies_to_domain(step, group);
  }
}

bool Trial::applies_to_domain(const Step& step, Group* group) {
  const Domain* const domain = domain_of(step, group);
  if (domain == nullptr) return false;
  switch (step.verb) {
    case Verb::unmap:
      return slots_.contains(step.domain) && slots_[step.domain].mapped;
    case Verb::map:
      return slots_.contains(step.domain) && !slots_[step.domain].mapped;
    case Verb::drop:
      return slots_.contains(step.domain) && !in_use(*domain);
    case Verb::attach_pasid:
      return owned_.contains(step.group) && group->driver().attaches_pasids();
    case Verb::replace_pasid:
      return owned_.contains(step.group) && group->domain(step.pasid) != nullptr;
    default:
      return owned_.contains(step.group);
  }
}

Trial::Subject Trial::subject_of(const Step& step) {
  Subject subject{.step = step, .group = world_->group(step.group)};
  subject.to = domain_of(step, subject.group);
  if (subject.group == nullptr) return subject;
  subject.from = row_of(step.verb).pasid ? subject.group->domain(step.pasid) : subject.group->domain();
  subject.was_broken = subject.group->broken();
  return subject;
}

// ---- asking -----------------------------------------------------------------------------------------------------

std::optional<Finding> Trial::run(const Step& step) {
  struck_ = asked_ = false;
  struck_as_ = FailureKind::none;
  if (spent_ || !applies(step)) return std::nullopt;
  asked_ = true;
  return step.times > 1 ? repeat(step) : once(subject_of(step));
}

std::optional<Finding> Trial::once(const Subject& subject) {
  log_.clear();
  if (subject.step.failure.kind == FailureKind::ids && subject.step.failure.nth == 0) crowd(subject.group);
  const Answer answer = ask(subject, subject.step.failure);
  auto found = judge(subject, answer);
  disperse();
  return found;
}

// Asked and taken back again and again: what is lost each time is missing in the end.
std::optional<Finding> Trial::repeat(const Step& step) {
  constexpr unsigned kWarm = 3;  // what is kept for the next time has been made by then
  std::uint64_t bytes = 0;
  bool ever_struck = false;
  for (unsigned i = 1; i <= step.times; ++i) {
    const Subject subject = subject_of(step);
    if (auto found = once(subject)) {
      if (i > 1) found->law = Law::leak;
      if (i > 1) found->what = fmt::format("asked for the {}th time: {}", i, found->what);
      return found;
    }
    ever_struck |= struck_;
    if (spent_) return std::nullopt;
    if (!take_back(subject)) return finding(Law::leak, fmt::format("it cannot be taken back for the {}th time", i));
    if (i == kWarm) bytes = world_->table_bytes();
  }
  struck_ = ever_struck;
  if (step.times > kWarm && world_->table_bytes() > bytes)
    return finding(Law::leak, fmt::format("{} bytes of tables are lost in {} times", world_->table_bytes() - bytes,
                                          step.times - kWarm));
  return std::nullopt;
}

bool Trial::take_back(const Subject& subject) {
  Group* const group = subject.group;
  const Step& step = subject.step;
  switch (step.verb) {
    case Verb::own:
      if (!owned_.erase(step.group)) return true;
      group->release_dma_owner();
      return true;
    case Verb::make:
    case Verb::make_pasid:
      slots_.erase(step.domain);
      return true;
    case Verb::attach:
      if (group->domain() == subject.to && subject.from != subject.to) group->detach();
      return true;
    case Verb::release:
      if (!group->claim_dma_owner(this)) return false;
      owned_.insert(step.group);
      [[fallthrough]];
    case Verb::replace:
    case Verb::detach:
      if (subject.from->type() == DomainType::blocked) return group->detach(), true;
      return group->replace(*subject.from).has_value();
    case Verb::attach_pasid:
      group->detach_pasid(step.pasid);
      return true;
    case Verb::replace_pasid:
      return group->domain(step.pasid) == subject.from || group->replace_pasid(*subject.from, step.pasid, handle_);
    case Verb::detach_pasid:
      return group->attach_pasid(*subject.from, step.pasid, handle_).has_value();
    default:
      return true;
  }
}

Trial::Answer Trial::ask(const Subject& subject, const Failure& failure) {
  arm(failure);
  Answer answer;
  {
    const fault::Call call;
    answer = act(subject);
  }
  disarm(subject.step, failure);
  if (answer.ok && slots_.contains(subject.step.domain) && subject.to == nullptr &&
      !world_->map(*slots_[subject.step.domain].domain, subject.step.domain))
    return {.ok = false, .failure = AttachFailure::no_device, .code = ENODEV, .reason = {"a page can be mapped", 1, 0}};
  return answer;
}

namespace {

std::optional<AttachFailure> failure_of(int code) {
  constexpr AttachFailure kAll[] = {AttachFailure::incompatible, AttachFailure::no_memory, AttachFailure::no_space,
                                    AttachFailure::busy, AttachFailure::no_device};
  const auto failure = std::ranges::find(kAll, code, to_errno);
  return failure != std::end(kAll) ? std::optional(*failure) : std::nullopt;
}

}  // namespace

Trial::Answer Trial::make(const Subject& subject) {
  const char letter = subject.step.domain;
  auto made = world_->system().allocate_domain(*subject.group, {.pasid = subject.step.verb == Verb::make_pasid});
  if (!made) return {.ok = false, .failure = failure_of(made.error().code), .code = made.error().code};
  const fault::Paused ours;
  slots_[letter] = {std::move(*made), true};
  return {};
}

Trial::Answer Trial::act(const Subject& subject) {
  Group* const group = subject.group;
  const Step& step = subject.step;
  const auto attached = [](const AttachResult<>& result) -> Answer {
    if (result) return {};
    return {
        .ok = false, .failure = result.error().failure, .code = result.error().code, .reason = result.error().reason};
  };
  const auto done = [](const Result<>& result) -> Answer {
    if (result) return {};
    return {.ok = false, .failure = failure_of(result.error().code), .code = result.error().code};
  };
  switch (step.verb) {
    case Verb::own: {
      const Answer answer = done(group->claim_dma_owner(this));
      const fault::Paused ours;
      if (answer.ok) owned_.insert(step.group);
      return answer;
    }
    case Verb::release:
      group->release_dma_owner();
      owned_.erase(step.group);
      return {};
    case Verb::make:
    case Verb::make_pasid:
      return make(subject);
    case Verb::attach:
      return attached(group->attach(*subject.to));
    case Verb::replace:
      return attached(group->replace(*subject.to));
    case Verb::detach:
      group->detach();
      return {};
    case Verb::attach_pasid: {
      const Answer answer = attached(group->attach_pasid(*subject.to, step.pasid, handle_));
      const fault::Paused ours;
      if (answer.ok) pasids_.emplace(step.group, step.pasid);
      return answer;
    }
    case Verb::replace_pasid:
      return attached(group->replace_pasid(*subject.to, step.pasid, handle_));
    case Verb::detach_pasid:
      group->detach_pasid(step.pasid);
      return {};
    case Verb::unmap:
      world_->unmap(*subject.to);
      slots_[step.domain].mapped = false;
      return {};
    case Verb::map:
      slots_[step.domain].mapped = world_->map(*subject.to, step.domain).has_value();
      return {};
    case Verb::drop:
      slots_.erase(step.domain);
      return {};
    case Verb::probe:
      world_->take_down();
      return done(world_->bring_up());
  }
  return {};
}

// ---- failures ---------------------------------------------------------------------------------------------------

void Trial::arm(const Failure& failure) {
  struck_ = false;
  struck_as_ = failure.kind == FailureKind::ids && failure.nth == 0 ? FailureKind::ids : FailureKind::none;
  if (is_hardware(failure.kind)) return world_->arm(failure);
  if (!is_countdown(failure.kind) || failure.nth == 0) return;
  fault::disarm();
  fault::fail_nth(failure.nth);
  if (failure.kind != FailureKind::way_back) return;
  for (const std::string_view point : kWaysBack) fault::fail_point(point);
}

// A unit that did not answer while it was brought up would otherwise use memory that its driver has given up.
void Trial::disarm(const Step& step, const Failure& failure) {
  if (is_hardware(failure.kind)) {
    const bool mute = step.verb == Verb::probe && failure.kind == FailureKind::registers;
    struck_ = mute ? world_->power_cycle() : world_->disarm();
    if (struck_) struck_as_ = failure.kind;
    hurt_ |= struck_ && failure.kind != FailureKind::answers;
    return;
  }
  if (!is_countdown(failure.kind) || failure.nth == 0) return;
  struck_ = fault::struck();
  if (struck_) struck_as_ = FailureKind::way_back;
  if (struck_ && failure.kind != FailureKind::way_back) {
    for (const fault::Passed& point : fault::passed())
      if (point.failures != 0) struck_as_ = kind_of_point(point.point);
  }
  fault::disarm();
}

// Every other group that nobody has takes a domain of its own, until there is no id left.
void Trial::crowd(const Group* but) {
  for (const auto& group : world_->system().groups()) {
    if (group.get() == but || but == nullptr || &group->driver() != &but->driver()) continue;
    if (group->dma_owner_claimed() || !group->claim_dma_owner(&crowd_)) continue;
    auto domain = world_->system().allocate_domain(*group);
    const bool taken = domain && group->attach(**domain);
    crowd_.emplace_back(group.get(), domain ? std::move(*domain) : nullptr);
    if (!taken) return;
  }
}

void Trial::disperse() {
  for (const auto& [group, domain] : crowd_) {
    group->detach();
    group->release_dma_owner();
  }
  crowd_.clear();
}

}  // namespace softiommu::check
