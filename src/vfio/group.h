// SPDX-License-Identifier: BSD-3-Clause
// A group (/dev/vfio/N): the devices that go together, which container they are in, and the one file that may be open.
//
// Files of its devices hold the group's file, as on Linux: closing the group's descriptor while a device is open leaves
// everything attached. The lock is the outermost of vfio/.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/program.h"
#include "iommufd/context.h"
#include "vfio/command_table.h"
#include "vfio/container.h"
#include "vfio/pci_device.h"

namespace softiommu::vfio {

class Devices;

class VfioGroup {
 public:
  // `devices` are the machine's devices: a bus reset concerns those of several groups.
  VfioGroup(Group& group, const Devices& devices) : group_(group), devices_(devices) {}

  Group& group() const { return group_; }
  const Devices& devices() const { return devices_; }
  // The device that the name of GET_DEVICE_FD means: its address, perhaps with " vf_token=UUID".
  // ENODEV: none; EINVAL: bad options, or a token for a device that takes none; EACCES: PciDevice::match_token.
  Result<PciDevice*> find(std::string_view name) const;

  // ENODEV: vfio-pci has none of its devices; EBUSY: its file is open, or a device file is bound.
  Result<> open();
  void close();
  // One of its devices has left vfio-pci. With the last one the group leaves its container, although its file may be
  // open: calls on it are ENODEV then.
  void device_left();
  // A device file is bound: the group's own file cannot be opened meanwhile. EBUSY: it is open.
  Result<> block();
  void unblock();

  Result<> set_container(std::shared_ptr<Container> container);
  // The group's devices will be bound to this context when they are opened. EINVAL: it has a container or context.
  Result<> set_iommufd(std::shared_ptr<iommufd::Context> context);
  Result<> unset_container();
  bool in_container();  // or given to an iommufd
  std::shared_ptr<iommufd::Context> context();
  Result<std::uint32_t> status();  // ENODEV
  // A device file comes and goes. EINVAL: no container, or one without an IOMMU.
  Result<> use();
  void unuse();

 private:
  void leave_locked() REQUIRES(mutex_);

  Result<> check_alive() const;

  Group& group_;
  const Devices& devices_;
  Mutex mutex_;
  bool open_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<Container> container_ GUARDED_BY(mutex_);
  std::shared_ptr<iommufd::Context> context_ GUARDED_BY(mutex_);
  unsigned users_ GUARDED_BY(mutex_) = 0;    // devices that were opened through it
  unsigned blocked_ GUARDED_BY(mutex_) = 0;  // bound device files
};

class GroupFile final : public File, public std::enable_shared_from_this<GroupFile> {
 public:
  GroupFile(VfioGroup& group, Program& program) : group_(group), program_(program) {}
  ~GroupFile() override { group_.close(); }

  VfioGroup& group() { return group_; }

  std::string path() const override { return "/dev/vfio/" + std::to_string(group_.group().id()); }
  dev_t device_number() const override { return Vfio::group_device_number(group_.group().id()); }
  long ioctl(unsigned int command, std::uint64_t argument) override;

  // ioctl handlers.
  Result<long> get_status(Call& call);
  Result<long> set_container(Call& call);
  Result<long> unset_container(Call& call);
  Result<long> get_device_fd(Call& call);

 private:
  VfioGroup& group_;
  Program& program_;
};

}  // namespace softiommu::vfio
