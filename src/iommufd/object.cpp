// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/object.h"

#include <algorithm>

#include "base/fault.h"

namespace softiommu::iommufd {

Result<> ObjectTable::insert(std::unique_ptr<Object> object) {
  TRY(fault::pass("iommufd.object"));
  return without_throwing([&]() -> Result<> {
    while (first_free_ < slots_.size() && !slots_[first_free_].free()) ++first_free_;
    if (first_free_ >= slots_.size()) slots_.resize(first_free_ + 1);
    object->id_ = first_free_;
    slots_[first_free_++].object = std::move(object);
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
  return std::move(slots_[id].object);
}

std::unique_ptr<Object> ObjectTable::bury(std::uint32_t id) {
  slots_[id].buried = true;
  --count_;
  return std::move(slots_[id].object);
}

void ObjectTable::clear() {
  for (bool ended = true; ended;) {
    ended = false;
    for (Slot& slot : slots_) {
      if (slot.object == nullptr || slot.object->in_use()) continue;
      const std::unique_ptr<Object> gone = std::move(slot.object);
      --count_;
      ended = true;
    }
  }
}

}  // namespace softiommu::iommufd
