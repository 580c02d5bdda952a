// SPDX-License-Identifier: BSD-3-Clause
// The bytes of one function's configuration space and what a write does to each of their bits.
//
// Storage and rules only: it knows no device, takes no lock, and allocates only while a function is built.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "hw/layout.h"

namespace softiommu {

// One word of configuration space: what it holds after power-on and which bits software may change.
struct ConfigField {
  unsigned offset;
  unsigned bytes;  // 1, 2 or 4
  std::uint32_t value = 0;
  std::uint32_t writable = 0;
  std::uint32_t clearable = 0;  // writing 1 clears
};

// A header register, from its row. `writable` and `clearable` say which of its fields this device has.
template <std::size_t N>
constexpr ConfigField field_of(const hw::Register<N>& row, std::uint64_t value, std::uint64_t writable = 0,
                               std::uint64_t clearable = 0) {
  return {row.offset, row.bytes, static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(writable),
          static_cast<std::uint32_t>(clearable)};
}

class ConfigSpace {
 public:
  explicit ConfigSpace(unsigned bytes);

  unsigned bytes() const { return static_cast<unsigned>(now_.size()); }
  // 1, 2 or 4 bytes, naturally aligned and inside; anything else is not an access.
  bool is_access(unsigned offset, unsigned bytes) const;
  std::uint32_t read(unsigned offset, unsigned bytes) const;
  // Software writes: by the rules of each bit.
  void write(unsigned offset, unsigned bytes, std::uint32_t value);
  // Hardware writes.
  void set(unsigned offset, unsigned bytes, std::uint32_t value);

  void define(const ConfigField& field);
  // The same inside the capability at `base`.
  void define_at(unsigned base, ConfigField field);
  // Reserves `bytes` (header included) and links it behind the last one. Returns its offset, 0: no room.
  unsigned add_capability(std::uint8_t id, unsigned bytes);
  unsigned add_extended_capability(std::uint16_t id, std::uint8_t version, unsigned bytes);
  // The next extended capability is at `offset` or behind it.
  void leave_room(unsigned offset) { free_extended_ = std::max(free_extended_, offset); }
  unsigned find_capability(std::uint8_t id) const;
  unsigned find_extended_capability(std::uint16_t id) const;
  // Everything as after power-on.
  void reset() { now_ = power_on_; }

 private:
  std::vector<std::uint8_t> now_, power_on_, writable_, clearable_;
  unsigned last_capability_ = 0, free_capability_;
  unsigned last_extended_ = 0, free_extended_;
};

}  // namespace softiommu
