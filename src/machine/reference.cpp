// SPDX-License-Identifier: BSD-3-Clause
// docs/machine-file.md's list of keys, printed from the tables that the parser checks with.
#include <fmt/format.h>

#include "machine/machine.h"
#include "machine/option_text.h"
#include "machine/spec_keys.h"

namespace softiommu {
namespace {

// A cell of a Markdown table.
std::string cell(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, "\\");
  return text;
}

std::string rows(std::span<const Option> keys) {
  if (keys.empty()) return "\nNo keys of its own.\n";
  std::string text = "\n| key | accepts | default | meaning |\n|---|---|---|---|\n";
  for (const Option& key : keys)
    text +=
        fmt::format("| `{}` | {} | {} | {} |\n", key.key, accepted(key),
                    key.required ? "required" : fmt::format("`{}`", written_fallback(key)), cell(std::string(key.doc)));
  return text;
}

template <class Model>
std::string models(std::span<const Model> table) {
  std::string text;
  for (const Model& model : table)
    text += fmt::format("\n### `model = \"{}\"`\n\n{}\n{}", model.name, model.doc, rows(model.options));
  return text;
}

}  // namespace

std::string machine_file_reference() {
  std::string text;
  const auto section = [&](std::string_view title, std::span<const Option> keys) {
    text += fmt::format("{}## `{}`\n{}", text.empty() ? "" : "\n", title, rows(keys));
  };
  section("[machine]", spec_keys::kMachine);
  section("[memory]", spec_keys::kMemory);
  section("[[iommu]]", spec_keys::kIommu);
  text += models(unit_models());
  section("[[bridge]]", spec_keys::kBridge);
  section("[[device]]", spec_keys::kDevice);
  text += models(device_models());
  section("[[platform_device]]", spec_keys::kPlatformDevice);
  return text;
}

}  // namespace softiommu
