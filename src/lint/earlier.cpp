// SPDX-License-Identifier: BSD-3-Clause
// A test that ended the path earlier says of everything behind it that its condition does not hold. Conditions are sets
// of literals in canonical text (frames.h); an earlier one rules a later one out when all its literals hold there too.
#include "lint/earlier.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace softiommu::lint {
namespace {

constexpr std::size_t kMostClauses = 16;

std::vector<Site> chain_of(const Outcome& outcome) {
  std::vector<Site> sites = outcome.path;
  sites.push_back(outcome.origin);
  return sites;
}

bool is_zero(const Node* node) {
  return node != nullptr && node->kids.empty() && (node->text == "0" || node->text == "NULL" || node->text == "false");
}

// The conditions of `if` and `?:`; those of switches and loops say something else.
bool asks(const Guard& guard) {
  const Kind around = guard.condition->parent->kind;
  return around == Kind::if_ || around == Kind::ternary;
}

// "if (condition) leave": what stands behind it has the opposite.
bool is_exit(const Node* statement) {
  return statement->kind == Kind::if_ && statement->kids.size() == 2 && always_leaves(statement->kids[1]);
}

std::vector<const Node*> exits_before(const Node* node) {
  std::vector<const Node*> exits;
  for (const Node *child = node, *parent = node->parent; parent != nullptr; child = parent, parent = parent->parent) {
    if (parent->kind != Kind::block) continue;
    for (const Node* sibling : parent->kids) {
      if (sibling == child) break;
      if (is_exit(sibling)) exits.push_back(sibling);
    }
  }
  return exits;
}

// The variable that a condition asks for a code: "ret", "ret < 0", "ret != 0".
const Node* asked_code(const Node* condition) {
  if (condition->kind == Kind::identifier) return condition;
  const bool compared = condition->kind == Kind::binary && is_zero(condition->kid(1)) &&
                        (condition->text == "<" || condition->text == "!=");
  return compared ? asked_code(condition->kids[0]) : nullptr;
}

// Does the function fail at this exit? Else it may have answered without asking what follows.
bool fails_at(const Node* exit) {
  if (const Node* code = asked_code(exit->kids[0]); code != nullptr && named_like_code(code->text)) return true;
  const Node* last = exit->kids[1];
  while (last->kind == Kind::block && !last->kids.empty()) last = last->kids.back();
  if (last->kind != Kind::return_ || last->kids.empty()) return false;
  const Node* answer = last->kids[0];
  return answer->kind == Kind::unary && answer->text == "-";
}

void find_calls(const Node* node, std::vector<const Node*>& out) {
  if (node == nullptr) return;
  if (node->kind == Kind::call) out.push_back(node);
  for (const Node* kid : node->kids) find_calls(kid, out);
}

void find_assigned_calls(const Node* node, std::string_view variable, std::vector<const Node*>& out) {
  if (node == nullptr) return;
  const bool gives = (node->kind == Kind::declaration && node->text == variable) ||
                     (node->kind == Kind::assign && node->kids.size() == 2 && node->kids[0]->text == variable);
  if (gives && !node->kids.empty() && node->kids.back()->kind == Kind::call) out.push_back(node->kids.back());
  for (const Node* kid : node->kids) find_assigned_calls(kid, variable, out);
}

// The calls whose failure this exit hands on: in its condition, or in the statement before that sets the variable.
std::vector<const Node*> calls_behind(const Node* exit) {
  std::vector<const Node*> calls;
  find_calls(exit->kids[0], calls);
  const Node* code = asked_code(exit->kids[0]);
  if (code == nullptr) return calls;
  const auto& siblings = exit->parent->kids;
  auto at = std::find(siblings.begin(), siblings.end(), exit);
  while (at != siblings.begin() && calls.empty()) find_assigned_calls(*--at, code->text, calls);
  return calls;
}

void find_returns(const Node* node, std::vector<const Node*>& out) {
  if (node == nullptr) return;
  if (node->kind == Kind::return_) out.push_back(node);
  for (const Node* kid : node->kids) find_returns(kid, out);
}

// A device that reaches attach has these since it was probed; so has the driver its own global state.
bool is_guaranteed(const std::string& literal) {
  static constexpr std::array<std::string_view, 3> kOfProbing = {"!dev_iommu_priv_get(", "!dev_iommu_fwspec_get(",
                                                                 "!dev_get_drvdata("};
  const std::string_view text = literal;
  for (const std::string_view start : kOfProbing)
    if (text.starts_with(start) && text.ends_with(')') && text.find(')') == text.size() - 1) return true;
  const bool global = std::all_of(text.begin() + 1, text.end(), [](char c) {
    return std::islower(static_cast<unsigned char>(c)) || std::isdigit(static_cast<unsigned char>(c)) || c == '_';
  });
  return text.size() > 1 && text[0] == '!' && global;
}

}  // namespace

