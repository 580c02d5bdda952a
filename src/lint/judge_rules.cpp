// SPDX-License-Identifier: BSD-3-Clause
#include "lint/judge_rules.h"

#include <algorithm>
#include <array>

#include "lint/frames.h"

namespace softiommu::lint {
namespace {

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool documented(std::string_view code) { return one_of(code, {"EINVAL", "ENOMEM", "ENOSPC", "EBUSY", "ENODEV"}); }
bool of_hardware(std::string_view code) { return one_of(code, {"EIO", "ETIMEDOUT", "EFAULT", "EREMOTEIO"}); }

Step step_of(const Site& site) { return {std::string(site.function->name), site.function->file->path, site.line()}; }

Finding begin(std::string_view rule, const Root& root, const Site& place, const std::vector<Site>& path) {
  Finding finding;
  finding.rule = find_rule(rule);
  finding.severity = finding.rule->severity;
  finding.driver = driver_of(root.core ? place.function->file->path : root.file->path);
  finding.file = place.function->file->path;
  finding.line = place.line();
  finding.function = std::string(place.function->name);
  for (const Site& site : path) finding.path.push_back(step_of(site));
  finding.path.push_back(step_of(place));
  finding.fingerprint =
      std::string(rule) + "|" + finding.file + "|" + finding.function + "|" + flat_source(*place.node);
  return finding;
}

// The test of a variable that holds a callee's code says nothing about domain or device.
bool tests_code(const Node* condition) {
  if (condition->kind == Kind::identifier) return named_like_code(condition->text);
  if (condition->kind == Kind::call && (condition->text.starts_with("IS_ERR") || condition->text == "xa_err"))
    return true;
  if (condition->kind == Kind::binary || condition->kind == Kind::unary || condition->kind == Kind::assign)
    return !condition->kids.empty() && tests_code(condition->kids[0]);
  return false;
}

void describe_condition(const Outcome& outcome, Finding& finding) {
  if (!outcome.guards.empty()) finding.condition = guard_text(outcome.guards.front());
  finding.reads = reads_name(outcome.reads);
}

Reads innermost_reads(const Outcome& outcome) {
  if (outcome.guards.empty() || tests_code(outcome.guards.front().condition)) return kReadsNeither;
  return Origins(*outcome.origin.function).of(outcome.guards.front().condition);
}

// What the function that answers has read on the way to its answer.
Reads own_reads(const Outcome& outcome) {
  const Function& function = *outcome.origin.function;
  const Origins origins(function);
  Reads reads = kReadsNeither;
  for (const Guard& guard : outcome.guards) {
    if (body_of(guard.condition) == function.body) reads = static_cast<Reads>(reads | origins.of(guard.condition));
  }
  return reads;
}

// A WARN that compares nothing asserts what no caller can cause; what follows it is not an answer to anyone.
bool is_assertion(const Outcome& outcome) {
  if (outcome.guards.empty() || outcome.source != Source::literal) return false;
  const Node* condition = outcome.guards.front().condition;
  return condition->kind == Kind::call && condition->text.starts_with("WARN") && innermost_reads(outcome) != kReadsBoth;
}

// Success after a failure by a decision of its own: "if (ret) { if (no need of it) return 0; return ret; }".
bool decided(const Loss& loss) {
  if (loss.how != Loss::How::success) return false;
  const std::vector<Guard> guards = guards_of(loss.replaced_at.node);
  return guards.size() > 1 && !tests_code(guards.front().condition) &&
         std::any_of(guards.begin() + 1, guards.end(), [](const Guard& guard) { return tests_code(guard.condition); });
}

// The condition itself sets a value of the domain against one of the device, without asking anything else.
bool compares_both(const Outcome& outcome) {
  if (outcome.guards.empty()) return false;
  const Node* condition = outcome.guards.front().condition;
  const bool relation = condition->kind == Kind::binary && one_of(condition->text, {"==", "!=", "<", ">", "<=", ">="});
  return relation && innermost_reads(outcome) == kReadsBoth;
}

// Does the condition test what a search for a free id found? `call` is that search.
const Node* id_search(const Node* node, std::string_view variable) {
  if (node == nullptr) return nullptr;
  const bool assigns = (node->kind == Kind::declaration && node->text == variable && !node->kids.empty()) ||
                       (node->kind == Kind::assign && node->kids.size() == 2 && node->kids[0]->text == variable);
  if (assigns) {
    const Node* value = node->kids.back();
    const Api* api = value->kind == Kind::call ? ApiTable::built_in().find(value->text) : nullptr;
    if (api != nullptr && api->allocates_id && api->kind == ApiKind::value) return value;
  }
  for (const Node* kid : node->kids)
    if (const Node* found = id_search(kid, variable)) return found;
  return nullptr;
}

const Node* tested_search(const Node* condition, const Function& function) {
  if (condition == nullptr) return nullptr;
  if (condition->kind == Kind::identifier) return id_search(function.body, condition->text);
  for (const Node* kid : condition->kids)
    if (const Node* found = tested_search(kid, function)) return found;
  return nullptr;
}

// A test that cannot strike is for the author to know.
void doubt(const Outcome& outcome, Finding& finding) {
  if (outcome.strikes == Strikes::possible) return;
  finding.severity = Severity::note;
  finding.message += outcome.strikes == Strikes::asked_before ? "; the same was asked earlier on the path"
                                                              : "; probing has made sure of it already";
}

// A guarantee of probing excuses a code that callers treat like ENODEV, and no other: EINVAL for a device that was not
// probed would still send them on a search, and those tests are what the maintainers regulated.
void doubt_asked_before(const Outcome& outcome, Finding& finding) {
  if (outcome.strikes == Strikes::asked_before) doubt(outcome, finding);
}

// "unit->active != domain": which domain it is, not what it was set up for.
bool names_domain_only(const Node* node, const Origins& origins) {
  if (node == nullptr) return true;
  if (node->kind == Kind::member || node->kind == Kind::call || node->kind == Kind::index)
    return (origins.of(node) & kReadsDomain) == 0;
  return std::all_of(node->kids.begin(), node->kids.end(),
                     [&origins](const Node* kid) { return names_domain_only(kid, origins); });
}

// Another domain holds what the device needs: no other domain can help while it does.
bool is_occupied(const Outcome& outcome) {
  return outcome.code == "EBUSY" && !outcome.guards.empty() &&
         names_domain_only(outcome.guards.front().condition, Origins(*outcome.origin.function));
}

void judge_logs(const Root& root, const Outcome& outcome, Findings& findings) {
  if (outcome.code != "EINVAL" || outcome.source != Source::literal || is_assertion(outcome)) return;
  for (const Site& log : outcome.logs) {
    // A WARN is a message only where it compares domain and device; elsewhere it asserts what no caller can cause.
    if (log.node->text.starts_with("WARN") && Origins(*log.function).of(log.node) != kReadsBoth) continue;
    Finding finding = begin("einval-logged", root, log, outcome.path);
    if (finding.path.size() > 1 && finding.path.back().function != log.function->name) finding.path.pop_back();
    describe_condition(outcome, finding);
    finding.message = std::string(log.node->text) + " on the way to EINVAL";
    finding.related.push_back(step_of(outcome.origin));
    finding.suggestion = "drop the message or make it a debug one";
    // Where the device alone is at fault the code is what is wrong (einval-device-only); ENODEV may have a message.
    if (own_reads(outcome) == kReadsDevice) {
      finding.severity = Severity::note;
      finding.message += " for what was read of the device alone";
    }
    doubt_asked_before(outcome, finding);
    findings.add(std::move(finding));
  }
}

// "XA_LIMIT(pasid, pasid)": one place is asked for, and EBUSY says that it is taken.
bool asks_for_one_place(const Node* call) {
  for (std::size_t i = 1; i + 1 < call->kids.size(); ++i) {
    const Node *limit = call->kids[i], *next = call->kids[i + 1];
    const bool range = limit->kind == Kind::call && limit->text == "XA_LIMIT" && limit->kids.size() == 3;
    if (range && flat_source(*limit->kids[1]) == flat_source(*limit->kids[2])) return true;
    if (limit->kind == Kind::identifier && next->kind == Kind::identifier && limit->text == next->text) return true;
  }
  return false;
}

// True when one of the code rules has taken the outcome.
bool judge_resource(const Root& root, const Outcome& outcome, Findings& findings) {
  if (outcome.source == Source::literal && !one_of(outcome.code, {"ENOSPC", "EINVAL"})) {
    for (const Guard& guard : outcome.guards) {
      const Node* search = tested_search(guard.condition, *outcome.origin.function);
      if (search == nullptr) continue;
      Finding finding = begin("resource-not-enospc", root, outcome.origin, outcome.path);
      describe_condition(outcome, finding);
      finding.message = std::string(search->text) + " found nothing free, and the answer is " + outcome.code;
      finding.suggestion = "return -ENOSPC";
      findings.add(std::move(finding));
      return true;
    }
  }
  if (outcome.source == Source::api && outcome.api->allocates_id && outcome.code == "EBUSY" &&
      !asks_for_one_place(outcome.origin.node)) {
    Finding finding = begin("resource-not-enospc", root, outcome.origin, outcome.path);
    finding.message = outcome.callee + "() answers EBUSY when its range is used up, and that code passes through";
    finding.suggestion = "return -ENOSPC when it answers -EBUSY";
    findings.add(std::move(finding));
    return true;
  }
  return false;
}

void judge_einval(const Root& root, const Outcome& outcome, Findings& findings) {
  const Reads reads = static_cast<Reads>(outcome.reads | (root.fixed_kind ? kReadsDomain : kReadsNeither));
  if (outcome.fresh) {
    Finding finding = begin("fresh-domain-einval", root, outcome.origin, outcome.path);
    describe_condition(outcome, finding);
    finding.message = "EINVAL while a fresh domain is set up";
    finding.suggestion = "return -ENODEV";
    // The default of a switch over an enumeration, and an assertion, are there for the compiler's sake.
    if (in_default_case(outcome.origin.node) || is_assertion(outcome)) finding.severity = Severity::note;
    doubt_asked_before(outcome, finding);
    findings.add(std::move(finding));
  } else if (reads == kReadsDevice) {
    Finding finding = begin("einval-device-only", root, outcome.origin, outcome.path);
    describe_condition(outcome, finding);
    finding.message = "EINVAL although only the device's state was read";
    finding.suggestion = "return -ENODEV";
    doubt_asked_before(outcome, finding);
    findings.add(std::move(finding));
  }
}

void judge_literal(const Root& root, const Outcome& outcome, Findings& findings) {
  if (judge_resource(root, outcome, findings) || root.core) return;
  if (outcome.code == "EINVAL") return judge_einval(root, outcome, findings);
  const bool incompatible = !is_assertion(outcome) && (innermost_reads(outcome) & kReadsDomain) != 0 &&
                            !one_of(outcome.code, {"ENOMEM", "ENOSPC"}) &&
                            (!of_hardware(outcome.code) || compares_both(outcome));
  if (!incompatible && documented(outcome.code)) return;
  Finding finding =
      begin(incompatible ? "incompatible-wrong-code" : "undocumented-code", root, outcome.origin, outcome.path);
  describe_condition(outcome, finding);
  if (incompatible) {
    finding.reads = reads_name(innermost_reads(outcome));
    finding.message = outcome.code + " for what depends on the domain";
    finding.suggestion = "return -EINVAL";
    if (is_occupied(outcome)) finding.severity = Severity::note;
    doubt_asked_before(outcome, finding);
  } else {
    // The core itself answers EOPNOTSUPP for PASIDs that a driver cannot attach.
    const bool of_core = root.field == "set_dev_pasid" && outcome.code == "EOPNOTSUPP";
    if (of_hardware(outcome.code) || of_core || is_assertion(outcome)) finding.severity = Severity::note;
    finding.message = outcome.code + " is none of the documented codes";
    finding.suggestion = (outcome.reads & kReadsDomain) != 0 ? "return -EINVAL if another domain can fit, else -ENODEV"
                                                             : "return -ENODEV";
    doubt(outcome, finding);
  }
  findings.add(std::move(finding));
}

void judge_foreign(const Root& root, const Outcome& outcome, Findings& findings) {
  if (judge_resource(root, outcome, findings)) return;
  if (outcome.source == Source::firmware || outcome.source == Source::positive) {
    Finding finding = begin("not-an-errno", root, outcome.origin, outcome.path);
    finding.message = outcome.source == Source::positive ? "the positive number " + outcome.code + " is returned"
                                                         : outcome.callee + " is no errno, and is returned as one";
    finding.suggestion = "translate it: -ENODEV for a device that cannot be attached";
    findings.add(std::move(finding));
    return;
  }
  if (outcome.code != "EINVAL" && documented(outcome.code)) return;
  if (outcome.api != nullptr && outcome.api->source == "contract") return;
  Finding finding = begin("external-code-passed", root, outcome.origin, outcome.path);
  finding.message = outcome.callee + "() can answer " + (outcome.code == "any" ? "any code" : outcome.code);
  if (outcome.api != nullptr) finding.message += " (" + outcome.api->why + ")";
  if (outcome.api == nullptr) finding.message += " (it is not in the table of external functions)";
  finding.suggestion = "none needed; -ENODEV if the cause is known to be the device";
  findings.add(std::move(finding));
}

void judge_changes(const Root& root, const Outcome& outcome, Findings& findings) {
  if (outcome.changes.empty()) return;
  // What reads the device alone has let the old domain in, and lets this one.
  const bool may_refuse = (own_reads(outcome) & kReadsDomain) != 0 || (outcome.code == "EINVAL" && outcome.reads != 0);
  const bool check = outcome.source == Source::literal && may_refuse && outcome.strikes != Strikes::asked_before &&
                     !one_of(outcome.code, {"ENOMEM", "ENOSPC"}) && !of_hardware(outcome.code) &&
                     !is_assertion(outcome);
  const Site& change = outcome.changes.front();
  Finding finding = begin("changed-before-check", root, change, {});
  if (!check) finding.severity = Severity::note;
  if (check) describe_condition(outcome, finding);
  finding.message = std::string(change.node->text) + "() comes before " +
                    (check ? "a check that can still answer " : "what can still fail with ") +
                    (outcome.code == "any" ? "any code" : outcome.code);
  finding.related.push_back(step_of(outcome.origin));
  finding.suggestion =
      check ? "check first, change after" : "reserve what can fail first, or attach the old domain again";
  findings.add(std::move(finding));
}

// A function without a result on the way up has no one to tell.
bool cannot_tell(const std::vector<Site>& path, const Loss& loss) {
  auto mute = [](const Site& site) { return site.function->result_type.find("void") != std::string_view::npos; };
  return mute(loss.call) || std::any_of(path.begin(), path.end(), mute);
}

}  // namespace

void Findings::add(Finding finding) {
  // One function has many "-EINVAL": the condition tells them apart.
  if (finding.fingerprint.find("|-E") != std::string::npos) finding.fingerprint += "|" + finding.condition;
  const std::string key = std::string(finding.rule->id) + finding.file + ":" + std::to_string(finding.line);
  const auto [known, fresh] = by_place_.try_emplace(key, finding);
  if (fresh) return;
  // The gravest one speaks for the place; the others are places beside it.
  const bool graver = finding.severity > known->second.severity ||
                      (finding.severity == known->second.severity && known->second.message.ends_with("EBUSY"));
  if (graver) std::swap(known->second, finding);
  for (Step& step : finding.related) {
    auto& related = known->second.related;
    if (related.size() < 8 && std::none_of(related.begin(), related.end(), [&step](const Step& other) {
          return other.line == step.line && other.file == step.file;
        }))
      related.push_back(std::move(step));
  }
}

std::vector<Finding> Findings::take() {
  std::vector<Finding> out;
  for (auto& [place, finding] : by_place_) out.push_back(std::move(finding));
  std::sort(out.begin(), out.end(), [](const Finding& a, const Finding& b) {
    return std::tie(a.driver, a.file, a.line, a.rule->id) < std::tie(b.driver, b.file, b.line, b.rule->id);
  });
  return out;
}

Way way_of(const Root& root, const Outcome& outcome) {
  static constexpr std::array<const char*, 5> kSources = {"literal", "external", "unknown external", "firmware",
                                                          "positive"};
  Way way;
  way.driver = driver_of(root.core ? outcome.origin.function->file->path : root.file->path);
  way.callback = std::string(root.function->name);
  way.code = outcome.code;
  way.source = kSources[static_cast<std::size_t>(outcome.source)];
  if (!outcome.callee.empty()) way.source += " " + outcome.callee + "()";
  if (!outcome.guards.empty()) way.condition = guard_text(outcome.guards.front());
  way.reads = reads_name(outcome.reads);
  for (const Site& site : outcome.path) way.path.push_back(step_of(site));
  way.path.push_back(step_of(outcome.origin));
  for (const Site& site : outcome.logs) way.logs.push_back(step_of(site));
  for (const Site& site : outcome.changes) way.changes.push_back(step_of(site));
  way.fresh = outcome.fresh;
  return way;
}

void judge_outcome(const Root& root, const Outcome& outcome, Findings& findings) {
  judge_logs(root, outcome, findings);
  judge_changes(root, outcome, findings);
  if (outcome.source == Source::literal)
    judge_literal(root, outcome, findings);
  else
    judge_foreign(root, outcome, findings);
}

void judge_loss(const Root& root, const std::vector<Site>& path, const Loss& loss, Findings& findings) {
  if (loss.external && (loss.api == nullptr || loss.api->optional_feature)) return;
  const bool replaced = loss.how == Loss::How::overwritten;
  const bool resource = replaced && loss.api != nullptr && loss.api->allocates_id;
  if (resource && loss.code == "ENOSPC") return;
  const char* rule = resource ? "resource-not-enospc" : replaced ? "error-overwritten" : "error-dropped";
  Finding finding = begin(rule, root, loss.call, path);
  finding.condition = "";
  finding.related.push_back(step_of(loss.replaced_at));
  const std::string lost = loss.lost.empty() ? "a code" : loss.lost;
  if (replaced) {
    finding.message = loss.callee + "() fails with " + lost + ", but " + loss.code + " is returned";
    finding.suggestion = resource ? "return -ENOSPC" : "return what " + loss.callee + "() answered";
    if ((loss.external && !resource && loss.code != "EINVAL") || cannot_tell(path, loss))
      finding.severity = Severity::note;
  } else {
    finding.message = loss.how == Loss::How::ignored
                          ? "the answer of " + loss.callee + "() (" + lost + ") is not looked at"
                          : loss.callee + "() has failed (" + lost + "), but success is returned";
    finding.suggestion = "return the code, and undo what was done before";
    const bool silent = cannot_tell(path, loss);
    // Blocking never fails, by contract: its callback has no failure to give.
    const bool blocking = root.function->name.find("block") != std::string_view::npos;
    if (loss.external || loss.optional || silent || blocking || decided(loss)) finding.severity = Severity::note;
  }
  findings.add(std::move(finding));
}

}  // namespace softiommu::lint
