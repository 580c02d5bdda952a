// SPDX-License-Identifier: BSD-3-Clause
// Features, start, stream table, ids. The command queue is in commands.cpp, the others in events.cpp.
#include "drivers/arm_smmu_v3/unit.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "drivers/arm_smmu_v3/domain.h"
#include "drivers/arm_smmu_v3/master.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

// An acknowledgement that does not come within this many reads never will.
constexpr unsigned kMostPolls = 100'000;

// Stream ids here are PCI requester ids.
constexpr unsigned kRequesterIdBits = 16;
// Two levels: a table of the second one is for one PCI bus.
constexpr unsigned kSplit = 8, kLeafPages = (1u << kSplit) * kSteBytes / kPageSize;
constexpr unsigned kL1Bytes = 8;
// One level: 512 KiB is the largest piece of table memory, and holds the ids of 32 buses.
constexpr unsigned kLinearBits = 13;

constexpr std::uint64_t kWriteBack = 1, kInnerShareable = 3;  // CR1
constexpr unsigned kStage1InputBits = 48;

void store(std::uint64_t& word, std::uint64_t value) { std::atomic_ref(word).store(value, std::memory_order_release); }

void fill_with_aborts(std::uint64_t* table, std::size_t entries) {
  const StreamEntry aborting = abort_entry();
  for (std::size_t i = 0; i < entries; ++i) store(table[i * kSteWords], aborting.words[0]);
}

unsigned pages_for(std::size_t bytes) { return static_cast<unsigned>((bytes + kPageSize - 1) / kPageSize); }

}  // namespace

Unit::~Unit() {
  if (stream_table_.value != 0) static_cast<void>(turn_off());
  for (const PhysAddr leaf : leaves_)
    if (leaf.value != 0) tables().free(leaf, kLeafPages);
  if (stream_table_.value != 0) {
    const std::size_t entry = features_.two_level ? kL1Bytes : kSteBytes;
    const std::size_t entries = std::size_t{1} << (features_.two_level ? table_bits_ - kSplit : table_bits_);
    tables().free(stream_table_, pages_for(entries * entry));
  }
  {
    const MutexLock lock(queue_mutex_);
    if (queue_.value != 0) tables().free(queue_);
    if (status_.value != 0) tables().free(status_);
  }
  const MutexLock lock(events_mutex_);
  if (events_.value != 0) tables().free(events_);
  if (page_requests_.value != 0) tables().free(page_requests_);
}

// ---- Start (IHI 0070 6.3, "initialization" of 3.11) -----------------------------------------------------------

Result<> Unit::start() {
  TRY(read_features());
  asids_.make(features_.asid_bits);
  vmids_.make(features_.vmid_bits);
  TRY(turn_off());
  TRY(make_stream_table());
  TRY(start_queues());
  TRY(submit({Command{kCommandCfgi0["Opcode"].put(std::to_underlying(Opcode::cfgi_ste_range)),
                      kCommandCfgi1["Range"].put(kCommandCfgi1["Range"].max())}}));
  TRY(submit({Command{kCommandTlbi0["Opcode"].put(std::to_underlying(Opcode::tlbi_nsnh_all)), 0}}));
  TRY(write_and_wait(kIrqCtrl.offset, kIrqCtrlAck.offset,
                     kIrqCtrlBits["EVENTQ_IRQEN"].put(1) | kIrqCtrlBits["GERROR_IRQEN"].put(1) |
                         kIrqCtrlBits["PRIQ_IRQEN"].put(features_.pri)));
  return enable(kCr0["SMMUEN"].mask() | kCr0["ATSCHK"].put(features_.ats));
}

std::array<std::uint32_t, Unit::kIdentificationWords> Unit::identification() const {
  std::array<std::uint32_t, kIdentificationWords> words{};
  for (unsigned i = 0; i < words.size(); ++i)
    words[i] = static_cast<std::uint32_t>(hardware_.registers.read32(kIdr0.offset + i * kIdr0.bytes));
  return words;
}

