// SPDX-License-Identifier: BSD-3-Clause
// A container (/dev/vfio/vfio): the groups of one program that share an address space, and its file.
//
// The container lives as long as its file or a group in it; the address space comes with SET_IOMMU and goes with the
// last group. Its lock is the outermost but for a group file's.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/program.h"
#include "vfio/command_table.h"
#include "vfio/type1.h"
#include "vfio/vfio.h"

namespace softiommu::vfio {

class Container {
 public:
  // `program` is whose memory it maps.
  Container(System& system, std::shared_ptr<Program> program, const VfioOptions& options)
      : system_(system), program_(std::move(program)), options_(options) {}

  // Takes the group for `owner` and, with an address space, attaches it. EPERM, EBUSY: it is owned; others from
  // Type1::attach. On failure the group is as it was.
  Result<> add(Group& group, const void* owner);
  // Gives it back. With the last one the address space goes.
  void remove(Group& group);
  bool has_iommu() const { return has_iommu_.load(std::memory_order_acquire); }

  // ioctl handlers.
  Result<long> get_api_version(Call& call);
  Result<long> check_extension(Call& call);
  Result<long> set_iommu(Call& call);
  Result<long> get_info(Call& call);
  Result<long> map_dma(Call& call);
  Result<long> unmap_dma(Call& call);
  Result<long> dirty_pages(Call& call);

 private:
  Result<long> get_dirty_bitmap(Call& call);
  std::vector<std::byte> capabilities_locked() const REQUIRES(mutex_);

  System& system_;
  const std::shared_ptr<Program> program_;
  const VfioOptions& options_;
  Mutex mutex_;
  std::vector<Group*> groups_ GUARDED_BY(mutex_);
  std::unique_ptr<Type1> iommu_ GUARDED_BY(mutex_);
  std::atomic<bool> has_iommu_{false};
};

class ContainerFile final : public File {
 public:
  ContainerFile(std::shared_ptr<Container> container, Program& program)
      : container_(std::move(container)), program_(program) {}

  const std::shared_ptr<Container>& container() const { return container_; }

  std::string path() const override { return "/dev/vfio/vfio"; }
  dev_t device_number() const override { return Vfio::container_device_number(); }
  long ioctl(unsigned int command, std::uint64_t argument) override;

 private:
  std::shared_ptr<Container> container_;
  Program& program_;
};

}  // namespace softiommu::vfio
