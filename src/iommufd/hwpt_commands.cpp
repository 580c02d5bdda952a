// SPDX-License-Identifier: BSD-3-Clause
// Commands on hardware page tables and on what is behind them: HWPT_*, GET_HW_INFO. How HWPTs are made is in
// make_hwpt.cpp.
#include <algorithm>
#include <array>
#include <utility>

#include "base/fault.h"
#include "core/driver.h"
#include "drivers/pci_ats.h"
#include "iommufd/abi.h"
#include "iommufd/call.h"
#include "iommufd/context.h"

namespace softiommu::iommufd {

namespace {

// Bits of the program's bitmap, from one to the other.
struct DirtyRun {
  std::uint64_t first, last;
};

// How many bits the bitmap has. EOVERFLOW: the range wraps; EINVAL: it is empty or not a multiple of the page size.
Result<std::uint64_t> check_bitmap(const abi::HwptGetDirtyBitmap& request) {
  if (request.iova + (request.length - 1) < request.iova) return fail(EOVERFLOW, "the range wraps");
  if (request.length == 0 || request.page_size == 0) return fail(EINVAL, "the range or the page size is 0");
  if (!is_aligned(request.iova | request.length, request.page_size))
    return fail(EINVAL, "the range is not a multiple of the page size");
  return request.length / request.page_size;
}

// Which bits stand for what devices wrote in the range.
struct DirtyRange {
  Domain& domain;
  IovaRange range;
  std::uint64_t page_size;

