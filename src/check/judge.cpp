// SPDX-License-Identifier: BSD-3-Clause
// The laws: what an answer may be, what every device must read afterwards, and what the next answer must be.
#include <fmt/format.h>

#include <algorithm>

#include "base/fault.h"
#include "check/trial.h"

namespace softiommu::check {

namespace {

std::string words_for(const std::optional<AttachFailure>& failure, int code) {
  return failure ? fmt::format("\"{}\" ({})", name_of(*failure), code) : fmt::format("errno {}", code);
}

// Which kinds of failure a hard answer may name.
struct NamedRow {
  AttachFailure answer;
  FailureKind kind;
};
constexpr NamedRow kMayName[] = {
    {AttachFailure::no_memory, FailureKind::memory},    {AttachFailure::no_memory, FailureKind::ids},
    {AttachFailure::no_memory, FailureKind::way_back},  {AttachFailure::no_memory, FailureKind::answers},
    {AttachFailure::no_space, FailureKind::ids},        {AttachFailure::no_space, FailureKind::way_back},
    {AttachFailure::no_device, FailureKind::hardware},  {AttachFailure::no_device, FailureKind::way_back},
    {AttachFailure::no_device, FailureKind::registers}, {AttachFailure::no_device, FailureKind::queue},
    {AttachFailure::no_device, FailureKind::answers},
};
bool may_name(AttachFailure answer, FailureKind kind) {
  return std::ranges::any_of(kMayName, [&](const NamedRow& row) { return row.answer == answer && row.kind == kind; });
}

bool may_break_a_group(FailureKind kind) {
  return kind == FailureKind::way_back || kind == FailureKind::registers || kind == FailureKind::queue ||
         kind == FailureKind::answers;
}

bool is_attach(Verb verb) {
  return row_of(verb).domain && row_of(verb).group && verb != Verb::make && verb != Verb::make_pasid;
}

}  // namespace

char Trial::letter_of(const Domain* domain) const {
  if (domain == nullptr || domain->type() == DomainType::blocked) return '-';
  if (domain->type() == DomainType::identity) return kIdentity;
  for (const auto& [letter, slot] : slots_)
    if (slot.domain.get() == domain) return slot.mapped ? letter : '-';
  return '-';  // a default domain, or an empty one that stands for "blocked"
}

// ---- one step ---------------------------------------------------------------------------------------------------

std::optional<Finding> Trial::judge(const Subject& subject, const Answer& answer) {
  if (subject.step.verb == Verb::probe) return judge_probe();
  if (!answer.ok) {
    if (auto found = judge_answer(subject, answer)) return found;
  }
  if (auto found = judge_log()) return found;
  if (auto found = judge_place(subject, answer)) return found;
  if (subject.group != nullptr && log_.has("may still do DMA")) {
    // The hardware refused even that, and the driver has said so: nobody knows what the device reaches.
    spent_ = unknown_ = true;
    if (subject.group->broken()) return std::nullopt;
    return finding(Law::old_domain, "a device may still do DMA, and the group does not say that it is broken");
  }
  if (auto found = judge_devices(subject.group, answer.ok ? Law::success : Law::old_domain)) return found;
  if (answer.ok || subject.group->broken()) return std::nullopt;
  const bool failed_by_itself = !struck_;
  return failed_by_itself ? judge_natural(subject, answer) : judge_again(subject, answer);
}

// What the core had to report as a mistake.
std::optional<Finding> Trial::judge_log() {
  if (!log_.has(" is broken: ")) return std::nullopt;
  return finding(log_.has("made for the group") ? Law::fresh : Law::driver,
                 log_.all().substr(0, log_.all().find('\n')));
}

// The code, and whether it names what failed. Whether "incompatible" and "no space" are true is asked later.
std::optional<Finding> Trial::judge_answer(const Subject& subject, const Answer& answer) {
  const std::string said = words_for(answer.failure, answer.code);
  const bool unsupported = answer.code == EOPNOTSUPP;
  if (unsupported && (subject.step.pasid != 0 || subject.step.verb == Verb::make_pasid)) return std::nullopt;
  if (!answer.failure) return finding(Law::code, fmt::format("{} is none of the five", said));
  if (is_attach(subject.step.verb) && to_errno(*answer.failure) != answer.code)
    return finding(Law::code, fmt::format("{} is the code of another answer", said));
  if (struck_ && may_name(*answer.failure, struck_as_)) return std::nullopt;
  const Group& group = *subject.group;
  switch (*answer.failure) {
    case AttachFailure::incompatible:
      if (log_.lines() == 0) return std::nullopt;
      return finding(Law::silent, fmt::format("{} and a line in the log: {}", said, log_.all()));
    case AttachFailure::no_space:
      return std::nullopt;
    case AttachFailure::busy: {
      const auto has_pasid = [&](const auto& used) {
        return used.first == subject.step.group && group.domain(used.second) != nullptr;
      };
      const bool attached = letter_of(group.domain()) != '-' || std::ranges::any_of(pasids_, has_pasid);
      if (attached) return std::nullopt;
      // An empty or unmapped domain is one, too; and requests without a PASID may have to be let through before.
      const Domain* const domain = group.domain();
      if (domain != nullptr && domain->type() == DomainType::paging) return std::nullopt;
      if (subject.step.pasid != 0) return std::nullopt;
      return finding(Law::code, fmt::format("{}, but the device is attached to nothing", said));
    }
    case AttachFailure::no_device:
      if (subject.was_broken || hurt_) return std::nullopt;
      [[fallthrough]];
    case AttachFailure::no_memory:
      break;
  }
  return finding(Law::code, fmt::format("{}, but what failed was: {}", said, name_of(struck_as_)));
}

// What the group is on, as the core has it.
std::optional<Finding> Trial::judge_place(const Subject& subject, const Answer& answer) {
  if (subject.group == nullptr) return std::nullopt;
  const Group& group = *subject.group;
  if (group.broken() && !subject.was_broken && !may_break_a_group(struck_as_) && !hurt_)
    return finding(Law::old_domain, "the group is broken: a device could not be switched back");
  if (!is_attach(subject.step.verb)) return std::nullopt;
  const Domain* const now = subject.step.pasid != 0 ? group.domain(subject.step.pasid) : group.domain();
  const Domain* const wanted = answer.ok ? subject.to : subject.from;
  if (now != wanted) return finding(answer.ok ? Law::success : Law::old_domain, "the group is on another domain");
  return std::nullopt;
}

// ---- what devices read ------------------------------------------------------------------------------------------

std::optional<Finding> Trial::judge_devices(const Group* about, Law law) {
  if (unknown_) return std::nullopt;
  for (const auto& group : world_->system().groups()) {
    const Law its_law = about == nullptr || group.get() == about ? law : Law::isolation;
    auto wrong = judge_group(*group, its_law);
    if (!wrong) wrong = judge_pasids(*group, its_law);
    // A stale translation is the reason rather than what is read through it.
    if (const auto findings = world_->machine().findings().all(); !findings.empty())
      return finding(Law::stale, findings.front());
    if (wrong) return wrong;
  }
  return std::nullopt;
}

std::optional<Finding> Trial::judge_group(Group& group, Law law) {
  const Domain* const domain = group.domain();
  const bool identity = domain != nullptr && domain->type() == DomainType::identity;
  const std::string seen = identity ? world_->sees_identity(group) : world_->sees(group);
  const char wanted = letter_of(domain);
  const auto right = [&](char letter) { return letter == wanted || (letter == '-' && group.broken()); };
  if (std::ranges::all_of(seen, right)) return std::nullopt;
  return finding(law, fmt::format("{} should read {} and read{} {}", group.device_names(),
                                  std::string(seen.size(), wanted), group.devices().size() == 1 ? "s" : "", seen));
}

std::optional<Finding> Trial::judge_pasids(Group& group, Law law) {
  for (const auto& [name, pasid] : pasids_) {
    if (world_->group(name) != &group) continue;
    const std::string seen = world_->sees(group, pasid);
    const char wanted = letter_of(group.domain(pasid));
    const auto right = [&](char letter) {
      return letter == wanted || letter == ' ' || (letter == '-' && group.broken());
    };
    if (!std::ranges::all_of(seen, right))
      return finding(
          law, fmt::format("{} should read {} with PASID {} and reads {}", group.device_names(), wanted, pasid, seen));
  }
  return std::nullopt;
}

// ---- asked again ------------------------------------------------------------------------------------------------

// What failed does not fail any more.
std::optional<Finding> Trial::judge_again(const Subject& subject, const Answer& answer) {
  const FailureKind failed = struck_as_;
  log_.clear();
  Answer again = ask(subject, {});
  std::optional<Finding> found;
  if (!again.ok) found = judge_answer(subject, again);
  if (!found) found = judge_log();
  if (!found) found = judge_place(subject, again);
  if (!found) found = judge_devices(subject.group, again.ok ? Law::success : Law::old_domain);
  if (!found && answer.failure == AttachFailure::incompatible && again.failure != answer.failure)
    found = finding(Law::code, "it said \"incompatible\", but what failed was: " + std::string(name_of(failed)));
  if (!found && !again.ok && !subject.group->broken()) found = judge_natural(subject, again);
  struck_ = true;
  struck_as_ = failed;
  if (found) found->failure = failed;
  return found;
}

// Nothing was made to fail.
std::optional<Finding> Trial::judge_natural(const Subject& subject, const Answer& answer) {
  const FailureKind because = struck_as_;
  log_.clear();
  const Answer again = ask(subject, {});
  struck_as_ = because;
  if (again != answer)
    return finding(Law::again, fmt::format("first {}, then {}", words_for(answer.failure, answer.code),
                                           again.ok ? "success" : words_for(again.failure, again.code)));
  if (answer.failure == AttachFailure::incompatible) return another_would_do(subject);
  if (answer.failure == AttachFailure::no_space) return room_would_do(subject);
  return std::nullopt;
}

// "incompatible" sends the caller off to make a domain of his own: that one must do.
std::optional<Finding> Trial::another_would_do(const Subject& subject) {
  if (!is_attach(subject.step.verb) || subject.was_broken) return std::nullopt;
  Group& group = *subject.group;
  const Pasid pasid = subject.step.pasid;
  auto domain = world_->system().allocate_domain(group, {.pasid = pasid != 0});
  if (!domain) return finding(Law::incompatible, "no domain can be made that would do");
  const auto answer = pasid == 0                ? group.replace(**domain)
                      : subject.from == nullptr ? group.attach_pasid(**domain, pasid, handle_)
                                                : group.replace_pasid(**domain, pasid, handle_);
  if (!answer && answer.error().failure != AttachFailure::no_space)
    return finding(Law::incompatible,
                   fmt::format("it said \"incompatible\", but a fresh domain would not do either: {}",
                               name_of(answer.error().failure)));
  if (!answer) return std::nullopt;
  if (pasid != 0 && subject.from == nullptr) {
    group.detach_pasid(pasid);
  } else if (pasid != 0) {
    (void)group.replace_pasid(*subject.from, pasid, handle_);
  } else if (subject.from->type() == DomainType::blocked || letter_of(subject.from) == '-') {
    group.detach();
  } else if (!group.replace(*subject.from)) {
    return finding(Law::old_domain, "the domain that it was on is not to be had again");
  }
  return judge_devices(subject.group, Law::old_domain);
}

// "no space" must end when everybody else goes.
std::optional<Finding> Trial::room_would_do(const Subject& subject) {
  spent_ = true;
  disperse();
  for (const std::string& name : owned_) {
    Group* const other = world_->group(name);
    if (other != subject.group && &other->driver() == &subject.group->driver()) other->detach();
  }
  const FailureKind because = struck_as_;
  const Answer answer = ask(subject, {});
  struck_as_ = because;
  if (answer.ok || answer.failure == AttachFailure::incompatible) return std::nullopt;
  return finding(Law::leak,
                 fmt::format("{} although nobody else uses anything", words_for(answer.failure, answer.code)));
}

// ---- bring-up, and the end --------------------------------------------------------------------------------------

std::optional<Finding> Trial::judge_probe() {
  if (auto found = judge_log()) return found;
  const bool was_reset = struck_ && struck_as_ == FailureKind::registers;
  if (world_->is_up() && !was_reset) {
    if (auto found = judge_devices(nullptr, Law::probe)) return found;
  }
  world_->take_down();
  if (world_->table_bytes() != table_bytes_)
    return finding(Law::probe, fmt::format("{} bytes of tables are lost", world_->table_bytes() - table_bytes_));
  log_.clear();
  if (!world_->bring_up()) return finding(Law::probe, "the next bring-up fails");
  if (world_->system().groups().size() != groups_)
    return finding(Law::probe, fmt::format("the next bring-up finds {} groups of {}: {}",
                                           world_->system().groups().size(), groups_, log_.all()));
  return judge_devices(nullptr, Law::probe);
}

// A domain made for the group fits it; and it finds nothing of those before it.
std::optional<Finding> Trial::judge_fresh(Group& group) {
  auto domain = world_->system().allocate_domain(group);
  if (!domain) return finding(Law::fresh, "no domain can be made for " + group.device_names());
  constexpr char kLast = 'Z';
  if (!world_->map(**domain, kLast)) return finding(Law::fresh, "a fresh domain maps nothing");
  const auto answer = group.attach(**domain);
  if (!answer && hurt_) return std::nullopt;
  if (!answer) return finding(Law::fresh, fmt::format("a fresh domain: {}", name_of(answer.error().failure)));
  slots_[kLast] = {std::move(*domain), true};
  auto found = judge_devices(&group, Law::success);
  group.detach();
  if (!found) found = judge_devices(&group, Law::success);
  slots_.erase(kLast);
  return found;
}

std::optional<Finding> Trial::end() {
  if (!world_->is_up()) return std::nullopt;
  const FailureKind because = struck_as_;
  log_.clear();
  std::optional<Finding> found;
  disperse();
  for (const auto& [name, pasid] : pasids_) world_->group(name)->detach_pasid(pasid);
  if (!found) found = judge_devices(nullptr, Law::success);
  pasids_.clear();
  for (const std::string& name : owned_) world_->group(name)->detach();
  slots_.clear();
  if (!found) found = judge_devices(nullptr, Law::success);
  for (const std::string& name : owned_) {
    Group& group = *world_->group(name);
    if (!found && !group.broken()) found = judge_fresh(group);
    group.release_dma_owner();
  }
  owned_.clear();
  if (!found) found = judge_log();
  if (!found) found = judge_devices(nullptr, Law::success);
  world_->take_down();
  if (!found && world_->table_bytes() != table_bytes_)
    found = finding(Law::leak, fmt::format("{} bytes of tables are lost", world_->table_bytes() - table_bytes_));
  if (found) found->failure = because;
  return found;
}

}  // namespace softiommu::check
