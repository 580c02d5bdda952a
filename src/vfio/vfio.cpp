// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/vfio.h"

#include <sys/sysmacros.h>

#include "vfio/container.h"
#include "vfio/group.h"

namespace softiommu {

namespace {

// Linux: the container is a misc device, groups have a major of their own (assigned at boot, from 511 down).
constexpr unsigned kMiscMajor = 10, kContainerMinor = 196, kGroupMajor = 511;

}  // namespace

struct Vfio::Impl {
  Impl(System& the_system, const VfioOptions& the_options)
      : system(the_system), options(the_options), locked(the_options.memlock) {
    // Devices whose DMA does not snoop the caches cannot be given to programs.
    if (!system.machine().spec().cache_coherent) return;
    for (const auto& group : system.groups())
      groups.push_back(std::make_unique<vfio::VfioGroup>(system, *group, groups));
  }

  System& system;
  VfioOptions options;
  LockedMemory locked;
  vfio::VfioGroup::All groups;
};

Vfio::Vfio(System& system, const VfioOptions& options) : impl_(std::make_unique<Impl>(system, options)) {}
Vfio::~Vfio() = default;

Result<std::shared_ptr<File>> Vfio::open_container(Program& program) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    auto container = std::make_shared<vfio::Container>(impl_->system, impl_->locked, impl_->options);
    return std::make_shared<vfio::ContainerFile>(std::move(container), program);
  });
}

Result<std::shared_ptr<File>> Vfio::open_group(Program& program, unsigned group) {
  return without_throwing([&]() -> Result<std::shared_ptr<File>> {
    for (const auto& own : impl_->groups) {
      if (own->group().id() != group) continue;
      TRY(own->open());
      try {
        return std::make_shared<vfio::GroupFile>(*own, program);
      } catch (...) {
        own->close();
        throw;
      }
    }
    return fail(ENODEV, "no such group");
  });
}

dev_t Vfio::container_device_number() { return makedev(kMiscMajor, kContainerMinor); }
dev_t Vfio::group_device_number(unsigned group) { return makedev(kGroupMajor, group); }

std::uint64_t Vfio::locked_pages() const { return impl_->locked.pages(); }

}  // namespace softiommu
