// SPDX-License-Identifier: BSD-3-Clause
// The seccomp filter of a supervised program: which of its system calls stop for the supervisor.
//
// What arguments can tell is told by them, so that calls which are not ours cost the filter and nothing else: handles
// have high numbers, BARs lie in an address window of their own, ioctls have VFIO's type. Names are behind
// pointers, which a filter cannot follow: every call with a path stops.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <vector>

namespace softiommu::launch {

// Descriptors from here on may be handles. Programs that have as many files open pay for the others.
constexpr int kLowestHandle = 512;
// Where BARs are placed if the program leaves the place to us: by the upper half of the address.
constexpr std::uint32_t kBarWindow = 0x3100;
constexpr std::uint64_t kBarWindowFirst = std::uint64_t{kBarWindow} << 32,
                        kBarWindowLast = kBarWindowFirst | 0xffffffff;

// A page of every program that has filters of its own: a `syscall` instruction for the calls that are made in it for
// us.
constexpr std::uint64_t kCallPage = kBarWindowFirst - 4096;
constexpr unsigned kCallBytes = 2;  // of that instruction

// Of every supervised program, from its exec on.
std::vector<sock_filter> program_filter();
// Added when a BAR is mapped elsewhere: calls on addresses with this upper half stop, too.
std::vector<sock_filter> window_filter(std::uint32_t upper);
// Added when a handle has a low number: reads, writes, mappings and fstat of any descriptor stop.
std::vector<sock_filter> low_handle_filter();
// The program's own filter, which lets the instruction at kCallPage do what it likes.
std::vector<sock_filter> with_exemption(std::span<const sock_filter> filter);

}  // namespace softiommu::launch
