// SPDX-License-Identifier: BSD-3-Clause
// Features, start, stream table, ids. Queues and invalidation are in commands.cpp.
#include "drivers/arm_smmu_v3/unit.h"

#include <algorithm>
#include <atomic>
#include <bit>

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

constexpr std::uint64_t kWriteBack = 1, kInnerShareable = 3;  // CR1, S1CIR and the like
constexpr std::uint64_t kUseIncoming = 1;                     // STE.SHCFG
constexpr unsigned kStage1InputBits = 48;

void store(std::uint64_t& word, std::uint64_t value) { std::atomic_ref(word).store(value, std::memory_order_release); }

void fill_with_aborts(std::uint64_t* table, std::size_t entries) {
  const StreamEntry aborting = Unit::abort();
  for (std::size_t i = 0; i < entries; ++i) store(table[i * kSteWords], aborting.words[0]);
}

unsigned pages_for(std::size_t bytes) { return static_cast<unsigned>((bytes + kPageSize - 1) / kPageSize); }

// Which words mean something to the hardware beside word 0 (IHI 0070 5.2).
bool uses_word(std::uint64_t word0, unsigned word) {
  switch (static_cast<SteConfig>(kSte0["Config"].get(word0))) {
    case SteConfig::bypass:
      return word == 1;
    case SteConfig::stage1:
      return word <= 2;  // S2VMID tags stage 1, too
    case SteConfig::stage2:
    case SteConfig::nested:
      return true;
    case SteConfig::abort:
      return false;
  }
  return true;
}

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
}

// ---- Start (IHI 0070 6.3, "initialization" of 3.11) -----------------------------------------------------------

Result<> Unit::start() {
  TRY(read_features());
  {
    const MutexLock lock(ids_mutex_);
    ids_.set();
    for (std::size_t id = 1; id < std::size_t{1} << features_.id_bits; ++id) ids_.reset(id);  // 0 is nobody's
  }
  TRY(turn_off());
  TRY(make_stream_table());
  TRY(start_queues());
  TRY(submit({Command{kCommandCfgi0["Opcode"].put(std::to_underlying(Opcode::cfgi_ste_range)),
                      kCommandCfgi1["Range"].put(kCommandCfgi1["Range"].max())}}));
  TRY(submit({Command{kCommandTlbi0["Opcode"].put(std::to_underlying(Opcode::tlbi_nsnh_all)), 0}}));
  TRY(write_and_wait(kIrqCtrl.offset, kIrqCtrlAck.offset,
                     kIrqCtrlBits["EVENTQ_IRQEN"].put(1) | kIrqCtrlBits["GERROR_IRQEN"].put(1)));
  return enable(kCr0["SMMUEN"].mask());
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

  const bool stage1 = kIdr0["S1P"].is_set(idr0);
  const std::size_t oas = std::min<std::size_t>(kIdr5["OAS"].get(idr5), std::size(kOutputBits) - 1);
  const auto at_most_a_page = [](std::uint64_t lg2, unsigned bytes) {
    return std::min(static_cast<unsigned>(lg2), static_cast<unsigned>(std::bit_width(kPageSize / bytes)) - 1);
  };
  features_ = {.stage = stage1 ? 1u : 2u,
               .output_bits = kOutputBits[oas],
               .stream_bits = static_cast<unsigned>(kIdr1["SIDSIZE"].get(idr1)),
               .id_bits = (stage1 ? kIdr0["ASID16"] : kIdr0["VMID16"]).is_set(idr0) ? 16u : 8u,
               .command_lg2 = at_most_a_page(kIdr1["CMDQS"].get(idr1), kCommandBytes),
               .event_lg2 = at_most_a_page(kIdr1["EVENTQS"].get(idr1), kEventBytes),
               .coherent = kIdr0["COHACC"].is_set(idr0),
               .dirty = stage1 && kIdr0["COHACC"].is_set(idr0) && kIdr0["HTTU"].get(idr0) >= kAccessAndDirty,
               .ranges = kIdr3["RIL"].is_set(idr3),
               .messages = kIdr0["MSI"].is_set(idr0),
               .two_level = kIdr0["ST_LEVEL"].get(idr0) == 1 && kIdr1["SIDSIZE"].get(idr1) > kSplit,
               .stall_choice = kIdr0["STALL_MODEL"].get(idr0) == 0};
  return {};
}

