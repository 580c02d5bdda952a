// SPDX-License-Identifier: BSD-3-Clause
// How much table memory an address space costs on a machine: all groups in one, so many bytes of it mapped.
//
// Units that share a domain share its table; where they do not, every table holds the whole address space again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/system.h"

namespace softiommu {

struct TableUse {
  struct Row {
    std::uint64_t domain = 0;  // its number
    std::string driver = {};
    std::vector<std::string> units = {};  // that walk its table
    std::size_t devices = 0;
    std::uint64_t mapped = 0;  // bytes: less than asked for where the aperture is not wider
    std::uint64_t tables = 0;  // bytes; 0: the unit keeps what it is told, and mappings were not tried
  };
  std::vector<Row> domains;
  std::vector<std::string> left_out;  // groups that could not join
  std::uint64_t structures = 0;       // bytes that units and devices had before: device tables, queues, descriptors

  std::uint64_t tables() const;
};

// Maps `bytes` in pages of the smallest size into the domains that the search of the system's rules makes for all
// groups, one domain after the other. Nobody else uses the system; afterwards it is as before.
//   EINVAL  less than 2M;  ENOMEM  the arena is too small;  EBUSY, EPERM  a group is in use
Result<TableUse> measure_table_use(System& system, std::uint64_t bytes);

}  // namespace softiommu
