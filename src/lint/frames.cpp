// SPDX-License-Identifier: BSD-3-Clause
#include "lint/frames.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace softiommu::lint {
namespace {

constexpr std::size_t kDeepest = 24;   // substitutions within one another
constexpr std::size_t kLongest = 600;  // characters of a canonical text

using Names = std::set<std::string>;

bool is_constant_name(std::string_view name) {
  return name.size() > 1 && std::all_of(name.begin(), name.end(), [](char c) {
           return std::isupper(static_cast<unsigned char>(c)) || std::isdigit(static_cast<unsigned char>(c)) ||
                  c == '_';
         });
}

// A mask of several bits overlaps flags of other names.
bool is_mask_name(std::string_view name) {
  return name.find("MASK") != std::string_view::npos || name.find("ALL") != std::string_view::npos ||
         name.find("FLAGS") != std::string_view::npos;
}

bool is_zero_text(std::string_view text) {
  return text == "0" || text == "0x0" || text == "NULL" || text == "false" || text == "0U" || text == "0UL";
}

bool has_parameter(const Function& function, std::string_view name) {
  return std::any_of(function.parameters.begin(), function.parameters.end(),
                     [name](const Parameter& parameter) { return parameter.name == name; });
}

// Everything in a body that gives `name` a value.
struct Definitions {
  bool declared = false;
  bool opaque = false;             // its address is taken, or it is changed by ++, &= and the like
  std::vector<const Node*> nodes;  // assignments and declarations with initialiser
};

void find_definitions(const Node* node, std::string_view name, Definitions& out) {
  if (node == nullptr) return;
  auto is_name = [name](const Node* kid) {
    return kid != nullptr && kid->kind == Kind::identifier && kid->text == name;
  };
  if (node->kind == Kind::declaration && node->text == name) {
    out.declared = true;
    if (!node->kids.empty()) out.nodes.push_back(node);
  }
  if (node->kind == Kind::assign && node->kids.size() == 2 && is_name(node->kids[0])) {
    out.nodes.push_back(node);
    out.opaque |= node->text != "=" && node->text != "|=";
  }
  const bool steps =
      node->kind == Kind::postfix || (node->kind == Kind::unary && (node->text == "++" || node->text == "--"));
  if ((steps || (node->kind == Kind::unary && node->text == "&")) && is_name(node->kid(0))) {
    out.opaque = true;
    out.nodes.push_back(node);
  }
  // "for_each(x, ...)": the iterator gets its value from the macro.
  if (node->kind == Kind::call && node->text.find("for_each") != std::string_view::npos && is_name(node->kid(1)))
    out.opaque = true, out.nodes.push_back(node);
  for (const Node* kid : node->kids) find_definitions(kid, name, out);
}

Definitions definitions_of(const Function& function, std::string_view name) {
  Definitions found;
  find_definitions(function.body, name, found);
  return found;
}

bool within(const Node* node, const char* from, const char* to) {
  return node->source.data() >= from && node->source.data() < to;
}

const Node* condition_around(const Node* node, bool& holds) {
  for (const Node *child = node, *parent = node->parent; parent != nullptr; child = parent, parent = parent->parent)
    if (parent->kind == Kind::if_ && child != parent->kids[0]) {
      holds = child == parent->kids[1];
      return parent->kids[0];
    }
  return nullptr;
}

}  // namespace

bool is_transparent(std::string_view callee) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "likely",       "unlikely",           "READ_ONCE", "data_race",      "WARN_ON",
      "WARN_ON_ONCE", "rcu_access_pointer", "BUG_ON",    "rcu_dereference"};
  return std::find(kNames.begin(), kNames.end(), callee) != kNames.end();
}

const Node* accessor_answer(const Function& function) {
  if (function.body == nullptr || function.body->kids.size() != 1) return nullptr;
  const Node* only = function.body->kids[0];
  return only->kind == Kind::return_ ? only->kid(0) : nullptr;
}

const Node* body_of(const Node* node) {
  while (node->parent != nullptr) node = node->parent;
  return node;
}

std::size_t Frames::depth_of(const Node* node) const {
  const Node* top = body_of(node);
  for (std::size_t depth = 0; depth < sites_.size(); ++depth)
    if (sites_[depth].function->body == top) return depth;
  return sites_.size() - 1;
}

Frames Frames::through(std::size_t depth, const Site& call, const Site& place) const {
  std::vector<Site> sites(sites_.begin(), sites_.begin() + static_cast<std::ptrdiff_t>(depth));
  sites.push_back(call);
  sites.push_back(place);
  return beside(std::move(sites));
}

Frames Frames::beside(std::vector<Site> sites) const {
  Frames other(tree_, std::move(sites));
  other.unlike_count_ = unlike_count_;
  return other;
}

