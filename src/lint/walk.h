// SPDX-License-Identifier: BSD-3-Clause
// Walks the paths of one function. A state is what is known at one point: which variables hold which code or callee's
// answer, which callees have failed, what was logged and changed. States that know the same are one, so the number of
// paths stays small; a loop's body runs zero, one and two times.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lint/outcome.h"
#include "lint/tree.h"

namespace softiommu::lint {

class Analysis;

struct Value {
  enum class What : std::uint8_t { unknown, zero, number, literal, call, status } what = What::unknown;
  std::string_view code;       // literal: "EINVAL"
  const Node* node = nullptr;  // literal, number, status (a firmware's answer): where
  const Node* exit = nullptr;  // literal: the goto or return that took it away, when that is elsewhere
  int call = -1;
};

// A call of this function's body and what is known of its callee.
struct CallSite {
  const Node* node = nullptr;
  std::vector<const Function*> callees;
  const Api* api = nullptr;
  bool pointer = false;  // NULL is the failure
  bool answers_code() const;
  bool may_fail = false;
};

struct Failure {
  int call = -1;
  std::string_view only;  // the one code it was compared with
  bool null = false;
  bool answered = false;  // something was taken back because of it
  bool operator==(const Failure&) const = default;
};

struct State {
  std::map<std::string, Value, std::less<>> values;
  std::vector<Failure> failed;
  std::vector<int> ignored;
  std::vector<const Node*> logs;
  std::vector<const Node*> changes;
  bool fresh = false;

  bool has_failed(int call) const;
  bool failing() const;     // some variable holds an error
  bool going_back() const;  // something has failed: what follows is the way back
  std::string key() const;
};

using States = std::vector<State>;

class Walk {
 public:
  Walk(Analysis& analysis, const Function& function);
  Summary run();

 private:
  struct Branches {
    States yes, no;
  };
  struct Return {
    State state;
    Value value;
    const Node* node;
  };

  // statements
  States execute(const Node* node, States in);
  States execute_block(const Node* node, States in);
  States execute_if(const Node* node, States in);
  States execute_config(const Node* node, const States& in);
  States execute_loop(const Node* node, States in);
  States execute_switch(const Node* node, States in);
  States execute_leaf(const Node* node, States in);
  void leave(const Node* node, State state);
  void merge(States& states);
  void store(State& state, std::string key, Value value);

  // conditions
  Branches branch(const Node* condition, const State& state);
  Branches branch_call(const Node* call, const State& state);
  Branches branch_comparison(const Node* comparison, const State& state);
  Branches test(State state, const Value& value, const Node* expression);
  Branches test_error(State state, const Value& value);
  Branches compare_with_code(State state, const Value& value, std::string_view code);
  void fail(State& state, Failure failure) const;
  void passed(State& state, int call) const;

  // expressions
  std::vector<std::pair<State, Value>> evaluate_all(const Node* node, State state);
  Value evaluate(const Node* node, State& state);
  Value evaluate_call(const Node* node, State& state);
  bool evaluate_known_call(const Node* node, State& state, Value& out);
  int call_site(const Node* node);
  void pointed_to(const Node* node, std::string_view name, std::vector<const Function*>& out) const;
  void use(const Node* node, State& state);  // its value goes somewhere else: no longer a question of ours

  // the summary
  void summarise(const Return& returned);
  void add_literal(const Return& returned, std::string_view code);
  void add_call(const Return& returned, int call);
  void add_external(const Return& returned, const CallSite& site);
  void lose(const Return& returned, int kept);
  bool fails_through_argument_only(const CallSite& site) const;
  void add(Outcome outcome);
  bool settle(Outcome& outcome) const;
  Outcome begin(const Return& returned, const Node* origin) const;
  std::vector<Site> sites(const std::vector<const Node*>& nodes) const;

  Analysis& analysis_;
  const Function& function_;
  Origins origins_;
  Summary summary_;
  std::vector<CallSite> calls_;
  std::size_t steps_ = 0;
  std::map<const Node*, int> call_ids_;
  std::set<int> fresh_calls_, other_calls_;  // made while a fresh domain is set up, and at other times
  std::vector<States*> breaks_, continues_, cases_;
  std::map<std::string_view, States> gotos_;
  std::vector<Return> returns_;
  std::set<std::string> known_outcomes_;
};

// Summaries of a tree's functions, made when asked for.
class Analysis {
 public:
  Analysis(const Tree& tree, const ApiTable& apis) : tree_(tree), apis_(apis) {}
  const Summary& of(const Function& function);
  const Tree& tree() const { return tree_; }
  const ApiTable& apis() const { return apis_; }
  const std::map<const Function*, Summary>& summaries() const { return summaries_; }
  const std::set<std::string>& unknown_externals() const { return unknown_externals_; }
  void note_unknown(std::string_view name) { unknown_externals_.emplace(name); }

 private:
  const Tree& tree_;
  const ApiTable& apis_;
  std::map<const Function*, Summary> summaries_;
  std::set<const Function*> active_;
  std::set<std::string> unknown_externals_;
};

// The words of driver code that the walk knows.
enum class LogLevel : std::uint8_t { none, debug, loud, warning_once };
LogLevel log_level(std::string_view callee);
bool is_errno(std::string_view word);
bool changes_state(std::string_view callee);
bool undoes(std::string_view callee);
bool tidies_up(std::string_view callee);  // its failure has no one to go to
bool named_like_code(std::string_view variable);
bool set_up_by_attach(std::string_view field);  // a domain has it from its first attach on

}  // namespace softiommu::lint