Result<> Unit::read_features() {
  constexpr std::uint64_t kAArch64 = 2, kLittleEndian = 2, kMixedEndian = 0, kAccessAndDirty = 2;
  constexpr unsigned kOutputBits[] = {32, 36, 40, 42, 44, 48};
  const std::uint64_t idr0 = registers().read32(kIdr0.offset), idr1 = registers().read32(kIdr1.offset);
  const std::uint64_t idr3 = registers().read32(kIdr3.offset), idr5 = registers().read32(kIdr5.offset);
  if (idr0 == ~std::uint32_t{0}) return fail(ENODEV, "no SMMUv3 answers");
  if ((kIdr0["TTF"].get(idr0) & kAArch64) == 0) return fail(ENODEV, "the unit walks no AArch64 tables");
  if (const auto endian = kIdr0["TTENDIAN"].get(idr0); endian != kLittleEndian && endian != kMixedEndian)
    return fail(ENODEV, "the unit's tables are not little-endian");
  if (!kIdr5["GRAN4K"].is_set(idr5)) return fail(ENODEV, "the unit has no 4 KiB granule");
  if (kIdr1["TABLES_PRESET"].is_set(idr1) || kIdr1["QUEUES_PRESET"].is_set(idr1))
    return fail(ENODEV, "the unit's tables or queues are at fixed places");
  if (!kIdr0["S1P"].is_set(idr0) && !kIdr0["S2P"].is_set(idr0)) return fail(ENODEV, "the unit does not translate");

  const bool stage1 = kIdr0["S1P"].is_set(idr0), stage2 = kIdr0["S2P"].is_set(idr0);
  const std::size_t oas = std::min<std::size_t>(kIdr5["OAS"].get(idr5), std::size(kOutputBits) - 1);
  const auto at_most_a_page = [](std::uint64_t lg2, unsigned bytes) {
    return std::min(static_cast<unsigned>(lg2), static_cast<unsigned>(std::bit_width(kPageSize / bytes)) - 1);
  };
  features_ = {.stage = stage1 ? 1u : 2u,
               .output_bits = kOutputBits[oas],
               .stream_bits = static_cast<unsigned>(kIdr1["SIDSIZE"].get(idr1)),
               .asid_bits = kIdr0["ASID16"].is_set(idr0) ? 16u : 8u,
               .vmid_bits = kIdr0["VMID16"].is_set(idr0) ? 16u : 8u,
               .substream_bits = stage1 ? static_cast<unsigned>(kIdr1["SSIDSIZE"].get(idr1)) : 0,
               .command_lg2 = at_most_a_page(kIdr1["CMDQS"].get(idr1), kCommandBytes),
               .event_lg2 = at_most_a_page(kIdr1["EVENTQS"].get(idr1), kEventBytes),
               .page_request_lg2 = at_most_a_page(kIdr1["PRIQS"].get(idr1), kPriBytes),
               .coherent = kIdr0["COHACC"].is_set(idr0),
               .dirty = stage1 && kIdr0["COHACC"].is_set(idr0) && kIdr0["HTTU"].get(idr0) >= kAccessAndDirty,
               .ranges = kIdr3["RIL"].is_set(idr3),
               .messages = kIdr0["MSI"].is_set(idr0),
               .two_level = kIdr0["ST_LEVEL"].get(idr0) == 1 && kIdr1["SIDSIZE"].get(idr1) > kSplit,
               .two_level_descriptors = kIdr0["CD2L"].is_set(idr0),
               .nesting = stage1 && stage2 && kIdr3["FWB"].is_set(idr3),
               .stalls = static_cast<StallModel>(kIdr0["STALL_MODEL"].get(idr0)),
               .ats = kIdr0["ATS"].is_set(idr0),
               .pri = kIdr0["ATS"].is_set(idr0) && kIdr0["PRI"].is_set(idr0)};
  return {};
}

unsigned Unit::input_bits(unsigned stage) const { return stage == 1 ? kStage1InputBits : features_.output_bits; }

Result<> Unit::write_and_wait(std::uint32_t offset, std::uint32_t acknowledge, std::uint64_t value) {
  registers().write32(offset, static_cast<std::uint32_t>(value));
  for (unsigned i = 0; i < kMostPolls; ++i)
    if (registers().read32(acknowledge) == value) return {};
  return fail(ENODEV, "the unit did not acknowledge a control register");
}

Result<> Unit::enable(std::uint64_t cr0_bits) {
  cr0_ |= cr0_bits;
  return write_and_wait(kCr0.offset, kCr0Ack.offset, cr0_);
}

// While it is off, everything is aborted.
Result<> Unit::turn_off() {
  const auto updated = [&] {
    for (unsigned i = 0; i < kMostPolls; ++i)
      if (!kGbpa["UPDATE"].is_set(registers().read32(kGbpa.offset))) return true;
    return false;
  };
  if (!updated()) return fail(ENODEV, "the unit is busy with its global bypass attributes");
  const std::uint64_t attributes = registers().read32(kGbpa.offset);
  registers().write32(kGbpa.offset,
                      static_cast<std::uint32_t>(attributes | kGbpa["ABORT"].mask() | kGbpa["UPDATE"].mask()));
  if (!updated()) return fail(ENODEV, "the unit did not take its global bypass attributes");
  cr0_ = 0;
  TRY(write_and_wait(kIrqCtrl.offset, kIrqCtrlAck.offset, 0));
  return enable(0);
}