std::string Frames::unlike() const { return "?" + std::to_string(++*unlike_count_); }

// The argument for a parameter of frame `depth`, in the frame above.
const Node* Frames::argument_of(std::string_view parameter, std::size_t depth) const {
  const std::vector<Parameter>& parameters = sites_[depth].function->parameters;
  if (depth == 0) return nullptr;
  const Node* call = sites_[depth - 1].node;
  if (call->kind != Kind::call || call->kids.size() != parameters.size() + 1) return nullptr;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].name == parameter) return call->kids[i + 1];
  return nullptr;
}

std::string Frames::canonical_name(const Node* name, std::size_t depth, const Window& window) const {
  const Function& function = *sites_[depth].function;
  if (window.start != nullptr && name->text == window.variable && body_of(window.start) == function.body)
    return canonical(window.start, depth, {window.shared, window.from, window.to});
  const Definitions known = definitions_of(function, name->text);
  const bool parameter = has_parameter(function, name->text);
  if (!parameter && !known.declared) return std::string(name->text);  // global, or a macro
  if (parameter && known.nodes.empty()) {
    if (const Node* argument = argument_of(name->text, depth)) return canonical(argument, depth - 1, window);
    return std::string(name->text) + "@" + std::string(function.name);
  }
  if (!parameter && known.nodes.size() == 1 && !known.opaque) {
    const Node* value = known.nodes[0]->kids.back();
    if (value->kind != Kind::init_list) return canonical(value, depth, window);
  }
  const bool steady = depth <= window.shared &&
                      std::none_of(known.nodes.begin(), known.nodes.end(),
                                   [&window](const Node* node) { return within(node, window.from, window.to); });
  const std::string text = std::string(name->text) + "@" + std::string(function.name);
  return steady ? text : text + unlike();
}

std::string Frames::canonical_call(const Node* call, std::size_t depth, const Window& window) const {
  if (is_transparent(call->text) && call->kids.size() == 2) return canonical(call->kids[1], depth, window);
  const Function& from = *sites_[depth].function;
  const Function* callee = call->kids[0]->kind == Kind::identifier ? tree_.resolve(call->text, from.file) : nullptr;
  if (callee != nullptr)
    if (const Node* answer = accessor_answer(*callee)) {
      Frames inside = through(depth, {&from, call}, {callee, answer});
      inside.nested_ = nested_;
      return inside.canonical(answer, depth + 1, window);
    }
  std::string text = canonical(call->kids[0], depth, window) + "(";
  for (std::size_t i = 1; i < call->kids.size(); ++i)
    text += (i > 1 ? ", " : "") + canonical(call->kids[i], depth, window);
  return text + ")";
}

std::string Frames::canonical(const Node* expression, std::size_t depth, const Window& window) const {
  struct Nested {
    std::size_t& count;
    explicit Nested(std::size_t& nested) : count(nested) { ++count; }
    ~Nested() { --count; }
  } const nested(nested_);
  if (expression == nullptr || nested_ > kDeepest) return unlike();
  std::string text;
  switch (expression->kind) {
    case Kind::number:
    case Kind::string:
      return std::string(expression->text);
    case Kind::type:
      return flat_source(*expression);
    case Kind::identifier:
      text = canonical_name(expression, depth, window);
      break;
    case Kind::call:
      text = canonical_call(expression, depth, window);
      break;
    case Kind::cast:
      return canonical(expression->kids[0], depth, window);
    case Kind::member:
      text = canonical(expression->kids[0], depth, window) + "->" + std::string(expression->text);
      break;
    case Kind::index:
      text = canonical(expression->kids[0], depth, window) + "[" + canonical(expression->kid(1), depth, window) + "]";
      break;
    case Kind::unary:
      text = std::string(expression->text) + canonical(expression->kids[0], depth, window);
      break;
    case Kind::binary:
      text = "(" + canonical(expression->kids[0], depth, window) + " " + std::string(expression->text) + " " +
             canonical(expression->kid(1), depth, window) + ")";
      break;
    default:
      return unlike();
  }
  return text.size() > kLongest ? unlike() : text;
}

// The flags that a name can hold: those of all its assignments that can happen.
std::optional<Names> Frames::bits_of_name(const Node* name, std::size_t depth) const {
  const Function& function = *sites_[depth].function;
  const Definitions known = definitions_of(function, name->text);
  if (known.opaque) return std::nullopt;
  Names all;
  if (has_parameter(function, name->text)) {
    const Node* argument = argument_of(name->text, depth);
    if (depth == 0) open_ = true;
    const auto passed = argument != nullptr ? bits(argument, depth - 1) : std::nullopt;
    if (!passed) return std::nullopt;
    all = *passed;
  } else if (!known.declared || known.nodes.empty()) {
    return std::nullopt;
  }
  for (const Node* node : known.nodes) {
    bool holds = true;
    if (const Node* condition = condition_around(node, holds))
      if (const auto answer = truth(condition, depth); answer && *answer != holds) continue;
    const auto given = bits(node->kids.back(), depth);
    if (!given) return std::nullopt;
    all.insert(given->begin(), given->end());
  }
  return all;
}

