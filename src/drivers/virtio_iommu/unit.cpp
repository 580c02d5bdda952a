// SPDX-License-Identifier: BSD-3-Clause
// Start, domain ids, endpoints and what requests say. The queues are in queues.cpp.
#include "drivers/virtio_iommu/unit.h"

#include <algorithm>
#include <array>

#include "base/fault.h"

namespace softiommu::virtio_iommu {

using namespace hw::virtio_iommu;

namespace {

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }
constexpr std::uint32_t head(Request type) { return low(kHead["TYPE"].put(std::to_underlying(type))); }

constexpr std::uint64_t kNeeded = kFeatures["MAP_UNMAP"].mask() | kFeatures["VERSION_1"].mask();
constexpr std::uint64_t kUseful = kNeeded | kFeatures["INPUT_RANGE"].mask() | kFeatures["DOMAIN_RANGE"].mask() |
                                  kFeatures["PROBE"].mask() | kFeatures["BYPASS_CONFIG"].mask();

}  // namespace

// ---- Start (virtio 3.1) -----------------------------------------------------------------------------------------

Result<> Unit::start() {
  TRY(fault::pass("virtio_iommu.start"));
  TRY(negotiate());
  TRY(read_config());
  {
    const MutexLock lock(state_mutex_);
    domains_.resize(std::size_t{features_.domain_last} + 1);
  }
  {
    const MutexLock lock(queue_mutex_);
    requests_ = TRY(hardware_.tables.allocate());
    buffer_ = TRY(hardware_.tables.allocate());
    TRY(start_queue(kRequestQueue, requests_));
  }
  {
    const MutexLock lock(events_mutex_);
    events_ = TRY(hardware_.tables.allocate());
    event_buffer_ = TRY(hardware_.tables.allocate());
    TRY(start_queue(kEventQueue, events_));
    offer_event_buffers();
  }
  write(kStatus.offset, read(kStatus.offset) | kStatus["DRIVER_OK"].mask());
  if (features_.bypass) hardware_.registers.write(kBypass.offset, kBypass.bytes, 0);
  return {};
}

// No reset: a device at its beginning may let endpoints bypass it.
Unit::~Unit() {
  if (!started_) return;
  const MutexLock lock(queue_mutex_);
  const MutexLock events(events_mutex_);
  for (const unsigned queue : {kRequestQueue, kEventQueue}) {
    write(kQueueSel.offset, queue);
    write(kQueueReady.offset, 0);
  }
  for (const PhysAddr page : {requests_, buffer_, events_, event_buffer_})
    if (page.value != 0) hardware_.tables.free(page);
}

Result<> Unit::negotiate() {
  if (read(kMagicValue.offset) != kMagic || read(kVersion.offset) != kTransportVersion ||
      read(kDeviceId.offset) != kIommuDevice)
    return fail(ENODEV, "no virtio IOMMU answers");
  started_ = true;
  write(kStatus.offset, 0);
  std::uint64_t status = kStatus["ACKNOWLEDGE"].mask() | kStatus["DRIVER"].mask(), offered = 0;
  write(kStatus.offset, status);
  for (const unsigned part : {1u, 0u}) {
    write(kDeviceFeaturesSel.offset, part);
    offered = offered << 32 | read(kDeviceFeatures.offset);
  }
  if ((offered & kNeeded) != kNeeded) return fail(ENODEV, "the device has no mappings, or is of an old version");
  const std::uint64_t taken = offered & kUseful;
  for (const unsigned part : {0u, 1u}) {
    write(kDriverFeaturesSel.offset, part);
    write(kDriverFeatures.offset, part == 0 ? low(taken) : high(taken));
  }
  status |= kStatus["FEATURES_OK"].mask();
  write(kStatus.offset, status);
  if (!kStatus["FEATURES_OK"].is_set(read(kStatus.offset))) return fail(ENODEV, "the device refuses its own features");
  features_.probe = kFeatures["PROBE"].is_set(taken);
  features_.bypass = kFeatures["BYPASS_CONFIG"].is_set(taken);
  features_.input = {Iova{0}, Iova{~std::uint64_t{0}}};
  features_.domain_last = ~std::uint32_t{0};
  if (kFeatures["INPUT_RANGE"].is_set(taken))
    features_.input = {Iova{hardware_.registers.read64(kInputStart.offset)},
                       Iova{hardware_.registers.read64(kInputEnd.offset)}};
  if (kFeatures["DOMAIN_RANGE"].is_set(taken)) {
    features_.domain_first = read(kDomainStart.offset);
    features_.domain_last = read(kDomainEnd.offset);
  }
  return {};
}