  template <class Note>
  Result<> read(bool clear, Note&& note) const {
    return domain.read_dirty(range, clear, [&](Iova first, std::uint64_t bytes) {
      const std::uint64_t from = first - range.first;
      note(DirtyRun{from / page_size, (from + bytes - 1) / page_size});
    });
  }
  Result<std::vector<DirtyRun>> look() const {
    std::vector<DirtyRun> runs;
    TRY(read(false, [&](DirtyRun run) { runs.push_back(run); }));
    return runs;
  }
  // And clears them. There is room for all before the first is cleared; should devices have written more since, the
  // last run takes in what lies between: a page too many is no loss.
  Result<std::vector<DirtyRun>> take() const {
    std::vector<DirtyRun> runs;
    std::size_t count = 0;
    TRY(read(false, [&](DirtyRun) { ++count; }));
    runs.reserve(2 * count + 8);
    TRY(read(true, [&](DirtyRun run) {
      if (runs.size() < runs.capacity())
        runs.push_back(run);
      else
        runs.back().last = run.last;
    }));
    return runs;
  }
};

Result<> set_bits(Program& program, std::uint64_t bitmap, const std::vector<DirtyRun>& runs) {
  constexpr std::uint64_t kBits = 64, kAll = ~std::uint64_t{0};
  for (const DirtyRun& run : runs) {
    for (std::uint64_t word = run.first / kBits; word <= run.last / kBits; ++word) {
      std::uint64_t value = 0, set = kAll;
      if (word == run.first / kBits) set &= kAll << run.first % kBits;
      if (word == run.last / kBits) set &= kAll >> (kBits - 1 - run.last % kBits);
      TRY(program.copy_in(&value, bitmap + word * sizeof value, sizeof value));
      value |= set;
      TRY(program.copy_out(bitmap + word * sizeof value, &value, sizeof value));
    }
  }
  return {};
}

// Linux's bounds for HWPT_INVALIDATE: one call shall not keep a processor for long.
constexpr std::uint32_t kMostEntries = 1U << 19;
constexpr std::uint32_t kPieceBytes = 16 * kKiB;

Result<> check_entries(const abi::HwptInvalidate& request, std::uint32_t entries) {
  if (entries == 0) return {};
  if (request.data_uptr == 0 || request.entry_len == 0) return fail(EINVAL, "there are no entries");
  if (request.entry_len > kPageSize || entries > kMostEntries) return fail(EINVAL, "there are too many entries");
  return {};
}

// Whole entries as far as they can be read, and whether all can.
struct EntriesRead {
  std::vector<std::byte> entries;
  Result<> all;
};

EntriesRead read_entries(const Call& call, std::uint64_t user, std::uint32_t entry_bytes, std::uint32_t count) {
  EntriesRead read{std::vector<std::byte>(std::size_t{entry_bytes} * count), {}};
  if (call.program().copy_in(read.entries.data(), user, read.entries.size())) return read;
  for (std::size_t i = 0; i < count; ++i) {
    read.all = call.program().copy_in(&read.entries[i * entry_bytes], user + i * entry_bytes, entry_bytes);
    if (!read.all) {
      read.entries.resize(i * entry_bytes);
      break;
    }
  }
  return read;
}

}  // namespace

Result<> Context::hwpt_alloc(Call& call) {
  auto request = call.request<abi::HwptAlloc>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  if ((request.data_type == abi::kHwptDataNone) != (request.data_len == 0))
    return fail(EINVAL, "a data type and a length go together");
  const UserData data(call.program(), request.data_type, request.data_len, request.data_uptr);
  {
    const MutexLock lock(mutex_);
    request.out_hwpt_id = TRY(make_requested_hwpt(request, data));
  }
  return respond_made(call, request, request.out_hwpt_id);
}

// The entries are read in pieces with no lock held: the object is looked for again for each.
Result<> Context::hwpt_invalidate(Call& call) {
  TRY(call.prove_response());  // what was forgotten is not remembered again
  auto request = call.request<abi::HwptInvalidate>();
  const std::uint32_t entries = std::exchange(request.entry_num, 0);
  const auto invalidate = [&](UserArray& piece) -> Result<> {
    const MutexLock lock(mutex_);
    if (objects_.find(request.hwpt_id) == nullptr) return fail(ENOENT, "no object has this id");
    if (auto* const nested = objects_.find<NestedHwpt>(request.hwpt_id))
      return nested->domain().cache_invalidate_user(piece);
    if (auto* const viommu = objects_.find<Viommu>(request.hwpt_id)) return viommu->driver_part().invalidate(piece);
    return fail(EINVAL, "the object caches nothing of the program's");
  };
  const auto all = [&]() -> Result<> {
    if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
    TRY(check_entries(request, entries));
    do {
      const std::uint32_t count = std::min(entries - request.entry_num, kPieceBytes / std::max(request.entry_len, 1U));
      const std::uint64_t from = request.data_uptr + std::uint64_t{request.entry_num} * request.entry_len;
      auto read = read_entries(call, from, request.entry_len, count);
      UserArray piece(request.data_type, request.entry_len, std::move(read.entries));
      const Result<> done = without_throwing([&] { return invalidate(piece); });
      request.entry_num += piece.accepted();
      TRY(done);
      TRY(read.all);
      if (piece.more()) return fail(EINVAL, "the driver left entries");
    } while (request.entry_num < entries);
    return {};
  };
  const Result<> done = without_throwing(all);
  TRY(call.respond(request));  // how many were done, also where one failed
  return done;
}

Result<> Context::hwpt_set_dirty_tracking(Call& call) {
  const auto request = call.request<abi::HwptSetDirtyTracking>();
  if ((request.flags & ~abi::kDirtyTrackingEnable) != 0) return fail(EOPNOTSUPP, "unknown flags");
  const MutexLock lock(mutex_);
  auto* const hwpt = objects_.find<PagingHwpt>(request.hwpt_id);
  if (hwpt == nullptr) return fail(ENOENT, "no hardware page table has this id");
  const bool enable = (request.flags & abi::kDirtyTrackingEnable) != 0;
  // What was written before does not count.
  if (enable) TRY(hwpt->domain().read_dirty(hwpt->domain().aperture(), true, [](Iova, std::uint64_t) {}));
  return hwpt->domain().set_dirty_tracking(enable);
}

Result<> Context::hwpt_get_dirty_bitmap(Call& call) {
  const auto request = call.request<abi::HwptGetDirtyBitmap>();
  if ((request.flags & ~abi::kDirtyNoClear) != 0 || request.reserved != 0) return fail(EOPNOTSUPP, "unknown flags");
  std::vector<DirtyRun> runs;
  {
    const MutexLock lock(mutex_);
    auto* const hwpt = objects_.find<PagingHwpt>(request.hwpt_id);
    if (hwpt == nullptr) return fail(ENOENT, "no hardware page table has this id");
    const std::uint64_t bits = TRY(check_bitmap(request));
    const std::uint64_t alignment = hwpt->ioas().table().alignment();
    if (!is_aligned(request.iova | request.length, alignment)) return fail(EINVAL, "the range is not aligned");
    // Before anything is cleared: what is read here is read once.
    TRY(call.program().check_pinnable(request.data, (bits + 63) / 64 * sizeof(std::uint64_t), true));
    const bool clear = (request.flags & abi::kDirtyNoClear) == 0;
    const DirtyRange range{hwpt->domain(), IovaRange::of(Iova{request.iova}, request.length), request.page_size};
    runs = TRY(clear ? range.take() : range.look());
  }
  const fault::Paused proven;  // that they can be written: above
  return set_bits(call.program(), request.data, runs);
}

Result<> Context::get_hw_info(Call& call) {
  auto request = call.request<abi::HwInfo>();
  if ((request.flags & ~abi::kHwInfoInputType) != 0) return fail(EOPNOTSUPP, "unknown flags");
  for (const std::uint8_t byte : request.reserved)
    if (byte != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  const bool typed = (request.flags & abi::kHwInfoInputType) != 0;
  HardwareInfo info;
  bool tracks_dirty = false, ats_is_on = false;
  unsigned pasid_bits = 0;
  {
    const MutexLock lock(mutex_);
    auto* const device = objects_.find<BoundDevice>(request.dev_id);
    if (device == nullptr) return fail(ENOENT, "no device has this id");
    info = device->group().group.driver().hardware_info(device->device());
    tracks_dirty = device->group().group.driver().tracks_dirty(device->device());
    pasid_bits = device->group().group.driver().pasid_bits(device->device());
    ats_is_on = pci_ats::ats_is_on(device->device());
  }
  if (typed && request.data_type != abi::kHwInfoNone && request.data_type != info.type)
    return fail(EOPNOTSUPP, "not this hardware's type");
  const std::size_t copied = std::min<std::size_t>(request.data_len, info.bytes);
  if (copied != 0) TRY(call.program().copy_out(request.data_uptr, info.data.data(), copied));
  constexpr std::array<std::byte, 64> kZeros{};
  for (std::size_t at = copied; at < request.data_len;) {
    const std::size_t part = std::min(kZeros.size(), request.data_len - at);
    TRY(call.program().copy_out(request.data_uptr + at, kZeros.data(), part));
    at += part;
  }
  request.data_len = static_cast<std::uint32_t>(info.bytes);
  request.data_type = info.type;
  request.out_max_pasid_log2 = static_cast<std::uint8_t>(pasid_bits);
  request.out_capabilities =
      (ats_is_on ? 0 : abi::kHwCapAtsNotSupported) | (tracks_dirty ? abi::kHwCapDirtyTracking : 0);
  return call.respond(request);
}

}  // namespace softiommu::iommufd
