// SPDX-License-Identifier: BSD-3-Clause
// One table per hardware word: encode, decode, print and document all read it.
//
// A misspelt field name, an overlap or an upside-down range does not compile. Long entries are arrays of
// layouts, one per 64-bit word. Registers add an offset, a width, an access and a reset value.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace softiommu::hw {

struct Field {
  std::string_view name;
  unsigned hi = 0, lo = 0;  // inclusive, in the order specifications print them
  std::string_view doc;

  constexpr std::uint64_t max() const { return ~std::uint64_t{0} >> (63 - (hi - lo)); }
  constexpr std::uint64_t mask() const { return max() << lo; }
  constexpr std::uint64_t get(std::uint64_t word) const { return (word & mask()) >> lo; }
  constexpr bool is_set(std::uint64_t word) const { return (word & mask()) != 0; }
  constexpr std::uint64_t put(std::uint64_t value) const {
    assert(value <= max());
    return value << lo;
  }
  // `word` with this field replaced.
  constexpr std::uint64_t set(std::uint64_t word, std::uint64_t value) const { return (word & ~mask()) | put(value); }
  // The field's bits of `word` where they stand (an address field keeps its place value).
  constexpr std::uint64_t in_place(std::uint64_t word) const { return word & mask(); }
};

inline void layout_error(const char* /*what*/) {}  // not constexpr: reaching it stops the build

std::string describe_word(std::string_view name, std::span<const Field> fields, std::uint64_t word);

template <std::size_t N>
struct Layout {
  std::string_view name, spec;
  std::array<Field, N> fields{};

  consteval Layout(std::string_view layout_name, std::string_view specification, const Field (&rows)[N])
      : name(layout_name), spec(specification) {
    std::uint64_t used = 0;
    for (std::size_t i = 0; i < N; ++i) {
      const Field& field = fields[i] = rows[i];
      if (field.hi > 63 || field.lo > field.hi) layout_error("bit range is upside down or too wide");
      if ((used & field.mask()) != 0) layout_error("two fields share a bit");
      used |= field.mask();
    }
  }

  consteval Field operator[](std::string_view wanted) const {
    for (const Field& field : fields)
      if (field.name == wanted) return field;
    layout_error("no such field");
    return {};
  }

  constexpr std::uint64_t named() const {
    std::uint64_t used = 0;
    for (const Field& field : fields) used |= field.mask();
    return used;
  }
  constexpr std::uint64_t unnamed() const { return ~named(); }

  // "PTE 0x0000000000001003 P=0x1 ADDR=0x1": the fields that are not zero, and bits that have no name.
  std::string describe(std::uint64_t word) const { return describe_word(name, fields, word); }
};

enum class RegisterAccess : std::uint8_t { rw, ro, wo, w1c };

// One register: where it is, how wide, what a write does, what it holds after reset, and its fields.
template <std::size_t N>
struct Register {
  std::uint32_t offset;
  unsigned bytes;  // 1, 2, 4 or 8
  RegisterAccess access;
  std::uint64_t reset;
  Layout<N> layout;

  consteval Field operator[](std::string_view wanted) const { return layout[wanted]; }
};

template <std::size_t N>
Register(std::uint32_t, unsigned, RegisterAccess, std::uint64_t, Layout<N>) -> Register<N>;

}  // namespace softiommu::hw
