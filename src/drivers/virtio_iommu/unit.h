// SPDX-License-Identifier: BSD-3-Clause
// One virtio IOMMU as its driver sees it: transport, request and event queue, domain ids, endpoints (virtio 1.2, 5.13).
//
// A request is on the queue alone. It is over when the call returns; or else the device has it, and gets no other.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "hw/virtio_iommu.h"

namespace softiommu::virtio_iommu {

class PagingDomain;
using UnitId = std::uint16_t;  // a domain id

struct Features {
  std::uint64_t page_sizes = 0;
  IovaRange input{};
  std::uint32_t domain_first = 0, domain_last = 0;
  std::uint32_t probe_bytes = 0;
  bool probe = false, bypass = false;
};

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}
  // Leaves the device refusing every endpoint.
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // Negotiates, sets up the queues, blocks endpoints that have no domain. ENODEV: the device does not answer as it
  // should; ENOMEM.
  Result<> start();

  const std::string& name() const { return name_; }
  const Features& features() const { return features_; }

  // A device more sends under the endpoint. ENODEV: there is no such endpoint; ENOMEM.
  Result<> take_endpoint(StreamId endpoint) EXCLUDES(state_mutex_);
  void give_endpoint(StreamId endpoint) EXCLUDES(state_mutex_);
  std::vector<ReservedRegion> reserved_regions(StreamId endpoint);

  // Requests; when they return, no DMA uses what was there before. The device's answer as an errno: ENOMEM, ENODEV,
  // EINVAL for what it does not accept, ENOENT for a domain that no endpoint is in.
  Result<> attach(StreamId endpoint, UnitId domain, const PagingDomain* filling) EXCLUDES(state_mutex_);
  Result<> attach_to_bypass(StreamId endpoint) EXCLUDES(state_mutex_);
  Result<> detach(StreamId endpoint) EXCLUDES(state_mutex_);
  Result<> map(UnitId domain, IovaRange range, PhysAddr pa, Prot prot);
  Result<> unmap(UnitId domain, IovaRange range);

  // Whose mappings the domain of the device has; nullptr: it has no endpoints, and so none.
  const PagingDomain* filling(UnitId domain) EXCLUDES(state_mutex_);
  // Is the endpoint in that domain for `filling` already?
  bool is_in(StreamId endpoint, UnitId domain, const PagingDomain* filling) EXCLUDES(state_mutex_);
  void set_filling(UnitId domain, const PagingDomain* filling) EXCLUDES(state_mutex_);

  // A free domain id. ENOSPC; ENOMEM.
  Result<UnitId> allocate_id(const PagingDomain& domain) EXCLUDES(state_mutex_);
  void free_id(const PagingDomain& domain, UnitId id) EXCLUDES(state_mutex_);
  // A domain without endpoints has no translations.
  static Result<> flush_id(const PagingDomain& /*domain*/, UnitId /*id*/) { return {}; }
  static bool same_ids(const PagingDomain& /*a*/, const PagingDomain& /*b*/) { return true; }

  // The interrupt: logs the events and gives their buffers back.
  void serve_interrupt();

 private:
  static constexpr UnitId kNoDomain = 0;
  struct Endpoint {
    unsigned devices = 0;
    UnitId domain = kNoDomain;
    const PagingDomain* filling = nullptr;
  };
  // What is known of a domain id.
  struct DomainUse {
    bool allocated = false;
    unsigned endpoints = 0;
    const PagingDomain* filling = nullptr;
  };

  std::uint32_t read(std::uint64_t offset) { return hardware_.registers.read32(offset); }
  void write(std::uint64_t offset, std::uint64_t value) {
    hardware_.registers.write32(offset, static_cast<std::uint32_t>(value));
  }
  UnitId bypass_domain() const { return static_cast<UnitId>(features_.domain_first); }
  Result<> negotiate();
  Result<> read_config();
  Result<> start_queue(unsigned number, PhysAddr page);
  void offer_event_buffers() REQUIRES(events_mutex_);
  Result<> request(std::span<const std::uint32_t> words) EXCLUDES(queue_mutex_);
  bool request_is_open() EXCLUDES(queue_mutex_);
  Result<> request_with_reply(std::span<const std::uint32_t> words, std::span<std::uint32_t> reply)
      EXCLUDES(queue_mutex_);
  Result<> send_attach(StreamId endpoint, UnitId domain, std::uint32_t flags);
  void moved(StreamId endpoint, UnitId domain, const PagingDomain* filling) REQUIRES(state_mutex_);

  UnitHardware hardware_;
  std::string name_;
  Features features_;
  bool started_ = false;

  Mutex queue_mutex_;
  PhysAddr requests_ GUARDED_BY(queue_mutex_), buffer_ GUARDED_BY(queue_mutex_);
  std::uint16_t sent_ GUARDED_BY(queue_mutex_) = 0;

  Mutex events_mutex_;
  PhysAddr events_ GUARDED_BY(events_mutex_), event_buffer_ GUARDED_BY(events_mutex_);
  std::uint16_t offered_ GUARDED_BY(events_mutex_) = 0, seen_ GUARDED_BY(events_mutex_) = 0;
  std::uint64_t logged_ GUARDED_BY(events_mutex_) = 0;

  Mutex state_mutex_;  // of what the driver knows; no request is sent under it
  std::map<StreamId, Endpoint> endpoints_ GUARDED_BY(state_mutex_);
  std::vector<DomainUse> domains_ GUARDED_BY(state_mutex_);
};

}  // namespace softiommu::virtio_iommu
