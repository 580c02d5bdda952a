// SPDX-License-Identifier: BSD-3-Clause
// What writes to sysfs do, with which errno, and what the view shows then.
#include "launch/bus/pci_bus.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "bus_fixture.h"

namespace softiommu::launch {
namespace {

const std::string kPf = "0000:00:04.0", kVf = "0000:00:14.0", kNvme = "0000:00:05.0", kBehind = "0000:01:00.0";
const std::string kDrivers = "/sys/bus/pci/drivers/", kBus = "/sys/bus/pci/";

class PciBusTest : public BusFixture {
 protected:
  PciBusTest() {
    vfio_ = std::make_unique<Vfio>(*system_, VfioOptions{});
    control_ = std::make_unique<PciControl>(*system_, *vfio_);
    bus_ = std::make_unique<PciBus>(*system_, *control_, view_);
    EXPECT_TRUE(bus_->show());
  }

  // 0, or the errno of write(2).
  int write(const std::string& file, const std::string& text) {
    const auto changes = bus_->store(file, text);
    told_.clear();
    if (!changes) return changes.error().code;
    for (const Change& change : *changes) told_ += change.text() + "\n";
    return 0;
  }
  static std::string device(const std::string& bdf, const std::string& name) {
    const std::string bridge = bdf == kBehind ? "0000:00:1c.0/" : "";
    return "/sys/devices/pci0000:00/" + bridge + bdf + "/" + name;
  }
  std::string read(const std::string& file) { return read_text(view_ + file).value_or("(none)"); }
  bool there(const std::string& file) { return fs::exists(fs::symlink_status(view_ + file)); }
  std::string driver(const std::string& bdf) {
    std::error_code error;
    return fs::read_symlink(view_ + device(bdf, "driver"), error).filename();
  }
  std::string group_node(const std::string& bdf) {
    return "/dev/vfio/" + fs::read_symlink(view_ + device(bdf, "iommu_group")).filename().string();
  }
  mode_t mode(const std::string& file) {
    struct stat status{};
    return ::stat((view_ + file).c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
  }

  std::string told_;
  std::unique_ptr<Vfio> vfio_;
  std::unique_ptr<PciControl> control_;
  std::unique_ptr<PciBus> bus_;
};

TEST_F(PciBusTest, EveryDeviceStartsWithVfioPci) {
  for (const std::string& bdf : {kPf, kNvme, kBehind}) {
    EXPECT_EQ(driver(bdf), "vfio-pci");
    EXPECT_EQ(read(device(bdf, "driver_override")), "vfio-pci\n");
    EXPECT_TRUE(there(group_node(bdf)));
    EXPECT_TRUE(there(kBus + "devices/" + bdf));
  }
}

TEST_F(PciBusTest, FilesHaveTheModesOfLinux) {
  EXPECT_EQ(mode(kDrivers + "vfio-pci/bind"), 0200u);
  EXPECT_EQ(mode(device(kPf, "remove")), 0220u);
  EXPECT_EQ(mode(device(kPf, "sriov_numvfs")), 0664u);
  EXPECT_EQ(mode(device(kPf, "vendor")), 0444u);
  EXPECT_EQ(mode(kBus + "drivers_autoprobe"), 0644u);
}

TEST_F(PciBusTest, UnbindTakesTheGroupsFileAwayAndBindBringsItBack) {
  const std::string node = group_node(kPf);
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kPf + "\n"), 0);
  EXPECT_EQ(told_, "unbind vfio-pci 0000:00:04.0\n");
  EXPECT_EQ(driver(kPf), "");
  EXPECT_FALSE(there(node));
  EXPECT_FALSE(there(device(kPf, "vfio-dev")));
  EXPECT_FALSE(there(kDrivers + "vfio-pci/" + kPf));
  EXPECT_EQ(read(device(kPf, "uevent")).find("DRIVER="), std::string::npos);
  EXPECT_EQ(write(kDrivers + "vfio-pci/bind", kPf), 0);
  EXPECT_EQ(driver(kPf), "vfio-pci");
  EXPECT_TRUE(there(node));
}

TEST_F(PciBusTest, BindAndUnbindAnswerAsTheDriverCore) {
  EXPECT_EQ(write(kDrivers + "vfio-pci/bind", kPf), EBUSY);
  EXPECT_EQ(write(kDrivers + "vfio-pci/bind", "0000:00:1f.0"), ENODEV);
  EXPECT_EQ(write(kDrivers + "nvme/unbind", kPf), ENODEV);
  EXPECT_EQ(write(kDrivers + "nvme/bind", kPf), ENODEV) << "driver_override says vfio-pci";
  EXPECT_EQ(write(kDrivers + "nvme/bind", "\n"), ENODEV);
  EXPECT_EQ(write(device(kPf, "vendor"), "1"), EIO);
  EXPECT_EQ(told_, "");
}

TEST_F(PciBusTest, WithoutAnOverrideVfioPciTakesOnlyIdsThatItWasGiven) {
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kPf), 0);
  EXPECT_EQ(write(device(kPf, "driver_override"), "\n"), 0);
  EXPECT_EQ(read(device(kPf, "driver_override")), "(null)\n");
  EXPECT_EQ(write(kDrivers + "vfio-pci/bind", kPf), ENODEV);
  EXPECT_EQ(write(kBus + "drivers_probe", kPf), 0) << "no driver takes it, which is no error";
  EXPECT_EQ(driver(kPf), "");
  EXPECT_EQ(write(kDrivers + "vfio-pci/new_id", "1234 11e8"), 0);
  EXPECT_EQ(driver(kPf), "vfio-pci") << "new_id binds what matches";
  EXPECT_EQ(write(kDrivers + "vfio-pci/new_id", "1234 11e8"), EEXIST);
  EXPECT_EQ(write(kDrivers + "vfio-pci/remove_id", "1234 11e8"), 0);
  EXPECT_EQ(write(kDrivers + "vfio-pci/remove_id", "1234 11e8"), ENODEV);
  EXPECT_EQ(write(kDrivers + "vfio-pci/new_id", "1234"), EINVAL);
  EXPECT_EQ(driver(kPf), "vfio-pci") << "it keeps what it has";
}

