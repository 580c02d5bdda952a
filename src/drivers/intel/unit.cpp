// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/intel/unit.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/log.h"

namespace softiommu::intel {

using namespace hw::vtd;

namespace {

// A status bit that does not change within this many reads never will.
constexpr unsigned kMostPolls = 100'000;
// A storm of faults must not fill the log.
constexpr std::uint64_t kMostFaultLines = 100;

// The smallest aligned power-of-two number of pages that covers the range, as log2.
unsigned address_mask(IovaRange range) {
  const std::uint64_t differs = (range.first.value ^ range.last.value) >> kPageShift;
  return static_cast<unsigned>(std::bit_width(differs));
}

std::uint64_t address_word(IovaRange range, unsigned mask, bool leaf_only) {
  const std::uint64_t page = range.first.value >> kPageShift >> mask << mask;
  return kIotlbDescriptor1["AM"].put(mask) | kIotlbDescriptor1["IH"].put(leaf_only) |
         kIotlbDescriptor1["ADDR"].put(page);
}

}  // namespace

Unit::~Unit() {
  if (root_.value == 0) return;
  const std::uint64_t* const root = tables().words(root_);
  // In legacy mode the second word of each entry is 0.
  static_assert(kRootEntry0["P"].mask() == kScalableRootEntry["P"].mask());
  for (unsigned word = 0; word < kRootEntries * kEntryWords; ++word)
    if (kRootEntry0["P"].is_set(root[word])) tables().free(PhysAddr{kRootEntry0["CTP"].in_place(root[word])});
  tables().free(root_);
  {
    const MutexLock lock(requests_mutex_);
    if (requests_.value != 0) tables().free(requests_);
  }
  const MutexLock lock(queue_mutex_);
  if (queue_.value != 0) tables().free(queue_);
  if (status_.value != 0) tables().free(status_);
}

Result<> Unit::start() {
  const std::uint32_t version = registers().read32(kVer.offset);
  if (kVer["MAX"].get(version) == 0 || version == ~std::uint32_t{0}) return fail(ENODEV, "no VT-d unit answers");
  cap_ = registers().read64(kCap.offset);
  ecap_ = registers().read64(kEcap.offset);
  if (largest_levels() == 0) return fail(ENODEV, "the unit walks no table that its address width can use");
  {
    const MutexLock lock(ids_mutex_);
    ids_.set();
    for (std::size_t id = kFirstDomainId; id < std::size_t{1} << domain_id_bits(cap_); ++id) ids_.reset(id);
  }
  root_ = TRY(tables().allocate());
  const TableMode mode = scalable() ? TableMode::scalable : TableMode::legacy;
  registers().write64(kRtaddr.offset, kRtaddr["TTM"].put(std::to_underlying(mode)) | root_.value);
  TRY(command(static_cast<std::uint32_t>(kGcmd["SRTP"].mask()), static_cast<std::uint32_t>(kGsts["RTPS"].mask())));
  if (kEcap["QI"].is_set(ecap_)) TRY(start_queue());
  TRY(invalidate_everything());
  if (page_requests()) TRY(start_page_requests());
  registers().write32(kFectl.offset, 0);
  global_state_ |= static_cast<std::uint32_t>(kGcmd["TE"].mask());
  return command(0, static_cast<std::uint32_t>(kGsts["TES"].mask()));
}

Result<> Unit::start_queue() {
  const PhysAddr queue = TRY(tables().allocate());
  const MutexLock lock(queue_mutex_);
  queue_ = queue;
  status_ = TRY(tables().allocate());
  registers().write32(kFsts.offset, static_cast<std::uint32_t>(kFsts["IQE"].mask()));  // whoever had the unit before
  registers().write64(kIqt.offset, 0);
  registers().write64(kIqa.offset, kIqa["QS"].put(0) | kIqa["DW"].put(scalable()) | queue_.value);
  global_state_ |= static_cast<std::uint32_t>(kGcmd["QIE"].mask());
  TRY(command(0, static_cast<std::uint32_t>(kGsts["QIES"].mask())));
  queued_ = true;
  return {};
}

// Gives GCMD the states that stay on, plus one command, and waits for its status bit.
Result<> Unit::command(std::uint32_t bit, std::uint32_t status_bit) {
  registers().write32(kGcmd.offset, global_state_ | bit);
  for (unsigned i = 0; i < kMostPolls; ++i)
    if ((registers().read32(kGsts.offset) & status_bit) != 0) return {};
  return fail(ENODEV, "the unit did not acknowledge a global command");
}

Result<> Unit::wait_clear(std::uint32_t offset, std::uint64_t bits) {
  for (unsigned i = 0; i < kMostPolls; ++i)
    if ((registers().read64(offset) & bits) == 0) return {};
  return fail(ENODEV, "the unit did not complete an invalidation");
}

unsigned Unit::largest_levels() const {
  for (unsigned levels = 5; levels >= 3; --levels)
    if (walks_levels(levels) && (levels == 3 || width_of_levels(levels - 1) < address_width())) return levels;
  for (unsigned levels = 3; levels <= 5; ++levels)  // only deeper tables than the width needs
    if (walks_levels(levels)) return levels;
  return 0;
}

unsigned Unit::deepest_levels() const {
  unsigned levels = 5;
  while (levels > 3 && !walks_levels(levels)) --levels;
  return levels;
}

std::uint64_t Unit::page_sizes() const {
  constexpr std::uint64_t kTwoMiB = 0b01, kOneGiB = 0b10;
  const std::uint64_t large = kCap["SLLPS"].get(cap_);
  return kPageSize | ((large & kTwoMiB) != 0 ? 2 * kMiB : 0) | ((large & kOneGiB) != 0 ? kGiB : 0);
}

std::uint64_t& Unit::root_word(StreamId stream) {
  const unsigned function = stream % kContextEntries;
  const unsigned half = scalable() ? function / kScalableContextEntries : 0;
  return tables().words(root_)[(stream / kContextEntries) * kEntryWords + half];
}

Result<> Unit::make_context_table(StreamId stream) {
  std::uint64_t& entry = root_word(stream);
  if (kRootEntry0["P"].is_set(entry)) return {};
  const PhysAddr table = TRY(tables().allocate());
  store(entry, kRootEntry0["P"].put(1) | kRootEntry0["CTP"].put(table.value >> kPageShift));
  return caching_mode() ? invalidate_everything() : Result<>{};
}

std::uint64_t* Unit::context_words(StreamId stream) {
  std::uint64_t* const table = tables().words(PhysAddr{kRootEntry0["CTP"].in_place(root_word(stream))});
  const unsigned function = stream % kContextEntries;
  return scalable() ? table + function % kScalableContextEntries * kScalableContextWords
                    : table + function * kEntryWords;
}

Result<> Unit::set_context(StreamId stream, const ContextEntry& entry) {
  std::uint64_t* const words = context_words(stream);
  const ContextEntry old{words[0], words[1]};
  if (old.present()) {
    // Not present first: the two words cannot change together, and a mixture is neither the old nor the new
    // translation.
    store(words[0], 0);
    TRY(invalidate_context(old.id(), stream));
    TRY(invalidate_domain(old.id()));
  }
  store(words[1], entry.word1);
  store(words[0], entry.word0);
  if (!entry.present()) return {};
  if (caching_mode()) {  // not-present entries are cached under id 0
    TRY(invalidate_context(0, stream));
    return invalidate_domain(entry.id());
  }
  return {};
}

Result<> Unit::set_scalable_context(StreamId stream, const ScalableContext& context) {
  std::uint64_t* const words = context_words(stream);
  if (kScalableContextEntry0["P"].is_set(words[0])) return {};
  store(words[0], kScalableContextEntry0["P"].put(1) | kScalableContextEntry0["DTE"].put(context.device_tlb) |
                      kScalableContextEntry0["PASIDE"].put(context.pasids) |
                      kScalableContextEntry0["PRE"].put(context.page_requests) |
                      kScalableContextEntry0["PDTS"].put(context.directory_lg2 - kLeastDirectoryLg2) |
                      kScalableContextEntry0["PASIDDIRPTR"].in_place(context.directory.value));
  return caching_mode() ? invalidate_context(0, stream) : Result<>{};
}

bool Unit::points_to(StreamId stream, PhysAddr directory) {
  if (directory.value == 0 || !kRootEntry0["P"].is_set(root_word(stream))) return false;  // it was never made
  return kScalableContextEntry0["PASIDDIRPTR"].in_place(context_words(stream)[0]) == directory.value;
}

// VT-d 6.5.3.3: with the context entry goes what was found through it.
Result<> Unit::clear_scalable_context(StreamId stream) {
  store(context_words(stream)[0], 0);
  return invalidate_everything();
}

Result<DomainId> Unit::allocate_id(const IntelDomain& /*domain*/) {
  const MutexLock lock(ids_mutex_);
  for (std::size_t id = kFirstDomainId; id < ids_.size(); ++id) {
    if (ids_.test(id)) continue;
    ids_.set(id);
    return static_cast<DomainId>(id);
  }
  return fail(ENOSPC, "domain ids");
}

void Unit::free_id(const IntelDomain& /*domain*/, DomainId id) {
  const MutexLock lock(ids_mutex_);
  ids_.reset(id);
}

// Puts a descriptor and a wait descriptor into the queue and waits for the latter's status word.
Result<> Unit::submit(Descriptor descriptor) {
  const MutexLock lock(queue_mutex_);
  std::uint64_t* const queue = tables().words(queue_);
  auto* const status = tables().as<std::uint32_t>(status_);
  const std::uint32_t ticket = ++ticket_;
  const Descriptor wait{kWaitDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::wait)) |
                            kWaitDescriptor0["SW"].put(1) | kWaitDescriptor0["SDATA"].put(ticket),
                        kWaitDescriptor1["SADDR"].in_place(status_.value)};
  const std::uint32_t mask = static_cast<std::uint32_t>(kPageSize) - 1;
  const unsigned bytes = scalable() ? kWideDescriptorBytes : kDescriptorBytes;
  for (const Descriptor& d : {descriptor, wait}) {
    std::uint64_t* const slot = queue + tail_ / sizeof(std::uint64_t);  // the upper words of wide ones stay 0
    slot[0] = d.word0;
    slot[1] = d.word1;
    tail_ = (tail_ + bytes) & mask;
  }
  registers().write64(kIqt.offset, tail_);
  bool refused = false;
  for (unsigned i = 0; i < kMostPolls; ++i) {
    if (std::atomic_ref<std::uint32_t>(*status).load(std::memory_order_acquire) == ticket) {
      // Of a queue that stood still and went on, not everything was done.
      return refused ? fail(ENODEV, "the unit refused an invalidation") : Result<>{};
    }
    if (!kFsts["IQE"].is_set(registers().read32(kFsts.offset))) continue;
    refused = true;
    pass_over_descriptor();
  }
  return fail(ENODEV, "the invalidation queue stopped");
}

