// SPDX-License-Identifier: BSD-3-Clause
// Text inside XML and HTML.
#pragma once

#include <string>
#include <string_view>

namespace softiommu::check {

// Control characters, which XML has not, become spaces.
inline std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return out;
}

}  // namespace softiommu::check
