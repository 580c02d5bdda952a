// SPDX-License-Identifier: BSD-3-Clause
// The parts of the virtio IOMMU model: transport, queues, requests, and what they have made: domains and endpoints.
//
// Locks, outermost first: queue_mutex_ (held while requests run, also while an UNMAP waits for DMA), then state_mutex_
// and events_mutex_ (leaves; the only ones that a DMA thread takes).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "base/futex_lock.h"
#include "hw/virtio_iommu.h"
#include "machine/iommu/unit.h"
#include "machine/memory.h"
#include "machine/options.h"

namespace softiommu::virtio_iommu {

// One split virtqueue in memory. Calls are made under the lock of its owner.
class Queue {
 public:
  std::uint64_t descriptors = 0, available = 0, used = 0;
  std::uint32_t size = 0;
  bool ready = false;

  // A chain that the driver made available: pieces of memory that the device reads, and that it writes.
  struct Piece {
    PhysAddr address{};
    std::uint32_t bytes = 0;
  };
  struct Pieces {
    static constexpr unsigned kMost = 4;
    std::array<Piece, kMost> list{};
    unsigned count = 0;
    bool add(const Piece& piece) {
      if (count == kMost) return false;
      list[count++] = piece;
      return true;
    }
    std::span<const Piece> all() const { return std::span(list).first(count); }
  };
  struct Chain {
    std::uint16_t head = 0;
    Pieces readable, writable;
  };
  // The next one; nothing: there is none. False in `sound`: the rings make no sense, and the device cannot go on.
  std::optional<Chain> take(Memory& memory, bool& sound);
  void give_back(Memory& memory, const Chain& chain, std::uint32_t written);
  bool wants_interrupt(Memory& memory) const;

 private:
  std::uint16_t seen_ = 0, given_ = 0;
};

struct Mapping {
  std::uint64_t last = 0, physical = 0;
  std::uint64_t flags = 0;
};

struct DomainState {
  bool bypass = false;
  unsigned endpoints = 0;
  std::map<std::uint64_t, Mapping> mappings{};  // by first address
};

class VirtioIommu final : public IommuUnit {
 public:
  VirtioIommu(const UnitContext& context, const Options& options);

  std::string_view model() const override { return "virtio-iommu"; }
  std::uint64_t register_bytes() const override { return hw::virtio_iommu::kRegisterBytes; }
  void reset() override;
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;

 private:
  // ---- transport (virtio_iommu.cpp): called with queue_mutex_ ----
  std::uint64_t read_config(std::uint64_t offset, unsigned bytes) const;
  void write_register(std::uint64_t offset, std::uint32_t value);
  void write_queue(std::uint64_t offset, std::uint32_t value);
  void set_status(std::uint32_t value);
  void forget_everything();
  bool is_running() const { return hw::virtio_iommu::kStatus["DRIVER_OK"].is_set(status_); }
  bool has_negotiated(hw::Field feature) const { return feature.is_set(driver_features_); }

  // ---- requests (requests.cpp): called with queue_mutex_ ----
  using Answer = hw::virtio_iommu::Answer;
  using Words = std::array<std::uint32_t, hw::virtio_iommu::kProbeWords>;
  void run_requests();
  // What a probe tells: one property, and the end of the list.
  struct Reply {
    std::array<std::uint32_t, hw::virtio_iommu::kReservedWords + 1> words{};
    unsigned count = 0;
  };
  std::uint32_t answer(const Queue::Chain& chain);
  Answer run(const Words& words, unsigned count, Reply& reply);
  Answer run_known(hw::virtio_iommu::Request type, const Words& words, Reply& reply);
  Answer attach(const Words& words);
  Answer detach(const Words& words);
  Answer map(const Words& words);
  Answer unmap(const Words& words);
  Answer probe(Reply& reply) const;
  void leave_domain(std::uint32_t number);  // with state_mutex_

  void report(const Transaction& transaction, std::uint64_t reason);
  std::optional<Translation> refuse(const Transaction& transaction, std::uint64_t reason);

  const std::uint64_t features_, granule_, input_first_, input_last_;
  const std::uint32_t domain_first_, domain_last_, queue_size_;
  const bool message_window_;

  FutexLock queue_mutex_;
  Queue requests_;
  std::uint32_t device_selection_ = 0, driver_selection_ = 0, queue_selection_ = 0;
  std::uint64_t driver_features_ = 0;
  std::uint32_t status_ = 0;

  FutexLock state_mutex_;
  bool bypass_ = true;  // of endpoints without a domain
  std::map<std::uint32_t, DomainState> domains_;
  std::map<StreamId, std::uint32_t> endpoints_;  // those that have a domain

  FutexLock events_mutex_;
  Queue events_;
  std::atomic<std::uint32_t> interrupt_status_{0};
};

}  // namespace softiommu::virtio_iommu
