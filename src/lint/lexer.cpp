// SPDX-License-Identifier: BSD-3-Clause
#include "lint/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace softiommu::lint {
namespace {

constexpr std::array<std::string_view, 22> kPunctuators = {"<<=", ">>=", "...", "->", "++", "--", "<<", ">>",
                                                           "<=",  ">=",  "==",  "!=", "&&", "||", "+=", "-=",
                                                           "*=",  "/=",  "%=",  "&=", "|=", "^="};

bool starts_identifier(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool continues_identifier(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

class Lexer {
 public:
  Lexer(std::string_view source, std::uint32_t line) : source_(source), line_(line) {}

  Lexed run() {
    while (position_ < source_.size()) step();
    add(TokenKind::end, source_.substr(source_.size()));
    return std::move(out_);
  }

 private:
  char at(std::size_t offset = 0) const {
    return position_ + offset < source_.size() ? source_[position_ + offset] : '\0';
  }
  void add(TokenKind kind, std::string_view text) { out_.tokens.push_back({kind, text, line_}); }

  void step() {
    const char c = at();
    if (c == '\n') {
      ++line_, ++position_, line_start_ = true;
      return;
    }
    if (c == '\\' && at(1) == '\n') {
      ++line_, position_ += 2;
      return;
    }
    if (std::isspace(static_cast<unsigned char>(c)) || c == '\\') {
      ++position_;
      return;
    }
    if (c == '/' && (at(1) == '*' || at(1) == '/')) return skip_comment();
    if (c == '#' && line_start_) return directive();
    line_start_ = false;
    if (c == '"' || c == '\'') return quoted(c);
    if (starts_identifier(c)) return word(TokenKind::identifier);
    if (std::isdigit(static_cast<unsigned char>(c))) return word(TokenKind::number);
    punctuator();
  }

  void skip_comment() {
    if (at(1) == '/') {
      position_ = std::min(source_.find('\n', position_), source_.size());
      return;
    }
    const std::size_t end = source_.find("*/", position_ + 2);
    if (end == std::string_view::npos) out_.complaints.push_back({line_, "a comment does not end"});
    const std::size_t stop = end == std::string_view::npos ? source_.size() : end + 2;
    line_ += static_cast<std::uint32_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                                   source_.begin() + static_cast<std::ptrdiff_t>(stop), '\n'));
    position_ = stop;
  }

  void quoted(char quote) {
    const std::size_t begin = position_++;
    while (position_ < source_.size() && at() != quote && at() != '\n') position_ += at() == '\\' ? 2 : 1;
    if (at() != quote) out_.complaints.push_back({line_, "a string or character does not end on its line"});
    position_ = std::min(position_ + 1, source_.size());
    add(quote == '"' ? TokenKind::string : TokenKind::character, source_.substr(begin, position_ - begin));
  }

  void word(TokenKind kind) {
    const std::size_t begin = position_;
    while (continues_identifier(at()) || (kind == TokenKind::number && at() == '.')) ++position_;
    add(kind, source_.substr(begin, position_ - begin));
  }

  void punctuator() {
    std::size_t length = 1;
    for (std::string_view candidate : kPunctuators)
      if (source_.substr(position_, candidate.size()) == candidate) {
        length = candidate.size();
        break;
      }
    add(TokenKind::punctuator, source_.substr(position_, length));
    position_ += length;
  }

  // The whole logical line, continuations included.
  std::string_view logical_line() {
    const std::size_t begin = position_;
    while (position_ < source_.size() && at() != '\n') {
      if (at() == '\\' && at(1) == '\n') ++line_, ++position_;
      if (at() == '/' && at(1) == '*') {
        skip_comment();
        continue;
      }
      ++position_;
    }
    return source_.substr(begin, position_ - begin);
  }

  void directive() {
    const std::uint32_t line = line_;
    std::string_view text = logical_line();
    std::size_t i = 1;
    while (i < text.size() && std::isspace(static_cast<unsigned char>(text[i]))) ++i;
    std::size_t j = i;
    while (j < text.size() && continues_identifier(text[j])) ++j;
    const std::string_view name = text.substr(i, j - i);
    if (name == "define") return define(text.substr(j), line);
    const TokenKind kind = name.starts_with("if")   ? TokenKind::pp_if
                           : name.starts_with("el") ? TokenKind::pp_else
                           : name == "endif"        ? TokenKind::pp_endif
                                                    : TokenKind::end;
    if (kind != TokenKind::end) out_.tokens.push_back({kind, text, line});
  }

  void define(std::string_view rest, std::uint32_t line) {
    std::size_t i = 0;
    while (i < rest.size() && std::isspace(static_cast<unsigned char>(rest[i]))) ++i;
    std::size_t j = i;
    while (j < rest.size() && continues_identifier(rest[j])) ++j;
    out_.macros.push_back({rest.substr(i, j - i), rest.substr(j), line});
  }

  std::string_view source_;
  std::size_t position_ = 0;
  std::uint32_t line_;
  bool line_start_ = true;
  Lexed out_;
};

// Deeper ones stay as they are: each is looked at once for every level around it.
constexpr std::size_t kDeepestConditional = 64;

// One #if .. #endif: where its directives stand.
struct Conditional {
  std::vector<std::size_t> marks;  // pp_if, pp_else..., pp_endif
};

std::vector<Conditional> find_conditionals(const std::vector<Token>& tokens) {
  std::vector<Conditional> found, open;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind == TokenKind::pp_if) open.push_back({{i}});
    if (open.empty()) continue;
    if (tokens[i].kind == TokenKind::pp_else) open.back().marks.push_back(i);
    if (tokens[i].kind == TokenKind::pp_endif) {
      open.back().marks.push_back(i);
      if (open.size() <= kDeepestConditional) found.push_back(std::move(open.back()));
      open.pop_back();
    }
  }
  return found;
}