unsigned Unit::input_bits() const { return features_.stage == 1 ? kStage1InputBits : features_.output_bits; }

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
  {
    const MutexLock lock(events_mutex_);
    events_ = TRY(tables().allocate());
    registers().write64(kEventqBase.offset, kQueueBaseBits["RA"].mask() |
                                                kQueueBaseBits["ADDR"].in_place(events_.value) |
                                                kQueueBaseBits["LOG2SIZE"].put(features_.event_lg2));
    registers().write32(kEventqProd.offset, 0);
    registers().write32(kEventqCons.offset, 0);
  }
  return enable(kCr0["EVENTQEN"].mask());
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

// The words behind word 0, then a synchronisation: the hardware reads an entry word by word, in any order.
Result<> Unit::store_entry_words(StreamId stream, const StreamEntry& wanted) {
  std::uint64_t* const words = entry_words(stream);
  if (std::equal(words + 1, words + StreamEntry::kWords, wanted.words + 1)) return {};
  for (unsigned word = 1; word < StreamEntry::kWords; ++word) store(words[word], wanted.words[word]);
  return submit(for_stream(Opcode::cfgi_ste, stream));
}

// Word 0 decides which of the others count, so those that do not count now are written before it.
Result<> Unit::set_stream(StreamId stream, const StreamEntry& wanted) {
  std::uint64_t* const words = entry_words(stream);
  bool in_use = false;
  for (unsigned word = 1; word < StreamEntry::kWords; ++word)
    in_use = in_use || (uses_word(words[0], word) && words[word] != wanted.words[word]);
  const bool aborts = !uses_word(wanted.words[0], 1);
  if (in_use && !aborts) {
    // Still valid, so that DMA on the way is refused without a C_BAD_STE event.
    store(words[0], abort().words[0]);
    TRY(submit(for_stream(Opcode::cfgi_ste, stream)));
  }
  if (!aborts) TRY(store_entry_words(stream, wanted));
  store(words[0], wanted.words[0]);
  return submit(for_stream(Opcode::cfgi_ste, stream));
}

StreamEntry Unit::abort() { return {{kSte0["V"].put(1) | kSte0["Config"].put(std::to_underlying(SteConfig::abort))}}; }

// Word 1 is the same for every entry that translates or passes: what it says of stage 1 is ignored by the others, and
// so a change between bypass and stage 1 is one store.
StreamEntry Unit::bypass() const {
  return {{kSte0["V"].put(1) | kSte0["Config"].put(std::to_underlying(SteConfig::bypass)),
           kSte1["S1CIR"].put(kWriteBack) | kSte1["S1COR"].put(kWriteBack) | kSte1["S1CSH"].put(kInnerShareable) |
               kSte1["S1STALLD"].put(features_.stage == 1 && features_.stall_choice) |
               kSte1["SHCFG"].put(kUseIncoming)}};
}

StreamEntry Unit::stage1(PhysAddr descriptor) const {
  StreamEntry entry = bypass();
  entry.words[0] = kSte0["V"].put(1) | kSte0["Config"].put(std::to_underlying(SteConfig::stage1)) |
                   kSte0["S1ContextPtr"].in_place(descriptor.value);  // S1Fmt 0, S1CDMax 0: that one descriptor
  return entry;
}

// ---- Ids --------------------------------------------------------------------------------------------------------

Result<UnitId> Unit::allocate_id(const PagingDomain& /*domain*/) {
  const MutexLock lock(ids_mutex_);
  for (std::size_t id = 1; id < ids_.size(); ++id) {
    if (ids_.test(id)) continue;
    ids_.set(id);
    return static_cast<UnitId>(id);
  }
  return fail(ENOSPC, features_.stage == 1 ? "ASIDs" : "VMIDs");
}

void Unit::free_id(const PagingDomain& /*domain*/, UnitId id) {
  const MutexLock lock(ids_mutex_);
  ids_.reset(id);
}

}  // namespace softiommu::arm_smmu_v3