// Ids here have 16 bits, 0 is nobody's, and the first one is for bypassing.
Result<> Unit::read_config() {
  features_.page_sizes = hardware_.registers.read64(kPageSizeMask.offset);
  features_.probe_bytes = features_.probe ? read(kProbeSize.offset) : 0;
  features_.domain_first = std::max<std::uint32_t>(features_.domain_first, 1);
  features_.domain_last = std::min<std::uint32_t>(features_.domain_last, ~UnitId{0} & 0xffff);
  if (features_.page_sizes == 0) return fail(ENODEV, "the device has no page sizes");
  if (features_.input.first > features_.input.last || features_.domain_first > features_.domain_last)
    return fail(ENODEV, "the device's ranges are upside down");
  return {};
}

// ---- Endpoints --------------------------------------------------------------------------------------------------

Result<> Unit::take_endpoint(StreamId endpoint) {
  TRY(fault::pass("virtio_iommu.endpoint"));
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(state_mutex_);
    ++endpoints_[endpoint].devices;
    return {};
  });
}

void Unit::give_endpoint(StreamId endpoint) {
  {
    const MutexLock lock(state_mutex_);
    if (--endpoints_[endpoint].devices > 0) return;
  }
  static_cast<void>(detach(endpoint));
  const MutexLock lock(state_mutex_);
  endpoints_.erase(endpoint);
}

std::vector<ReservedRegion> Unit::reserved_regions(StreamId endpoint) {
  std::vector<ReservedRegion> regions;
  if (!features_.probe) return regions;
  const std::array<std::uint32_t, kProbeWords> words{head(Request::probe), endpoint};
  std::vector<std::uint32_t> properties(features_.probe_bytes / sizeof(std::uint32_t));
  if (!request_with_reply(words, properties)) return regions;
  constexpr std::uint64_t kMessages = 1;
  for (std::size_t at = 0; at + kReservedWords <= properties.size();) {
    const std::uint64_t type = kProperty["TYPE"].get(properties[at]);
    if (type == kNoProperty) break;
    if (type == kReservedMemory) {
      const auto wide = [&](std::size_t n) { return properties[n] | std::uint64_t{properties[n + 1]} << 32; };
      const bool messages = kReservedKind["SUBTYPE"].get(properties[at + 1]) == kMessages;
      regions.push_back({{Iova{wide(at + 2)}, Iova{wide(at + 4)}},
                         messages ? ReservedRegion::Kind::msi : ReservedRegion::Kind::reserved});
    }
    at += 1 + kProperty["LENGTH"].get(properties[at]) / sizeof(std::uint32_t);
  }
  return regions;
}

// The device takes an endpoint out of its domain when it puts it into another; without endpoints a domain is gone.
void Unit::moved(StreamId endpoint, UnitId domain, const PagingDomain* filling) {
  Endpoint& state = endpoints_[endpoint];
  if (domain != kNoDomain) ++domains_[domain].endpoints;
  if (state.domain != kNoDomain && --domains_[state.domain].endpoints == 0) domains_[state.domain].filling = nullptr;
  state.domain = domain;
  state.filling = filling;
}

