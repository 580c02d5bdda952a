// SPDX-License-Identifier: BSD-3-Clause
// What the parser makes of a C file: one node type for expressions and statements, and the functions of the file.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "lint/lexer.h"

namespace softiommu::lint {

enum class Kind : std::uint8_t {
  // expressions; `text` is the operator, name or literal
  identifier,
  number,
  string,
  call,
  member,
  index,
  unary,
  postfix,
  binary,
  assign,
  ternary,
  cast,
  type,
  init_list,
  statement_expression,
  opaque,
  // statements
  block,
  expression,
  declaration,
  if_,
  config_if,
  loop,
  do_loop,
  switch_,
  case_,
  label,
  goto_,
  return_,
  break_,
  continue_,
  scoped,
  empty,
};

// Children by kind: call = callee, arguments...; member = base; binary, assign = left, right; ternary = condition, then
// (or null for ?:), else; declaration = initialiser (or none), text the name, type_text the type; if_ = condition,
// then, else?; loop, switch_, scoped = head..., body last; config_if = branches, text "else" when one of them is always
// taken.
struct Node {
  Kind kind = Kind::opaque;
  std::string_view text;
  std::string_view type_text;  // declarations: the type; casts: the target type
  std::string_view source;     // as written
  std::uint32_t line = 0;
  std::uint32_t height = 0;  // of the tree below: the parser bounds it, since everybody else walks it by recursion
  std::vector<Node*> kids;
  Node* parent = nullptr;

  const Node* kid(std::size_t i) const { return i < kids.size() ? kids[i] : nullptr; }
};

struct Parameter {
  std::string_view type;
  std::string_view name;
};

struct SourceFile;

struct Function {
  std::string_view name;
  std::string_view result_type;
  std::vector<Parameter> parameters;
  std::uint32_t line = 0, last_line = 0;
  bool is_static = false;
  Node* body = nullptr;
  const SourceFile* file = nullptr;
  std::vector<Complaint> complaints;  // statements that were not understood
};

// `.field = function` or `x->field = function`.
struct OpsEntry {
  std::string_view field;
  std::string_view function;
  std::string_view holder;  // the variable or macro that holds it
  std::uint32_t line = 0;
  const SourceFile* file = nullptr;
};

// A table of domain operations, or a part of one, that a macro fills: "= MACRO" or "{ MACRO(f), ...".
struct MacroTable {
  std::string_view name;
  std::string_view macro;
  std::uint32_t line = 0;
};

struct SourceFile {
  std::string path;  // relative to the tree
  std::string text;
  std::vector<Macro> macros;
  std::deque<Node> nodes;
  std::deque<Function> functions;
  std::vector<OpsEntry> ops;
  std::vector<MacroTable> macro_tables;
  std::vector<Complaint> complaints;
};

// Reads the file's text; never fails as a whole: what is not understood becomes a complaint.
void parse(SourceFile& file);

// The source of a node on one line.
std::string flat_source(const Node& node);

}  // namespace softiommu::lint
