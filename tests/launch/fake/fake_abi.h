// SPDX-License-Identifier: BSD-3-Clause
// What the fake world's file understands.
#pragma once

enum FakeCommand : unsigned {
  kFakeEcho = 0x3b00,
  kFakeReleased,  // how many files were
  kFakeOpen,      // how many are left
  kFakeAccesses,
  kFakeEnable,
  kFakeCopy,
  kFakePinnable,
  kFakeEventfd,
  kFakeInstall,
  kFakeSignal,  // an eventfd
};
inline constexpr unsigned long kFakeBarBytes = 64 * 1024;
