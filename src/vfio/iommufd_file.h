// SPDX-License-Identifier: BSD-3-Clause
// The file /dev/iommu: iommufd's own commands, and type1's calls on its compatibility IOAS for programs that were
// written for containers.
#pragma once

#include <memory>

#include "base/file.h"
#include "base/program.h"
#include "iommufd/context.h"
#include "vfio/command_table.h"
#include "vfio/vfio.h"

namespace softiommu::vfio {

class IommufdFile final : public File {
 public:
  IommufdFile(std::shared_ptr<iommufd::Context> context, Program& program)
      : context_(std::move(context)), program_(program) {}

  const std::shared_ptr<iommufd::Context>& context() const { return context_; }

  std::string path() const override { return "/dev/iommu"; }
  dev_t device_number() const override { return Vfio::iommufd_device_number(); }
  long ioctl(unsigned int command, std::uint64_t argument) override;
  int mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) override {
    return context_->mmap(offset, bytes, prot, flags, out);
  }

  // Handlers of type1's calls (ENODEV: no group was given to the context).
  Result<long> get_api_version(Call& call);
  Result<long> check_extension(Call& call);
  Result<long> set_iommu(Call& call);
  Result<long> get_info(Call& call);
  Result<long> map_dma(Call& call);
  Result<long> unmap_dma(Call& call);

 private:
  std::shared_ptr<iommufd::Context> context_;
  Program& program_;
};

}  // namespace softiommu::vfio
