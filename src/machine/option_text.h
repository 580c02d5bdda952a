// SPDX-License-Identifier: BSD-3-Clause
// Options as people read and write them: sizes, choices, lists, default values, the nearest valid word.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "machine/options.h"

namespace softiommu {

std::string size_text(std::uint64_t bytes);                      // 2097152 -> "2M"
std::optional<std::uint64_t> parse_size(std::string_view text);  // "2M", "2MiB", "4096"; nullopt: not a size
std::vector<std::string_view> choices_of(const Option& option);

// What the key accepts, in words: "0 to 63", "true or false", "one of root-port, pcie-to-pci".
std::string accepted(const Option& option);
// As it would be written in a machine file: `true`, `"8G"`, `[39, 48]`, `"root-port"`.
std::string written(const Option& option, std::uint64_t value);
std::string written(const Option& option, const Options& values);
std::string written_fallback(const Option& option);

// The candidate that `word` was probably meant to be; empty: none is near.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);
// "; did you mean "x"?" or "; there is a, b, c".
std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace softiommu
