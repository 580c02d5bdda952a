// SPDX-License-Identifier: BSD-3-Clause
#include "lint/api.h"

#include <toml++/toml.h>

#include <cstdio>
#include <optional>

namespace softiommu::lint {

extern const char kExternalApis[];  // made from external_apis.toml

namespace {

std::optional<ApiKind> kind_of(std::string_view name) {
  if (name == "code") return ApiKind::code;
  if (name == "count") return ApiKind::count;
  if (name == "firmware") return ApiKind::firmware;
  if (name == "pointer") return ApiKind::pointer;
  if (name == "error_pointer") return ApiKind::error_pointer;
  if (name == "value") return ApiKind::value;
  return std::nullopt;
}

}  // namespace

const ApiTable& ApiTable::built_in() {
  static const ApiTable table = [] {
    ApiTable made;
    std::string why;
    if (!made.parse(kExternalApis, why)) std::fprintf(stderr, "external_apis.toml: %s\n", why.c_str());
    return made;
  }();
  return table;
}

bool ApiTable::parse(std::string_view text, std::string& why) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    why = std::string(parsed.error().description());
    return false;
  }
  const toml::array* rows = parsed.table()["api"].as_array();
  if (rows == nullptr) {
    why = "no [[api]] rows";
    return false;
  }
  for (const toml::node& row : *rows) {
    const toml::table& fields = *row.as_table();
    Api api;
    const auto kind = kind_of(fields["kind"].value_or(""));
    api.why = fields["why"].value_or("");
    api.source = fields["source"].value_or("");
    api.allocates_id = fields["allocates_id"].value_or(false);
    api.optional_feature = fields["optional_feature"].value_or(false);
    if (const toml::array* errors = fields["errors"].as_array())
      for (const toml::node& error : *errors) api.errors.emplace_back(error.value_or(""));
    const toml::array* names = fields["names"].as_array();
    if (!kind || names == nullptr || api.source.empty()) {
      why = "line " + std::to_string(row.source().begin.line) + ": an api needs names, a kind and a source";
      return false;
    }
    api.kind = *kind;
    for (const toml::node& name : *names) {
      api.name = name.value_or("");
      rows_[api.name] = api;
    }
  }
  return true;
}

const Api* ApiTable::find(std::string_view name) const {
  const auto found = rows_.find(std::string(name));
  return found == rows_.end() ? nullptr : &found->second;
}

}  // namespace softiommu::lint
