// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/bar_exports.h"

#include <algorithm>

namespace softiommu::vfio {

namespace {

class BarDmaBuf final : public iommufd::DmaBuf {
 public:
  BarDmaBuf(PhysAddr first, std::uint64_t bytes, bool contiguous)
      : DmaBuf(bytes), first_(first), contiguous_(contiguous) {}
  PhysAddr first() const override { return first_; }
  bool contiguous() const override { return contiguous_; }

 private:
  const PhysAddr first_;
  const bool contiguous_;
};

Result<> check(const abi::DmaRange& part, std::uint64_t bar_bytes) {
  if (!is_aligned(part.offset | part.length, kPageSize)) return fail(EINVAL, "a part is not whole pages");
  if (part.length == 0 || part.offset > bar_bytes || part.length > bar_bytes - part.offset)
    return fail(EINVAL, "a part is empty, or reaches out of the BAR");
  return {};
}

}  // namespace

Result<std::shared_ptr<iommufd::DmaBufFile>> BarExports::create(PciFunction& function, unsigned bar,
                                                                std::span<const abi::DmaRange> parts) {
  if (bar >= function.bars().size() || function.bars()[bar].bytes == 0 || function.bars()[bar].io)
    return fail(ENODEV, "no such BAR in memory");
  std::uint64_t bytes = 0;
  for (const abi::DmaRange& part : parts) {
    TRY(check(part, function.bars()[bar].bytes));
    bytes += part.length;
  }
  const PhysAddr first{function.bar_address(bar) + parts.front().offset};
  auto made = std::make_shared<BarDmaBuf>(first, bytes, parts.size() == 1);
  auto file = std::make_shared<iommufd::DmaBufFile>(made);
  const MutexLock lock(mutex_);
  std::erase_if(exports_, [](const auto& gone) { return gone.expired(); });
  exports_.push_back(made);
  return file;
}

std::vector<std::shared_ptr<iommufd::DmaBuf>> BarExports::all() {
  const MutexLock lock(mutex_);
  std::vector<std::shared_ptr<iommufd::DmaBuf>> there;
  for (const auto& weak : exports_)
    if (auto buffer = weak.lock()) there.push_back(std::move(buffer));
  return there;
}

void BarExports::revoke() {
  for (const auto& buffer : all()) buffer->revoke();
}

void BarExports::give_again() {
  for (const auto& buffer : all()) buffer->give_again();
}

void BarExports::forget() {
  revoke();
  const MutexLock lock(mutex_);
  exports_.clear();
}

}  // namespace softiommu::vfio
