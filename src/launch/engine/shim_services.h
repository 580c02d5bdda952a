// SPDX-License-Identifier: BSD-3-Clause
// What the engine has from the shim: the descriptor bits, the thread's record, the run's folder.
#pragma once

#include <atomic>
#include <cstdint>

#include "launch/engine_abi.h"

namespace softiommu::launch {

inline const SoftiommuShim* shim_services = nullptr;

inline void set_bit(std::uint64_t* bits, int fd, bool on) {
  std::atomic_ref<std::uint64_t> word(bits[fd / 64]);
  const std::uint64_t bit = std::uint64_t{1} << (fd % 64);
  if (on) {
    word.fetch_or(bit, std::memory_order_acq_rel);
  } else {
    word.fetch_and(~bit, std::memory_order_acq_rel);
  }
}

// Moves a descriptor of the engine's own out of the way of small numbers and hides it from the program.
int hide_descriptor(int fd);
// Closes one that was hidden.
void close_hidden(int fd);

}  // namespace softiommu::launch
