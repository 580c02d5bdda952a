// SPDX-License-Identifier: BSD-3-Clause
#include "hw/layout.h"

#include <fmt/format.h>

namespace softiommu::hw {

std::string describe_word(std::string_view name, std::span<const Field> fields, std::uint64_t word) {
  std::string out = fmt::format("{} {:#018x}", name, word);
  for (const Field& field : fields) {
    if (const auto value = field.get(word)) out += fmt::format(" {}={:#x}", field.name, value);
    word &= ~field.mask();
  }
  if (word != 0) out += fmt::format(" UNNAMED={:#x}", word);
  return out;
}

}  // namespace softiommu::hw
