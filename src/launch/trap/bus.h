// SPDX-License-Identifier: BSD-3-Clause
// The memory that an emulated instruction sees: device registers where a BAR is mapped, plain memory elsewhere.
//
// Accesses of other sizes and alignments are split into the largest naturally aligned pieces, as a bridge does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "launch/trap/regions.h"

namespace softiommu::launch {

// Memory that is not a device's: this process's own, or that of a program that is traced.
class PlainMemory {
 public:
  virtual bool read(std::uintptr_t from, void* to, std::size_t bytes) = 0;
  virtual bool write(std::uintptr_t to, const void* from, std::size_t bytes) = 0;

 protected:
  ~PlainMemory() = default;
};
PlainMemory& own_memory();

class Bus {
 public:
  explicit Bus(const TrapRegions& regions, PlainMemory& memory = own_memory()) : reader_(regions), memory_(memory) {}

  // False: fault() says what the program gets.
  bool read(std::uintptr_t from, void* to, std::size_t bytes);
  bool write(std::uintptr_t to, const void* from, std::size_t bytes);

  // Would write() fault? Of device registers only: plain memory is found out by writing.
  bool writable(std::uintptr_t to, std::size_t bytes);

  struct Fault {
    int signal = 0;  // SIGSEGV or SIGBUS, or what the instruction raised
    int code = 0;
    std::uintptr_t address = 0;
  };
  const Fault& fault() const { return fault_; }
  void fail(const Fault& fault) { fault_ = fault; }

 private:
  const TrapRegion* device_at(std::uintptr_t address, bool write);
  TrapRegions::Reader reader_;
  PlainMemory& memory_;
  Fault fault_;
};

}  // namespace softiommu::launch
