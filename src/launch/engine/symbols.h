// SPDX-License-Identifier: BSD-3-Clause
// Names of functions, from a module's file: no allocation in the program's heap, no lock of its loader.
#pragma once

#include <cstdint>
#include <string>

namespace softiommu::launch {

// "main+0x12" for the byte at `offset` of an ELF file; empty: the file does not say.
std::string symbol_at(const std::string& path, std::uint64_t offset);

}  // namespace softiommu::launch
