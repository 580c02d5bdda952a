// SPDX-License-Identifier: BSD-3-Clause
// From the returns of a walk to what callers and rules need.
#include <algorithm>

#include "lint/frames.h"
#include "lint/walk.h"

namespace softiommu::lint {
namespace {

constexpr std::size_t kMostOutcomes = 300;

std::string codes_of(const Summary& summary) {
  std::string codes;
  for (const Outcome& outcome : summary.failures) {
    if (codes.find(outcome.code) != std::string::npos) continue;
    if (!codes.empty()) codes += ", ";
    codes += outcome.code;
  }
  return codes;
}

}  // namespace

Walk::Walk(Analysis& analysis, const Function& function)
    : analysis_(analysis), function_(function), origins_(function) {}

const Summary& Analysis::of(const Function& function) {
  const auto known = summaries_.find(&function);
  if (known != summaries_.end()) return known->second;
  static const Summary kUnderWay = [] {
    Summary made;
    made.recursive = true;
    return made;
  }();
  if (!active_.insert(&function).second) return kUnderWay;
  Summary made = Walk(*this, function).run();
  active_.erase(&function);
  return summaries_[&function] = std::move(made);
}

std::vector<Site> Walk::sites(const std::vector<const Node*>& nodes) const {
  std::vector<Site> out;
  for (const Node* node : nodes) out.push_back({&function_, node});
  return out;
}

Outcome Walk::begin(const Return& returned, const Node* origin) const {
  Outcome outcome;
  outcome.origin = {&function_, origin};
  outcome.guards = guards_of(origin);
  outcome.logs = sites(returned.state.logs);
  outcome.changes = sites(returned.state.changes);
  outcome.fresh = returned.state.fresh;
  return outcome;
}

void Walk::add(Outcome outcome) {
  if (summary_.failures.size() >= kMostOutcomes) {
    summary_.bounded = true;
    return;
  }
  std::string key = outcome.code + '|' + std::to_string(reinterpret_cast<std::uintptr_t>(outcome.origin.node)) + '|';
  for (const Site& log : outcome.logs) key += std::to_string(log.line()) + ',';
  key += outcome.changes.empty() ? "|" : "|c";
  key += outcome.fresh ? "f" : "";
  if (outcome.open) key += std::to_string(reinterpret_cast<std::uintptr_t>(outcome.path.front().node));
  if (known_outcomes_.insert(std::move(key)).second) summary_.failures.push_back(std::move(outcome));
}

void Walk::summarise(const Return& returned) {
  const Value& value = returned.value;
  switch (value.what) {
    case Value::What::literal:
      add_literal(returned, value.code);
      lose(returned, -1);
      break;
    case Value::What::call: {
      const CallSite& site = calls_[static_cast<std::size_t>(value.call)];
      bool null = false;
      for (const Failure& failure : returned.state.failed) null |= failure.call == value.call && failure.null;
      if (!null) {
        if (site.callees.empty())
          add_external(returned, site);
        else
          add_call(returned, value.call);
      }
      lose(returned, value.call);
      break;
    }
    case Value::What::zero:
      summary_.answers_null |= function_.result_type.find('*') != std::string_view::npos;
      lose(returned, -1);
      break;
    case Value::What::number: {
      const bool code = function_.result_type.find("int") != std::string_view::npos;
      if (code && value.node != nullptr && value.node->kind == Kind::number) {
        Outcome outcome = begin(returned, value.node);
        outcome.source = Source::positive;
        outcome.code = std::string(value.node->text);
        if (outcome.code != "1") add(std::move(outcome));
      }
      break;
    }
    case Value::What::status: {
      Outcome outcome = begin(returned, value.node);
      outcome.source = Source::firmware;
      outcome.code = "any";
      outcome.callee = flat_source(*value.node);
      add(std::move(outcome));
      break;
    }
    case Value::What::unknown:
      lose(returned, -1);
  }
}

void Walk::add_literal(const Return& returned, std::string_view code) {
  Outcome outcome = begin(returned, returned.value.node);
  outcome.code = std::string(code);
  if (const Node* exit = returned.value.exit; exit != nullptr && exit->kind != Kind::label) {
    const std::vector<Guard> more = guards_of(exit);
    for (const Guard& guard : more)
      if (std::none_of(outcome.guards.begin(), outcome.guards.end(),
                       [&guard](const Guard& known) { return known.condition == guard.condition; }))
        outcome.guards.insert(outcome.guards.begin(), guard);
  }
  for (const Guard& guard : outcome.guards)
    outcome.reads = static_cast<Reads>(outcome.reads | origins_.of(guard.condition));
  add(std::move(outcome));
}

// False when the constants and flags that are passed down exclude the outcome.
bool Walk::settle(Outcome& outcome) const {
  std::vector<Site> sites = outcome.path;
  sites.push_back(outcome.origin);
  const Frames frames(analysis_.tree(), std::move(sites));
  for (const Guard& guard : outcome.guards) {
    const Kind around = guard.condition->parent->kind;
    if (around != Kind::if_ && around != Kind::ternary) continue;
    const auto known = frames.truth(guard.condition, frames.depth_of(guard.condition));
    if (known && *known != guard.holds) return false;
  }
  outcome.open = frames.open();
  return true;
}

void Walk::add_call(const Return& returned, int call) {
  const CallSite& site = calls_[static_cast<std::size_t>(call)];
  std::string_view only;
  for (const Failure& failure : returned.state.failed)
    if (failure.call == call) only = failure.only;
  const std::vector<Guard> here = guards_of(site.node);
  for (const Function* callee : site.callees) {
    for (const Outcome& below : analysis_.of(*callee).failures) {
      if (!only.empty() && below.code != only) continue;
      Outcome outcome = below;
      outcome.path.insert(outcome.path.begin(), {&function_, site.node});
      for (const Guard& guard : here) {
        outcome.guards.push_back(guard);
        outcome.reads = static_cast<Reads>(outcome.reads | origins_.of(guard.condition));
      }
      for (const Site& log : sites(returned.state.logs)) outcome.logs.push_back(log);
      for (const Site& change : sites(returned.state.changes))
        if (change.node != site.node) outcome.changes.push_back(change);  // its own failure changed nothing
      outcome.fresh |= returned.state.fresh || (fresh_calls_.contains(call) && !other_calls_.contains(call));
      if (settle(outcome)) add(std::move(outcome));
    }
  }
}

void Walk::add_external(const Return& returned, const CallSite& site) {
  Outcome outcome = begin(returned, site.node);
  outcome.callee = flat_source(*site.node->kids[0]);
  outcome.api = site.api;
  for (const Guard& guard : outcome.guards)
    outcome.reads = static_cast<Reads>(outcome.reads | origins_.of(guard.condition));
  if (site.api == nullptr) {
    const std::string_view result = function_.result_type;
    if (result.find("int") == std::string_view::npos && result.find("long") == std::string_view::npos &&
        !returned.state.has_failed(returned.value.call))
      return;  // not a code: a bool, a pointer, a word
    analysis_.note_unknown(outcome.callee);
    outcome.source = Source::unknown;
    outcome.code = "any";
    add(std::move(outcome));
    return;
  }
  outcome.source = site.api->kind == ApiKind::firmware ? Source::firmware : Source::api;
  for (const std::string& code : site.api->errors) {
    outcome.code = code;
    add(outcome);
  }
}

// A callee that fails only through a function it is given, and is given here one that cannot fail.
bool Walk::fails_through_argument_only(const CallSite& site) const {
  for (const Function* callee : site.callees)
    for (const Outcome& below : analysis_.of(*callee).failures) {
      const auto is_parameter = [&below](const Parameter& parameter) { return parameter.name == below.callee; };
      const Function& origin = *below.origin.function;
      if (below.source != Source::unknown ||
          std::none_of(origin.parameters.begin(), origin.parameters.end(), is_parameter))
        return false;
    }
  bool given = false;
  for (std::size_t i = 1; i < site.node->kids.size(); ++i) {
    const Node* argument = site.node->kids[i];
    const Function* function =
        argument->kind == Kind::identifier ? analysis_.tree().resolve(argument->text, function_.file) : nullptr;
    if (function != nullptr && analysis_.of(*function).may_fail()) return false;
    given |= function != nullptr;
  }
  return given;
}

// The failures and unread answers that this return does not hand on.
void Walk::lose(const Return& returned, int kept) {
  const Value& value = returned.value;
  const bool code = function_.result_type.find("int") != std::string_view::npos ||
                    function_.result_type.find("void") != std::string_view::npos;
  const bool succeeds =
      value.what == Value::What::zero || (value.what == Value::What::unknown && value.node == nullptr);
  auto record = [&](int call, Loss::How how, bool answered = false) {
    const CallSite& site = calls_[static_cast<std::size_t>(call)];
    if (!site.callees.empty() && fails_through_argument_only(site)) return;
    Loss loss;
    loss.how = how;
    loss.call = {&function_, site.node};
    loss.replaced_at = {&function_, returned.node};
    loss.callee = flat_source(*site.node->kids[0]);
    loss.external = site.callees.empty();
    loss.api = site.api;
    loss.optional = answered;
    for (const Function* callee : site.callees) {
      loss.lost = codes_of(analysis_.of(*callee));
      for (const Outcome& below : analysis_.of(*callee).failures)
        loss.optional |= below.api != nullptr && below.api->optional_feature;
    }
    if (site.api != nullptr)
      for (const std::string& error : site.api->errors) loss.lost += (loss.lost.empty() ? "" : ", ") + error;
    if (value.what == Value::What::literal) {
      loss.code = std::string(value.code);
      loss.replaced_at = {&function_, value.node};
      if (loss.lost == loss.code) return;
    }
    for (const Loss& known : summary_.losses)
      if (known.call == loss.call && known.how == loss.how && known.replaced_at == loss.replaced_at) return;
    summary_.losses.push_back(std::move(loss));
  };
  for (const Failure& failure : returned.state.failed) {
    const CallSite& site = calls_[static_cast<std::size_t>(failure.call)];
    if (failure.call == kept || failure.null || !site.may_fail) continue;
    if (value.what == Value::What::literal) {
      // The first failure is what the code answers for; later ones are part of the way back.
      if (failure.call == returned.state.failed.front().call) record(failure.call, Loss::How::overwritten);
    } else if (succeeds && code && kept < 0) {
      record(failure.call, Loss::How::success, failure.answered);
    }
  }
  if (!(succeeds || kept >= 0) || !code) return;
  if (succeeds)
    for (const auto& [name, held] : returned.state.values)
      if (held.what == Value::What::call && held.call != kept && !returned.state.has_failed(held.call)) {
        const CallSite& site = calls_[static_cast<std::size_t>(held.call)];
        if (site.may_fail && site.answers_code()) record(held.call, Loss::How::ignored);
      }
  for (int call : returned.state.ignored) record(call, Loss::How::ignored);
}

}  // namespace softiommu::lint