// The queue stands still at a descriptor that the unit refused: one that waits for nothing takes its place, and
// clearing IQE lets the unit go on there (6.5.2.10).
void Unit::pass_over_descriptor() {
  const std::uint64_t head = kIqh["QH"].in_place(registers().read64(kIqh.offset));
  std::uint64_t* const slot = tables().words(queue_ + head);
  slot[0] = kWaitDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::wait));
  slot[1] = 0;
  registers().write32(kFsts.offset, static_cast<std::uint32_t>(kFsts["IQE"].mask()));
}

Result<> Unit::invalidate_context(DomainId id, StreamId stream) {
  constexpr auto kSelective = std::to_underlying(Granularity::selective);
  if (queued_)
    return submit({kContextCacheDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::context_cache)) |
                       kContextCacheDescriptor0["G"].put(kSelective) | kContextCacheDescriptor0["DID"].put(id) |
                       kContextCacheDescriptor0["SID"].put(stream),
                   0});
  registers().write64(kCcmd.offset, kCcmd["ICC"].put(1) | kCcmd["CIRG"].put(kSelective) | kCcmd["DID"].put(id) |
                                        kCcmd["SID"].put(stream));
  return wait_clear(kCcmd.offset, kCcmd["ICC"].mask());
}

Result<> Unit::iotlb_by_register(Granularity granularity, DomainId id, std::uint64_t iva) {
  const std::uint32_t base = iotlb_offset(ecap_);
  if (granularity == Granularity::selective) registers().write64(base + kIva.offset, iva);
  registers().write64(base + kIotlb.offset, kIotlb["IVT"].put(1) | kIotlb["IIRG"].put(std::to_underlying(granularity)) |
                                                kIotlb["DR"].put(1) | kIotlb["DW"].put(1) | kIotlb["DID"].put(id));
  return wait_clear(base + kIotlb.offset, kIotlb["IVT"].mask());
}

