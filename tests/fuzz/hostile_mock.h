// SPDX-License-Identifier: BSD-3-Clause
// What a hostile client does with the mock IOMMU's devices: accesses, nested page tables, virtual IOMMUs, PASIDs,
// queues and their files, DMA-BUFs.
#pragma once

#include "fuzz_run.h"
#include "hostile_program.h"

namespace softiommu::test {

class HostileMock {
 public:
  // `block`: memory of the program's for requests, two pages.
  HostileMock(HostileProgram& program, Choice& choice, std::uint64_t block)
      : program_(program), choice_(choice), block_(block) {}

  // Something of it. Returns how many calls were served.
  unsigned step();

 private:
  template <class T>
  bool call(int descriptor, unsigned command, const T& request);
  template <class Set>
  bool test(int descriptor, Set&& set);
  std::uint32_t object() {
    return static_cast<std::uint32_t>(choice_.one_in(16) ? choice_.number() : 1 + choice_.below(10));
  }
  std::uint64_t user() { return choice_.one_in(8) ? program_.arena().hostile_address(choice_) : block_ + kPageSize; }
  std::uint64_t iova();
  std::uint64_t bytes() { return choice_.one_in(8) ? choice_.number() : (1 + choice_.below(3)) * kPageSize; }
  std::uint32_t descriptor_of(std::string_view path) {
    return static_cast<std::uint32_t>(program_.pick(choice_, choice_.one_in(12) ? "" : path));
  }

  bool plug(int iommufd);
  bool map(int iommufd);
  bool use_access(int iommufd);
  bool use_guest(int iommufd);
  bool make_nested(int iommufd);
  bool invalidate(int iommufd);
  bool use_pasid(int iommufd);
  bool use_queue(int iommufd);
  bool use_dma_buf(int iommufd);
  bool trigger(int iommufd);

  HostileProgram& program_;
  Choice& choice_;
  const std::uint64_t block_;
};

}  // namespace softiommu::test
