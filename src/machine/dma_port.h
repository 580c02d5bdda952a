// SPDX-License-Identifier: BSD-3-Clause
// How a device reaches memory: through its IOMMU, one page at a time, with a last-range cache and a small
// direct-mapped cache in front of the unit's IOTLB.
//
// Around each copy of at most one page the port publishes an odd counter. A unit's synchronising command
// (wait descriptor, CMD_SYNC) waits until every port that was odd has moved on, so that an invalidation is
// complete only when no DMA that used the old translation is still copying. A copy never waits for a lock.
// One thread uses a port at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/types.h"
#include "machine/dma_watch.h"
#include "machine/iommu/unit.h"

namespace softiommu {

class DeviceTlb;
class Memory;

// What came of a DMA access. `done` bytes arrived before it stopped.
struct DmaResult {
  enum class Status : std::uint8_t {
    ok,
    refused,    // the IOMMU did not translate the access (it recorded the fault)
    requested,  // the device has asked for the page (device_tlb.h): it tries again when it is woken
    no_memory,  // nothing is at the physical address, or the host page is gone (reported once per page)
  };
  Status status = Status::ok;
  std::uint64_t done = 0;
  Access side = Access::read;  // which half of a copy stopped
  explicit operator bool() const { return status == Status::ok; }
};

// A piece of a device's scatter-gather list (descriptors, PRPs).
struct DmaSegment {
  Iova iova;
  std::uint64_t bytes = 0;
};

class DmaPort {
 public:
  // `unit` nullptr: the device is not behind an IOMMU; addresses are physical.
  DmaPort(Memory& memory, IommuUnit* unit, StreamId stream);
  ~DmaPort();
  DmaPort(const DmaPort&) = delete;
  DmaPort& operator=(const DmaPort&) = delete;

  DmaResult read(Iova from, std::span<std::byte> to);
  DmaResult write(Iova to, std::span<const std::byte> from);
  // Device-to-device copy without a bounce: source and destination both translate and do not overlap.
  DmaResult copy(Iova to, Iova from, std::uint64_t bytes);

  // The same for a list, in order, as one stream of bytes that ends with the shorter of list and buffer. Pages are
  // looked up several at a time, so that the cache misses of one look-up and its data overlap those of the next.
  DmaResult read(std::span<const DmaSegment> from, std::span<std::byte> to);
  DmaResult write(std::span<const DmaSegment> to, std::span<const std::byte> from);
  // Where the bytes of each address are at this moment, nullptr where the access is refused or no memory is; for
  // measurements and tools, since an invalidation does not wait for who keeps the answer. `hosts` is as long.
  void translate(Access access, std::span<const Iova> iovas, std::span<std::byte*> hosts);

  // Accesses go through the device's own TLB. Before the first one.
  void use_device_tlb(DeviceTlb& tlb) { device_tlb_ = &tlb; }
  // Accesses carry the PASID from now on; 0: none. On the thread that uses the port.
  void use_pasid(Pasid pasid) {
    if (pasid != pasid_) forget();
    pasid_ = pasid;
  }
  Pasid pasid() const { return pasid_; }

  // Who uses the port, for people.
  void set_name(std::string name) { name_ = std::move(name); }
  const std::string& name() const { return name_; }
  // Software wrote a register of the device. Also from a fault handler.
  void tell();

  StreamId stream() const { return stream_; }
  IommuUnit* unit() const { return unit_; }
  // After fork in the child, whose copy of the DMA thread is gone: nothing is under way.
  void forget_thread() { activity_.reset(); }
  const DmaActivity& activity() const { return activity_; }

 private:
  friend class IommuUnit;  // registers activity_

  // One 4 KiB page of the device's view: 16 bytes, four in a cache line.
  struct Line {
    std::uint64_t tag = 0;   // epoch | page number; an epoch is never 0, so that 0 is empty
    std::uint64_t host = 0;  // host page | what is allowed (kReadable, kWritable)
  };
  // The last contiguous range that an access of one kind used.
  struct Last {
    std::uint64_t first = 0, bytes = 0;
    std::byte* host = nullptr;
  };
  struct Side {  // one side of a transfer: where it goes on
    Iova iova;
    Access access;
  };
  struct Spot {  // where the bytes are in this process; nullptr: `status` says why not
    std::byte* host = nullptr;
    DmaResult::Status status = DmaResult::Status::ok;
    PhysAddr pa{};  // for reports; set by a walk
  };

  struct Piece {  // of a list, inside one page
    Iova iova;
    std::uint64_t bytes;
  };
  class Pieces;
  static constexpr std::size_t kBatch = 16;
  // Of one odd section, which invalidations wait for.
  static constexpr std::uint64_t kBatchBytes = 4 * kPageSize;

  template <typename Copy>
  DmaResult transfer_list(std::span<const DmaSegment> list, Access access, std::uint64_t bytes, Copy copy);
  std::size_t find_batch(Access access, std::span<const Piece> pieces, std::span<Spot> spots);
  template <std::size_t N, typename Copy>
  DmaResult transfer(std::array<Side, N> sides, std::uint64_t bytes, Copy copy);
  void enter();
  void leave();
  std::byte* find_cached(Side side) const;
  Spot find(Side side);
  Spot walk(Side side);
  std::optional<Translation> ask_unit(Side side, DmaResult::Status& status);
  void remember(Side side, const Translation& translation, std::byte* host, std::uint64_t contiguous);
  // Registers of another device are on one side at least.
  template <std::size_t N, typename Copy>
  [[gnu::cold]] bool transfer_registers(const std::array<Side, N>& sides, std::uint64_t done, std::uint64_t bytes,
                                        const Copy& copy);
  bool reaches_registers(std::span<const Spot> spots) const;
  Access report(std::span<const Side> sides, std::span<const Spot> spots, std::uint64_t bytes);
  DmaTouch touch_of(Side side, std::uint64_t bytes) const;
  void notice(std::span<const Side> sides, std::span<const Spot> spots, std::uint64_t bytes) const;
  void notice_refusal(Side side, std::uint64_t bytes) const;
  void forget();

  Memory& memory_;
  IommuUnit* unit_;
  StreamId stream_;
  Pasid pasid_ = 0;
  std::string name_;
  std::atomic<std::uint64_t> told_{0};  // tick of the last tell()
  DeviceTlb* device_tlb_ = nullptr;
  DmaActivity& activity_;         // the memory's
  std::uint64_t generation_ = 0;  // of unit and memory, which the caches below belong to
  std::uint64_t epoch_ = 1;       // as in Line::tag
  std::array<Last, 2> last_{};    // by Access
  static constexpr std::size_t kLines = 1024;
  std::array<Line, kLines> lines_{};
};

}  // namespace softiommu