std::optional<Names> Frames::bits(const Node* expression, std::size_t depth) const {
  if (expression == nullptr || nested_ > kDeepest) return std::nullopt;
  switch (expression->kind) {
    case Kind::number:
      return is_zero_text(expression->text) ? Names{} : Names{std::string(expression->text)};
    case Kind::cast:
      return bits(expression->kids[0], depth);
    case Kind::identifier: {
      if (is_zero_text(expression->text)) return Names{};
      if (is_constant_name(expression->text)) return Names{std::string(expression->text)};
      ++nested_;
      auto held = bits_of_name(expression, depth);
      --nested_;
      return held;
    }
    case Kind::call:
      return expression->text == "BIT" ? std::optional(Names{flat_source(*expression)}) : std::nullopt;
    case Kind::binary:
      break;
    default:
      return std::nullopt;
  }
  const auto left = bits(expression->kids[0], depth), right = bits(expression->kid(1), depth);
  if (expression->text == "|") {
    if (!left || !right) return std::nullopt;
    Names both = *left;
    both.insert(right->begin(), right->end());
    return both;
  }
  if (expression->text != "&") return std::nullopt;
  if ((left && left->empty()) || (right && right->empty())) return Names{};
  if (!left || !right) return std::nullopt;
  auto plain = [](const Names& names) {
    return std::none_of(names.begin(), names.end(), [](const std::string& name) {
      return is_mask_name(name) || std::isdigit(static_cast<unsigned char>(name[0]));
    });
  };
  if (!plain(*left) || !plain(*right)) return std::nullopt;
  Names both;
  std::set_intersection(left->begin(), left->end(), right->begin(), right->end(), std::inserter(both, both.end()));
  return both;
}

// The one constant that an expression is, or nothing.
std::string Frames::constant(const Node* expression, std::size_t depth) const {
  if (expression == nullptr || nested_ > kDeepest) return {};
  if (expression->kind == Kind::cast) return constant(expression->kids[0], depth);
  if (is_zero_text(expression->text) && expression->kids.empty()) return "0";
  if (expression->kind == Kind::number) return std::string(expression->text);
  if (expression->kind != Kind::identifier) return {};
  if (is_constant_name(expression->text)) return std::string(expression->text);
  const Function& function = *sites_[depth].function;
  const Definitions known = definitions_of(function, expression->text);
  const Node* meant = nullptr;
  const bool parameter = has_parameter(function, expression->text);
  if (parameter && depth == 0) open_ = true;
  if (parameter && known.nodes.empty()) meant = argument_of(expression->text, depth);
  if (!parameter && known.nodes.size() == 1 && !known.opaque) meant = known.nodes[0]->kids.back();
  ++nested_;
  std::string found = constant(meant, parameter && depth > 0 ? depth - 1 : depth);
  --nested_;
  return found;
}

std::optional<bool> Frames::truth(const Node* condition, std::size_t depth) const {
  if (condition == nullptr || nested_ > kDeepest) return std::nullopt;
  if (condition->kind == Kind::call && is_transparent(condition->text) && condition->kids.size() == 2)
    return truth(condition->kids[1], depth);
  if (condition->kind == Kind::unary && condition->text == "!") {
    const auto inner = truth(condition->kids[0], depth);
    return inner ? std::optional(!*inner) : std::nullopt;
  }
  if (condition->kind == Kind::binary && (condition->text == "&&" || condition->text == "||")) {
    const bool decisive = condition->text == "||";
    const auto left = truth(condition->kids[0], depth), right = truth(condition->kid(1), depth);
    if ((left && *left == decisive) || (right && *right == decisive)) return decisive;
    return left && right ? std::optional(!decisive) : std::nullopt;
  }
  if (condition->kind == Kind::binary && (condition->text == "==" || condition->text == "!=")) {
    const std::string left = constant(condition->kids[0], depth), right = constant(condition->kid(1), depth);
    if (left.empty() || right.empty()) return std::nullopt;
    const bool numbers =
        std::isdigit(static_cast<unsigned char>(left[0])) && std::isdigit(static_cast<unsigned char>(right[0]));
    if (left != right && !numbers) return std::nullopt;  // two names may stand for one value
    return (left == right) == (condition->text == "==");
  }
  if (condition->kind == Kind::number) return !is_zero_text(condition->text);
  const auto held = bits(condition, depth);
  return held && held->empty() ? std::optional(false) : std::nullopt;
}

}  // namespace softiommu::lint
