// SPDX-License-Identifier: BSD-3-Clause
// The rules of a type1 container over one address space: what may be mapped and unmapped, and how dirty pages are told.
//
// v1 answers to sub-range unmaps as it always did: an area that begins in the range goes whole, one that begins
// before it stops the call. v2 refuses to split. Type1 never asks the IOMMU for dirty bits: every pinned page is dirty.
// The container's lock guards it; program memory is not touched here.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "core/group.h"
#include "ioas/address_space.h"
#include "vfio/abi.h"
#include "vfio/vfio.h"

namespace softiommu::vfio {

// Pages first..first+count-1 (counted from the start of the asked range) are dirty.
struct DirtyPagesRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

// What is at the address that MAP_DMA names: memory that can be pinned, unless it is a device's registers.
struct MapTarget {
  std::optional<PhysAddr> registers;
};

class Type1 {
 public:
  Type1(System& system, LockedMemory& locked, const VfioOptions& options, bool v2)
      : system_(system), options_(options), v2_(v2), space_(system, locked, options.memlock) {}

  // EBUSY: addresses are being updated (UNMAP with VADDR); EINVAL: it has joined, or cannot; EPERM: its interrupts
  // are not isolated; others from the attach. On failure the group stays on its blocking domain.
  Result<> attach(Group& group);
  void detach(Group& group) { space_.detach(group); }

  // EINVAL: flags, alignment, sizes, outside of the allowed ranges; EOVERFLOW: a range wraps; EEXIST; ENOENT: VADDR of
  // what is not mapped; ENOSPC: too many areas; `target`'s EFAULT; ENOMEM.
  Result<> map(const abi::DmaMap& request, const Result<MapTarget>& target);

  // How many bytes were unmapped. With GET_DIRTY_BITMAP `bitmap` and `dirty` are given.
  // EINVAL: flags, alignment, sizes, a split (v2), dirty tracking is off; EOVERFLOW: the range wraps.
  Result<std::uint64_t> unmap(const abi::DmaUnmap& request, const abi::Bitmap* bitmap,
                              std::vector<DirtyPagesRun>* dirty);

  // EACCES on a v1 container.
  Result<> check_dirty_allowed() const;
  void set_dirty_tracking(bool on) { dirty_tracking_ = on; }
  // EINVAL: tracking is off, or the range is misaligned or splits an area.
  Result<std::vector<DirtyPagesRun>> dirty_pages(const abi::DirtyRange& request) const;

  const AddressSpace& space() const { return space_; }
  std::uint64_t entries_left() const { return options_.dma_entry_limit - space_.areas().size(); }

 private:
  Result<> update_user(const abi::DmaMap& request, IovaRange range);
  Result<> check_not_split(IovaRange range, AreaMap::Position begin) const;
  Result<std::uint64_t> invalidate_users(IovaRange range, AreaMap::Position begin);
  Result<std::uint64_t> unmap_range(IovaRange range, AreaMap::Position begin, std::vector<DirtyPagesRun>* dirty);

  System& system_;
  const VfioOptions& options_;
  const bool v2_;
  bool dirty_tracking_ = false;
  unsigned invalid_users_ = 0;
  AddressSpace space_;
};

// Does a bitmap of `bytes` have room for `pages`, within type1's limit? EINVAL: no.
Result<> check_bitmap(std::uint64_t pages, std::uint64_t bytes);

}  // namespace softiommu::vfio
