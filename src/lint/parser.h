// SPDX-License-Identifier: BSD-3-Clause
// The tolerant parser behind parse(): statements and expressions of C as drivers write it. A macro is a call, a macro
// followed by a statement is a loop, a type is whatever stands where only a type can stand.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "lint/ast.h"

namespace softiommu::lint {

class Parser {
 public:
  // `match` is match_brackets(tokens).
  Parser(SourceFile& file, const std::vector<Token>& tokens, const std::vector<std::size_t>& match)
      : file_(file), tokens_(tokens), match_(match) {}

  // The body that starts at token `open` ("{"). Returns the block; `next` is the token behind it.
  Node* body(std::size_t open, std::size_t& next, std::vector<Complaint>& complaints);

 private:
  const Token& peek(std::size_t offset = 0) const {
    return tokens_[position_ + offset < tokens_.size() ? position_ + offset : tokens_.size() - 1];
  }
  bool at(std::string_view text) const { return peek().is(text); }
  bool accept(std::string_view text) {
    if (!at(text)) return false;
    ++position_;
    return true;
  }
  bool ended() const { return peek().kind == TokenKind::end; }
  void expect(std::string_view text) {
    if (!accept(text)) failed_ = true;
  }

  Node* make(Kind kind, std::size_t first, std::string_view text = {});
  Node* take_operator(Kind kind) {  // the present token is the operator
    ++position_;
    return make(kind, position_ - 1, tokens_[position_ - 1].text);
  }
  Node* finish(Node* node, std::size_t first);
  void adopt(Node* parent, Node* child);
  std::size_t matching(std::size_t open) const { return match_[std::min(open, match_.size() - 1)]; }
  Node* too_deep();
  void skip_to(std::string_view one, std::string_view other);

  // statements
  Node* statement();
  Node* statement_or_recover();
  Node* block();
  Node* keyword_statement();
  Node* if_statement();
  Node* loop_statement();
  Node* do_statement();
  Node* switch_statement();
  Node* case_statement();
  Node* conditional_directive();
  Node* expression_statement();
  bool starts_declaration() const;
  Node* declaration();
  Node* declarator(std::string_view type, std::size_t first);

  // expressions
  Node* expression();  // with commas
  Node* assignment();
  Node* ternary();
  Node* binary(int precedence);
  Node* unary();
  Node* postfix(Node* base, std::size_t first);
  Node* primary();
  Node* parenthesised();
  Node* arguments(Node* call);
  Node* argument();
  Node* initialiser();
  bool type_in_parentheses() const;
  bool type_starts(std::size_t position) const;

  SourceFile& file_;
  const std::vector<Token>& tokens_;
  const std::vector<std::size_t>& match_;
  std::size_t position_ = 0;
  std::size_t depth_ = 0;  // of the parser's own recursion
  bool failed_ = false;
  bool too_deep_ = false;
  std::vector<Complaint>* complaints_ = nullptr;
};

// Counts one level of the parser's recursion.
class Level {
 public:
  explicit Level(std::size_t& depth) : depth_(depth) { ++depth_; }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
  bool exceeded() const { return depth_ > kDeepest; }

 private:
  static constexpr std::size_t kDeepest = 1000;
  std::size_t& depth_;
};

// Does this word begin a type by itself?
bool type_word(std::string_view word);

}  // namespace softiommu::lint