Result<> Unit::start_queues() {
  constexpr std::uint64_t kTables =
      kCr1["TABLE_SH"].put(kInnerShareable) | kCr1["TABLE_OC"].put(kWriteBack) | kCr1["TABLE_IC"].put(kWriteBack);
  constexpr std::uint64_t kQueues =
      kCr1["QUEUE_SH"].put(kInnerShareable) | kCr1["QUEUE_OC"].put(kWriteBack) | kCr1["QUEUE_IC"].put(kWriteBack);
  registers().write32(kCr1.offset, static_cast<std::uint32_t>(kTables | kQueues));
  registers().write32(kCr2.offset, static_cast<std::uint32_t>(kCr2["PTM"].mask() | kCr2["RECINVSID"].mask()));
  {
    const MutexLock lock(queue_mutex_);
    queue_ = TRY(tables().allocate());
    status_ = TRY(tables().allocate());
    registers().write64(kCmdqBase.offset, kQueueBaseBits["RA"].mask() | kQueueBaseBits["ADDR"].in_place(queue_.value) |
                                              kQueueBaseBits["LOG2SIZE"].put(features_.command_lg2));
    registers().write32(kCmdqProd.offset, 0);
    registers().write32(kCmdqCons.offset, 0);
  }
  acknowledged_ = registers().read32(kGerrorN.offset);
  acknowledge(registers().read32(kGerror.offset) ^ acknowledged_);
  TRY(enable(kCr0["CMDQEN"].mask()));
  return start_event_queues();
}

Result<> Unit::start_event_queues() {
  const auto base = [](PhysAddr queue, unsigned lg2) {
    return kQueueBaseBits["RA"].mask() | kQueueBaseBits["ADDR"].in_place(queue.value) |
           kQueueBaseBits["LOG2SIZE"].put(lg2);
  };
  {
    const MutexLock lock(events_mutex_);
    events_ = TRY(tables().allocate());
    registers().write64(kEventqBase.offset, base(events_, features_.event_lg2));
    registers().write32(kEventqProd.offset, 0);
    registers().write32(kEventqCons.offset, 0);
    if (features_.pri) {
      page_requests_ = TRY(tables().allocate());
      registers().write64(kPriqBase.offset, base(page_requests_, features_.page_request_lg2));
      registers().write32(kPriqProd.offset, 0);
      registers().write32(kPriqCons.offset, 0);
    }
  }
  return enable(kCr0["EVENTQEN"].mask() | kCr0["PRIQEN"].put(features_.pri));
}

// ---- Stream table (3.3, 5.2) ------------------------------------------------------------------------------------

Result<> Unit::make_stream_table() {
  constexpr std::uint64_t kTwoLevel = 1;
  const unsigned most = std::min(features_.stream_bits, kRequesterIdBits);
  std::uint64_t config = 0;
  if (features_.two_level) {
    table_bits_ = most;
    const std::size_t leaves = std::size_t{1} << (table_bits_ - kSplit);
    leaves_.resize(leaves);
    stream_table_ = TRY(tables().allocate(pages_for(leaves * kL1Bytes)));
    config = kStrtabBaseCfg["FMT"].put(kTwoLevel) | kStrtabBaseCfg["SPLIT"].put(kSplit);
  } else {
    table_bits_ = std::min(most, kLinearBits);
    const std::size_t entries = std::size_t{1} << table_bits_;
    stream_table_ = TRY(tables().allocate(pages_for(entries * kSteBytes)));
    fill_with_aborts(tables().words(stream_table_), entries);
  }
  registers().write64(kStrtabBase.offset, kStrtabBase["RA"].mask() | kStrtabBase["ADDR"].in_place(stream_table_.value));
  registers().write32(kStrtabBaseCfg.offset,
                      static_cast<std::uint32_t>(config | kStrtabBaseCfg["LOG2SIZE"].put(table_bits_)));
  return {};
}