const PagingDomain* Unit::filling(UnitId domain) {
  const MutexLock lock(state_mutex_);
  return domains_[domain].filling;
}

void Unit::set_filling(UnitId domain, const PagingDomain* filling) {
  const MutexLock lock(state_mutex_);
  domains_[domain].filling = filling;
}

bool Unit::is_in(StreamId endpoint, UnitId domain, const PagingDomain* filling) {
  const MutexLock lock(state_mutex_);
  const auto at = endpoints_.find(endpoint);
  return at != endpoints_.end() && at->second.domain == domain && at->second.filling == filling &&
         domains_[domain].filling == filling;
}

// ---- Requests ---------------------------------------------------------------------------------------------------

Result<> Unit::send_attach(StreamId endpoint, UnitId domain, std::uint32_t flags) {
  return request(std::array<std::uint32_t, kAttachWords>{head(Request::attach), domain, endpoint, flags, 0});
}

Result<> Unit::attach(StreamId endpoint, UnitId domain, const PagingDomain* filling) {
  const auto sent = send_attach(endpoint, domain, 0);
  // A device that has not answered may still do it.
  if (!sent && !request_is_open()) return sent;
  const MutexLock lock(state_mutex_);
  moved(endpoint, domain, sent ? filling : nullptr);
  return sent;
}

Result<> Unit::attach_to_bypass(StreamId endpoint) {
  const auto sent = send_attach(endpoint, bypass_domain(), low(kAttachFlags["BYPASS"].mask()));
  if (!sent && !request_is_open()) return sent;
  const MutexLock lock(state_mutex_);
  moved(endpoint, bypass_domain(), nullptr);
  return sent;
}

Result<> Unit::detach(StreamId endpoint) {
  UnitId domain = kNoDomain;
  {
    const MutexLock lock(state_mutex_);
    if (const auto at = endpoints_.find(endpoint); at != endpoints_.end()) domain = at->second.domain;
  }
  if (domain == kNoDomain) return {};
  const auto sent = request(std::array<std::uint32_t, kDetachWords>{head(Request::detach), domain, endpoint, 0, 0});
  const bool open = !sent && request_is_open();
  const MutexLock lock(state_mutex_);
  if (sent) moved(endpoint, kNoDomain, nullptr);
  if (open) endpoints_[endpoint].filling = nullptr;  // it may still happen
  return sent;
}

Result<> Unit::map(UnitId domain, IovaRange range, PhysAddr pa, Prot prot) {
  const std::uint64_t flags = kMapFlags["READ"].put(prot.read) | kMapFlags["WRITE"].put(prot.write);
  return request(std::array<std::uint32_t, kMapWords>{
      head(Request::map), domain, low(range.first.value), high(range.first.value), low(range.last.value),
      high(range.last.value), low(pa.value), high(pa.value), low(flags)});
}

Result<> Unit::unmap(UnitId domain, IovaRange range) {
  return request(std::array<std::uint32_t, kUnmapWords>{head(Request::unmap), domain, low(range.first.value),
                                                        high(range.first.value), low(range.last.value),
                                                        high(range.last.value), 0});
}

// ---- Domain ids -------------------------------------------------------------------------------------------------

Result<UnitId> Unit::allocate_id(const PagingDomain& /*domain*/) {
  TRY(fault::pass("virtio_iommu.domain_id"));
  const MutexLock lock(state_mutex_);
  for (std::size_t id = features_.domain_first + features_.bypass; id < domains_.size(); ++id) {
    if (domains_[id].allocated) continue;
    domains_[id].allocated = true;
    return static_cast<UnitId>(id);
  }
  return fail(ENOSPC, "domain ids");
}

void Unit::free_id(const PagingDomain& /*domain*/, UnitId id) {
  const MutexLock lock(state_mutex_);
  domains_[id].allocated = false;
}

}  // namespace softiommu::virtio_iommu
