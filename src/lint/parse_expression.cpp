// SPDX-License-Identifier: BSD-3-Clause
// Expressions, by precedence climbing.
#include <algorithm>
#include <array>
#include <utility>

#include "lint/parser.h"

namespace softiommu::lint {
namespace {

constexpr std::array<std::pair<std::string_view, int>, 18> kBinary = {{{"||", 1},
                                                                       {"&&", 2},
                                                                       {"|", 3},
                                                                       {"^", 4},
                                                                       {"&", 5},
                                                                       {"==", 6},
                                                                       {"!=", 6},
                                                                       {"<", 7},
                                                                       {">", 7},
                                                                       {"<=", 7},
                                                                       {">=", 7},
                                                                       {"<<", 8},
                                                                       {">>", 8},
                                                                       {"+", 9},
                                                                       {"-", 9},
                                                                       {"*", 10},
                                                                       {"/", 10},
                                                                       {"%", 10}}};
constexpr std::array<std::string_view, 11> kAssign = {
    "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="};
constexpr std::array<std::string_view, 39> kTypeWords = {
    "struct", "union",   "enum",     "const",      "unsigned",    "signed",    "int",   "long",   "short",   "char",
    "void",   "bool",    "volatile", "typeof",     "__typeof__",  "u8",        "u16",   "u32",    "u64",     "s8",
    "s16",    "s32",     "s64",      "__u8",       "__u16",       "__u32",     "__u64", "__le16", "__le32",  "__le64",
    "size_t", "ssize_t", "gfp_t",    "dma_addr_t", "phys_addr_t", "uintptr_t", "float", "double", "atomic_t"};

int precedence_of(const Token& token) {
  if (token.kind != TokenKind::punctuator) return 0;
  for (auto [text, level] : kBinary)
    if (token.text == text) return level;
  return 0;
}

}  // namespace

bool type_word(std::string_view word) {
  return std::find(kTypeWords.begin(), kTypeWords.end(), word) != kTypeWords.end();
}

Node* Parser::expression() {
  const std::size_t first = position_;
  Node* left = assignment();
  while (!failed_ && at(",")) {
    Node* comma = make(Kind::binary, position_++, ",");
    adopt(comma, left);
    adopt(comma, assignment());
    left = finish(comma, first);
  }
  return left;
}

Node* Parser::assignment() {
  const Level level(depth_);
  if (level.exceeded()) return too_deep();
  const std::size_t first = position_;
  Node* left = ternary();
  if (failed_ || peek().kind != TokenKind::punctuator) return left;
  if (std::find(kAssign.begin(), kAssign.end(), peek().text) == kAssign.end()) return left;
  Node* node = take_operator(Kind::assign);
  adopt(node, left);
  adopt(node, at("{") ? initialiser() : assignment());
  return finish(node, first);
}

Node* Parser::ternary() {
  const Level level(depth_);
  if (level.exceeded()) return too_deep();
  const std::size_t first = position_;
  Node* condition = binary(1);
  if (failed_ || !at("?")) return condition;
  Node* node = make(Kind::ternary, position_++, "?");
  adopt(node, condition);
  if (at(":"))
    node->kids.push_back(nullptr);
  else
    adopt(node, expression());
  expect(":");
  adopt(node, ternary());
  return finish(node, first);
}

Node* Parser::binary(int precedence) {
  const std::size_t first = position_;
  Node* left = unary();
  for (int level = precedence_of(peek()); !failed_ && level >= precedence; level = precedence_of(peek())) {
    Node* node = take_operator(Kind::binary);
    adopt(node, left);
    adopt(node, binary(level + 1));
    left = finish(node, first);
  }
  return left;
}

Node* Parser::unary() {
  const Level level(depth_);
  if (level.exceeded()) return too_deep();
  const std::size_t first = position_;
  static constexpr std::array<std::string_view, 9> kPrefix = {"!", "~", "-", "+", "*", "&", "++", "--", "&&"};
  if (peek().kind == TokenKind::punctuator && std::find(kPrefix.begin(), kPrefix.end(), peek().text) != kPrefix.end()) {
    Node* node = take_operator(Kind::unary);
    adopt(node, unary());
    return finish(node, first);
  }
  if (at("sizeof") && peek(1).is("(")) {
    Node* node = make(Kind::opaque, position_, "sizeof");
    position_ = matching(position_ + 1) + 1;
    return finish(node, first);
  }
  if (at("(") && type_in_parentheses()) {
    const std::size_t close = matching(position_);
    Node* node = make(Kind::cast, position_);
    const char* begin = tokens_[position_ + 1].text.data();
    node->type_text = {begin, static_cast<std::size_t>(tokens_[close].text.data() - begin)};
    position_ = close + 1;
    adopt(node, at("{") ? initialiser() : unary());
    return postfix(finish(node, first), first);
  }
  return postfix(primary(), first);
}

bool Parser::type_starts(std::size_t position) const {
  const Token& token = tokens_[std::min(position, tokens_.size() - 1)];
  return token.identifier() && (type_word(token.text) || token.text.ends_with("_t") || token.text == "__force");
}

// A cast: the parentheses hold a type, and an operand (or a compound literal) follows.
bool Parser::type_in_parentheses() const {
  const std::size_t close = matching(position_);
  const Token& behind = tokens_[std::min(close + 1, tokens_.size() - 1)];
  const bool operand = behind.identifier() || behind.kind == TokenKind::number || behind.kind == TokenKind::string ||
                       behind.kind == TokenKind::character || behind.is("(") || behind.is("{") || behind.is("&") ||
                       behind.is("-") || behind.is("~") || behind.is("!") || behind.is("*");
  if (!operand || close <= position_ + 1) return false;
  if (type_starts(position_ + 1)) {
    for (std::size_t i = position_ + 1; i < close; ++i)
      if (!tokens_[i].identifier() && !tokens_[i].is("*") && !tokens_[i].is("(") && !tokens_[i].is(")") &&
          !tokens_[i].is("[") && !tokens_[i].is("]") && tokens_[i].kind != TokenKind::number && !tokens_[i].is("->") &&
          !tokens_[i].is("."))
        return false;
    return !(close == position_ + 2 && !type_word(tokens_[position_ + 1].text) && !behind.identifier());
  }
  // "(name *)x" or "(name)x"
  if (!tokens_[position_ + 1].identifier()) return false;
  bool star = false;
  for (std::size_t i = position_ + 2; i < close; ++i) {
    if (!tokens_[i].is("*")) return false;
    star = true;
  }
  return star || behind.identifier();
}

Node* Parser::primary() {
  const std::size_t first = position_;
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::identifier:
      ++position_;
      if (peek().kind == TokenKind::string) {  // a macro that is a format string
        while (peek().kind == TokenKind::string || peek().identifier()) ++position_;
        return finish(make(Kind::string, first), first);
      }
      return finish(make(Kind::identifier, first, token.text), first);
    case TokenKind::number:
      ++position_;
      return finish(make(Kind::number, first, token.text), first);
    case TokenKind::character:
      ++position_;
      return finish(make(Kind::number, first, token.text), first);
    case TokenKind::string:
      while (peek().kind == TokenKind::string || peek().identifier()) ++position_;
      return finish(make(Kind::string, first, token.text), first);
    default:
      break;
  }
  if (at("(")) return parenthesised();
  failed_ = true;
  return make(Kind::opaque, first);
}

