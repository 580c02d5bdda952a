// SPDX-License-Identifier: BSD-3-Clause
// The invalidation descriptors that reach devices or name PASIDs (VT-d 6.5.2.2, 6.5.2.4-6), and page group responses
// (7.7.1).
#include "machine/iommu/intel_vtd/intel_vtd.h"

namespace softiommu::vtd {

using namespace hw::vtd;

namespace {

IovaRange covered(std::uint64_t address, bool sized) {
  const DeviceTlbRange range = device_tlb_range(address, sized);
  return range.bytes == 0 ? IovaRange{Iova{0}, Iova{~std::uint64_t{0}}} : IovaRange::of(Iova{range.first}, range.bytes);
}

}  // namespace

// A device without a TLB, or whose TLB is off, keeps nothing that could be stale.
QueueError IntelVtd::run_device_tlb_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kDeviceTlbDescriptor0;
  if ((low & layout.unnamed()) != 0 || (high & kDeviceTlbDescriptor1.unnamed()) != 0) return QueueError::reserved_field;
  invalidate_device_tlb(
      {.stream = static_cast<StreamId>(layout["SID"].get(low)),
       .range = covered(kDeviceTlbDescriptor1["ADDR"].in_place(high), kDeviceTlbDescriptor1["S"].is_set(high))});
  invalidated();
  return QueueError::none;
}

QueueError IntelVtd::run_scalable_descriptor(std::uint64_t low, std::uint64_t high) {
  switch (static_cast<Descriptor>(descriptor_type(low))) {
    case Descriptor::pasid_iotlb:
      return run_pasid_iotlb_descriptor(low, high);
    case Descriptor::pasid_cache:
      return run_pasid_cache_descriptor(low, high);
    case Descriptor::pasid_device_tlb:
      return run_pasid_device_tlb_descriptor(low, high);
    case Descriptor::page_group_response:
      return kEcap["PRS"].is_set(capabilities_.ecap) ? run_page_response(low, high) : QueueError::invalid_type;
    default:
      return QueueError::invalid_type;
  }
}

QueueError IntelVtd::run_pasid_cache_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kPasidCacheDescriptor0;
  if ((low & layout.unnamed()) != 0 || high != 0) return QueueError::reserved_field;
  const std::uint16_t domain = implemented_domain(layout["DID"].get(low));
  switch (static_cast<PasidCacheGranularity>(layout["G"].get(low))) {
    case PasidCacheGranularity::domain:
      pasids_.invalidate_domain(domain);
      break;
    case PasidCacheGranularity::pasid:
      pasids_.invalidate_pasid(domain, static_cast<Pasid>(layout["PASID"].get(low)));
      break;
    case PasidCacheGranularity::global:
      pasids_.invalidate_all();
      break;
    case PasidCacheGranularity::reserved:
      return QueueError::reserved_field;
  }
  invalidated();
  return QueueError::none;
}

// Translations of the second stage alone are not tagged with PASIDs: they are not touched.
QueueError IntelVtd::run_pasid_iotlb_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kPasidIotlbDescriptor0;
  if ((low & layout.unnamed()) != 0 || (high & kIotlbDescriptor1.unnamed()) != 0) return QueueError::reserved_field;
  const std::uint16_t domain = implemented_domain(layout["DID"].get(low));
  const auto pasid = static_cast<Pasid>(layout["PASID"].get(low));
  const auto granularity = static_cast<PasidIotlbGranularity>(layout["G"].get(low));
  if (granularity != PasidIotlbGranularity::pasid && granularity != PasidIotlbGranularity::pages)
    return QueueError::reserved_field;
  const std::uint64_t lg2 = kPageShift + kIotlbDescriptor1["AM"].get(high);
  const bool everything = granularity == PasidIotlbGranularity::pasid || lg2 >= 64;
  for (const Route::Kind kind : {Route::Kind::first_stage, Route::Kind::nested}) {
    const std::uint64_t space = space_of(kind, domain, pasid);
    if (everything) {
      iotlb_.invalidate_space(space);
      continue;
    }
    const std::uint64_t bytes = std::uint64_t{1} << lg2;
    const Iova first{align_down(kIotlbDescriptor1["ADDR"].in_place(high), bytes)};
    iotlb_.invalidate_range(space, IovaRange::of(first, bytes));
  }
  invalidated();
  return QueueError::none;
}

QueueError IntelVtd::run_pasid_device_tlb_descriptor(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kPasidDeviceTlbDescriptor0;
  constexpr auto& where = kPasidDeviceTlbDescriptor1;
  if ((low & layout.unnamed()) != 0 || (high & where.unnamed()) != 0) return QueueError::reserved_field;
  invalidate_device_tlb({.stream = static_cast<StreamId>(layout["SID"].get(low)),
                         .pasid = static_cast<Pasid>(layout["PASID"].get(low)),
                         .all_pasids = where["G"].is_set(high),
                         .range = covered(where["ADDR"].in_place(high), where["S"].is_set(high))});
  invalidated();
  return QueueError::none;
}

QueueError IntelVtd::run_page_response(std::uint64_t low, std::uint64_t high) {
  constexpr auto& layout = kPageResponseDescriptor0;
  if ((low & layout.unnamed()) != 0 || (high & kPageResponseDescriptor1.unnamed()) != 0)
    return QueueError::reserved_field;
  answer_page_request({.stream = static_cast<StreamId>(layout["RID"].get(low)),
                       .pasid = layout["PP"].is_set(low) ? static_cast<Pasid>(layout["PASID"].get(low)) : Pasid{0},
                       .group = static_cast<std::uint16_t>(kPageResponseDescriptor1["PRGI"].get(high)),
                       .code = static_cast<PageResponse::Code>(layout["RC"].get(low))});
  return QueueError::none;
}

}  // namespace softiommu::vtd
