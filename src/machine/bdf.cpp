// SPDX-License-Identifier: BSD-3-Clause
// The textual form of a PCI address, as sysfs and lspci write it.
#include <fmt/format.h>

#include <charconv>

#include "machine/pci_function.h"

namespace softiommu {
namespace {

constexpr unsigned kLastDevice = 0x1f, kLastFunction = 7;

// Takes exactly `digits` hexadecimal digits and, if `end` is not 0, that character after them.
template <class T>
bool take_hex(std::string_view& text, std::size_t digits, char end, T& value) {
  if (text.size() < digits + (end ? 1 : 0)) return false;
  const char* const first = text.data();
  const auto [stop, error] = std::from_chars(first, first + digits, value, 16);
  if (error != std::errc{} || stop != first + digits) return false;
  if (end && text[digits] != end) return false;
  text.remove_prefix(digits + (end ? 1 : 0));
  return true;
}

}  // namespace

std::string Bdf::text() const { return fmt::format("{:04x}:{:02x}:{:02x}.{}", segment, bus, device, function); }

std::optional<Bdf> Bdf::parse(std::string_view text) {
  constexpr std::string_view kShort = "00:00.0";
  Bdf bdf;
  if (text.size() > kShort.size() && !take_hex(text, 4, ':', bdf.segment)) return std::nullopt;
  if (!take_hex(text, 2, ':', bdf.bus) || !take_hex(text, 2, '.', bdf.device) || !take_hex(text, 1, 0, bdf.function))
    return std::nullopt;
  if (!text.empty() || bdf.device > kLastDevice || bdf.function > kLastFunction) return std::nullopt;
  return bdf;
}

}  // namespace softiommu