Node* Parser::parenthesised() {
  const std::size_t first = position_++;
  Node* inner = nullptr;
  if (at("{")) {
    inner = make(Kind::statement_expression, first);
    adopt(inner, block());
  } else {
    inner = expression();
  }
  expect(")");
  return finish(inner, first);
}

Node* Parser::postfix(Node* base, std::size_t first) {
  while (!failed_) {
    Node* node = nullptr;
    if (at("(")) {
      node = make(Kind::call, position_++);
      adopt(node, base);
      node->text = base->text;
      arguments(node);
    } else if (at("[")) {
      node = make(Kind::index, position_++);
      adopt(node, base);
      adopt(node, expression());
      expect("]");
    } else if (at(".") || at("->")) {
      ++position_;
      node = make(Kind::member, position_, peek().text);
      adopt(node, base);
      ++position_;
    } else if (at("++") || at("--")) {
      node = take_operator(Kind::postfix);
      adopt(node, base);
    } else {
      break;
    }
    base = finish(node, first);
  }
  return base;
}

Node* Parser::arguments(Node* call) {
  while (!ended() && !at(")")) {
    adopt(call, argument());
    if (!accept(",")) break;
  }
  expect(")");
  return call;
}

// An argument may be a type, an operator or a declaration when the callee is a macro.
Node* Parser::argument() {
  const std::size_t first = position_;
  const bool type = peek().identifier() && (type_word(peek().text) && peek().text != "typeof");
  if (!type && !at(",") && !at(")")) {
    Node* node = at("{") ? initialiser() : assignment();
    if (!failed_ && (at(",") || at(")"))) return node;
    if (too_deep_) return node;
    failed_ = false;
    position_ = first;
  }
  skip_to(",", ")");
  return finish(make(type ? Kind::type : Kind::opaque, first), first);
}

Node* Parser::initialiser() {
  const Level level(depth_);
  if (level.exceeded()) return too_deep();
  const std::size_t first = position_;
  Node* list = make(Kind::init_list, position_++);
  while (!ended() && !at("}") && !failed_) {
    const std::size_t element = position_;
    std::string_view field;
    while (at(".") || at("[")) {
      if (accept(".")) {
        field = peek().text;
        ++position_;
      } else {
        position_ = matching(position_) + 1;
      }
    }
    Node* value = make(Kind::assign, element, field);
    accept("=");
    adopt(value, at("{") ? initialiser() : assignment());
    adopt(list, finish(value, element));
    if (!accept(",")) break;
  }
  if (failed_ || !at("}")) {  // designated by macros: kept as text
    if (too_deep_) return list;
    failed_ = false;
    position_ = matching(first);
  }
  expect("}");
  return finish(list, first);
}

}  // namespace softiommu::lint
