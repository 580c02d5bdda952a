// SPDX-License-Identifier: BSD-3-Clause
// Hardware table walks that several IOMMU models share: what a walk is given and what comes of it.
//
// One header and one file per format, written from the manuals; nothing of pt/ is used, so that walker and engine check
// each other. A walk reads each entry once, as hardware does; those that keep accessed or dirty state write it.
#pragma once

#include <cstdint>
#include <expected>

#include "base/types.h"
#include "machine/iommu/unit.h"

namespace softiommu::walk {

// What was found: the page that serves the access.
struct Page {
  PhysAddr first;  // first byte of the page
  unsigned lg2 = 0;
  bool read = false, write = false, execute = false;
  bool operator==(const Page&) const = default;
};

enum class Fault : std::uint8_t {
  not_present,   // an entry says that nothing is mapped
  input_range,   // the address is beyond what the tables translate
  output_range,  // an entry holds an address beyond what the hardware puts out
  reserved,      // an entry has bits or codes that the manual forbids
  access_flag,   // the access flag is clear and hardware does not set it
  permission,    // the access is not allowed
  memory,        // no memory is where an entry should be
};

struct Failure {
  Fault fault = Fault::not_present;
  unsigned level = 0;  // of the table it happened in, counted from the leaves
  PhysAddr entry{};    // where the entry is
  std::uint64_t word = 0;
  // Of nested walks: which stage, what it should have translated, and whether that was (the way to) a table.
  unsigned stage = 1;
  Iova input{};
  bool of_table = false;
};

using Outcome = std::expected<Page, Failure>;

}  // namespace softiommu::walk
