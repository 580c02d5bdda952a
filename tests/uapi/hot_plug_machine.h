// SPDX-License-Identifier: BSD-3-Clause
// A machine whose functions come and go: an edu device with four virtual functions below a root port, three functions
// in one group, and a device alone.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace softiommu::test {

inline constexpr const char *kPf = "0000:01:00.0", *kVf = "0000:01:10.0", *kVf1 = "0000:01:10.1";
inline constexpr const char *kAlone = "0000:00:02.0", *kTwin = "0000:02:00.0", *kOther = "0000:02:00.1",
                            *kIoat = "0000:02:00.2";

// Behind one unit of this model.
inline std::string hot_plug_machine(std::string_view unit) {
  return fmt::format(R"([[iommu]]
name = "u0"
model = "{}"
[[bridge]]
address = "00:1c.0"
kind = "root-port"
bus = 1
[[bridge]]
address = "00:1d.0"
kind = "root-port"
bus = 2
[[device]]
address = "00:02.0"
model = "edu"
[[device]]
address = "01:00.0"
model = "edu"
vfs = 4
[[device]]
address = "02:00.0"
model = "edu"
acs = false
[[device]]
address = "02:00.1"
model = "edu"
acs = false
[[device]]
address = "02:00.2"
model = "ioat"
acs = false
)",
                     unit);
}

// What an operation answered: 0, or the errno.
template <class T>
int code(const Result<T>& answer) {
  return answer ? 0 : answer.error().code;
}

}  // namespace softiommu::test
