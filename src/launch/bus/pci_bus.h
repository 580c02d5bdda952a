// SPDX-License-Identifier: BSD-3-Clause
// The PCI bus of a run as Linux's driver core has it: which driver may take a function, what a write to a file of sysfs
// does, with which errno.
//
// One process of the run has it: the launcher, with a machine in which no program has anything open, so that nothing
// waits here. What a write changed in the machine is answered as a list, for the processes with a machine of their own.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launch/control/change.h"
#include "launch/view/device_view.h"

namespace softiommu::launch {

class PciBus {
 public:
  // `view_root` is where write_view() has been.
  PciBus(System& system, PciControl& control, const std::string& view_root);

  // The view as the bus is. Errno of the file system.
  Result<> show();

  using Changes = std::vector<Change>;
  // A write of `data` to the file of that name ("/sys/bus/pci/drivers/vfio-pci/bind"). The errno is write(2)'s; EIO:
  // the file takes no writes. The view shows the effect when it returns.
  Result<Changes> store(std::string_view file, std::string_view data);
  // The folders whose files take writes, and what a program wrote into one of those files past store(). The file shows
  // again what it has to. Nothing: it shows that already, which is how our own writes are told from a program's; or it
  // is empty, as between an open that truncates and its write.
  std::set<std::string> folders() const;
  struct Written {
    std::string file, line;  // the program's name for it; the first line
  };
  std::optional<Written> take_written(const std::string& place);
  // The operator's hand: a device is pulled out, or put in (and found).
  Result<Changes> unplug(const std::string& bdf);
  Result<Changes> plug(const std::string& bdf);

  // One change, as it is.
  Result<Changes> apply(const Change& change);

 private:
  // What bus and drivers know of a function beside its machine.
  struct Known {
    std::string driver_override;  // "": none
    bool vf_autoprobe = true;
    unsigned enabled = 0;  // by "enable"
  };
  // An id that new_id gave to a driver: vendor and device, and what of the rest was said (drivers/pci/pci-driver.c).
  struct DynamicId {
    static constexpr std::uint32_t kAny = 0xffff'ffff;
    std::uint32_t vendor = 0, device = 0, subvendor = kAny, subdevice = kAny, class_code = 0, class_mask = 0;

    // What new_id and remove_id take: hexadecimal numbers, vendor and device at least. False: they are not there.
    bool parse(std::string_view value);
    bool matches(const FunctionIdentity& id) const;
  };
  struct Place {  // of a file: below the view, and whose it is
    std::string file, driver, bdf;
  };
  enum class Scope : std::uint8_t { bus, driver, device, parameter };
  using Store = Result<>(const Place& place, std::string_view value);
  struct Row {
    Scope scope;
    std::string_view name;
    Store PciBus::* store;
  };
  static const Row kRows[];
  // Nothing: no file that is written.
  static const Row* locate(std::string_view file, Place& place);

  // Each is the store function of the files of one name; `value` has lost its line end.
  Store bind, unbind, new_id, remove_id, drivers_probe, drivers_autoprobe, rescan;
  Store driver_override, remove, reset, enable, numa_node, flag, uevent;
  Store sriov_numvfs, sriov_drivers_autoprobe, enable_sriov;
  Result<> enable_vfs(const PciControl::Function& function, unsigned number);

  std::optional<PciControl::Function> find(std::string_view bdf) const;
  Result<> make(Change change);
  Result<> probe(const std::string& bdf);
  bool matches(std::string_view driver, const PciControl::Function& function) const;
  Known& known(std::string_view bdf);
  Result<Changes> finish(const Result<>& result);
  Result<> put_text(const Place& place, std::string_view text);
  void learn_texts();

  std::string view_root_;
  PciControl& control_;
  Tree::Shown texts_;
  DeviceView view_;
  std::map<std::string, Known, std::less<>> known_;
  std::map<std::string, std::vector<DynamicId>, std::less<>> dynamic_ids_;
  bool autoprobe_ = true;
  bool sriov_enabled_ = true;  // vfio_pci's module parameter
  Changes made_;               // by the present store
};

}  // namespace softiommu::launch
