// SPDX-License-Identifier: BSD-3-Clause
// VFIO, as a launcher sees it: the files /dev/vfio/vfio, /dev/vfio/N, /dev/vfio/devices/vfioN and /dev/iommu of one
// machine.
//
//   Vfio vfio(system, {});
//   std::shared_ptr<File> container = TRY(vfio.open_container(program));
//   container->ioctl(VFIO_GET_API_VERSION, 0);
//
// A File answers for the Program that opened it and must not outlive it; device files come into being through the
// group's VFIO_GROUP_GET_DEVICE_FD, which calls Program::install. A file is closed when its last shared_ptr goes: a
// launcher drops its own with the last descriptor, mappings hold one each (MmapPlan::keeps_alive, which the launcher
// sets), devices hold their group, groups their container. So files may be closed in any order, as on Linux.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>

#include "base/file.h"
#include "base/memlock.h"
#include "base/program.h"
#include "base/result.h"
#include "core/system.h"

namespace softiommu {

namespace mock {
class MockDriver;
}
namespace vfio {
class Devices;
}

struct VfioOptions {
  MemlockLimit memlock;
  unsigned dma_entry_limit = 65535;      // type1's module parameter: mappings per container
  bool allow_unsafe_interrupts = false;  // attach groups whose interrupts are not isolated
  mock::MockDriver* selftest = nullptr;  // of the system: for IOMMU_TEST_CMD, which is not there without
};

class Vfio {
 public:
  Vfio(System& system, const VfioOptions& options);
  ~Vfio();  // every file made by it is gone by then
  Vfio(const Vfio&) = delete;
  Vfio& operator=(const Vfio&) = delete;

  // open of /dev/vfio/vfio. ENOMEM.
  Result<std::shared_ptr<File>> open_container(Program& program);
  // open of /dev/vfio/`group`. ENODEV: no such group, or its devices are gone; EBUSY: its file is open.
  Result<std::shared_ptr<File>> open_group(Program& program, unsigned group);

  // open of /dev/vfio/devices/vfio`number`. ENODEV: no such device, or it is gone or leaving.
  Result<std::shared_ptr<File>> open_device(Program& program, unsigned number);
  // open of /dev/iommu. ENOMEM.
  Result<std::shared_ptr<File>> open_iommufd(Program& program);

  // For fstat and the generated view: what the device nodes say.
  static dev_t container_device_number();
  static dev_t group_device_number(unsigned group);
  static dev_t device_file_number(unsigned number);
  static dev_t iommufd_device_number();
  // The group of the device with this number; nullopt: no such device.
  std::optional<unsigned> group_of(unsigned number) const;
  vfio::Devices& devices();  // for PciControl

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace softiommu
