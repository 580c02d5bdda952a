// SPDX-License-Identifier: BSD-3-Clause
// What a driver has to keep (docs/contract.md), as rows.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace softiommu::check {

enum class Law : std::uint8_t {
  code,
  incompatible,
  silent,
  fresh,
  old_domain,
  success,
  isolation,
  stale,
  leak,
  again,
  driver,
  probe,
  crash,
};

struct LawRow {
  Law law;
  std::string_view name;  // "old-domain"
  std::string_view says;
};

inline constexpr auto kLaws = std::to_array<LawRow>({
    {Law::code, "code", "the answer is one of the five, and the one that names what failed"},
    {Law::incompatible, "incompatible", "said only where another domain of this machine would do"},
    {Law::silent, "silent", "an incompatible attach logs nothing"},
    {Law::fresh, "fresh", "a domain made for a group fits it"},
    {Law::old_domain, "old-domain", "after a failure every device translates as before"},
    {Law::success, "success", "after a success every id of every device translates through the new domain"},
    {Law::isolation, "isolation", "devices of other groups notice nothing"},
    {Law::stale, "stale", "no translation outlives its mapping or its attach"},
    {Law::leak, "leak", "what fails or is undone gives back memory and ids"},
    {Law::again, "again", "the same question gets the same answer"},
    {Law::driver, "driver", "no answer that the core has to report as a driver's mistake"},
    {Law::probe, "probe", "a failed bring-up leaves nothing behind, and the next one works"},
    {Law::crash, "crash", "the driver neither crashes nor hangs"},
});
inline constexpr std::size_t kLawCount = kLaws.size();

constexpr std::string_view name_of(Law law) { return kLaws[std::to_underlying(law)].name; }

}  // namespace softiommu::check