Earlier::Earlier(Analysis& analysis, const Outcome& outcome)
    : analysis_(analysis), outcome_(outcome), frames_(analysis.tree(), chain_of(outcome)) {}

// One comparison for all ways to write it; the sign says whether it holds.
std::string Earlier::literal(const Question& question) const {
  const auto& [frames, condition, asked] = question;
  const std::size_t depth = frames.depth_of(condition);
  auto text = [&, depth = depth](const Node* node) { return frames.canonical(node, depth, window_); };
  bool holds = asked;
  std::string out;
  if (condition->kind != Kind::binary) {
    out = text(condition);
  } else {
    const std::string_view op = condition->text;
    std::string left = text(condition->kids[0]), right = text(condition->kid(1));
    if (op == "!=" || op == ">=" || op == "<=") holds = !holds;
    if (op == ">" || op == "<=" || ((op == "==" || op == "!=") && right < left)) std::swap(left, right);
    const bool order = op == "<" || op == ">" || op == "<=" || op == ">=";
    const bool same = op == "==" || op == "!=";
    out = "(" + left + " " + (order ? "<" : same ? "==" : std::string(op)) + " " + right + ")";
    if (same && (is_zero(condition->kids[0]) || is_zero(condition->kid(1)))) {
      out = text(condition->kids[is_zero(condition->kids[0]) ? 1 : 0]);
      holds = !holds;
    }
  }
  return holds ? out : "!" + out;
}

Earlier::Clauses Earlier::split_binary(const Question& question) const {
  const auto& [frames, condition, holds] = question;
  const Clauses left = split({frames, condition->kids[0], holds}), right = split({frames, condition->kid(1), holds});
  Clauses out;
  if ((condition->text == "||") == holds) {
    out = left;
    out.insert(out.end(), right.begin(), right.end());
    return out;
  }
  for (const Clause& one : left)
    for (const Clause& other : right) {
      Clause both = one;
      both.insert(other.begin(), other.end());
      if (out.size() < kMostClauses) out.push_back(std::move(both));
    }
  return out;
}

// The clauses of which at least one holds when the condition has the truth `holds`.
Earlier::Clauses Earlier::split(const Question& question) const {
  const auto& [frames, condition, holds] = question;
  if (condition->kind == Kind::unary && condition->text == "!") return split({frames, condition->kids[0], !holds});
  if (condition->kind == Kind::call && is_transparent(condition->text) && condition->kids.size() == 2)
    return split({frames, condition->kids[1], holds});
  if (condition->kind == Kind::binary && (condition->text == "&&" || condition->text == "||"))
    return split_binary(question);
  if (!holds)
    if (Clauses null = split_null(question); !null.empty()) return null;
  return {{literal(question)}};
}

// The function that answers this pointer: "x" of "x = f(y)", or "f(y)" itself.
const Function* Earlier::pointer_source(const Question& question, const Node*& call) const {
  const auto& [frames, condition, holds] = question;
  const Function& from = *frames.at(frames.depth_of(condition)).function;
  std::vector<const Node*> given;
  if (condition->kind == Kind::identifier) find_assigned_calls(from.body, condition->text, given);
  if (condition->kind == Kind::call) given.push_back(condition);
  if (given.size() != 1 || given[0]->kids[0]->kind != Kind::identifier) return nullptr;
  call = given[0];
  const Function* callee = analysis_.tree().resolve(call->text, from.file);
  const bool pointer = callee != nullptr && callee->result_type.find('*') != std::string_view::npos;
  return pointer && accessor_answer(*callee) == nullptr ? callee : nullptr;
}

// NULL from a function of the tree is the conditions under which it answers NULL.
Earlier::Clauses Earlier::split_null(const Question& question) const {
  const auto& [frames, condition, holds] = question;
  const Node* call = nullptr;
  const Function* callee = pointer_source(question, call);
  if (callee == nullptr) return {};
  const std::size_t depth = frames.depth_of(condition);
  std::vector<const Node*> returns;
  find_returns(callee->body, returns);
  Clauses out;
  for (const Node* answer : returns) {
    const Node* value = answer->kid(0);
    if (value != nullptr && value->kind == Kind::unary && value->text == "&") continue;
    if (!is_zero(value)) return {};
    const Frames inside = frames.through(depth, {frames.at(depth).function, call}, {callee, answer});
    for (Clause& clause : all_of(inside, guards_of(answer))) out.push_back(std::move(clause));
  }
  return out;
}

