// SPDX-License-Identifier: BSD-3-Clause
// What can fail while a driver is asked for something, and where: the nth place at which that failure can happen.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace softiommu::check {

enum class FailureKind : std::uint8_t {
  none,
  memory,
  ids,
  hardware,
  way_back,
  registers,
  queue,
  answers,
};

struct FailureRow {
  FailureKind kind;
  std::string_view name;
  std::string_view says;
};

inline constexpr auto kFailures = std::to_array<FailureRow>({
    {FailureKind::none, "none", "nothing fails"},
    {FailureKind::memory, "memory", "an allocation, of a table or of anything else"},
    {FailureKind::ids, "ids", "ids, banks or windows of the hardware are used up"},
    {FailureKind::hardware, "hardware", "a step that the driver says the hardware may refuse"},
    {FailureKind::way_back, "way-back", "a step fails, and every way back is refused"},
    {FailureKind::registers, "registers", "the unit stops answering at an access to its registers"},
    {FailureKind::queue, "queue", "the unit refuses a command of its queue"},
    {FailureKind::answers, "answers", "the unit's firmware refuses a request"},
});
inline constexpr std::size_t kFailureKinds = kFailures.size();

constexpr std::string_view name_of(FailureKind kind) { return kFailures[std::to_underlying(kind)].name; }

struct Failure {
  FailureKind kind = FailureKind::none;
  unsigned nth = 0;  // from 1
  friend bool operator==(const Failure&, const Failure&) = default;
};

}  // namespace softiommu::check