Result<> Unit::make_stream(StreamId stream) {
  if (stream >> table_bits_ != 0) return fail(ENODEV, "the stream id is beyond the unit's stream table");
  if (!features_.two_level) return {};
  PhysAddr& leaf = leaves_[stream >> kSplit];
  if (leaf.value != 0) return {};
  leaf = TRY(tables().allocate(kLeafPages));
  fill_with_aborts(tables().words(leaf), std::size_t{1} << kSplit);
  store(tables().words(stream_table_)[stream >> kSplit],
        kL1Std["L2Ptr"].in_place(leaf.value) | kL1Std["Span"].put(kSplit + 1));
  // That there was none may be cached; Leaf 0 forgets the first level as well.
  return submit(for_stream(Opcode::cfgi_ste, stream));
}

std::uint64_t* Unit::entry_words(StreamId stream) {
  if (!features_.two_level) return tables().words(stream_table_) + std::size_t{stream} * kSteWords;
  return tables().words(leaves_[stream >> kSplit]) + std::size_t{stream & ((1u << kSplit) - 1)} * kSteWords;
}

// Words that the hardware does not look at now are written first; then the one that decides. What differs in two words
// that it looks at before and after has no such word. Between all steps a synchronisation: the hardware reads an entry
// word by word, in any order, and may keep any.
Result<> Unit::set_stream(StreamId stream, const StreamEntry& wanted) {
  std::uint64_t* const words = entry_words(stream);
  const Command forget = for_stream(Opcode::cfgi_ste, stream);
  constexpr std::uint64_t kEitherWay = kSte1["MEV"].mask();  // changes nothing but how often is told
  const auto used = [](std::uint64_t word0, unsigned word) { return StreamEntry::used_bits(word0, word); };
  const auto differs = [&](unsigned word) {
    const std::uint64_t both = used(words[0], word) & used(wanted.words[0], word);
    return ((words[word] ^ wanted.words[word]) & both & ~(word == 1 ? kEitherWay : 0)) != 0;
  };
  unsigned decisive = 0, different = 0;
  for (unsigned word = 0; word < StreamEntry::kWords; ++word)
    if (differs(word)) ++different, decisive = word;
  if (different > 1) {
    // Still valid, so that DMA on the way is refused without a C_BAD_STE event.
    store(words[0], abort_entry().words[0]);
    TRY(submit(forget));
    decisive = 0;
  }
  bool prepared = false;
  for (unsigned word = 1; word < StreamEntry::kWords; ++word) {
    if (word == decisive) continue;
    const std::uint64_t now = used(words[0], word), then = used(wanted.words[0], word);
    const std::uint64_t next = (words[word] & now & ~then) | (wanted.words[word] & (then | ~now));
    prepared = prepared || ((next ^ words[word]) & then) != 0;
    store(words[word], next);
  }
  if (prepared) TRY(submit(forget));
  store(words[decisive], wanted.words[decisive]);
  TRY(submit(forget));
  for (unsigned word = 1; word < StreamEntry::kWords; ++word)
    store(words[word], wanted.words[word]);  // looked at by none
  return {};
}

// ---- Ids --------------------------------------------------------------------------------------------------------

void IdPool::make(unsigned bits) {
  const MutexLock lock(mutex_);
  used_.set();
  for (std::size_t id = 1; id < std::size_t{1} << bits; ++id) used_.reset(id);
}

std::optional<UnitId> IdPool::allocate() {
  const MutexLock lock(mutex_);
  for (std::size_t id = 1; id < used_.size(); ++id) {
    if (used_.test(id)) continue;
    used_.set(id);
    return static_cast<UnitId>(id);
  }
  return std::nullopt;
}

void IdPool::free(UnitId id) {
  const MutexLock lock(mutex_);
  used_.reset(id);
}

IdPool& Unit::ids_of(const PagingDomain& domain) { return domain.stage() == 1 ? asids_ : vmids_; }

Result<UnitId> Unit::allocate_id(const PagingDomain& domain) {
  if (const auto id = ids_of(domain).allocate()) return *id;
  return fail(ENOSPC, domain.stage() == 1 ? "ASIDs" : "VMIDs");
}

void Unit::free_id(const PagingDomain& domain, UnitId id) { ids_of(domain).free(id); }

Result<> Unit::flush_id(const PagingDomain& domain, UnitId id) { return invalidate_id(domain.tag(id)); }

// ---- Masters ----------------------------------------------------------------------------------------------------

void Unit::add_master(Master& master) {
  const MutexLock lock(masters_mutex_);
  for (const StreamId stream : master.streams()) masters_[stream] = &master;
}

void Unit::remove_master(const Master& master) {
  const MutexLock lock(masters_mutex_);
  std::erase_if(masters_, [&](const auto& entry) { return entry.second == &master; });
}

}  // namespace softiommu::arm_smmu_v3
