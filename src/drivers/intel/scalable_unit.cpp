// SPDX-License-Identifier: BSD-3-Clause
// What a VT-d unit does for its driver with PASIDs and for devices with a TLB: invalidations that name them, the page
// request queue.
#include <bit>

#include "base/log.h"
#include "core/device.h"
#include "core/group.h"
#include "drivers/intel/unit.h"

namespace softiommu::intel {

using namespace hw::vtd;

namespace {

constexpr unsigned kMostMask = 64 - kPageShift;  // of pages: everything

unsigned page_mask(IovaRange range) {
  return static_cast<unsigned>(std::bit_width((range.first.value ^ range.last.value) >> kPageShift));
}
std::uint64_t first_page(IovaRange range, unsigned mask) {
  return mask >= kMostMask ? 0 : align_down(range.first.value, kPageSize << mask);
}

}  // namespace

Result<> Unit::invalidate_pasid_cache(DomainId id, Pasid pasid) {
  return submit({kPasidCacheDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::pasid_cache)) |
                     kPasidCacheDescriptor0["G"].put(std::to_underlying(PasidCacheGranularity::pasid)) |
                     kPasidCacheDescriptor0["DID"].put(id) | kPasidCacheDescriptor0["PASID"].put(pasid),
                 0});
}

Result<> Unit::invalidate_pasid(DomainId id, Pasid pasid) {
  return submit({kPasidIotlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::pasid_iotlb)) |
                     kPasidIotlbDescriptor0["G"].put(std::to_underlying(PasidIotlbGranularity::pasid)) |
                     kPasidIotlbDescriptor0["DID"].put(id) | kPasidIotlbDescriptor0["PASID"].put(pasid),
                 0});
}

Result<> Unit::invalidate_pasid_pages(DomainId id, Pasid pasid, IovaRange range, bool leaf_only) {
  const unsigned mask = page_mask(range);
  if (mask >= kMostMask) return invalidate_pasid(id, pasid);
  return submit({kPasidIotlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::pasid_iotlb)) |
                     kPasidIotlbDescriptor0["G"].put(std::to_underlying(PasidIotlbGranularity::pages)) |
                     kPasidIotlbDescriptor0["DID"].put(id) | kPasidIotlbDescriptor0["PASID"].put(pasid),
                 kIotlbDescriptor1["AM"].put(mask) | kIotlbDescriptor1["IH"].put(leaf_only) |
                     kIotlbDescriptor1["ADDR"].in_place(first_page(range, mask))});
}

Result<> Unit::invalidate_device_tlb(StreamId stream, Pasid pasid, IovaRange range) {
  const unsigned mask = page_mask(range);
  const std::uint64_t address = device_tlb_address(first_page(range, mask), std::min(mask, kMostMask));
  if (pasid == 0)
    return submit({kDeviceTlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::device_tlb)) |
                       kDeviceTlbDescriptor0["SID"].put(stream),
                   kDeviceTlbDescriptor1["S"].put(mask != 0) | kDeviceTlbDescriptor1["ADDR"].in_place(address)});
  return submit(
      {kPasidDeviceTlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::pasid_device_tlb)) |
           kPasidDeviceTlbDescriptor0["SID"].put(stream) | kPasidDeviceTlbDescriptor0["PASID"].put(pasid),
       kPasidDeviceTlbDescriptor1["S"].put(mask != 0) | kPasidDeviceTlbDescriptor1["ADDR"].in_place(address)});
}

// ---- Page requests --------------------------------------------------------------------------------------------

Result<> Unit::start_page_requests() {
  const MutexLock lock(requests_mutex_);
  requests_ = TRY(tables().allocate());
  registers().write64(kPqh.offset, 0);
  registers().write64(kPqt.offset, 0);
  registers().write64(kPqa.offset, kPqa["PQS"].put(0) | requests_.value);
  registers().write32(kPrs.offset, static_cast<std::uint32_t>(kPrs["PPR"].mask() | kPrs["PRO"].mask()));
  registers().write32(kPectl.offset, 0);
  return {};
}

Result<> Unit::add_device(Device& device) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(requests_mutex_);
    for (const StreamId id : device.stream_ids()) devices_.try_emplace(id, &device);
    return {};
  });
}

void Unit::remove_device(const Device& device) {
  const MutexLock lock(requests_mutex_);
  std::erase_if(devices_, [&](const auto& known) { return known.second == &device; });
}

// PPR is cleared before the tail is read: what comes later raises an event anew.
void Unit::report_page_requests() {
  const MutexLock lock(requests_mutex_);
  if (requests_.value == 0) return;
  registers().write32(kPrs.offset, static_cast<std::uint32_t>(kPrs["PPR"].mask()));
  const std::uint32_t bytes = page_queue_bytes(kPqa["PQS"].put(0));
  std::uint64_t head = registers().read64(kPqh.offset);
  const std::uint64_t tail = registers().read64(kPqt.offset);
  while (head != tail) {
    report_page_request(tables().words(requests_) + head / sizeof(std::uint64_t));
    head = (head + kPageRequestBytes) % bytes;
    registers().write64(kPqh.offset, head);
  }
  // The unit has answered what it could not queue.
  registers().write32(kPrs.offset, static_cast<std::uint32_t>(kPrs["PRO"].mask()));
}

void Unit::report_page_request(const std::uint64_t* words) {
  const std::uint64_t low = std::atomic_ref(const_cast<std::uint64_t&>(words[0])).load(std::memory_order_acquire);
  const std::uint64_t high = std::atomic_ref(const_cast<std::uint64_t&>(words[1])).load(std::memory_order_acquire);
  const bool read = kPageRequest1["R"].is_set(high), write = kPageRequest1["W"].is_set(high);
  const bool last = kPageRequest1["LPIG"].is_set(high);
  if (last && !read && !write) return;  // a stop marker
  const auto stream = static_cast<StreamId>(kPageRequest0["RID"].get(low));
  const PageRequest request{
      .pasid = kPageRequest0["PP"].is_set(low) ? static_cast<Pasid>(kPageRequest0["PASID"].get(low)) : Pasid{0},
      .index = static_cast<std::uint32_t>(kPageRequest1["PRGI"].get(high)),
      .last = last,
      .rights = (read ? PageRight::read : 0) | (write ? PageRight::write : 0),
      .address = kPageRequest1["ADDR"].in_place(high)};
  const auto found = devices_.find(stream);
  if (found != devices_.end() && found->second->group() != nullptr) {
    // What nobody handles is answered already.
    if (found->second->group()->page_faults().report(*found->second, request)) return;
    return;
  }
  if (last && !respond(stream, request, PageAnswer::invalid))
    log::error("DMAR: {}: a page request of {:#x} cannot be answered", name_, stream);
}

Result<> Unit::respond(StreamId stream, const PageRequest& request, PageAnswer answer) {
  const auto code = answer == PageAnswer::success   ? PageResponseCode::success
                    : answer == PageAnswer::invalid ? PageResponseCode::invalid
                                                    : PageResponseCode::failure;
  return submit({kPageResponseDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::page_group_response)) |
                     kPageResponseDescriptor0["PP"].put(request.pasid != 0) |
                     kPageResponseDescriptor0["RC"].put(std::to_underlying(code)) |
                     kPageResponseDescriptor0["RID"].put(stream) | kPageResponseDescriptor0["PASID"].put(request.pasid),
                 kPageResponseDescriptor1["PRGI"].put(request.index)});
}

}  // namespace softiommu::intel
