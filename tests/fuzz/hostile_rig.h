// SPDX-License-Identifier: BSD-3-Clause
// A machine of both vendors under VFIO, the hostile program, and what must hold once the program has gone.
#pragma once

#include <memory>

#include "core/system.h"
#include "hostile_program.h"
#include "machine/machine.h"
#include "vfio/vfio.h"

namespace softiommu::test {

class HostileRig {
 public:
  explicit HostileRig(bool paranoid);
  ~HostileRig();
  HostileRig(const HostileRig&) = delete;
  HostileRig& operator=(const HostileRig&) = delete;

  Vfio& vfio() { return *vfio_; }
  Machine& machine() { return *machine_; }
  System& system() { return *system_; }
  HostileProgram& program() { return *program_; }

  // Each group was opened, used and closed once: what drivers keep from then on is there.
  void use_each_group();
  // Nothing is left of a program whose files are closed.
  void expect_as_before() const;

 private:
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Vfio> vfio_;
  std::shared_ptr<HostileProgram> program_;
  std::uint64_t tables_before_ = 0;
};

}  // namespace softiommu::test
