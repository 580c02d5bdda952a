// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/container.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "vfio/cap_chain.h"
#include "vfio/dirty_bitmap.h"

namespace softiommu::vfio {

namespace {

constexpr Command<Container> kRows[] = {
    row<&Container::get_api_version, Container>("GET_API_VERSION", abi::kGetApiVersion, 0),
    row<&Container::check_extension, Container>("CHECK_EXTENSION", abi::kCheckExtension, 0),
    row<&Container::set_iommu, Container>("SET_IOMMU", abi::kSetIommu, 0),
    row<&Container::get_info, Container>("IOMMU_GET_INFO", abi::kIommuGetInfo, abi::kType1InfoMinimum),
    row<&Container::map_dma, Container>("IOMMU_MAP_DMA", abi::kIommuMapDma, sizeof(abi::DmaMap)),
    row<&Container::unmap_dma, Container>("IOMMU_UNMAP_DMA", abi::kIommuUnmapDma, sizeof(abi::DmaUnmap)),
    row<&Container::dirty_pages, Container>("IOMMU_DIRTY_PAGES", abi::kIommuDirtyPages, sizeof(abi::DirtyPages)),
};
constexpr CommandTable kCommands(kRows);

// Commands that a container answers before SET_IOMMU; all others are EINVAL then, known or not.
bool is_base_command(unsigned command) { return command <= abi::kSetIommu && command >= abi::kGetApiVersion; }

constexpr const char* kNoIommu = "the container has no IOMMU yet (SET_IOMMU)";

// Of memory that is unmapped already: check_user_bitmap() has proved that all of it can be written.
Result<> write_bitmap(Program& program, std::uint64_t data, std::span<const DirtyPagesRun> dirty) {
  const fault::Paused proven;
  for (const DirtyPagesRun& run : dirty) TRY(write_dirty(program, data, run));
  return {};
}

// What the request's address is. Memory is lent by the program (`memory`, which has to live until it is pinned), and
// the request then names it as this process sees it.
Result<MapTarget> find_target(Program& program, abi::DmaMap& request, ProgramMemory& memory) {
  const bool write = (request.flags & abi::kMapWrite) != 0;
  auto lent = program.borrow(request.vaddr, request.size, write);
  if (lent) [[likely]] {
    memory = *std::move(lent);
    request.vaddr = memory.address;
    return MapTarget{};
  }
  if (lent.error().code != EFAULT) return std::unexpected(lent.error());
  const auto registers = program.registers_at(request.vaddr, request.size, write);
  if (!registers) return std::unexpected(lent.error());
  return MapTarget{*registers};
}

}  // namespace

Result<> Container::add(Group& group, const void* owner) {
  const MutexLock lock(mutex_);
  try {
    groups_.reserve(groups_.size() + 1);
  } catch (const std::bad_alloc&) {
    return fail(ENOMEM, "no memory for the group's record");
  }
  TRY(group.claim_dma_owner(owner));
  if (iommu_ != nullptr) {
    if (auto attached = iommu_->attach(group); !attached) {
      group.release_dma_owner();
      return attached;
    }
  }
  groups_.push_back(&group);
  return {};
}

void Container::remove(Group& group) {
  const MutexLock lock(mutex_);
  if (std::erase(groups_, &group) == 0) return;
  if (iommu_ != nullptr) iommu_->detach(group);
  group.release_dma_owner();
  if (groups_.empty()) {
    has_iommu_.store(false, std::memory_order_release);
    iommu_.reset();
  }
}

Result<long> Container::get_api_version(Call& /*call*/) { return abi::kApiVersion; }

Result<long> Container::check_extension(Call& call) {
  const MutexLock lock(mutex_);
  switch (static_cast<abi::Extension>(call.argument())) {
    case abi::Extension::type1:
    case abi::Extension::type1_v2:
    case abi::Extension::unmap_all:
      return 1;
    case abi::Extension::update_vaddr:
      return iommu_ != nullptr ? 1 : 0;
    case abi::Extension::dma_cc:
      return iommu_ != nullptr && iommu_->space().enforces_cache_coherency() ? 1 : 0;
    default:
      return 0;
  }
}

Result<long> Container::set_iommu(Call& call) {
  const MutexLock lock(mutex_);
  if (groups_.empty()) return fail(EINVAL, "a container needs a group before its IOMMU");
  if (iommu_ != nullptr) return fail(EINVAL, "the IOMMU is set already");
  const auto type = static_cast<abi::Extension>(call.argument());
  if (type == abi::Extension::unmap_all) return fail(EINVAL, "an extension, not a kind of IOMMU");
  if (type != abi::Extension::type1 && type != abi::Extension::type1_v2) return fail(ENODEV, "no such kind of IOMMU");
  auto iommu = std::make_unique<Type1>(system_, program_->locked(), options_, type == abi::Extension::type1_v2);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (const auto attached = iommu->attach(*groups_[i]); !attached) {
      while (i-- > 0) iommu->detach(*groups_[i]);
      return std::unexpected(attached.error());
    }
  }
  iommu_ = std::move(iommu);
  has_iommu_.store(true, std::memory_order_release);
  return 0;
}

