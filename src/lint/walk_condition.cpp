// SPDX-License-Identifier: BSD-3-Clause
// Conditions of the path walk: what is known on either side of a test.
#include <algorithm>
#include <array>

#include "lint/walk.h"

namespace softiommu::lint {
namespace {

void append(States& to, States&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

bool any_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// "-EINVAL" in a comparison.
std::string_view code_of(const Node* node) {
  if (node->kind == Kind::unary && node->text == "-" && node->kids[0]->kind == Kind::identifier &&
      is_errno(node->kids[0]->text))
    return node->kids[0]->text;
  return {};
}

bool is_zero(const Node* node) {
  return (node->kind == Kind::number && (node->text == "0" || node->text == "0x0")) ||
         (node->kind == Kind::identifier && any_of(node->text, {"NULL", "false"}));
}

}  // namespace

void Walk::fail(State& state, Failure failure) const {
  if (failure.call >= 0 && !state.has_failed(failure.call)) state.failed.push_back(failure);
}

void Walk::passed(State& state, int call) const {
  std::erase_if(state.failed, [call](const Failure& failure) { return failure.call == call; });
  for (auto& [name, value] : state.values)
    if (value.what == Value::What::call && value.call == call) value = {Value::What::zero, {}, value.node, nullptr, -1};
}

Walk::Branches Walk::branch(const Node* condition, const State& state) {
  const std::string_view text = condition->text;
  if (condition->kind == Kind::unary && text == "!") {
    Branches inner = branch(condition->kids[0], state);
    std::swap(inner.yes, inner.no);
    return inner;
  }
  if (condition->kind == Kind::binary && (text == "&&" || text == "||")) {
    Branches out, left = branch(condition->kids[0], state);
    States& through = text == "&&" ? left.yes : left.no;
    for (const State& next : through) {
      Branches right = branch(condition->kids[1], next);
      append(out.yes, std::move(right.yes));
      append(out.no, std::move(right.no));
    }
    if (text == "&&")
      append(out.no, std::move(left.no));
    else
      append(out.yes, std::move(left.yes));
    merge(out.yes);
    merge(out.no);
    return out;
  }
  if (condition->kind == Kind::call) return branch_call(condition, state);
  if (condition->kind == Kind::binary) return branch_comparison(condition, state);
  Branches out;
  for (auto& [after, value] : evaluate_all(condition, state)) {
    const bool assigned = condition->kind == Kind::assign;
    if (assigned) value = evaluate(condition->kids[0], after);
    Branches both = test(after, value, assigned ? condition->kids[0] : condition);
    append(out.yes, std::move(both.yes));
    append(out.no, std::move(both.no));
  }
  merge(out.yes);
  merge(out.no);
  return out;
}

Walk::Branches Walk::branch_call(const Node* call, const State& state) {
  const std::string_view name = call->text;
  const Node* argument = call->kid(1);
  if (argument != nullptr && any_of(name, {"likely", "unlikely", "data_race"})) return branch(argument, state);
  if (argument != nullptr && (name.starts_with("WARN") || name.starts_with("BUG_ON") || name == "dev_WARN_ONCE" ||
                              name == "iommufd_should_fail")) {
    Branches both = branch(name == "dev_WARN_ONCE" && call->kids.size() > 2 ? call->kids[2] : argument, state);
    if (name.starts_with("WARN"))
      for (State& warned : both.yes) warned.logs.push_back(call);
    return both;
  }
  State after = state;
  if (argument != nullptr && any_of(name, {"IS_ERR", "IS_ERR_VALUE", "IS_ERR_OR_NULL"})) {
    Value value = evaluate(argument, after);
    return test_error(std::move(after), value);
  }
  Value value = evaluate_call(call, after);
  return test(std::move(after), value, call);
}

Walk::Branches Walk::branch_comparison(const Node* comparison, const State& state) {
  const Node *left = comparison->kids[0], *right = comparison->kids[1];
  const std::string_view op = comparison->text;
  Branches out;
  for (auto& [after, value] : evaluate_all(left, state)) {
    if (left->kind == Kind::assign) value = evaluate(left->kids[0], after);
    const std::string_view code = code_of(right);
    Branches both;
    if (!code.empty() && (op == "==" || op == "!=")) {
      both = compare_with_code(std::move(after), value, code);
      if (op == "!=") std::swap(both.yes, both.no);
    } else if (is_zero(right) && any_of(op, {"==", "!=", "<", ">="})) {
      both = op == "<" || op == ">=" ? test_error(std::move(after), value) : test(std::move(after), value, left);
      if (op == "==" || op == ">=") std::swap(both.yes, both.no);
    } else {
      use(left, after), use(right, after);
      evaluate(right, after);
      both = {{after}, {after}};
    }
    append(out.yes, std::move(both.yes));
    append(out.no, std::move(both.no));
  }
  return out;
}

// yes: the value is not zero.
Walk::Branches Walk::test(State state, const Value& value, const Node* expression) {
  switch (value.what) {
    case Value::What::zero:
      return {{}, {std::move(state)}};
    case Value::What::literal:
    case Value::What::number:
      return {{std::move(state)}, {}};
    case Value::What::call:
      break;
    case Value::What::status: {
      State no = state;
      for (auto& [name, held] : no.values)
        if (held.node == value.node) held.what = Value::What::zero;
      return {{std::move(state)}, {std::move(no)}};
    }
    case Value::What::unknown: {
      // "!domain->smmu": nothing has been fixed for this domain yet.
      State fresh = state;
      if (expression != nullptr && expression->kind == Kind::member && set_up_by_attach(expression->text) &&
          origins_.of(expression) == kReadsDomain)
        fresh.fresh = true;
      return {{std::move(state)}, {std::move(fresh)}};
    }
  }
  const CallSite& site = calls_[static_cast<std::size_t>(value.call)];
  State yes = state, no = std::move(state);
  if (site.pointer) {
    if (!(site.api != nullptr && site.api->kind == ApiKind::error_pointer)) fail(no, {value.call, {}, true, false});
    return {{std::move(yes)}, {std::move(no)}};
  }
  if (site.answers_code()) {
    const bool failed_before = yes.has_failed(value.call);
    if (site.may_fail) fail(yes, {value.call, {}, false, false});
    passed(no, value.call);
    if (failed_before) return {{std::move(yes)}, {}};
  }
  return {{std::move(yes)}, {std::move(no)}};
}

// yes: the value is a negative code or an error pointer.
Walk::Branches Walk::test_error(State state, const Value& value) {
  if (value.what == Value::What::literal) return {{std::move(state)}, {}};
  if (value.what == Value::What::zero || value.what == Value::What::number) return {{}, {std::move(state)}};
  State yes = state, no = std::move(state);
  if (value.what == Value::What::call) {
    if (yes.has_failed(value.call)) return {{std::move(yes)}, {}};
    const CallSite& site = calls_[static_cast<std::size_t>(value.call)];
    if (site.may_fail || site.callees.empty()) fail(yes, {value.call, {}, false, false});
    if (site.pointer) {
      for (auto it = no.values.begin(); it != no.values.end();)
        it = it->second.call == value.call ? no.values.erase(it) : std::next(it);
    } else {
      passed(no, value.call);
    }
  }
  return {{std::move(yes)}, {std::move(no)}};
}

Walk::Branches Walk::compare_with_code(State state, const Value& value, std::string_view code) {
  if (value.what == Value::What::literal)
    return value.code == code ? Branches{{std::move(state)}, {}} : Branches{{}, {std::move(state)}};
  if (value.what != Value::What::call) return {{state}, {state}};
  State yes = state;
  std::erase_if(yes.failed, [&value](const Failure& failure) { return failure.call == value.call; });
  fail(yes, {value.call, code, false, false});
  return {{std::move(yes)}, {std::move(state)}};
}

}  // namespace softiommu::lint
