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
constexpr std::size_t kDeepestSetter = 3;

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

// Does a way lead out of the loop whose body this is, other than its condition?
bool leaves_early(const Node* node) {
  if (node == nullptr) return false;
  const bool leaves = node->kind == Kind::break_ || node->kind == Kind::goto_ || node->kind == Kind::return_;
  return leaves || std::any_of(node->kids.begin(), node->kids.end(), leaves_early);
}

// The conditions that the statement stands under, without the exits before it.
std::vector<Guard> guards_around(const Node* node) {
  std::vector<Guard> around = guards_of(node);
  std::erase_if(around, [node](const Guard& guard) {
    for (const Node* above = node; above != nullptr; above = above->parent)
      if (above == guard.condition->parent) return false;
    return true;
  });
  return around;
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
  const bool negative =
      holds && condition->kind == Kind::binary && condition->text == "<" && is_zero(condition->kid(1));
  if (Clauses failed = negative ? split_failure({frames, condition->kids[0], false}, false)
                       : !holds ? split_failure(question, true)
                                : Clauses{};
      !failed.empty())
    return failed;
  return {{literal(question)}};
}

// The function of the tree that answers this value: "x" of "x = f(y)", or "f(y)" itself.
const Function* Earlier::source_of(const Question& question, const Node*& call) const {
  const auto& [frames, condition, holds] = question;
  const Function& from = *frames.at(frames.depth_of(condition)).function;
  std::vector<const Node*> given;
  if (condition->kind == Kind::identifier) find_assigned_calls(from.body, condition->text, given);
  if (condition->kind == Kind::call) given.push_back(condition);
  if (given.size() != 1 || given[0]->kids[0]->kind != Kind::identifier) return nullptr;
  call = given[0];
  const Function* callee = analysis_.tree().resolve(call->text, from.file);
  return callee != nullptr && accessor_answer(*callee) == nullptr ? callee : nullptr;
}

// NULL or a negative answer from a function of the tree is the conditions under which it gives that answer.
Earlier::Clauses Earlier::split_failure(const Question& question, bool pointer) const {
  const auto& [frames, condition, holds] = question;
  const Node* call = nullptr;
  const Function* callee = source_of(question, call);
  if (callee == nullptr || pointer != (callee->result_type.find('*') != std::string_view::npos)) return {};
  const std::size_t depth = frames.depth_of(condition);
  std::vector<const Node*> returns;
  find_returns(callee->body, returns);
  Clauses out;
  for (const Node* answer : returns) {
    const Node* value = answer->kid(0);
    if (value == nullptr || (pointer && value->kind == Kind::unary && value->text == "&")) continue;
    const bool count =
        value->kind == Kind::number || (value->kind == Kind::identifier && !named_like_code(value->text));
    if (!pointer && count) continue;
    if (pointer ? !is_zero(value) : value->kind != Kind::unary) return {};
    const Frames inside = frames.through(depth, {frames.at(depth).function, call}, {callee, answer});
    Clauses ways = all_of(inside, guards_of(answer));
    enter_loops(inside, answer, ways);
    for (Clause& clause : ways) out.push_back(std::move(clause));
  }
  return out;
}