std::vector<std::byte> Container::capabilities_locked() const {
  CapChain chain(sizeof(abi::Type1Info));
  const AddressSpace& space = iommu_->space();
  chain.add(abi::CapMigration{.header = {abi::kInfoCapMigration, 1, 0},
                              .flags = 0,
                              .pad = 0,
                              .pgsize_bitmap = space.min_page_size(),
                              .max_dirty_bitmap_size = abi::kDirtyBitmapMost});
  chain.add(abi::CapDmaAvail{{abi::kInfoCapDmaAvail, 1, 0}, static_cast<std::uint32_t>(iommu_->entries_left())});
  const auto ranges = space.allowed().all();
  chain.add(abi::CapIovaRange{{abi::kInfoCapIovaRange, 1, 0}, static_cast<std::uint32_t>(ranges.size()), 0});
  for (const IovaRange& range : ranges) chain.extend(abi::IovaRangeEntry{range.first.value, range.last.value});
  return chain.take();
}

Result<long> Container::get_info(Call& call) {
  auto info = call.request<abi::Type1Info>();
  std::vector<std::byte> caps;
  {
    const MutexLock lock(mutex_);
    if (iommu_ == nullptr) return fail(EINVAL, kNoIommu);
    info.iova_pgsizes = iommu_->space().page_sizes();
    caps = capabilities_locked();
  }
  return answer_type1_info(call, info, caps);
}

Result<long> Container::map_dma(Call& call) {
  auto request = call.request<abi::DmaMap>();
  // Before the lock, although other checks come first: the answer is used only if those pass.
  ProgramMemory memory;
  Result<MapTarget> target;
  if ((request.flags & abi::kMapVaddr) == 0 && request.size != 0 &&
      request.vaddr + (request.size - 1) >= request.vaddr) {
    target = find_target(call.program(), request, memory);
  }
  const MutexLock lock(mutex_);
  if (iommu_ == nullptr) return fail(EINVAL, kNoIommu);
  TRY(iommu_->map(request, target));
  return 0;
}

Result<long> Container::unmap_dma(Call& call) {
  auto request = call.request<abi::DmaUnmap>();
  constexpr std::uint32_t known = abi::kUnmapGetDirtyBitmap | abi::kUnmapAll | abi::kUnmapVaddr;
  if ((request.flags & ~known) != 0) return fail(EINVAL, "unknown flags");
  const bool with_bitmap = (request.flags & abi::kUnmapGetDirtyBitmap) != 0;
  abi::Bitmap bitmap{};
  std::vector<DirtyPagesRun> dirty;
  if (with_bitmap) {
    if (request.flags != abi::kUnmapGetDirtyBitmap) return fail(EINVAL, "GET_DIRTY_BITMAP goes with no other flag");
    if (request.argsz < sizeof(request) + sizeof(bitmap)) return fail(EINVAL, "argsz leaves no room for the bitmap");
    bitmap = TRY(call.fetch_at<abi::Bitmap>(sizeof(request)));
    TRY(check_user_bitmap(call.program(), bitmap, request.size));
  }
  TRY(call.prove_answer(sizeof request));
  {
    const MutexLock lock(mutex_);
    if (iommu_ == nullptr) return fail(EINVAL, kNoIommu);
    request.size = TRY(iommu_->unmap(request, with_bitmap ? &bitmap : nullptr, with_bitmap ? &dirty : nullptr));
  }
  if (with_bitmap) TRY(write_bitmap(call.program(), bitmap.data, dirty));
  TRY(call.answer(request));
  return 0;
}

Result<long> Container::dirty_pages(Call& call) {
  const auto request = call.request<abi::DirtyPages>();
  {
    const MutexLock lock(mutex_);
    if (iommu_ == nullptr) return fail(EINVAL, kNoIommu);
    TRY(iommu_->check_dirty_allowed());
    switch (request.flags) {  // exactly one
      case abi::kDirtyStart:
        iommu_->set_dirty_tracking(true);
        return 0;
      case abi::kDirtyStop:
        iommu_->set_dirty_tracking(false);
        return 0;
      case abi::kDirtyGetBitmap:
        break;
      default:
        return fail(EINVAL, "one of START, STOP and GET_BITMAP must be asked");
    }
  }
  if (request.argsz < sizeof(request) + sizeof(abi::DirtyRange))
    return fail(EINVAL, "argsz leaves no room for the range");
  return get_dirty_bitmap(call);
}

Result<long> Container::get_dirty_bitmap(Call& call) {
  const auto range = TRY(call.fetch_at<abi::DirtyRange>(sizeof(abi::DirtyPages)));
  if (range.iova + range.size < range.iova) return fail(EINVAL, "the range wraps");
  TRY(check_user_bitmap(call.program(), range.bitmap, range.size));
  std::vector<DirtyPagesRun> dirty;
  {
    const MutexLock lock(mutex_);
    if (iommu_ == nullptr) return fail(EINVAL, kNoIommu);
    dirty = TRY(iommu_->dirty_pages(range));
  }
  for (const DirtyPagesRun& run : dirty) TRY(write_dirty(call.program(), range.bitmap.data, run));
  return 0;
}

long ContainerFile::ioctl(unsigned int command, std::uint64_t argument) {
  if (!container_->has_iommu() && !is_base_command(command)) return -EINVAL;
  return kCommands.dispatch(*container_, program_, "vfio container", command, argument);
}

}  // namespace softiommu::vfio