Result<> Unit::invalidate_domain(DomainId id) {
  if (!queued_) return iotlb_by_register(Granularity::domain, id, 0);
  return submit({kIotlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::iotlb)) |
                     kIotlbDescriptor0["G"].put(std::to_underlying(Granularity::domain)) |
                     kIotlbDescriptor0["DR"].put(1) | kIotlbDescriptor0["DW"].put(1) | kIotlbDescriptor0["DID"].put(id),
                 0});
}

Result<> Unit::invalidate_pages(DomainId id, IovaRange range, bool leaf_only) {
  const unsigned mask = address_mask(range);
  if (!kCap["PSI"].is_set(cap_) || mask > kCap["MAMV"].get(cap_)) return invalidate_domain(id);
  const std::uint64_t address = address_word(range, mask, leaf_only);
  if (!queued_) return iotlb_by_register(Granularity::selective, id, address);
  return submit({kIotlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::iotlb)) |
                     kIotlbDescriptor0["G"].put(std::to_underlying(Granularity::selective)) |
                     kIotlbDescriptor0["DR"].put(1) | kIotlbDescriptor0["DW"].put(1) | kIotlbDescriptor0["DID"].put(id),
                 address});
}

Result<> Unit::sync_after_map(DomainId id, IovaRange range) {
  return caching_mode() ? invalidate_pages(id, range, false) : flush_write_buffer();
}

