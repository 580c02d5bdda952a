// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/selftest/access_file.h"

#include <algorithm>

namespace softiommu::iommufd::selftest {

Result<std::shared_ptr<AccessFile>> AccessFile::create(std::shared_ptr<Context> context, Access::Kind kind,
                                                       std::uint32_t ioas_id) {
  auto file = std::make_shared<AccessFile>();
  file->access_ = TRY(Access::create(std::move(context), kind, file));
  TRY(file->access_->attach(ioas_id));
  return file;
}

void AccessFile::release() { unmap({Iova{0}, Iova{~std::uint64_t{0}}}); }

void AccessFile::unmap(IovaRange range) {
  const MutexLock lock(mutex_);
  std::erase_if(items_, [&](const Item& item) {
    if (!range.overlaps(IovaRange::of(Iova{item.pin.iova}, item.pin.length))) return false;
    access_->unpin(item.pin);
    return true;
  });
}

Result<> AccessFile::unpin(std::uint32_t number) {
  const MutexLock lock(mutex_);
  const auto item = std::ranges::find(items_, number, &Item::number);
  if (item == items_.end()) return fail(ENOENT, "nothing pinned has this number");
  access_->unpin(item->pin);
  items_.erase(item);
  return {};
}

}  // namespace softiommu::iommufd::selftest
