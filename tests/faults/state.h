// SPDX-License-Identifier: BSD-3-Clause
// Everything that a failed call must leave as it was, in words: what is translated where, who owns what, what is
// pinned, counted and allocated, which objects and descriptors there are, and how the devices are set.
//
// Two states of one world can be compared, and those of two worlds that did the same.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/system.h"
#include "uapi/rig.h"

namespace softiommu::iommufd {

class Context;

// What a context holds; a friend of it.
struct StateView {
  static std::vector<std::string> objects(Context& context, const std::function<std::string(Domain&)>& describe);
};

}  // namespace softiommu::iommufd

namespace softiommu::test {

// What is described, by its name: "group 3", "iommufd 1001", "pinned pages".
using State = std::map<std::string, std::string>;

struct Observed {
  System& system;
  FakeProgram& program;
  std::uint64_t memory;  // where the program's pages are: addresses are told relative to it
};

State state_of(const Observed& world);
// The lines that differ, for people; empty if none does.
std::string difference(const State& before, const State& after);

}  // namespace softiommu::test
