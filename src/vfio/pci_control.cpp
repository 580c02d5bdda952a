// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/pci_control.h"

#include <algorithm>
#include <array>
#include <atomic>

namespace softiommu {

namespace {

// Linux's drivers for our models. Those that use DMA themselves keep a program from taking the group.
struct KnownDriver {
  std::string_view name, model;  // model empty: any
  bool uses_dma;
};
constexpr std::array kDrivers{
    KnownDriver{"vfio-pci", "", false},
    KnownDriver{"pci-stub", "", false},
    KnownDriver{"ioatdma", "ioat", true},
    KnownDriver{"nvme", "nvme", true},
};

}  // namespace

struct PciControl::Impl {
  System& system;
  Vfio& vfio;
  std::atomic<std::uint64_t> generation{0};
  std::function<void()> told;
};

PciControl::PciControl(System& system, Vfio& vfio) : impl_(new Impl{.system = system, .vfio = vfio, .told = {}}) {}
PciControl::~PciControl() = default;

std::vector<std::string_view> PciControl::drivers() {
  std::vector<std::string_view> names;
  for (const KnownDriver& driver : kDrivers) names.push_back(driver.name);
  return names;
}

std::vector<PciControl::Function> PciControl::functions() const {
  std::vector<Function> all;
  for (const auto& device : impl_->system.devices()) {
    if (device->function() == nullptr) continue;
    Function function{.bdf = device->name(), .hardware = device->function(), .device = device.get()};
    if (const Group* group = device->group(); group != nullptr) {
      function.group = group->id();
      function.driver = "vfio-pci";
      function.vfio_number = Vfio::device_number(impl_->system, *device);
    }
    all.push_back(std::move(function));
  }
  return all;
}

Result<PciControl::Removal> PciControl::set_num_vfs(std::string_view, unsigned, Wait) {
  return fail(ENOENT, "the function has no SR-IOV");
}
Result<PciControl::Removal> PciControl::remove(std::string_view, Wait) { return fail(ENODEV, "no such device"); }
Result<> PciControl::rescan() { return {}; }
Result<PciControl::Removal> PciControl::unplug(std::string_view) { return fail(ENODEV, "no such device"); }
Result<> PciControl::plug(std::string_view) { return fail(EEXIST, "it is there"); }
Result<> PciControl::reset(std::string_view) { return fail(ENODEV, "no such device"); }
Result<> PciControl::bind(std::string_view, std::string_view) { return fail(ENODEV, "no such driver"); }
Result<PciControl::Removal> PciControl::unbind(std::string_view, std::string_view, Wait) {
  return fail(ENODEV, "no such device");
}

std::uint64_t PciControl::generation() const { return impl_->generation.load(std::memory_order_acquire); }
void PciControl::on_change(std::function<void()> told) { impl_->told = std::move(told); }

}  // namespace softiommu
