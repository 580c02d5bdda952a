// SPDX-License-Identifier: BSD-3-Clause
// What the core needs to know of a machine, and nothing more: System::create(Machine&) fills it, and so can a test
// or an embedding program that has units but no PCI fabric.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/table_memory.h"
#include "base/types.h"
#include "machine/iommu/unit.h"

namespace softiommu {

class PciFunction;

struct Hardware {
  struct Function {
    std::string name;                       // "0000:00:02.0"
    std::vector<StreamId> stream_ids = {};  // its own first, then aliases
    IommuUnit* unit = nullptr;              // nullptr: no IOMMU in front
    unsigned isolation_set = 0;             // functions of one set cannot be kept apart
    PciFunction* function = nullptr;
    bool can_stall = false;  // its faults may wait for an answer
    bool present = true;     // it may come later
  };

  TableMemory& tables;
  std::uint64_t memory_top;
  std::vector<IommuUnit*> units = {};
  std::vector<Function> functions = {};             // in bus order
  std::vector<std::string> isolation_reasons = {};  // per isolation set; may be shorter
};

}  // namespace softiommu