// A loop is inside only what its condition let in: "for (x = a; x > b; ...)" began with a > b.
void Earlier::enter_loops(const Frames& frames, const Node* node, Clauses& ways) const {
  for (const Node *child = node, *loop = node->parent; loop != nullptr; child = loop, loop = loop->parent) {
    const bool counted = loop->kind == Kind::loop && loop->text == "for" && loop->kids.size() == 4;
    if (!counted || child != loop->kids[3] || loop->kids[0]->kids.empty()) continue;
    const Node* start = loop->kids[0];
    const bool declares = start->kind == Kind::declaration;
    if (!declares && !(start->kind == Kind::assign && start->text == "=" && start->kids.size() == 2)) continue;
    Earlier entry(analysis_, outcome_);
    entry.window_ = window_;
    entry.window_.variable = declares ? start->text : start->kids[0]->text;
    entry.window_.start = start->kids.back();
    const Clauses at_start = entry.split({frames, loop->kids[1], true});
    if (at_start.size() != 1) continue;
    for (Clause& way : ways) way.insert(at_start[0].begin(), at_start[0].end());
  }
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

// The ways in which the innermost condition can hold.
Earlier::Clauses Earlier::ways() const {
  const Guard& innermost = outcome_.guards.front();
  return split({frames_, innermost.condition, innermost.holds});
}

void Earlier::strike(const Clauses& earlier) {
  const Clauses possible = ways();
  struck_.resize(possible.size());
  const Clause known = facts();
  for (std::size_t i = 0; i < possible.size(); ++i)
    for (const Clause& clause : earlier) {
      if (struck_[i] || clause.empty()) continue;
      struck_[i] = std::all_of(clause.begin(), clause.end(), [&](const std::string& literal) {
        return known.contains(literal) || possible[i].contains(literal);
      });
    }
}

// "set_x(object, field, ..." on the path, and "!get_x(object, field)" behind it.
void Earlier::strike_getter(const std::string& setter) {
  const Clauses possible = ways();
  struck_.resize(possible.size());
  for (std::size_t i = 0; i < possible.size(); ++i)
    for (const std::string& literal : possible[i]) {
      if (!literal.starts_with("!get") || !literal.ends_with(')')) continue;
      const std::string wanted = "set" + literal.substr(4, literal.size() - 5) + ", ";
      if (setter.starts_with(wanted)) struck_[i] = true;
    }
}

void Earlier::ask_setters(const Frames& frames, const Node* node, std::size_t depth) {
  if (node == nullptr || depth > kDeepestSetter) return;
  if (node->kind == Kind::call && node->kids[0]->kind == Kind::identifier) {
    const Function& from = *frames.at(frames.size() - 1).function;
    if (node->text.starts_with("set")) strike_getter(frames.canonical(node, frames.size() - 1, window_));
    if (const Function* callee = analysis_.tree().resolve(node->text, from.file))
      ask_setters(frames.through(frames.size() - 1, {&from, node}, {callee, callee->body}), callee->body, depth + 1);
  }
  for (const Node* kid : node->kids) ask_setters(frames, kid, depth);
}

// Each literal failure of the callee did not happen.
void Earlier::ask_failures(const Node* call, const Function& callee, std::size_t depth) {
  const Function& from = *frames_.at(depth).function;
  for (const Outcome& below : analysis_.of(callee).failures) {
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

// "while (a) ..." in the callee, passed by every success: a does not hold behind it.
void Earlier::ask_loops(const Node* call, const Function& callee, std::size_t depth) {
  for (const Node* loop : callee.body->kids) {
    if (loop->kind != Kind::loop || loop->text != "while" || leaves_early(loop->kids.back())) continue;
    const std::vector<const Node*> exits = exits_before(loop);
    if (!std::all_of(exits.begin(), exits.end(), fails_at) || !guards_around(call).empty()) continue;
    const Frames inside = frames_.through(depth, {frames_.at(depth).function, call}, {&callee, loop});
    strike(split({inside, loop->kids[0], true}));
  }
}

// A call before the place whose failure ends the path.
void Earlier::ask_callee(const Node* call, std::size_t depth) {
  const Function& from = *frames_.at(depth).function;
  const Function* callee =
      call->kids[0]->kind == Kind::identifier ? analysis_.tree().resolve(call->text, from.file) : nullptr;
  if (callee == nullptr) return;
  ask_failures(call, *callee, depth);
  ask_loops(call, *callee, depth);
  ask_setters(frames_.through(depth, {&from, call}, {callee, callee->body}), callee->body, 0);
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
  const Clauses possible = ways();
  struck_.resize(possible.size());
  if (std::all_of(struck_.begin(), struck_.end(), [](bool struck) { return struck; })) return Strikes::asked_before;
  for (std::size_t i = 0; i < possible.size(); ++i)
    if (!struck_[i] && std::none_of(possible[i].begin(), possible[i].end(), is_guaranteed)) return Strikes::possible;
  return Strikes::guaranteed;
}

}  // namespace softiommu::lint
