// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/vfio.h"

#include <sys/sysmacros.h>

#include "base/fault.h"
#include "vfio/container.h"
#include "vfio/device_cdev.h"
#include "vfio/devices.h"
#include "vfio/group.h"
#include "vfio/iommufd_file.h"

namespace softiommu {

namespace {

// Linux: the container is a misc device, groups have a major of their own (assigned at boot, from 511 down).
constexpr unsigned kMiscMajor = 10, kContainerMinor = 196, kGroupMajor = 511, kDeviceMajor = 510, kIommuMinor = 125;

}  // namespace

struct Vfio::Impl {
  Impl(System& the_system, const VfioOptions& the_options)
      : system(the_system), options(the_options), devices(the_system) {}

  System& system;
  VfioOptions options;
  LockedMemory user;  // what programs have locked together, by iommufds that count so
  iommufd::Options iommufd_options{.memlock = options.memlock,
                                   .allow_unsafe_interrupts = options.allow_unsafe_interrupts,
                                   .selftest = options.selftest};
  vfio::Devices devices;
};

Vfio::Vfio(System& system, const VfioOptions& options) : impl_(std::make_unique<Impl>(system, options)) {}
Vfio::~Vfio() = default;

Result<std::shared_ptr<File>> Vfio::open_container(Program& program) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    const fault::Call fallible;
    auto container = std::make_shared<vfio::Container>(impl_->system, program.shared(), impl_->options);
    return std::make_shared<vfio::ContainerFile>(std::move(container), program);
  });
}

Result<std::shared_ptr<File>> Vfio::open_group(Program& program, unsigned group) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    const fault::Call fallible;
    vfio::VfioGroup* const own = impl_->devices.group(group);
    if (own == nullptr) return fail(ENODEV, "no such group");
    TRY(own->open());
    try {
      return std::make_shared<vfio::GroupFile>(*own, program);
    } catch (...) {
      own->close();
      throw;
    }
  });
}

Result<std::shared_ptr<File>> Vfio::open_device(Program& program, unsigned number) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    const fault::Call fallible;
    vfio::PciDevice* const device = impl_->devices.find(number);
    if (device == nullptr) return fail(ENODEV, "no such device");
    auto use = device->registration().use();
    if (!use) return fail(ENODEV, "the device is leaving");
    return std::make_shared<vfio::DeviceCdevFile>(impl_->devices.group_of(*device), *device, program, std::move(use));
  });
}

Result<std::shared_ptr<File>> Vfio::open_iommufd(Program& program) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    const fault::Call fallible;
    auto context = std::make_shared<iommufd::Context>(impl_->system, impl_->user, impl_->iommufd_options);
    return std::make_shared<vfio::IommufdFile>(std::move(context), program);
  });
}

std::optional<unsigned> Vfio::group_of(unsigned number) const {
  const vfio::PciDevice* const device = impl_->devices.find(number);
  return device != nullptr ? std::optional(device->device().group()->id()) : std::nullopt;
}

vfio::Devices& Vfio::devices() { return impl_->devices; }

dev_t Vfio::container_device_number() { return makedev(kMiscMajor, kContainerMinor); }
dev_t Vfio::group_device_number(unsigned group) { return makedev(kGroupMajor, group); }
dev_t Vfio::device_file_number(unsigned number) { return makedev(kDeviceMajor, number); }
dev_t Vfio::iommufd_device_number() { return makedev(kMiscMajor, kIommuMinor); }

}  // namespace softiommu