Result<> Unit::flush_write_buffer() {
  registers().write32(kGcmd.offset, global_state_ | static_cast<std::uint32_t>(kGcmd["WBF"].mask()));
  for (unsigned i = 0; i < kMostPolls; ++i)
    if (!kGsts["WBFS"].is_set(registers().read32(kGsts.offset))) return {};
  return fail(ENODEV, "the unit did not flush its write buffer");
}

// Global: the state after a new root table.
Result<> Unit::invalidate_everything() {
  constexpr auto kGlobal = std::to_underlying(Granularity::global);
  if (queued_) {
    TRY(submit({kContextCacheDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::context_cache)) |
                    kContextCacheDescriptor0["G"].put(kGlobal),
                0}));
    if (scalable())
      TRY(submit({kPasidCacheDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::pasid_cache)) |
                      kPasidCacheDescriptor0["G"].put(std::to_underlying(PasidCacheGranularity::global)),
                  0}));
    return submit({kIotlbDescriptor0["TYPE"].put(std::to_underlying(hw::vtd::Descriptor::iotlb)) |
                       kIotlbDescriptor0["G"].put(kGlobal) | kIotlbDescriptor0["DR"].put(1) |
                       kIotlbDescriptor0["DW"].put(1),
                   0});
  }
  registers().write64(kCcmd.offset, kCcmd["ICC"].put(1) | kCcmd["CIRG"].put(kGlobal));
  TRY(wait_clear(kCcmd.offset, kCcmd["ICC"].mask()));
  return iotlb_by_register(Granularity::global, 0, 0);
}

void Unit::report_faults() {
  for (unsigned i = 0; i < fault_record_count(cap_); ++i) {
    const std::uint32_t record = fault_record_offset(cap_, i);
    const std::uint64_t high = registers().read64(record + kFrcdHigh.offset);
    if (!kFrcdHigh["F"].is_set(high)) continue;
    const std::uint64_t low = registers().read64(record + kFrcdLow.offset);
    registers().write64(record + kFrcdHigh.offset, kFrcdHigh["F"].mask());
    if (faults_logged_++ >= kMostFaultLines) continue;
    const auto source = static_cast<unsigned>(kFrcdHigh["SID"].get(high));
    const auto reason = static_cast<FaultReason>(kFrcdHigh["FR"].get(high));
    const FaultReasonRow* const row = find_fault_reason(reason);
    log::warning("DMAR: {}: [DMA {} {}] Request device [{:02x}:{:02x}.{:x}] fault addr {:#x} [fault reason {:#04x}] {}",
                 name_, kFrcdHigh["T1"].is_set(high) ? "Read" : "Write",
                 kFrcdHigh["PP"].is_set(high) ? fmt::format("PASID {:#x}", kFrcdHigh["PV"].get(high)) : "NO_PASID",
                 source >> 8, source >> 3 & 0x1f, source & 7, kFrcdLow["FI"].in_place(low), std::to_underlying(reason),
                 row != nullptr ? row->doc : "unknown");
  }
  registers().write32(kFsts.offset, static_cast<std::uint32_t>(kFsts["PFO"].mask()));
}

}  // namespace softiommu::intel