TEST_F(PciBusTest, DrivercltsSequenceGivesADeviceToAnotherDriverAndBack) {
  EXPECT_EQ(write(device(kNvme, "driver_override"), "nvme"), 0);
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kNvme), 0);
  EXPECT_EQ(write(kBus + "drivers_probe", kNvme), 0);
  EXPECT_EQ(driver(kNvme), "nvme");
  EXPECT_EQ(write(device(kNvme, "driver_override"), "vfio-pci\n"), 0);
  EXPECT_EQ(write(kDrivers + "nvme/unbind", kNvme), 0);
  EXPECT_EQ(write(kBus + "drivers_probe", kNvme), 0);
  EXPECT_EQ(driver(kNvme), "vfio-pci");
  EXPECT_EQ(write(kBus + "drivers_probe", "nonsense"), ENODEV);
}

TEST_F(PciBusTest, VirtualFunctionsComeAndGo) {
  EXPECT_EQ(read(device(kPf, "sriov_totalvfs")), "4\n");
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "2"), 0);
  EXPECT_EQ(read(device(kPf, "sriov_numvfs")), "2\n");
  EXPECT_EQ(fs::read_symlink(view_ + device(kPf, "virtfn0")).filename(), kVf);
  EXPECT_EQ(fs::read_symlink(view_ + device(kVf, "physfn")).filename(), kPf);
  EXPECT_EQ(driver(kVf), "vfio-pci");
  EXPECT_EQ(read(device(kVf, "driver_override")), "vfio-pci\n");
  EXPECT_EQ(read(device(kVf, "vendor")), "0x1234\n");
  const std::string node = group_node(kVf);
  EXPECT_TRUE(there(node));
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "0\n"), 0);
  EXPECT_FALSE(there(device(kVf, "vendor")));
  EXPECT_FALSE(there(kBus + "devices/" + kVf));
  EXPECT_FALSE(there(device(kPf, "virtfn0")));
  EXPECT_FALSE(there(node));
}

TEST_F(PciBusTest, NumvfsAnswersAsLinux) {
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "5"), ERANGE);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "many"), EINVAL);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "-1"), EINVAL);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "0x2"), 0);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "2"), 0) << "that number is there already";
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "3"), EBUSY);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "0"), 0);
  EXPECT_EQ(write("/sys/module/vfio_pci/parameters/enable_sriov", "N"), 0);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "1"), ENOENT);
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kPf), 0);
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "1"), ENOENT) << "no driver";
}

