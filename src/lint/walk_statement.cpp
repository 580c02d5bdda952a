// SPDX-License-Identifier: BSD-3-Clause
// Statements of the path walk: states in, states that fall through out; breaks, gotos and returns leave on the side.
#include <algorithm>
#include <unordered_set>

#include "lint/walk.h"

namespace softiommu::lint {
namespace {

constexpr std::size_t kMostStates = 400;
constexpr std::size_t kMostSteps = 50'000;  // statements times states; loops in loops double them at each level

void append(States& to, States&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// What was logged about something that did not become an error is not about a later one.
void forget_logs(States& states) {
  for (State& state : states)
    if (!state.failing()) state.logs.clear();
}

bool has_default(const Node* node) {
  if (node == nullptr) return false;
  if (node->kind == Kind::case_ && node->text == "default") return true;
  return std::any_of(node->kids.begin(), node->kids.end(),
                     [](const Node* kid) { return kid != nullptr && kid->kind != Kind::switch_ && has_default(kid); });
}

}  // namespace

bool State::has_failed(int call) const {
  return std::any_of(failed.begin(), failed.end(), [call](const Failure& failure) { return failure.call == call; });
}

bool State::failing() const {
  return std::any_of(values.begin(), values.end(), [this](const auto& entry) {
    return entry.second.what == Value::What::literal ||
           (entry.second.what == Value::What::call && has_failed(entry.second.call));
  });
}

bool State::going_back() const {
  return !failed.empty() || std::any_of(values.begin(), values.end(), [](const auto& entry) {
    return entry.second.what == Value::What::literal && entry.second.exit != nullptr;
  });
}

std::string State::key() const {
  std::string key;
  auto number = [&key](auto value) { key += std::to_string(value) + ','; };
  for (const auto& [name, value] : values) {
    key += name + '=';
    number(static_cast<int>(value.what));
    number(reinterpret_cast<std::uintptr_t>(value.node));
    number(value.call);
  }
  key += '|';
  for (const Failure& failure : failed) number(failure.call), key += failure.only;
  key += '|';
  for (int call : ignored) number(call);
  key += '|';
  for (const Node* log : logs) number(log->line);
  key += '|';
  for (const Node* change : changes) number(change->line);
  return key + (fresh ? "f" : "");
}

void Walk::merge(States& states) {
  std::unordered_set<std::string> seen;
  std::erase_if(states, [&seen](const State& state) { return !seen.insert(state.key()).second; });
  if (states.size() <= kMostStates) return;
  states.resize(kMostStates);
  summary_.bounded = true;
}

Summary Walk::run() {
  States out = execute(function_.body, {State{}});
  if (!gotos_.empty()) append(out, execute(function_.body, {}));  // once more for jumps backwards
  for (const Return& returned : returns_) summarise(returned);
  for (State& state : out) summarise({std::move(state), {}, function_.body});
  return std::move(summary_);
}

States Walk::execute(const Node* node, States in) {
  if (node == nullptr) return in;
  steps_ += 1 + in.size();
  if (steps_ > kMostSteps) {
    summary_.bounded = true;
    return {};
  }
  States out;
  switch (node->kind) {
    case Kind::block:
      out = execute_block(node, std::move(in));
      break;
    case Kind::if_:
      out = execute_if(node, std::move(in));
      break;
    case Kind::config_if:
      out = execute_config(node, in);
      break;
    case Kind::loop:
    case Kind::do_loop:
      out = execute_loop(node, std::move(in));
      break;
    case Kind::switch_:
      out = execute_switch(node, std::move(in));
      break;
    case Kind::scoped:
      for (State& state : in) evaluate(node->kids[0], state);
      out = execute(node->kids.back(), std::move(in));
      break;
    case Kind::case_:
      out = std::move(in);
      if (!cases_.empty()) append(out, States(*cases_.back()));
      break;
    case Kind::label:
      out = std::move(in);
      if (auto waiting = gotos_.extract(node->text)) append(out, std::move(waiting.mapped()));
      break;
    default:
      out = execute_leaf(node, std::move(in));
  }
  merge(out);
  return out;
}

States Walk::execute_block(const Node* node, States in) {
  for (const Node* kid : node->kids) in = execute(kid, std::move(in));
  return in;
}

States Walk::execute_if(const Node* node, States in) {
  States yes, no;
  for (const State& state : in) {
    Branches both = branch(node->kids[0], state);
    append(yes, std::move(both.yes));
    append(no, std::move(both.no));
  }
  merge(yes);
  merge(no);
  // What is set up inside a branch is set up behind it.
  const bool early_exit = always_leaves(node->kid(1));
  const bool was_fresh = std::any_of(in.begin(), in.end(), [](const State& state) { return state.fresh; });
  States out = execute(node->kid(1), std::move(yes));
  forget_logs(out);
  if (node->kids.size() > 2) {
    no = execute(node->kids[2], std::move(no));
    forget_logs(no);
  }
  append(out, std::move(no));
  if (!early_exit && !was_fresh)
    for (State& state : out) state.fresh = state.fresh && state.failing();
  return out;
}

States Walk::execute_config(const Node* node, const States& in) {
  States out;
  for (const Node* part : node->kids) append(out, execute(part, in));
  if (node->text != "else") append(out, States(in));
  return out;
}

States Walk::execute_loop(const Node* node, States in) {
  States out, breaks, continues;
  breaks_.push_back(&breaks);
  continues_.push_back(&continues);
  const bool simple = node->kids.size() == 2 && (node->text == "while" || node->kind == Kind::do_loop);
  if (node->text == "for" && node->kids.size() > 1) in = execute(node->kids[0], std::move(in));
  if (!simple && node->text != "for")
    for (State& state : in) evaluate(node->kids[0], state);
  const bool forever = node->text == "for" ? node->kids.size() == 1 : simple && node->kids[0]->text == "1";
  if (!forever && node->kind != Kind::do_loop) append(out, States(in));
  for (int round = 0; round < 2; ++round) {
    if (simple && node->kind == Kind::loop) {
      States entered;
      for (const State& state : in) append(entered, branch(node->kids[0], state).yes);
      in = std::move(entered);
    }
    in = execute(node->kids.back(), std::move(in));
    append(in, std::exchange(continues, {}));
    merge(in);
    if (simple && !forever) {
      for (const State& state : in) append(out, branch(node->kids[0], state).no);
    } else if (!forever) {
      append(out, States(in));
    }
  }
  breaks_.pop_back();
  continues_.pop_back();
  append(out, std::move(breaks));
  return out;
}

States Walk::execute_switch(const Node* node, States in) {
  States out, breaks;
  for (State& state : in) use(node->kids[0], state), evaluate(node->kids[0], state);
  if (!has_default(node->kid(1))) out = in;
  breaks_.push_back(&breaks);
  cases_.push_back(&in);
  append(out, execute(node->kid(1), {}));
  cases_.pop_back();
  breaks_.pop_back();
  append(out, std::move(breaks));
  return out;
}

void Walk::leave(const Node* node, State state) {
  for (auto& [name, value] : state.values)
    if (value.what == Value::What::literal && value.exit == nullptr) value.exit = node;
  if (node->kind == Kind::goto_) {
    gotos_[node->text].push_back(std::move(state));
    merge(gotos_[node->text]);
  } else if (node->kind == Kind::break_ && !breaks_.empty()) {
    breaks_.back()->push_back(std::move(state));
  } else if (node->kind == Kind::continue_ && !continues_.empty()) {
    continues_.back()->push_back(std::move(state));
  }
}

void Walk::store(State& state, std::string key, Value value) {
  const auto known = state.values.find(key);
  if (known != state.values.end() && known->second.what == Value::What::call) {
    const int call = known->second.call;  // an answer that nobody looked at is overwritten
    const CallSite& site = calls_[static_cast<std::size_t>(call)];
    if (value.call != call && site.may_fail && site.answers_code() && !state.has_failed(call) &&
        std::find(state.ignored.begin(), state.ignored.end(), call) == state.ignored.end())
      state.ignored.push_back(call);
  }
  if (value.what == Value::What::unknown)
    state.values.erase(key);
  else
    state.values.insert_or_assign(std::move(key), value);
}

States Walk::execute_leaf(const Node* node, States in) {
  States out;
  for (State& state : in) {
    switch (node->kind) {
      case Kind::goto_:
      case Kind::break_:
      case Kind::continue_:
        leave(node, std::move(state));
        break;
      case Kind::return_:
        if (node->kids.empty()) {
          returns_.push_back({std::move(state), {}, node});
        } else {
          for (auto& [after, value] : evaluate_all(node->kids[0], std::move(state)))
            returns_.push_back({std::move(after), value, node});
        }
        break;
      case Kind::declaration:
        if (node->kids.empty()) {
          out.push_back(std::move(state));
        } else {
          for (auto& [after, value] : evaluate_all(node->kids[0], std::move(state))) {
            store(after, std::string(node->text), value);
            out.push_back(std::move(after));
          }
        }
        break;
      case Kind::expression:
        for (auto& [after, value] : evaluate_all(node->kids[0], std::move(state))) {
          if (node->kids[0]->kind == Kind::call && value.what == Value::What::call) {
            const CallSite& site = calls_[static_cast<std::size_t>(value.call)];
            if (site.may_fail && site.answers_code() && !tidies_up(site.node->text) && !after.going_back())
              after.ignored.push_back(value.call);
          }
          out.push_back(std::move(after));
        }
        break;
      default:
        out.push_back(std::move(state));
    }
  }
  return out;
}

}  // namespace softiommu::lint
