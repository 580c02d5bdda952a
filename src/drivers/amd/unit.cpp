// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/amd/unit.h"

#include <bit>

#include "base/log.h"

namespace softiommu::amd {

using namespace hw::amd;

namespace {

// What does not come within this many reads never will.
constexpr unsigned kMostPolls = 100'000;
// A storm of faults must not fill the log.
constexpr std::uint64_t kMostEventLines = 100;

// All 65536 device ids; command buffer and event log have 256 entries each.
constexpr unsigned kDevices = 1u << 16, kDeviceTablePages = kDevices / kDtesInPage;
constexpr std::uint64_t kQueueBytes = std::uint64_t{kQueueEntryBytes} << kLeastQueueLg2;
static_assert(kQueueBytes == kPageSize);

void store(std::uint64_t& word, std::uint64_t value) { std::atomic_ref(word).store(value, std::memory_order_release); }

constexpr std::uint64_t opcode(Opcode code) { return kOpcode.put(std::to_underlying(code)); }

// The smallest aligned power-of-two range around it, as S and the address say it.
std::uint64_t address_word(IovaRange range) {
  constexpr unsigned kMostLg2 = 52;
  const auto lg2 = static_cast<unsigned>(std::bit_width(range.first.value ^ range.last.value));
  if (lg2 <= kPageShift) return kInvalidatePages1["Address"].in_place(range.first.value);
  const std::uint64_t size = kInvalidatePages1["S"].put(1);
  if (lg2 > kMostLg2) return size | kInvalidatePages1["Address"].in_place(~std::uint64_t{0} >> 1);
  const std::uint64_t first = align_down(range.first.value, std::uint64_t{1} << lg2);
  return size | kInvalidatePages1["Address"].in_place(first | ((std::uint64_t{1} << (lg2 - 1)) - 1));
}

}  // namespace

// Off, all addresses pass (as before the driver came): the units' devices are blocked by then, and do nothing.
Unit::~Unit() {
  if (device_table_.value == 0) return;
  clear_control(control_);
  registers().write64(kExclusionBase.offset, exclusion_base_);
  tables().free(device_table_, kDeviceTablePages);
  {
    const MutexLock lock(queue_mutex_);
    if (queue_.value != 0) tables().free(queue_);
    if (status_.value != 0) tables().free(status_);
  }
  const MutexLock lock(events_mutex_);
  if (events_.value != 0) tables().free(events_);
}

// ---- Start (48882 2.7) ------------------------------------------------------------------------------------------

Result<> Unit::start() {
  TRY(read_features());
  write_control();
  TRY(make_device_table());
  TRY(start_commands());
  TRY(start_events());
  if (guest_levels() != 0) set_control(kControl["GTEn"].mask());
  if (kFeatures2["GCR3TRPModeSup"].is_set(features2_)) set_control(kControl["GCR3TRPMode"].mask());
  set_control(kControl["Coherent"].mask() | kControl["IommuEn"].mask());
  // Whatever was cached before: a unit without IASup forgets it entry by entry, domain by domain.
  if (has(kFeatures["IASup"])) return submit(Command{opcode(Opcode::invalidate_iommu_all), 0});
  for (unsigned id = 0; id < kDevices; ++id)
    TRY(submit(Command{opcode(Opcode::invalidate_devtab_entry) | kInvalidateDevice0["DeviceID"].put(id), 0}));
  for (std::size_t id = 0; id < std::size_t{1} << kDomainIdBits; ++id) TRY(flush_id(static_cast<DomainId>(id)));
  return {};
}

Result<> Unit::read_features() {
  features_ = registers().read64(kFeatures.offset);
  features2_ = registers().read64(kFeatures2.offset);
  if (features_ == ~std::uint64_t{0}) return fail(ENODEV, "no AMD IOMMU answers");
  if (host_levels() == 0 && !guest_without_pasid())
    return fail(ENODEV, "the unit walks no table for requests without a PASID");
  exclusion_base_ = registers().read64(kExclusionBase.offset);
  if (kExclusionBase["Ex"].is_set(exclusion_base_)) {
    const std::uint64_t limit = kExclusionLimit["Limit"].in_place(registers().read64(kExclusionLimit.offset));
    excluded_ = {Iova{kExclusionBase["Base"].in_place(exclusion_base_)}, Iova{limit + (kPageSize - 1)}};
    registers().write64(kExclusionBase.offset, exclusion_base_ & ~kExclusionBase["Ex"].mask());
  }
  const std::uint64_t limited = kDomainIds["Count"].get(registers().read64(kDomainIds.offset));
  const MutexLock lock(ids_mutex_);
  ids_.set();
  for (std::size_t id = kFirstDomainId; id < (limited != 0 ? limited : ids_.size()); ++id) ids_.reset(id);
  return {};
}

Result<> Unit::make_device_table() {
  device_table_ = TRY(tables().allocate(kDeviceTablePages));
  std::uint64_t* const words = tables().words(device_table_);
  for (std::size_t id = 0; id < kDevices; ++id) store(words[id * kDteWords], DeviceEntry::blocked().words[0]);
  registers().write64(kDeviceTable.offset, kDeviceTable["DevTabBase"].in_place(device_table_.value) |
                                               kDeviceTable["Size"].put(kDeviceTablePages - 1));
  return {};
}

Result<> Unit::start_commands() {
  const MutexLock lock(queue_mutex_);
  queue_ = TRY(tables().allocate());
  status_ = TRY(tables().allocate());
  restart_commands();
  return {};
}

Result<> Unit::start_events() {
  const MutexLock lock(events_mutex_);
  events_ = TRY(tables().allocate());
  registers().write64(kEventBase.offset,
                      kEventBase["EventBase"].in_place(events_.value) | kEventBase["EventLen"].put(kLeastQueueLg2));
  registers().write64(kEventHead.offset, 0);
  registers().write64(kEventTail.offset, 0);
  registers().write64(kStatus.offset, kStatus["EventOverflow"].mask() | kStatus["EventLogInt"].mask());
  set_control(kControl["EventLogEn"].mask() | kControl["EventIntEn"].mask());
  return {};
}

void Unit::set_control(std::uint64_t bits) {
  control_.fetch_or(bits);
  write_control();
}

void Unit::clear_control(std::uint64_t bits) {
  control_.fetch_and(~bits);
  write_control();
}

// The last of several writers writes what all of them have set.
void Unit::write_control() {
  for (std::uint64_t value = control_.load();;) {
    registers().write64(kControl.offset, value);
    const std::uint64_t now = control_.load();
    if (now == value) return;
    value = now;
  }
}

// ---- Commands ---------------------------------------------------------------------------------------------------

// The buffer is empty afterwards, and runs.
void Unit::restart_commands() {
  clear_control(kControl["CmdBufEn"].mask());
  registers().write64(kCommandBase.offset,
                      kCommandBase["ComBase"].in_place(queue_.value) | kCommandBase["ComLen"].put(kLeastQueueLg2));
  registers().write64(kCommandHead.offset, 0);
  registers().write64(kCommandTail.offset, 0);
  tail_ = 0;
  set_control(kControl["CmdBufEn"].mask());
}

Result<> Unit::put_command(const Command& command) {
  const std::uint64_t next = (tail_ + kQueueEntryBytes) % kQueueBytes;
  for (unsigned i = 0; registers().read64(kCommandHead.offset) == next; ++i) {
    if (i == 0) registers().write64(kCommandTail.offset, tail_);
    if (i == kMostPolls) return fail(ENODEV, "the command buffer does not move");
  }
  std::uint64_t* const words = tables().words(queue_ + tail_);
  for (std::size_t i = 0; i < command.size(); ++i) words[i] = command[i];
  tail_ = next;
  return {};
}

Result<> Unit::wait_for(std::uint64_t ticket) {
  std::uint64_t& status = *tables().words(status_);
  for (unsigned i = 0; i < kMostPolls; ++i) {
    if (std::atomic_ref(status).load(std::memory_order_acquire) == ticket) return {};
    if (!kStatus["CmdBufRun"].is_set(registers().read64(kStatus.offset))) break;
  }
  // It stands at a command that it refused, or takes none: the next ones get an empty buffer.
  restart_commands();
  if (!tolerates_timeouts_) return fail(ENODEV, "the command buffer stopped");
  log::error("AMD-Vi: {}: Completion-Wait loop timed out", name_);
  return {};
}

Result<> Unit::submit(std::span<const Command> commands) {
  const MutexLock lock(queue_mutex_);
  for (const Command& command : commands) TRY(put_command(command));
  const std::uint64_t ticket = ++ticket_;
  TRY(put_command({opcode(Opcode::completion_wait) | kCompletionWait0["S"].put(1) |
                       kCompletionWait0["Address"].in_place(status_.value),
                   ticket}));
  // The words of the buffer and of the tables become visible before the pointer.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  registers().write64(kCommandTail.offset, tail_);
  return wait_for(ticket);
}

Result<> Unit::set_entry(StreamId id, const DeviceEntry& wanted) {
  const MutexLock lock(table_mutex_);
  std::uint64_t* const words = tables().words(device_table_) + std::size_t{id} * kDteWords;
  const Command forget{opcode(Opcode::invalidate_devtab_entry) | kInvalidateDevice0["DeviceID"].put(id), 0};
  bool same_rest = true;
  for (std::size_t i = 1; i < kDteWords; ++i) same_rest = same_rest && words[i] == wanted.words[i];
  if (!same_rest) {
    // The words cannot change together, and a mixture is neither the old nor the new translation.
    store(words[0], DeviceEntry::blocked().words[0]);
    TRY(submit(forget));
    for (std::size_t i = kDteWords; --i > 0;) store(words[i], wanted.words[i]);
  }
  store(words[0], wanted.words[0]);
  return submit(forget);
}

Result<> Unit::invalidate_pages(const Tag& tag, IovaRange range, bool leaf_only) {
  return submit(Command{opcode(Opcode::invalidate_iommu_pages) | kInvalidatePages0["DomainID"].put(tag.id) |
                            kInvalidatePages0["PASID"].put(tag.guest.value_or(0)),
                        address_word(range) | kInvalidatePages1["PDE"].put(!leaf_only) |
                            kInvalidatePages1["GN"].put(tag.guest.has_value())});
}

Result<> Unit::flush_id(DomainId id) { return invalidate_pages({.id = id}, {Iova{0}, Iova{~std::uint64_t{0}}}, false); }

Result<DomainId> Unit::allocate_id() {
  const MutexLock lock(ids_mutex_);
  for (std::size_t id = kFirstDomainId; id < ids_.size(); ++id) {
    if (ids_.test(id)) continue;
    ids_.set(id);
    return static_cast<DomainId>(id);
  }
  return fail(ENOSPC, "domain ids");
}

void Unit::free_id(DomainId id) {
  const MutexLock lock(ids_mutex_);
  ids_.reset(id);
}

// ---- Events -----------------------------------------------------------------------------------------------------

void Unit::serve_interrupt() {
  const MutexLock lock(events_mutex_);
  for (;;) {
    // Acknowledged first: what comes later raises the next interrupt, or is found by the next look.
    const std::uint64_t status = registers().read64(kStatus.offset);
    const bool lost = kStatus["EventOverflow"].is_set(status);
    registers().write64(kStatus.offset, kStatus["EventLogInt"].mask());
    const std::uint64_t tail = registers().read64(kEventTail.offset);
    if (tail == read_ && !lost) return;
    for (; read_ != tail; read_ = (read_ + kQueueEntryBytes) % kQueueBytes) report(tables().words(events_ + read_));
    registers().write64(kEventHead.offset, read_);
    if (!lost) continue;
    if (logged_++ < kMostEventLines) log::warning("AMD-Vi: {}: the event log was full, events are lost", name_);
    clear_control(kControl["EventLogEn"].mask());
    registers().write64(kStatus.offset, kStatus["EventOverflow"].mask());
    set_control(kControl["EventLogEn"].mask());
  }
}

void Unit::report(const std::uint64_t* event) {
  if (logged_++ >= kMostEventLines) return;
  constexpr unsigned kFlagsShift = 48, kFlagsMask = 0xfff;
  const auto what = static_cast<Event>(kEvent0["EventCode"].get(event[0]));
  const auto device = static_cast<unsigned>(kEvent0["DeviceID"].get(event[0]));
  const bool about_device = what != Event::illegal_command_error && what != Event::command_hardware_error;
  const std::string who =
      about_device ? fmt::format("device={:02x}:{:02x}.{} {}={:#06x} ", device >> 8, device >> 3 & 0x1f, device & 7,
                                 kEvent0["GN"].is_set(event[0]) ? "pasid" : "domain", kEvent0["DomainID"].get(event[0]))
                   : std::string();
  log::warning("AMD-Vi: {}: Event logged [{} {}address={:#x} flags={:#06x}]", name_, name_of(what), who, event[1],
               event[0] >> kFlagsShift & kFlagsMask);
}

}  // namespace softiommu::amd