// All guards together; nothing when one of them is no question or there are too many ways.
Earlier::Clauses Earlier::all_of(const Frames& frames, const std::vector<Guard>& guards) const {
  Clauses all = {{}};
  for (const Guard& guard : guards) {
    if (!asks(guard)) return {};
    Clauses next;
    for (const Clause& clause : split({frames, guard.condition, guard.holds}))
      for (const Clause& known : all) {
        next.push_back(known);
        next.back().insert(clause.begin(), clause.end());
      }
    if (next.size() > kMostClauses) return {};
    all = std::move(next);
  }
  return all;
}

// What holds at the place: its guards but the innermost, and the opposite of every exit before it.
Earlier::Clause Earlier::facts() const {
  Clause known;
  auto learn = [&known](const Clauses& ways) {
    if (ways.size() == 1) known.insert(ways[0].begin(), ways[0].end());
  };
  for (std::size_t i = 1; i < outcome_.guards.size(); ++i)
    if (asks(outcome_.guards[i])) learn(split({frames_, outcome_.guards[i].condition, outcome_.guards[i].holds}));
  for (std::size_t depth = 0; depth < frames_.size(); ++depth)
    for (const Node* exit : exits_before(frames_.at(depth).node)) {
      const bool shown = depth != window_.shared || exit->source.data() >= window_.from;
      if (!shown) learn(split({frames_, exit->kids[0], false}));
    }
  return known;
}

void Earlier::strike(const Clauses& earlier) {
  const Guard& innermost = outcome_.guards.front();
  const Clauses ways = split({frames_, innermost.condition, innermost.holds});
  struck_.resize(ways.size());
  const Clause known = facts();
  for (std::size_t i = 0; i < ways.size(); ++i)
    for (const Clause& clause : earlier) {
      if (struck_[i] || clause.empty()) continue;
      struck_[i] = std::all_of(clause.begin(), clause.end(), [&](const std::string& literal) {
        return known.contains(literal) || ways[i].contains(literal);
      });
    }
}

// A call before the place whose failure ends the path: each of its own literal failures did not happen.
void Earlier::ask_callee(const Node* call, std::size_t depth) {
  const Function& from = *frames_.at(depth).function;
  const Function* callee =
      call->kids[0]->kind == Kind::identifier ? analysis_.tree().resolve(call->text, from.file) : nullptr;
  if (callee == nullptr) return;
  for (const Outcome& below : analysis_.of(*callee).failures) {
    if (below.source != Source::literal || below.guards.empty()) continue;
    std::vector<Site> sites;
    for (std::size_t above = 0; above < depth; ++above) sites.push_back(frames_.at(above));
    sites.push_back({&from, call});
    for (const Site& site : chain_of(below)) sites.push_back(site);
    const Frames chain = frames_.beside(std::move(sites));
    std::vector<Guard> needed = below.guards;
    for (const Guard& guard : guards_of(call)) needed.push_back(guard);
    for (std::size_t d = depth + 1; d < chain.size(); ++d)
      for (const Node* exit : exits_before(chain.at(d).node))
        if (!fails_at(exit)) needed.push_back({exit->kids[0], false});
    strike(all_of(chain, needed));
  }
}

void Earlier::ask_exit(const Node* exit, std::size_t depth) {
  window_ = {depth, exit->source.data(), frames_.at(depth).node->source.data()};
  strike(split({frames_, exit->kids[0], true}));
  const std::vector<const Node*> calls = calls_behind(exit);
  if (calls.empty()) return;
  window_.from = std::min(window_.from, calls.front()->source.data());
  for (const Node* call : calls) ask_callee(call, depth);
}

Strikes Earlier::judge() {
  if (outcome_.guards.empty() || !asks(outcome_.guards.front())) return Strikes::possible;
  for (std::size_t depth = 0; depth < frames_.size(); ++depth)
    for (const Node* exit : exits_before(frames_.at(depth).node))
      if (exit->kids[0] != outcome_.guards.front().condition) ask_exit(exit, depth);
  window_ = {};
  const Guard& innermost = outcome_.guards.front();
  const Clauses ways = split({frames_, innermost.condition, innermost.holds});
  struck_.resize(ways.size());
  if (std::all_of(struck_.begin(), struck_.end(), [](bool struck) { return struck; })) return Strikes::asked_before;
  for (std::size_t i = 0; i < ways.size(); ++i)
    if (!struck_[i] && std::none_of(ways[i].begin(), ways[i].end(), is_guaranteed)) return Strikes::possible;
  return Strikes::guaranteed;
}

}  // namespace softiommu::lint
