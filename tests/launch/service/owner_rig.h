// SPDX-License-Identifier: BSD-3-Clause
// What a program that is served needs around it: an owner without handles, and the shim's part of this process.
#pragma once

#include <cerrno>
#include <memory>

#include "launch/engine/shim_services.h"
#include "launch/service/remote_program.h"
#include "machine/memory.h"

namespace softiommu::launch {

struct FakeOwner final : Owner {
  std::unique_ptr<Memory> physical = *Memory::create({});
  Result<int> make_handle(std::shared_ptr<File>, int) override { return fail(EMFILE, "no handles here"); }
  std::shared_ptr<File> file_of_handle(std::uint64_t) override { return nullptr; }
  Memory* memory() override { return physical.get(); }
  AccountTable* accounts() override { return nullptr; }
};

// Before anything is hidden.
inline void install_shim_services() {
  static std::uint64_t hidden[SOFTIOMMU_MAX_DESCRIPTORS / 64], owned[SOFTIOMMU_MAX_DESCRIPTORS / 64];
  static SoftiommuThread this_thread{};
  static const SoftiommuShim services = {SOFTIOMMU_ABI_VERSION, owned, hidden, [] { return &this_thread; }, ""};
  shim_services = &services;
}

}  // namespace softiommu::launch
