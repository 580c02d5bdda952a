// SPDX-License-Identifier: BSD-3-Clause
// The registers of "test-flat": a page of controls, rows for streams, then one page-aligned window per context.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::testing::flat {

inline constexpr std::uint64_t kCapabilityOffset = 0x00;
inline constexpr std::uint64_t kFaultsOffset = 0x08;      // accesses that were refused
inline constexpr std::uint64_t kInvalidateOffset = 0x10;  // any write: later accesses see all earlier writes
inline constexpr unsigned kStreamRows = 64;
inline constexpr std::uint64_t kMostPages = 256, kMostContexts = 8;

constexpr std::uint64_t stream_row(unsigned row) { return 0x1000 + 8 * row; }
constexpr std::uint64_t window_entry(unsigned context, std::uint64_t page) {
  return 0x10000 + (context * kMostPages + page) * 8;
}
inline constexpr std::uint64_t kRegisterBytes = window_entry(kMostContexts, 0);

// clang-format off
inline constexpr hw::Layout kCapability{"flat.capability", "tests/contract", {
    {"PAGES",    15, 0,  "entries of a window: the aperture"},
    {"CONTEXTS", 23, 16, "windows"},
}};
inline constexpr hw::Layout kStreamRow{"flat.stream", "tests/contract", {
    {"VALID",   0,  0,  "streams without a valid row are refused"},
    {"BYPASS",  1,  1,  "not translated"},
    {"CONTEXT", 15, 8,  "its window"},
    {"STREAM",  47, 16, "whose row this is"},
}};
inline constexpr hw::Layout kEntry{"flat.entry", "tests/contract", {
    {"R",    0,  0,  "may be read"},
    {"W",    1,  1,  "may be written"},
    {"ADDR", 51, 12, "the page"},
}};

// clang-format on

}  // namespace softiommu::testing::flat
