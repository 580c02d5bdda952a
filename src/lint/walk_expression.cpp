// SPDX-License-Identifier: BSD-3-Clause
// Expressions of the path walk: which code or callee's answer a value is.
#include <algorithm>
#include <cctype>

#include "lint/walk.h"

namespace softiommu::lint {
namespace {

// Variables and members are told apart by how they are written.
std::string key_of(const Node* node) {
  if (node->kind == Kind::identifier) return std::string(node->text);
  if (node->kind == Kind::member) return flat_source(*node);
  return {};
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

bool CallSite::answers_code() const {
  if (!callees.empty()) return !pointer && callees[0]->result_type.find("bool") == std::string_view::npos;
  return api == nullptr || api->kind == ApiKind::code || api->kind == ApiKind::count || api->kind == ApiKind::firmware;
}

std::vector<std::pair<State, Value>> Walk::evaluate_all(const Node* node, State state) {
  std::vector<std::pair<State, Value>> out;
  if (node->kind == Kind::ternary) {
    Branches both = branch(node->kids[0], state);
    for (State& yes : both.yes) {
      const Node* taken = node->kids[1] != nullptr ? node->kids[1] : node->kids[0];
      if (node->kids[1] == nullptr && taken->kind != Kind::identifier) {
        out.emplace_back(std::move(yes), Value{});
        continue;
      }
      for (auto& result : evaluate_all(taken, std::move(yes))) out.push_back(std::move(result));
    }
    for (State& no : both.no)
      for (auto& result : evaluate_all(node->kids[2], std::move(no))) out.push_back(std::move(result));
    return out;
  }
  if (node->kind == Kind::assign && node->text == "=" && node->kids.size() == 2) {
    for (auto& [after, value] : evaluate_all(node->kids[1], std::move(state))) {
      const std::string key = key_of(node->kids[0]);
      if (key.empty())
        evaluate(node->kids[0], after);
      else
        store(after, key, value);
      out.emplace_back(std::move(after), value);
    }
    return out;
  }
  const Value value = evaluate(node, state);
  out.emplace_back(std::move(state), value);
  return out;
}

Value Walk::evaluate(const Node* node, State& state) {
  if (node == nullptr) return {};
  switch (node->kind) {
    case Kind::number: {
      const bool zero = node->text == "0" || node->text == "0x0";
      return {zero ? Value::What::zero : Value::What::number, {}, node, nullptr, -1};
    }
    case Kind::identifier:
    case Kind::member: {
      if (one_of(node->text, {"NULL", "false"})) return {Value::What::zero, {}, node, nullptr, -1};
      if (node->text == "true") return {Value::What::number, {}, node, nullptr, -1};
      const auto known = state.values.find(key_of(node));
      if (known != state.values.end()) return known->second;
      if (node->kind == Kind::member && node->text == "a0") return {Value::What::status, {}, node, nullptr, -1};
      return {Value::What::unknown, {}, node, nullptr, -1};
    }
    case Kind::unary:
      if (node->text == "-" && node->kids[0]->kind == Kind::identifier && is_errno(node->kids[0]->text))
        return {Value::What::literal, node->kids[0]->text, node, nullptr, -1};
      use(node->kids[0], state);
      evaluate(node->kids[0], state);
      return {Value::What::unknown, {}, node, nullptr, -1};
    case Kind::cast:
      return evaluate(node->kids[0], state);
    case Kind::call:
      return evaluate_call(node, state);
    case Kind::assign:
      if (node->text != "=" || node->kids.size() != 2) {  // "+=", or an element of an initialiser
        for (const Node* kid : node->kids) use(kid, state), evaluate(kid, state);
        if (node->kids.size() == 2) state.values.erase(key_of(node->kids[0]));
        return {};
      }
      [[fallthrough]];
    case Kind::ternary: {
      auto all = evaluate_all(node, state);
      if (all.empty()) return {};
      state = std::move(all.front().first);
      return all.front().second;
    }
    case Kind::statement_expression: {
      States after = execute(node->kids[0], {state});
      if (!after.empty()) state = std::move(after.front());
      return {};
    }
    default:
      for (const Node* kid : node->kids) {
        if (kid == nullptr) continue;
        use(kid, state);
        evaluate(kid, state);
      }
      return {};
  }
}

void Walk::use(const Node* node, State& state) {
  if (node == nullptr) return;
  if (node->kind == Kind::unary && node->text == "&") {
    state.values.erase(key_of(node->kids[0]));
    return;
  }
  const auto known = state.values.find(key_of(node));
  if (known != state.values.end() && known->second.what == Value::What::call && !state.has_failed(known->second.call))
    state.values.erase(known);
}

// Calls that the language of the kernel gives a meaning.
bool Walk::evaluate_known_call(const Node* node, State& state, Value& out) {
  const std::string_view name = node->text;
  if (log_level(name) != LogLevel::none) {
    if (log_level(name) == LogLevel::loud) state.logs.push_back(node);
    if (name == "dev_err_probe") out = evaluate(node->kid(2), state);
    return true;
  }
  if (one_of(name, {"PTR_ERR", "ERR_PTR", "ERR_CAST", "PTR_ERR_OR_ZERO", "likely", "unlikely", "READ_ONCE"})) {
    out = evaluate(node->kid(1), state);
    return true;
  }
  if (name.starts_with("WARN") ||
      one_of(name, {"IS_ENABLED", "container_of", "ARRAY_SIZE", "sizeof", "lockdep_assert_held"})) {
    for (std::size_t i = 1; i < node->kids.size(); ++i) use(node->kids[i], state), evaluate(node->kids[i], state);
    return true;
  }
  return false;
}

// A local function pointer: everything that is assigned to it.
void Walk::pointed_to(const Node* node, std::string_view name, std::vector<const Function*>& out) const {
  if (node == nullptr) return;
  const bool declares = node->kind == Kind::declaration && node->text == name && !node->kids.empty();
  const bool assigns = node->kind == Kind::assign && node->kids.size() == 2 &&
                       node->kids[0]->kind == Kind::identifier && node->kids[0]->text == name;
  if (declares || assigns) {
    const Node* value = node->kids.back();
    if (value->kind == Kind::unary && value->text == "&") value = value->kids[0];
    if (value->kind == Kind::identifier)
      if (const Function* function = analysis_.tree().resolve(value->text, function_.file)) out.push_back(function);
  }
  for (const Node* kid : node->kids) pointed_to(kid, name, out);
}

int Walk::call_site(const Node* node) {
  const auto known = call_ids_.find(node);
  if (known != call_ids_.end()) return known->second;
  CallSite site;
  site.node = node;
  const Node* callee = node->kids[0];
  if (callee->kind == Kind::member) {
    site.callees = analysis_.tree().resolve_field(callee->text, function_.file);
  } else if (const Function* function = analysis_.tree().resolve(node->text, function_.file)) {
    site.callees = {function};
  }
  if (site.callees.empty() && callee->kind == Kind::identifier) pointed_to(function_.body, node->text, site.callees);
  if (site.callees.empty()) site.api = analysis_.apis().find(node->text);
  for (const Function* function : site.callees) {
    const Summary& summary = analysis_.of(*function);
    site.may_fail |= summary.may_fail();
    site.pointer |= function->result_type.find('*') != std::string_view::npos;
    summary_.calls.push_back({{&function_, node}, function});
  }
  if (site.api != nullptr) {
    site.may_fail = !site.api->errors.empty() || site.api->kind == ApiKind::firmware;
    site.pointer = site.api->kind == ApiKind::pointer || site.api->kind == ApiKind::error_pointer;
  }
  calls_.push_back(std::move(site));
  call_ids_[node] = static_cast<int>(calls_.size()) - 1;
  return static_cast<int>(calls_.size()) - 1;
}

Value Walk::evaluate_call(const Node* node, State& state) {
  Value out;
  if (evaluate_known_call(node, state, out)) return out;
  for (std::size_t i = 1; i < node->kids.size(); ++i) {
    use(node->kids[i], state);
    evaluate(node->kids[i], state);
  }
  const int id = call_site(node);
  (state.fresh ? fresh_calls_ : other_calls_).insert(id);
  const CallSite& site = calls_[static_cast<std::size_t>(id)];
  if (state.going_back() && undoes(node->text)) state.changes.clear();
  if (!state.failed.empty() && tidies_up(node->text)) state.failed.back().answered = true;
  if (!state.going_back() && changes_state(node->text) &&
      std::find(state.changes.begin(), state.changes.end(), node) == state.changes.end())
    state.changes.push_back(node);
  for (const Function* callee : site.callees)
    if (callee->result_type.find("void") != std::string_view::npos && !site.pointer) return out;
  if (!site.callees.empty() && !site.may_fail && !site.pointer) return out;
  if (site.api != nullptr && site.api->kind == ApiKind::value) return out;
  return {Value::What::call, {}, node, nullptr, id};
}

}  // namespace softiommu::lint
