// SPDX-License-Identifier: BSD-3-Clause
// A file: its function definitions, and every ops-table entry wherever it stands (initialiser, compound literal,
// macro).
#include <algorithm>
#include <array>
#include <cctype>

#include "lint/parser.h"

namespace softiommu::lint {
namespace {

std::string_view between(const Token& first, const Token& behind_last) {
  const char* begin = first.text.data();
  std::string_view text{begin, static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, behind_last.text.data() - begin))};
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// Words that stand before or behind a function's name with arguments of their own.
bool is_attribute(std::string_view word) {
  constexpr std::array<std::string_view, 12> kWords = {"__attribute__", "__aligned",  "__printf",     "__must_hold",
                                                       "__acquires",    "__releases", "__section",    "__cond_acquires",
                                                       "__scanf",       "__malloc",   "__alloc_size", "typeof"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

class FileReader {
 public:
  FileReader(SourceFile& file, std::vector<Token> tokens)
      : file_(file), tokens_(std::move(tokens)), match_(match_brackets(tokens_)) {}

  void run() {
    std::size_t i = 0, declaration = 0;
    while (i < tokens_.size() && tokens_[i].kind != TokenKind::end) {
      if (tokens_[i].directive() || tokens_[i].is(";")) {
        declaration = ++i;
      } else if (tokens_[i].is("{")) {
        i = braces(declaration, i);
        declaration = i;
      } else if (tokens_[i].is("(") || tokens_[i].is("[")) {
        i = closing(i) + 1;
      } else {
        ++i;
      }
    }
    ops(tokens_);
    for (std::size_t at = 0; at + 3 < tokens_.size(); ++at)
      if (tokens_[at].is("iommu_domain_ops") && tokens_[at + 1].identifier()) macro_table(at + 1);
  }

  void ops(const std::vector<Token>& tokens, std::string_view macro = {}) {
    std::string_view holder = macro;
    int depth = 0;
    for (std::size_t i = 0; i + 3 < tokens.size(); ++i) {
      if (tokens[i].is("{")) ++depth;
      if (tokens[i].is("}")) --depth;
      if (depth == 0 && tokens[i].identifier() && (tokens[i + 1].is("=") || tokens[i + 1].is("[")))
        holder = tokens[i].text;
      if (!(tokens[i].is(".") || tokens[i].is("->")) || !tokens[i + 1].identifier() || !tokens[i + 2].is("=")) continue;
      std::size_t value = i + 3;
      if (tokens[value].is("&")) ++value;
      if (value + 1 < tokens.size() && tokens[value].identifier() && !tokens[value].is("NULL") &&
          (tokens[value + 1].is(",") || tokens[value + 1].is("}") || tokens[value + 1].is(";") ||
           tokens[value + 1].kind == TokenKind::end))
        file_.ops.push_back({tokens[i + 1].text, tokens[value].text, holder, tokens[i].line, &file_});
    }
  }

 private:
  std::size_t closing(std::size_t open) {
    const std::size_t close = match_[open];
    if (tokens_[close].kind == TokenKind::end && !cut_) {
      file_.complaints.push_back({tokens_[open].line, "a bracket does not close: the rest of the file is not read"});
      cut_ = true;
    }
    return close;
  }

  // "name = MACRO" and elements of "name = { ... }" that are a word without a field.
  void macro_table(std::size_t name) {
    std::size_t i = name + 1;
    if (tokens_[i].is("[")) i = match_[i] + 1;
    if (i + 1 >= tokens_.size() || !tokens_[i].is("=")) return;
    ++i;
    if (tokens_[i].identifier() && !tokens_[i].is("NULL"))
      file_.macro_tables.push_back({tokens_[name].text, tokens_[i].text, tokens_[i].line});
    if (!tokens_[i].is("{")) return;
    for (std::size_t at = i + 1; at < match_[i]; ++at) {
      const bool element = tokens_[at - 1].is("{") || tokens_[at - 1].is(",");
      if (element && tokens_[at].identifier())
        file_.macro_tables.push_back({tokens_[name].text, tokens_[at].text, tokens_[at].line});
      if (tokens_[at].is("(") || tokens_[at].is("[")) at = match_[at];
    }
  }

  // The parameter list of the function whose body starts at `open`, or 0.
  std::size_t parameter_list(std::size_t first, std::size_t open) {
    std::size_t list = 0;
    for (std::size_t i = first; i < open; ++i) {
      if (tokens_[i].is("=")) return 0;
      if (!tokens_[i].is("(")) continue;
      if (i > first + 1 && tokens_[i - 1].identifier() && !is_attribute(tokens_[i - 1].text) && list == 0) list = i;
      i = closing(i);
    }
    return list;
  }

  std::size_t braces(std::size_t first, std::size_t open) {
    const std::size_t list = parameter_list(first, open);
    if (list == 0) return closing(open) + 1;
    Function& function = file_.functions.emplace_back();
    function.file = &file_;
    function.name = tokens_[list - 1].text;
    function.line = tokens_[list - 1].line;
    function.result_type = between(tokens_[first], tokens_[list - 1]);
    for (std::size_t i = first; i < list; ++i) function.is_static |= tokens_[i].is("static");
    parameters(function, list);
    std::size_t next = open;
    function.body = Parser(file_, tokens_, match_).body(open, next, function.complaints);
    const std::size_t close = closing(open);
    if (tokens_[close].kind == TokenKind::end) function.complaints.push_back({function.line, "its body does not end"});
    function.last_line = tokens_[close].line;
    return close + 1;
  }

  void parameters(Function& function, std::size_t list) {
    const std::size_t close = closing(list);
    std::size_t first = list + 1, pointer = 0;  // pointer: the name in "(*name)(...)"
    for (std::size_t i = list + 1; i <= close; ++i) {
      if (tokens_[i].is("(") && i != close) {
        if (tokens_[i + 1].is("*") && tokens_[i + 2].identifier()) pointer = i + 2;
        i = closing(i);
      }
      if (!tokens_[i].is(",") && i != close) continue;
      std::size_t name = pointer != 0 ? pointer + 1 : i;
      pointer = 0;
      while (name > first && !(tokens_[name - 1].identifier())) --name;
      if (name > first)
        function.parameters.push_back({between(tokens_[first], tokens_[name - 1]), tokens_[name - 1].text});
      first = i + 1;
    }
  }

  SourceFile& file_;
  std::vector<Token> tokens_;
  std::vector<std::size_t> match_;
  bool cut_ = false;  // the rest of the file stands in a bracket that does not close
};

}  // namespace

void parse(SourceFile& file) {
  Lexed lexed = lex(file.text);
  file.macros = std::move(lexed.macros);
  file.complaints = std::move(lexed.complaints);
  FileReader reader(file, settle_conditionals(lexed.tokens));
  reader.run();
  for (const Macro& macro : file.macros)
    if (macro.body.find("attach_dev") != std::string_view::npos ||
        macro.body.find("set_dev_pasid") != std::string_view::npos)
      reader.ops(lex(macro.body, macro.line).tokens, macro.name);
}

std::string flat_source(const Node& node) {
  std::string out;
  bool space = false, comment = false;
  for (std::size_t i = 0; i < node.source.size(); ++i) {
    const std::string_view two = node.source.substr(i, 2);
    if (comment || two == "/*") {
      comment = two != "*/";
      if (!comment) ++i;
      continue;
    }
    const char c = node.source[i];
    if (std::isspace(static_cast<unsigned char>(c)) || c == '\\') {
      space = !out.empty();
      continue;
    }
    if (space) out += ' ';
    space = false;
    out += c;
  }
  return out;
}

}  // namespace softiommu::lint
