// SPDX-License-Identifier: BSD-3-Clause
// What a write to a PCI device's file in sysfs, or an operator's hand, does to a machine in use: virtual functions,
// removal and rescan, surprise removal, drivers bound and unbound.
//
// What can ever be there is known from the machine file, so that no object comes or goes: a function keeps its Device,
// its group id and its vfioN for the machine's life. What changes is whether it is there: functions() says that.
//
// For the view, file by file (all of it is in Function):
//   sriov_totalvfs, sriov_numvfs, sriov_offset, sriov_stride, sriov_vf_device    of functions with total_vfs != 0
//   virtfnN -> ../BDF of the PF, physfn -> ../BDF of a VF       while the VF is there
//   driver -> bus/pci/drivers/NAME, driver_override             of a VF: the PF's vfio-pci, as vfio_pci_core sets it
//   iommu_group, /sys/kernel/iommu_groups/N, /dev/vfio/N        `group`; the node is there while `vfio_number` is,
//                                                               of any device of the group
//   vfio-dev/vfioN, /dev/vfio/devices/vfioN                     `vfio_number`
//   vendor, device, class, resource, revision, subsystem_*      hardware->identity(), bars(), bar_address(): the
//                                                               configuration space of a VF reads 0xffff for its ids
// Linux's vfio_pci_sriov_uapi_test reads sriov_totalvfs and sriov_numvfs (a number and a line end), writes sriov_numvfs
// (one write of the bare number), and follows virtfn0, and of the VF driver, iommu_group and vfio-dev/vfio*.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/system.h"
#include "vfio/vfio.h"

namespace softiommu {

class PciControl {
 public:
  PciControl(System& system, Vfio& vfio);
  ~PciControl();
  PciControl(const PciControl&) = delete;
  PciControl& operator=(const PciControl&) = delete;

  // Linux asks the users of a device to let go (the REQ event descriptor, again every ten seconds) and waits for them,
  // however long. Who cannot wait is told `pending`: the last close ends the removal then.
  enum class Wait : std::uint8_t { for_users, not_at_all };
  enum class Removal : std::uint8_t { done, pending };

  // From any of these: ENODEV: no such device is there, or it is leaving; ENOMEM; EAGAIN, where nothing may wait:
  // another change waits for users.

  // "sriov_numvfs". ERANGE: more than there are; ENOENT: the function has no SR-IOV, or no driver that configures it;
  // EBUSY: some are enabled and the number is neither 0 nor that; EAGAIN: they are being disabled, and users are
  // waited for. 0 waits for the users of every virtual function.
  Result<Removal> set_num_vfs(std::string_view pf, unsigned number, Wait wait = Wait::for_users);
  // "remove": the device leaves its driver, its group and the bus. With its virtual functions.
  Result<Removal> remove(std::string_view bdf, Wait wait = Wait::for_users);
  // "rescan": every function whose hardware answers and that software does not know is found, and given to vfio-pci.
  // What fails for one is answered when the others are in.
  Result<> rescan();
  // Surprise removal: the hardware is gone when this returns. Registers read as ones, DMA has ended, the users are
  // asked to let go; the last close ends it. A virtual function goes only with its physical one: EINVAL.
  Result<Removal> unplug(std::string_view bdf);
  // The hardware is put back, as after power-on; a rescan finds it. EEXIST: it is not unplugged.
  Result<> plug(std::string_view bdf);
  // "reset". ENOTTY: no reset works; EAGAIN: it is leaving.
  Result<> reset(std::string_view bdf);
  // "bind" and "unbind" of bus/pci/drivers/NAME. bind: ENODEV: no such driver, or it does not take this device; EBUSY:
  // it has a driver, or a program owns its group and the driver needs the DMA; EINVAL: no IOMMU in front (vfio-pci).
  // unbind: ENODEV: another driver has it, or none.
  Result<> bind(std::string_view driver, std::string_view bdf);
  Result<Removal> unbind(std::string_view driver, std::string_view bdf, Wait wait = Wait::for_users);

  // The VF token of a physical function, as its user gave it in another process that has the same machine. ENODEV;
  // ENOTTY: no physical function; EINVAL: no UUID.
  Result<> set_token(std::string_view pf, std::string_view uuid);
  // Told of each token that a user gives here, on that thread. Set once, before there are users.
  void on_token(const std::function<void(const std::string& pf, const std::string& uuid)>& told);
  // Asks the users of every device that is leaving once more, as Linux does every ten seconds.
  void ask_again();

  // The drivers that can be bound, by Linux's names: "vfio-pci"; "pci-stub", which holds a device and is all that
  // Linux's does; and those for our models ("ioatdma", "nvme"), which use DMA: a group with one of them is not viable.
  // They do not touch the device.
  static std::vector<std::string_view> drivers();
  // Does the driver know devices by itself, or (false) only those that "new_id" or "driver_override" give it? False for
  // a name that is none of them.
  static bool has_ids(std::string_view driver);

  // A function that software knows, as sysfs shows it.
  struct Function {
    std::string bdf;
    PciFunction* hardware = nullptr;           // lives as long as the machine; may be unplugged
    const Device* device = nullptr;            // as long as the system
    std::optional<unsigned> group = {};        // none: no IOMMU in front
    std::string_view driver = {};              // empty: none
    std::optional<unsigned> vfio_number = {};  // N of vfioN while vfio-pci has it
    std::string physfn = {};                   // of a virtual function: its physical one
    std::vector<std::string> virtfns = {};     // by number; empty text: that one was removed by itself
    unsigned total_vfs = 0, num_vfs = 0, vf_offset = 0, vf_stride = 0;
  };
  std::vector<Function> functions() const;  // in bus order
  // Counts the changes of what functions() answers.
  std::uint64_t generation() const;
  // Called after each change, on the thread that made it: that of an operation, or of a last close. It may ask for
  // functions(), and must not call an operation. Set once, before any change.
  void on_change(std::function<void()> told);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // with removals that are under way
};

}  // namespace softiommu
