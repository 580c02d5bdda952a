// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/group_device_file.h"

namespace softiommu::vfio {

Result<std::shared_ptr<DeviceFile>> GroupDeviceFile::open(std::shared_ptr<GroupFile> group, PciDevice& device,
                                                          Program& program) {
  VfioGroup& users = group->group();
  auto use = device.registration().use();
  if (!use) return fail(ENODEV, "the device is leaving");
  TRY(users.use());
  const auto work = [&]() -> Result<std::shared_ptr<DeviceFile>> {
    std::shared_ptr<iommufd::Binding> binding;
    if (const auto context = users.context()) binding = TRY(device.share_binding(context));
    TRY(device.open());
    try {
      return std::make_shared<GroupDeviceFile>(Opened{}, std::move(group), device, program, std::move(binding),
                                               std::move(use));
    } catch (...) {
      device.close();
      throw;
    }
  };
  auto opened = without_throwing(work);
  if (!opened) users.unuse();
  return opened;
}

GroupDeviceFile::~GroupDeviceFile() {
  device_.close();
  binding_.reset();
  file_->group().unuse();
}

}  // namespace softiommu::vfio
