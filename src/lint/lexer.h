// SPDX-License-Identifier: BSD-3-Clause
// Unpreprocessed C as tokens. Directives do not disappear: #if, #else and #endif stay as tokens where both branches can
// be read as statements, and #define bodies are kept, because drivers build ops tables in macros.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace softiommu::lint {

enum class TokenKind : std::uint8_t {
  identifier,
  number,
  string,
  character,
  punctuator,
  pp_if,
  pp_else,
  pp_endif,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;
  std::uint32_t line = 0;

  bool is(std::string_view wanted) const { return text == wanted && kind != TokenKind::string; }
  bool identifier() const { return kind == TokenKind::identifier; }
  bool directive() const {
    return kind == TokenKind::pp_if || kind == TokenKind::pp_else || kind == TokenKind::pp_endif;
  }
};

struct Macro {
  std::string_view name;
  std::string_view body;
  std::uint32_t line = 0;
};

// A place that could not be read; the rest of the file still is.
struct Complaint {
  std::uint32_t line = 0;
  std::string what;
};

struct Lexed {
  std::vector<Token> tokens;  // ends with one `end`
  std::vector<Macro> macros;
  std::vector<Complaint> complaints;
};

// Views point into `source`, which must outlive the result.
Lexed lex(std::string_view source, std::uint32_t first_line = 1);

// For each opening bracket the token that closes it; for an unclosed one, and every other token, the last token.
std::vector<std::size_t> match_brackets(const std::vector<Token>& tokens);

// Keeps a conditional where each branch is whole statements; elsewhere only its first branch that is not `#if 0`.
std::vector<Token> settle_conditionals(const std::vector<Token>& tokens);

}  // namespace softiommu::lint
