// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/bus.h"

#include <signal.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/guarded_copy.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kWidest = 8;
constexpr std::uintptr_t kPageBytes = 4096;

std::size_t piece(std::uintptr_t address, std::size_t bytes) {
  const std::size_t aligned = address == 0 ? kWidest : std::size_t{1} << std::min(3, std::countr_zero(address));
  return std::min(aligned, std::bit_floor(bytes));
}

std::size_t to_page_end(std::uintptr_t address, std::size_t bytes) {
  return std::min<std::size_t>(bytes, kPageBytes - address % kPageBytes);
}

class OwnMemory final : public PlainMemory {
 public:
  bool read(std::uintptr_t from, void* to, std::size_t bytes) override {
    return guarded_copy(to, reinterpret_cast<const void*>(from), bytes);
  }
  bool write(std::uintptr_t to, const void* from, std::size_t bytes) override {
    return guarded_copy(reinterpret_cast<void*>(to), from, bytes);
  }
};
constinit OwnMemory own;

}  // namespace

PlainMemory& own_memory() { return own; }

// nullptr without a fault: plain memory.
const TrapRegion* Bus::device_at(std::uintptr_t address, bool write) {
  const TrapRegion* region = reader_.find(address);
  if (region == nullptr) return nullptr;
  if (write ? !region->writable : !region->readable) {
    fault_ = {SIGSEGV, SEGV_ACCERR, address};
  } else if (!region->is_enabled()) {
    fault_ = {SIGBUS, BUS_ADRERR, address};
  }
  return region;
}

bool Bus::writable(std::uintptr_t to, std::size_t bytes) {
  device_at(to, true);
  if (fault_.signal == 0) device_at(to + bytes - 1, true);
  return fault_.signal == 0;
}

bool Bus::read(std::uintptr_t from, void* to, std::size_t bytes) {
  auto* out = static_cast<std::uint8_t*>(to);
  while (bytes > 0) {
    const TrapRegion* region = device_at(from, false);
    if (fault_.signal != 0) return false;
    std::size_t now;
    if (region != nullptr) {
      now = piece(from, bytes);
      const std::uint64_t value =
          region->registers->read(region->offset + (from - region->first), static_cast<unsigned>(now));
      std::memcpy(out, &value, now);
    } else {
      now = to_page_end(from, bytes);
      if (!memory_.read(from, out, now)) {
        fault_ = {SIGSEGV, SEGV_MAPERR, from};
        return false;
      }
    }
    from += now;
    out += now;
    bytes -= now;
  }
  return true;
}

bool Bus::write(std::uintptr_t to, const void* from, std::size_t bytes) {
  const auto* in = static_cast<const std::uint8_t*>(from);
  while (bytes > 0) {
    const TrapRegion* region = device_at(to, true);
    if (fault_.signal != 0) return false;
    std::size_t now;
    if (region != nullptr) {
      now = piece(to, bytes);
      std::uint64_t value = 0;
      std::memcpy(&value, in, now);
      region->registers->write(region->offset + (to - region->first), static_cast<unsigned>(now), value);
    } else {
      now = to_page_end(to, bytes);
      if (!memory_.write(to, in, now)) {
        fault_ = {SIGSEGV, SEGV_MAPERR, to};
        return false;
      }
    }
    to += now;
    in += now;
    bytes -= now;
  }
  return true;
}

}  // namespace softiommu::launch
