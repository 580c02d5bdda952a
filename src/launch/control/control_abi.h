// SPDX-License-Identifier: BSD-3-Clause
// What is said over RUN/control, the socket of the process that keeps the run's changing state: which functions are on
// the bus, which driver has each, how many virtual functions there are.
//
//   a program that writes to a file of sysfs   store: the file's name, a zero, what was written
//                                              answer: the number of bytes, or the negative errno of write(2)
//   `softiommu ctl`                            command: its words; answer: the errno, and a text for people
//   an engine, as long as it lives             hello; then change after change, each answered when it has taken
//                                              effect in its machine; ready after those that were made before
//
// One packet each (SOCK_SEQPACKET). Plain C++ without a library: the shim speaks it.
#pragma once

#include <stdint.h>

namespace softiommu::launch {

struct ControlHead {
  enum Verb : uint32_t { kStore = 1, kCommand, kHello, kChange, kReady, kAnswer };
  uint32_t verb;
  int32_t result;   // of an answer
  uint64_t number;  // of a change
};

inline constexpr char kControlName[] = "control";
inline constexpr unsigned kMostStored = 4096;  // sysfs passes one page of a write
inline constexpr unsigned kMostPacket = 64 * 1024;

// The view marks files of sysfs so that one call of fstat tells them from others: no other regular file has this mode.
inline constexpr unsigned kAttributeMark = 01000;  // S_ISVTX
inline constexpr unsigned kAttributeBytes = 4096;  // the size that sysfs shows

}  // namespace softiommu::launch
