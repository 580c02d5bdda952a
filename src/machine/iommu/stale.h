// SPDX-License-Identifier: BSD-3-Clause
// Paranoid mode: what a translation cache says against what the tables say now.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>

#include "machine/iommu/walk/walk.h"

namespace softiommu {

// nullopt: they agree. Else the sentence, from the address on. A page of no rights is one that the cache knows to be
// not present.
inline std::optional<std::string> contradiction(Iova iova, const Translation& cached, const walk::Outcome& now) {
  const auto place = [&](PhysAddr page, unsigned lg2) {
    return page.value + (iova.value & ((std::uint64_t{1} << lg2) - 1));
  };
  const bool cached_present = cached.read || cached.write;
  if (!now && !cached_present) return std::nullopt;
  const std::string before =
      cached_present ? fmt::format("{:#x}", place(cached.page, cached.page_lg2)) : std::string("not present");
  const std::string after = now ? fmt::format("{:#x}", place(now->first, now->lg2)) : std::string("not present");
  const bool same_rights = now && now->read == cached.read && now->write == cached.write;
  if (before == after && same_rights) return std::nullopt;
  return fmt::format("iova {:#x}: the cache says {} but the tables say {}{}", iova.value, before, after,
                     before == after ? ", with other rights" : "");
}

}  // namespace softiommu
