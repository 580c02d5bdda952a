// SPDX-License-Identifier: BSD-3-Clause
// Statements. A statement that is not understood is skipped to its end, kept as opaque and complained about.
#include <algorithm>
#include <array>

#include "lint/parser.h"

namespace softiommu::lint {
namespace {

constexpr std::uint32_t kHighest = 256;  // some twenty levels are the most that drivers have
constexpr std::size_t kMostKinds = 16;
constexpr std::array<std::string_view, kMostKinds> kNotTypes = {
    "return", "goto", "else", "case",   "default", "break", "continue", "if",
    "while",  "for",  "do",   "switch", "sizeof",  "asm",   "__asm__",  "fallthrough"};

bool names_no_type(std::string_view word) {
  return std::find(kNotTypes.begin(), kNotTypes.end(), word) != kNotTypes.end();
}

}  // namespace

Node* Parser::make(Kind kind, std::size_t first, std::string_view text) {
  Node& node = file_.nodes.emplace_back();
  node.kind = kind;
  node.text = text;
  node.line = tokens_[std::min(first, tokens_.size() - 1)].line;
  return &node;
}

Node* Parser::finish(Node* node, std::size_t first) {
  const std::size_t last = position_ > first ? position_ - 1 : first;
  const char* begin = tokens_[first].text.data();
  const char* end = tokens_[last].text.data() + tokens_[last].text.size();
  node->source = {begin, static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, end - begin))};
  node->line = tokens_[first].line;
  return node;
}

void Parser::adopt(Node* parent, Node* child) {
  parent->kids.push_back(child);
  child->parent = parent;
  parent->height = std::max(parent->height, child->height + 1);
  if (parent->height > kHighest) failed_ = too_deep_ = true;
}

Node* Parser::too_deep() {
  failed_ = too_deep_ = true;
  return make(Kind::opaque, position_);
}

// To the next `one` or `other` that is not inside brackets.
void Parser::skip_to(std::string_view one, std::string_view other) {
  while (!ended() && !at(one) && !at(other) && !at("}")) {
    if (at("(") || at("{") || at("[")) position_ = matching(position_);
    ++position_;
  }
}

Node* Parser::body(std::size_t open, std::size_t& next, std::vector<Complaint>& complaints) {
  position_ = open;
  complaints_ = &complaints;
  failed_ = false;
  Node* result = block();
  next = std::max(position_, matching(open) + 1);
  return result;
}

Node* Parser::block() {
  const std::size_t first = position_;
  Node* node = make(Kind::block, position_++);
  while (!ended() && !at("}")) adopt(node, statement_or_recover());
  expect("}");
  return finish(node, first);
}

Node* Parser::statement_or_recover() {
  const std::size_t first = position_;
  Node* node = statement();
  if (!failed_) return node;
  complaints_->push_back({tokens_[first].line, too_deep_ ? "nested too deeply" : "statement not understood"});
  failed_ = too_deep_ = false;
  position_ = first;
  skip_to(";", "}");
  accept(";");
  if (position_ == first) ++position_;
  return finish(make(Kind::opaque, first), first);
}

Node* Parser::statement() {
  const Level level(depth_);
  if (level.exceeded()) return too_deep();
  const std::size_t first = position_;
  if (at("{")) return block();
  if (accept(";")) return finish(make(Kind::empty, first), first);
  if (peek().directive()) return conditional_directive();
  if (peek().identifier()) {
    if (Node* node = keyword_statement()) return finish(node, first);
    if (peek(1).is(":") && !peek(2).is(":")) {
      Node* label = make(Kind::label, first, peek().text);
      position_ += 2;
      return finish(label, first);
    }
    if (starts_declaration()) return declaration();
  }
  return expression_statement();
}

// A directive without its partner (its conditional was read another way) is nothing.
Node* Parser::conditional_directive() {
  const std::size_t first = position_;
  if (peek().kind != TokenKind::pp_if) {
    ++position_;
    return make(Kind::empty, first);
  }
  Node* node = make(Kind::config_if, position_++);
  Node* branch = make(Kind::block, position_);
  while (!ended() && !at("}")) {
    if (peek().kind == TokenKind::pp_endif) break;
    if (peek().kind == TokenKind::pp_else) {
      if (peek().text.find("else") != std::string_view::npos) node->text = "else";
      adopt(node, branch);
      branch = make(Kind::block, ++position_);
      continue;
    }
    adopt(branch, statement_or_recover());
  }
  adopt(node, branch);
  if (peek().kind == TokenKind::pp_endif) ++position_;
  return finish(node, first);
}

Node* Parser::keyword_statement() {
  const std::size_t first = position_;
  const std::string_view word = peek().text;
  if (word == "if") return if_statement();
  if (word == "while" || word == "for") return loop_statement();
  if (word == "do") return do_statement();
  if (word == "switch") return switch_statement();
  if (word == "case" || word == "default") return case_statement();
  if (word == "return") {
    Node* node = make(Kind::return_, position_++);
    if (!at(";")) adopt(node, expression());
    expect(";");
    return node;
  }
  if (word == "goto") {
    Node* node = make(Kind::goto_, first, peek(1).text);
    position_ += 2;
    expect(";");
    return node;
  }
  if (word == "break" || word == "continue") {
    Node* node = make(word == "break" ? Kind::break_ : Kind::continue_, position_++);
    expect(";");
    return node;
  }
  if (word == "asm" || word == "__asm__" || word == "fallthrough") {
    skip_to(";", ";");
    expect(";");
    return make(Kind::empty, first);
  }
  return nullptr;
}

