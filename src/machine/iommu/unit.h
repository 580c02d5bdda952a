// SPDX-License-Identifier: BSD-3-Clause
// One IOMMU as hardware: registers on one side, translation of device accesses on the other.
//
// A model reads its tables from memory itself (its own walker; never pt/). The driver reaches it only through
// read() and write() of registers and through memory. translate() is called by DMA threads and takes no lock
// that a register write could hold while it waits for DMA; queues run inside the tail write.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/types.h"
#include "machine/dma_fence.h"
#include "machine/mmio.h"

namespace softiommu {

class DeviceTlb;
class DmaPort;
class Memory;
class Findings;

enum class Access : std::uint8_t { read, write };

struct Transaction {
  StreamId stream = 0;
  Pasid pasid = 0;
  Iova iova;
  Access access = Access::read;
};

// The page that serves a transaction. Never larger than what the tables map with one leaf.
struct Translation {
  PhysAddr page;  // first byte of the page
  std::uint8_t page_lg2 = 12;
  bool read = false, write = false;
  bool cacheable = true;  // false: the port must ask again next time (paranoid mode)
};

// A device asks for a page to be made present (PCIe 5.0, 10.4.1).
struct PageRequestMessage {
  StreamId stream = 0;
  Pasid pasid = 0;  // 0: without one
  Iova address;
  bool read = false, write = false;
  bool last = true;         // of its group: an answer is expected
  std::uint16_t group = 0;  // page request group index
};
// The answer to a group of them (PCIe 5.0, 10.4.2).
struct PageResponse {
  enum class Code : std::uint8_t { success = 0, invalid = 1, failure = 15 };
  StreamId stream = 0;
  Pasid pasid = 0;
  std::uint16_t group = 0;
  Code code = Code::success;
};
// An invalidation request to a device's TLB (PCIe 5.0, 10.3).
struct DeviceTlbInvalidation {
  StreamId stream = 0;
  Pasid pasid = 0;         // 0: translations without one
  bool all_pasids = false;  // those of every PASID (the Global bit)
  IovaRange range;
};

// What every model is made with. `findings` collects reports (stale translations in paranoid mode).
struct UnitContext {
  std::string name;  // from the machine file, e.g. "dmar0"
  Memory& memory;
  Findings& findings;
  bool paranoid = false;  // check each IOTLB hit against a walk
};

class IommuUnit : public MmioRegion {
 public:
  explicit IommuUnit(UnitContext context) : context_(std::move(context)) {}

  const std::string& name() const { return context_.name; }
  // The name of the hardware in the machine file, which is what a driver matches: "intel-vtd", "arm-smmu-v3".
  virtual std::string_view model() const = 0;
  // Bytes of register space.
  virtual std::uint64_t register_bytes() const = 0;
  virtual void reset() = 0;

  // nullopt: refused, and the fault is recorded as the hardware does (or suppressed by its rules).
  virtual std::optional<Translation> translate(const Transaction& transaction) = 0;

  // The transaction is going to be translated: a hint to ask the processor's caches for what that will read.
  virtual void prefetch(const Transaction& /*transaction*/) const {}

  // ---- Devices with a TLB of their own (device_tlb.h). A unit without such services refuses all three.
  // A translation request. nullopt: not answered, as a fault is recorded; a page that is not there has no rights, and no
  // fault is recorded. What is answered may be kept until an invalidation names it.
  virtual std::optional<Translation> translate_for_device(const Transaction& /*transaction*/) { return std::nullopt; }
  // A request whose address the device has translated before. Hardware sees the physical address alone; in paranoid
  // mode `kept` is compared with the tables.
  virtual bool admits_translated(const Transaction& /*transaction*/, const Translation& /*kept*/) { return false; }
  // False: the request was not taken, and the device gets no answer.
  virtual bool request_page(const PageRequestMessage& /*request*/) { return false; }
  // The TLBs of functions, by the stream id of their requests.
  virtual void add_device_tlb(StreamId stream, DeviceTlb& tlb);
  virtual void remove_device_tlb(StreamId stream);

  // Bumped by every invalidation that a port's own caches must notice: after the tables and the IOTLB are changed,
  // before wait_for_dma().
  std::uint64_t generation() const { return generation_.load(std::memory_order_seq_cst); }

  // The line to the CPU: called without any lock of the unit held, on the thread that caused the event. Raised from
  // translate(), it runs with that thread's copy paused: the handler may use the unit's queues and wait for DMA.
  // `line` 0 is the fault/event interrupt; others are the model's.
  void on_interrupt(std::function<void(unsigned line)> handler) { interrupt_ = std::move(handler); }

  // Ports register themselves for wait_for_dma(); a unit outlives its ports.
  void add_port(DmaPort& port);
  void remove_port(DmaPort& port);
  // Returns when every copy that was under way has ended. Called by the synchronising commands.
  void wait_for_dma();

 protected:
  void bump_generation() { generation_.fetch_add(1, std::memory_order_seq_cst); }
  void interrupt(unsigned line);
  // False: no such device has a TLB that is on. Under a leaf lock; follow an invalidation with bump_generation().
  bool invalidate_device_tlb(const DeviceTlbInvalidation& what);
  bool answer_page_request(const PageResponse& response);
  UnitContext context_;

 private:
  std::atomic<std::uint64_t> generation_{1};
  std::function<void(unsigned)> interrupt_;
  DmaFence fence_;
  Mutex tlbs_mutex_;
  std::map<StreamId, DeviceTlb*> tlbs_ GUARDED_BY(tlbs_mutex_);
};

}  // namespace softiommu
