// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/selftest/same_page.h"

#include "base/guarded_copy.h"

namespace softiommu::iommufd::selftest {

Result<bool> SamePage::compare(std::uint64_t user, const std::byte* ours) const {
  std::uint64_t theirs = 0, seen = 0;
  TRY(program_.copy_in(&theirs, user, sizeof theirs));
  if (ours == nullptr) return false;
  if (reinterpret_cast<std::uint64_t>(ours) == user) return true;
  if (!guarded_copy(&seen, ours, sizeof seen) || seen != theirs) return false;
  const std::uint64_t changed = ~theirs;
  TRY(program_.copy_out(user, &changed, sizeof changed));
  const bool followed = guarded_copy(&seen, ours, sizeof seen) && seen == changed;
  TRY(program_.copy_out(user, &theirs, sizeof theirs));
  return followed;
}

}  // namespace softiommu::iommufd::selftest