bool whole_statements(const std::vector<Token>& tokens, std::size_t begin, std::size_t end) {
  int depth = 0;
  const Token* last = nullptr;
  for (std::size_t i = begin; i < end; ++i) {
    if (tokens[i].directive()) continue;
    if (last == nullptr && tokens[i].is("else")) return false;
    last = &tokens[i];
    if (last->is("{") || last->is("(") || last->is("[")) ++depth;
    if (last->is("}") || last->is(")") || last->is("]")) --depth;
    if (depth < 0) return false;
  }
  return depth == 0 && (last == nullptr || last->is(";") || last->is("}"));
}

bool statement_may_start(const std::vector<Token>& tokens, std::size_t mark) {
  if (mark == 0) return true;
  const Token& before = tokens[mark - 1];
  return before.directive() || before.is(";") || before.is("{") || before.is("}") || before.is(":");
}

bool excluded(const Token& directive) {
  const std::size_t end = directive.text.find_last_not_of(" \t");
  return directive.text.find(" 0") != std::string_view::npos && end != std::string_view::npos &&
         directive.text.substr(end - 1, 2) == " 0";
}

}  // namespace

Lexed lex(std::string_view source, std::uint32_t first_line) { return Lexer(source, first_line).run(); }

std::vector<std::size_t> match_brackets(const std::vector<Token>& tokens) {
  std::vector<std::size_t> match(tokens.size(), tokens.empty() ? 0 : tokens.size() - 1), open;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].is("(") || tokens[i].is("{") || tokens[i].is("[")) open.push_back(i);
    if (open.empty() || !(tokens[i].is(")") || tokens[i].is("}") || tokens[i].is("]"))) continue;
    match[open.back()] = i;
    open.pop_back();
  }
  return match;
}

std::vector<Token> settle_conditionals(const std::vector<Token>& tokens) {
  std::vector<bool> drop(tokens.size(), false);
  for (const Conditional& conditional : find_conditionals(tokens)) {
    const auto& marks = conditional.marks;
    bool keep = statement_may_start(tokens, marks.front()) && !excluded(tokens[marks.front()]);
    for (std::size_t b = 0; keep && b + 1 < marks.size(); ++b)
      keep = whole_statements(tokens, marks[b] + 1, marks[b + 1]);
    if (keep) continue;
    bool taken = false;
    for (std::size_t b = 0; b + 1 < marks.size(); ++b) {
      drop[marks[b]] = true;
      const bool take = !taken && marks[b + 1] > marks[b] + 1 && !excluded(tokens[marks[b]]);
      taken = taken || take;
      if (!take)
        std::fill(drop.begin() + static_cast<std::ptrdiff_t>(marks[b]),
                  drop.begin() + static_cast<std::ptrdiff_t>(marks[b + 1]), true);
    }
    drop[marks.back()] = true;
  }
  std::vector<Token> settled;
  settled.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (!drop[i]) settled.push_back(tokens[i]);
  return settled;
}

}  // namespace softiommu::lint
