// SPDX-License-Identifier: BSD-3-Clause
// The program that the engine lives in: its memory is our memory, its descriptors are our table.
#pragma once

#include "base/program.h"
#include "launch/engine/descriptors.h"
#include "launch/engine/mappings.h"
#include "launch/trap/regions.h"

namespace softiommu::launch {

class SelfProgram final : public Program {
 public:
  SelfProgram(Descriptors& descriptors, Mappings& mappings, const TrapRegions& regions)
      : descriptors_(descriptors), mappings_(mappings), regions_(regions) {}

  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override;
  Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) override;
  Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<PhysAddr> registers_at(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<int> install(std::shared_ptr<File> file, int flags) override;
  void take_back(int descriptor) override;
  Result<std::shared_ptr<File>> file_of(int descriptor) override;
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) override;
  Result<int> take_eventfd(int descriptor) override;

  // The program is gone, the engine stays (in a keeper): nothing of it can be reached any more.
  void end() { ended_ = true; }

 private:
  bool ended_ = false;
  Descriptors& descriptors_;
  Mappings& mappings_;
  const TrapRegions& regions_;
};

}  // namespace softiommu::launch
