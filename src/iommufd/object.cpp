// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/object.h"

#include <algorithm>

namespace softiommu::iommufd {

Result<> ObjectTable::insert(std::unique_ptr<Object> object) {
  return without_throwing([&]() -> Result<> {
    while (first_free_ < slots_.size() && slots_[first_free_] != nullptr) ++first_free_;
    if (first_free_ >= slots_.size()) slots_.resize(first_free_ + 1);
    object->id_ = first_free_;
    slots_[first_free_++] = std::move(object);
    ++count_;
    return {};
  });
}

Result<std::unique_ptr<Object>> ObjectTable::take(std::uint32_t id) {
  const Object* const object = find(id);
  if (object == nullptr) return fail(ENOENT, "no object has this id");
  if (object->in_use()) return fail(EBUSY, "the object is in use");
  first_free_ = std::min(first_free_, id);
  --count_;
  return std::move(slots_[id]);
}

}  // namespace softiommu::iommufd