TEST_F(PciBusTest, APhysicalFunctionThatLosesItsDriverLosesItsVirtualOnes) {
  EXPECT_EQ(write(device(kPf, "sriov_numvfs"), "4"), 0);
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kPf), 0);
  EXPECT_FALSE(there(kBus + "devices/" + kVf));
  EXPECT_EQ(read(device(kPf, "sriov_numvfs")), "0\n");
}

TEST_F(PciBusTest, WhatWasRemovedIsFoundAgainByARescan) {
  const std::string node = group_node(kBehind), resource = read(device(kBehind, "resource"));
  EXPECT_EQ(write(device(kBehind, "remove"), "x"), EINVAL);
  EXPECT_EQ(write(device(kBehind, "remove"), "0"), 0);
  EXPECT_TRUE(there(kBus + "devices/" + kBehind)) << "0 removes nothing";
  EXPECT_EQ(write(device(kBehind, "remove"), "1"), 0);
  EXPECT_FALSE(there(device(kBehind, "vendor")));
  EXPECT_FALSE(there(kBus + "devices/" + kBehind));
  EXPECT_FALSE(there(node));
  EXPECT_EQ(write(device(kBehind, "remove"), "1"), ENODEV);
  EXPECT_EQ(write(kBus + "rescan", "1"), 0);
  EXPECT_EQ(driver(kBehind), "vfio-pci");
  EXPECT_TRUE(there(node));
  EXPECT_EQ(read(device(kBehind, "resource")), resource);
}

TEST_F(PciBusTest, WithoutAutoprobeWhatIsFoundStaysWithoutADriver) {
  EXPECT_EQ(write(kBus + "drivers_autoprobe", "0"), 0);
  EXPECT_EQ(read(kBus + "drivers_autoprobe"), "0\n");
  EXPECT_EQ(write(device(kBehind, "remove"), "1"), 0);
  EXPECT_EQ(write(kBus + "rescan", "1"), 0);
  EXPECT_EQ(driver(kBehind), "");
}

TEST_F(PciBusTest, AnUnpluggedDeviceIsFoundOnlyWhenItIsPluggedIn) {
  EXPECT_TRUE(bus_->unplug(kBehind));
  EXPECT_FALSE(there(kBus + "devices/" + kBehind));
  EXPECT_EQ(write(kBus + "rescan", "1"), 0);
  EXPECT_FALSE(there(kBus + "devices/" + kBehind));
  EXPECT_TRUE(bus_->plug(kBehind));
  EXPECT_EQ(driver(kBehind), "vfio-pci");
  EXPECT_EQ(bus_->plug(kBehind).error().code, EEXIST);
  EXPECT_EQ(bus_->unplug("0000:00:1f.0").error().code, ENODEV);
}

TEST_F(PciBusTest, ResetTakesOneAndNothingElse) {
  EXPECT_EQ(write(device(kPf, "reset"), "1\n"), 0);
  EXPECT_EQ(told_, "reset 0000:00:04.0\n");
  EXPECT_EQ(write(device(kPf, "reset"), "0"), EINVAL);
  EXPECT_EQ(write(device(kPf, "reset"), ""), EINVAL);
}

TEST_F(PciBusTest, EnableIsTheDriversBusiness) {
  EXPECT_EQ(write(device(kPf, "enable"), "1"), EBUSY);
  EXPECT_EQ(write(kDrivers + "vfio-pci/unbind", kPf), 0);
  EXPECT_EQ(write(device(kPf, "enable"), "0"), EIO);
  EXPECT_EQ(write(device(kPf, "enable"), "1"), 0);
  EXPECT_EQ(read(device(kPf, "enable")), "1\n");
}

TEST_F(PciBusTest, PlainValuesAreKept) {
  EXPECT_EQ(write(device(kPf, "numa_node"), "0"), 0);
  EXPECT_EQ(read(device(kPf, "numa_node")), "0\n");
  EXPECT_EQ(write(device(kPf, "numa_node"), "7"), EINVAL);
  EXPECT_EQ(write(device(kPf, "msi_bus"), "0"), 0);
  EXPECT_EQ(read(device(kPf, "msi_bus")), "0\n");
  EXPECT_EQ(write(device(kPf, "uevent"), "add"), 0);
  EXPECT_EQ(write(device(kPf, "uevent"), "sing"), EINVAL);
}

}  // namespace
}  // namespace softiommu::launch