Node* Parser::if_statement() {
  Node* node = make(Kind::if_, position_++);
  expect("(");
  adopt(node, expression());
  expect(")");
  if (failed_) return node;
  adopt(node, statement_or_recover());
  if (accept("else")) adopt(node, statement_or_recover());
  return node;
}

Node* Parser::loop_statement() {
  const bool is_for = at("for");
  Node* node = make(Kind::loop, position_++, is_for ? "for" : "while");
  if (!is_for) {
    expect("(");
    adopt(node, expression());
    expect(")");
  } else {
    const std::size_t close = matching(position_);
    expect("(");
    if (starts_declaration()) {
      adopt(node, declaration());
    } else {
      if (!at(";")) adopt(node, expression());
      expect(";");
    }
    if (!at(";")) adopt(node, expression());
    expect(";");
    if (!at(")")) adopt(node, expression());
    if (position_ != close) failed_ = true;
    expect(")");
  }
  if (!failed_) adopt(node, statement_or_recover());
  return node;
}

Node* Parser::do_statement() {
  Node* node = make(Kind::do_loop, position_++);
  Node* inner = statement_or_recover();
  expect("while");
  expect("(");
  adopt(node, expression());
  expect(")");
  expect(";");
  adopt(node, inner);
  return node;
}

Node* Parser::switch_statement() {
  Node* node = make(Kind::switch_, position_++);
  expect("(");
  adopt(node, expression());
  expect(")");
  if (!failed_) adopt(node, statement_or_recover());
  return node;
}

Node* Parser::case_statement() {
  Node* node = make(Kind::case_, position_, peek().text);
  ++position_;
  while (!ended() && !at(":")) {
    if (at("?")) failed_ = true;
    ++position_;
  }
  expect(":");
  return node;
}

Node* Parser::expression_statement() {
  const std::size_t first = position_;
  Node* inner = expression();
  if (!failed_ && accept(";")) {
    Node* node = make(Kind::expression, first);
    adopt(node, inner);
    return finish(node, first);
  }
  // "macro(...) statement": an iterator, or a guard that holds for the statement.
  if (!failed_ && inner->kind == Kind::call) {
    const bool guard = inner->text.find("guard") != std::string_view::npos;
    const bool declares = !guard && inner->text.find("for_each") == std::string_view::npos && at("}");
    Node* node = make(guard ? Kind::scoped : declares ? Kind::expression : Kind::loop, first, inner->text);
    adopt(node, inner);
    if (!declares) adopt(node, statement_or_recover());
    return finish(node, first);
  }
  failed_ = true;
  return inner;
}

bool Parser::starts_declaration() const {
  if (!peek().identifier() || names_no_type(peek().text)) return false;
  if (peek().is("static") || peek().is("register") || peek().is("extern") || peek().is("__auto_type")) return true;
  if (type_word(peek().text)) return true;
  if (peek(1).identifier()) return true;
  std::size_t i = 1;
  while (peek(i).is("*")) ++i;
  if (i == 1 || !peek(i).identifier()) return false;
  const Token& behind = peek(i + 1);
  return behind.is("=") || behind.is(";") || behind.is(",") || behind.is("[") || behind.text.starts_with("__");
}

Node* Parser::declaration() {
  const std::size_t first = position_;
  // The type: everything up to the last word before a declarator's end.
  std::size_t name = position_;
  while (!ended()) {
    if (at("{")) {
      position_ = matching(position_) + 1;
    } else if ((at("typeof") || at("__typeof__") || at("__free") || at("__aligned") || at("__attribute__")) &&
               peek(1).is("(")) {
      position_ = matching(position_ + 1) + 1;
    } else if (peek().identifier()) {
      if (!peek().text.starts_with("__") || !peek(1).identifier()) name = position_;
      ++position_;
    } else if (at("*")) {
      ++position_;
    } else {
      break;
    }
  }
  const char* begin = tokens_[first].text.data();
  const std::string_view type{begin, static_cast<std::size_t>(tokens_[name].text.data() - begin)};
  if (at("(")) {  // a function pointer, or a prototype
    skip_to(";", ";");
    accept(";");
    return finish(make(Kind::declaration, first), first);
  }
  Node* all = make(Kind::block, first);
  while (!failed_) {
    const std::size_t here = position_;
    position_ = name;
    adopt(all, declarator(type, first));
    if (position_ < here) position_ = here;
    if (!accept(",")) break;
    while (at("*") || at("const") || (peek().text.starts_with("__") && peek(1).is("*"))) ++position_;
    name = position_;
  }
  expect(";");
  return all->kids.size() == 1 ? finish(all->kids[0], first) : finish(all, first);
}

Node* Parser::declarator(std::string_view type, std::size_t first) {
  Node* node = make(Kind::declaration, first, peek().text);
  node->type_text = type;
  if (!peek().identifier()) failed_ = true;
  ++position_;
  while (at("[") || peek().identifier() || at(":") || (at("(") && tokens_[position_ - 1].text.starts_with("__"))) {
    if (at("[") || at("("))
      position_ = matching(position_) + 1;
    else
      ++position_;
    if (peek().kind == TokenKind::number) ++position_;
  }
  if (accept("=")) adopt(node, at("{") ? initialiser() : assignment());
  return finish(node, position_ > first ? first : position_);
}

}  // namespace softiommu::lint
