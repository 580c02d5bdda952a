// SPDX-License-Identifier: BSD-3-Clause
// Intel I/OAT DMA, one channel: a chain of descriptors in memory, a doorbell that counts them, a completion word.
//
// Everything that a descriptor asks for happens in step(): it takes a piece of work under the register lock, does
// the DMA without it, and books the outcome if no reset came between (the epoch). Registers show an outcome before
// the completion word in memory does, so a driver that sees an error there can read CHANERR.
//
// Choices where manuals are silent: CHANERR survives a channel reset; the chain address is taken in any state but
// ACTIVE, and only while CHANERR is clear; SUSPEND has an effect in ACTIVE and IDLE only.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "base/futex_lock.h"
#include "hw/ioat.h"
#include "machine/config_space.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

namespace ioat = hw::ioat;
using ioat::State;

constexpr BarSpec kBarSpecs[] = {{.bytes = ioat::kBarBytes, .memory64 = true}};
constexpr Option kOptions[] = {
    {.key = "version",
     .kind = Option::Kind::choice,
     .fallback = ioat::kVersion33 - ioat::kVersion32,
     .max = ioat::kVersion34 - ioat::kVersion32,
     .choices = "3.2|3.3|3.4",
     .doc = "CBVER: 3.2 and 3.3 are 8086:2021 (Skylake), 3.4 is 8086:0b00 (Ice Lake)"},
    {.key = "xfercap",
     .kind = Option::Kind::integer,
     .fallback = ioat::kTransferCap.reset,
     .min = 12,
     .max = 31,
     .choices = {},
     .doc = "log2 of the largest transfer of one descriptor"},
};

// What one call of step() does at most before other devices get their turn.
constexpr std::uint64_t kSliceBytes = 256 * kKiB;
constexpr unsigned kSliceDescriptors = 64;

std::uint64_t version_of(const Options& options) { return ioat::kVersion32 + options["version"]; }

FunctionIdentity identity_of(std::uint64_t version) {
  const bool ice_lake = version >= ioat::kVersion34;
  const std::uint16_t device = ice_lake ? ioat::kDeviceIdIceLake : ioat::kDeviceIdSkylake;
  return {.vendor = ioat::kVendorId,
          .device = device,
          .subsystem_vendor = ioat::kVendorId,
          .subsystem_device = device,
          .class_code = ioat::kClassCode,
          .revision = static_cast<std::uint8_t>(ice_lake ? 0 : 4)};
}

// Every register of the BAR, for accesses of any width.
enum class Reg : std::uint8_t {
  channel_count,
  transfer_cap,
  general_control,
  interrupt_control,
  attention,
  version,
  interrupt_delay,
  device_status,
  capability,
  channel_control,
  channel_command,
  dma_count,
  channel_status,
  chain_address,
  completion_address,
  current_descriptor,
  channel_error,
  channel_error_mask,
};
struct Row {
  Reg reg;
  std::uint32_t offset;
  unsigned bytes;
  hw::RegisterAccess access;
  std::uint64_t named;
  std::uint64_t acts = 0;  // bits that do something when 1 is written: a partial write does not repeat the others
};
template <std::size_t N>
constexpr Row row(Reg reg, const hw::Register<N>& r, std::uint64_t acts = 0) {
  return {reg, r.offset, r.bytes, r.access, r.layout.named(), acts};
}
constexpr Row kRows[] = {
    row(Reg::dma_count, ioat::kDmaCount),  // the doorbell first
    row(Reg::channel_status, ioat::kChannelStatus),
    row(Reg::channel_count, ioat::kChannelCount),
    row(Reg::transfer_cap, ioat::kTransferCap),
    row(Reg::general_control, ioat::kGeneralControl),
    row(Reg::interrupt_control, ioat::kInterruptControl),
    row(Reg::attention, ioat::kAttention),
    row(Reg::version, ioat::kVersion),
    row(Reg::interrupt_delay, ioat::kInterruptDelay),
    row(Reg::device_status, ioat::kDeviceStatus),
    row(Reg::capability, ioat::kCapability),
    row(Reg::channel_control, ioat::kChannelControl, ioat::kChannelControl["INT_DISABLE"].mask()),
    row(Reg::channel_command, ioat::kChannelCommand, ioat::kChannelCommand.layout.named()),
    row(Reg::chain_address, ioat::kChainAddress),
    row(Reg::completion_address, ioat::kCompletionAddress),
    row(Reg::current_descriptor, ioat::kCurrentDescriptor),
    row(Reg::channel_error, ioat::kChannelError, ioat::kChannelError.layout.named()),
    row(Reg::channel_error_mask, ioat::kChannelErrorMask),
};

constexpr std::uint64_t low_bytes(unsigned bytes) { return ~std::uint64_t{0} >> (64 - 8 * bytes); }

std::uint64_t from_little_endian(std::uint64_t word) {
  if constexpr (std::endian::native == std::endian::big) return std::byteswap(word);
  return word;
}

struct Descriptor {
  std::array<std::uint64_t, ioat::kDescriptorWords> words{};
  std::uint64_t control() const { return from_little_endian(words[ioat::kWordControl]); }
  std::uint64_t size() const { return ioat::kControlWord["SIZE"].get(control()); }
  std::uint64_t source() const { return from_little_endian(words[ioat::kWordSource]); }
  std::uint64_t destination() const { return from_little_endian(words[ioat::kWordDestination]); }
  std::uint64_t next() const { return from_little_endian(words[ioat::kWordNext]); }
};

// A descriptor under way.
struct Work {
  std::uint64_t epoch = 0;
  std::uint64_t address = 0;
  std::optional<Descriptor> descriptor;  // once it has been fetched
  std::uint64_t progress = 0;            // bytes done

  bool complete() const {
    return descriptor && (ioat::kControlWord["NULL"].is_set(descriptor->control()) || progress == descriptor->size());
  }
};

// What remains to be done when the registers show an outcome.
struct Notice {
  std::optional<std::uint64_t> completion;  // the word to write
  std::uint64_t completion_address = 0;
  bool message = false;
};

class Ioat final : public PciFunction {
 public:
  Ioat(const Context& context, const Options& options)
      : PciFunction(context, identity_of(version_of(options)), kBarSpecs),
        version_(version_of(options)),
        transfer_cap_lg2_(options["xfercap"]) {
    add_intx_pin(1);
    add_msix(1, 0, ioat::kMsixTable, ioat::kMsixPba);
    constexpr auto kAll = ~std::uint32_t{0};
    define_config({.offset = ioat::kConfigUncorrectableStatus, .bytes = 4, .clearable = kAll});
    define_config({.offset = ioat::kConfigChannelError, .bytes = 4, .clearable = kAll});
    define_config({.offset = ioat::kConfigChannelErrorMask, .bytes = 4, .writable = kAll});
  }

  std::string_view model() const override { return "ioat"; }
  std::uint64_t step(std::uint64_t now_ns) override;

 protected:
  std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned bytes) override;
  void bar_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  void reset_registers() override;
  void forget_register_lock() override { mutex_.reset(); }

 private:
  struct Channel {
    State state = State::halted;
    std::uint64_t general_control = 0, interrupt_control = 0, control = 0;
    std::uint64_t chain = 0, completion = 0, error = 0, error_mask = 0;
    std::uint64_t last_completed = 0;  // address; 0: none since the chain address was written
    std::uint16_t appended = 0, done = 0;
    bool suspend = false;               // once the current descriptor is done
    bool completion_stale = false;      // the word in memory says ACTIVE
    std::uint64_t epoch = 0;            // bumped by everything that makes current work void
    std::optional<std::uint64_t> busy;  // a step does DMA for this epoch
    Work current;                       // its address is the next descriptor
  };

  std::uint64_t value_locked(Reg reg) const REQUIRES(mutex_);
  void write_locked(Reg reg, std::uint64_t value, bool whole) REQUIRES(mutex_);
  void control_locked(std::uint64_t value) REQUIRES(mutex_);
  void command_locked(std::uint64_t command) REQUIRES(mutex_);
  void start_chain_locked() REQUIRES(mutex_);
  void run_locked() REQUIRES(mutex_);
  std::uint64_t status_locked() const REQUIRES(mutex_);
  void update_line_locked() REQUIRES(mutex_);
  void interrupt_locked(Notice& notice) REQUIRES(mutex_);
  void complete_locked(Notice& notice) REQUIRES(mutex_);
  void fail_locked(std::uint64_t error, Notice& notice) REQUIRES(mutex_);

  std::optional<Work> take_work();
  std::uint64_t work_on(Work& work);
  std::uint64_t fetch(Work& work);
  std::uint64_t copy(const Descriptor& descriptor, std::uint64_t at, std::uint64_t bytes);
  std::uint64_t fill(const Descriptor& descriptor, std::uint64_t at, std::uint64_t bytes);
  void finish(const Work& work, std::uint64_t error);
  bool book(const Work& work, std::uint64_t error, Notice& notice);
  void report_in_config(std::uint64_t error);
  bool write_completion(const Notice& notice);

  const std::uint64_t version_, transfer_cap_lg2_;
  FutexLock mutex_;
  Channel channel_ GUARDED_BY(mutex_);
};

// ---- registers

std::uint64_t Ioat::bar_read(unsigned, std::uint64_t offset, unsigned bytes) {
  const FutexGuard lock(mutex_);
  std::uint64_t out = 0;
  for (const Row& r : kRows) {
    if (offset >= r.offset + r.bytes || offset + bytes <= r.offset) continue;
    const std::uint64_t value = value_locked(r.reg);
    if (r.reg == Reg::interrupt_control) {
      channel_.interrupt_control = ioat::kInterruptControl["MASTER"].set(channel_.interrupt_control, 0);
      update_line_locked();
    }
    out |= offset >= r.offset ? value >> (8 * (offset - r.offset)) : value << (8 * (r.offset - offset));
  }
  return out & low_bytes(bytes);
}

std::uint64_t Ioat::value_locked(Reg reg) const {
  const Channel& c = channel_;
  switch (reg) {
    case Reg::channel_count:
      return ioat::kChannelCount.reset;
    case Reg::transfer_cap:
      return transfer_cap_lg2_;
    case Reg::general_control:
      return c.general_control;
    case Reg::interrupt_control: {
      const bool status = ioat::kChannelControl["INT_DISABLE"].is_set(c.control);
      const bool master = ioat::kInterruptControl["MASTER"].is_set(c.interrupt_control);
      return c.interrupt_control | ioat::kInterruptControl["STATUS"].put(status) |
             ioat::kInterruptControl["INTERRUPT"].put(status && master);
    }
    case Reg::attention:
      return ioat::kAttention["CHANNEL"].put(ioat::kChannelControl["INT_DISABLE"].get(c.control));
    case Reg::version:
      return version_;
    case Reg::interrupt_delay:
      return ioat::kInterruptDelay.reset;
    case Reg::device_status:
      return ioat::kDeviceStatus.reset;
    case Reg::capability:
      return ioat::kCapability.reset;
    case Reg::channel_control:
      return c.control;
    // A reset is over when no DMA from before it is under way any more.
    case Reg::channel_command:
      return ioat::kChannelCommand["RESET"].put(c.busy && *c.busy != c.epoch);
    case Reg::dma_count:
      return c.appended;
    case Reg::channel_status:
      return status_locked();
    case Reg::chain_address:
      return c.chain;
    case Reg::completion_address:
      return c.completion;
    case Reg::current_descriptor:
      return c.current.address;
    case Reg::channel_error:
      return c.error;
    case Reg::channel_error_mask:
      return c.error_mask;
  }
  return 0;
}

std::uint64_t Ioat::status_locked() const {
  return ioat::kChannelStatus["COMPLETED"].in_place(channel_.last_completed) |
         ioat::kChannelStatus["STATE"].put(static_cast<std::uint64_t>(channel_.state));
}

void Ioat::bar_write(unsigned, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  {
    const FutexGuard lock(mutex_);
    for (const Row& r : kRows) {
      if (offset >= r.offset + r.bytes || offset + bytes <= r.offset) continue;
      if (r.access == hw::RegisterAccess::ro) continue;
      const bool above = offset >= r.offset;
      const std::uint64_t shift = 8 * (above ? offset - r.offset : r.offset - offset);
      const std::uint64_t written = above ? value << shift : value >> shift;
      const std::uint64_t touched = above ? low_bytes(bytes) << shift : low_bytes(bytes) >> shift;
      const std::uint64_t kept = value_locked(r.reg) & ~touched & ~r.acts;
      const bool whole = offset + bytes >= r.offset + r.bytes;
      write_locked(r.reg, (kept | (written & touched)) & r.named, whole);
    }
    update_line_locked();
  }
  wake();
}

// `whole`: the write reached the register's last byte (drivers write 64-bit registers in two halves, low half first).
void Ioat::write_locked(Reg reg, std::uint64_t value, bool whole) {
  Channel& c = channel_;
  switch (reg) {
    case Reg::general_control:
      c.general_control = value;
      break;
    case Reg::interrupt_control:
      c.interrupt_control =
          value & (ioat::kInterruptControl["MASTER"].mask() | ioat::kInterruptControl["MSIX_VECTOR"].mask());
      break;
    case Reg::channel_control:
      control_locked(value);
      break;
    case Reg::channel_command:
      command_locked(value);
      break;
    case Reg::dma_count:
      c.appended = static_cast<std::uint16_t>(value);
      run_locked();
      break;
    case Reg::chain_address:
      if (c.state == State::active) break;
      c.chain = value;
      if (whole) start_chain_locked();
      break;
    case Reg::completion_address:
      c.completion = value;
      break;
    case Reg::channel_error:
      c.error &= ~value;
      break;
    case Reg::channel_error_mask:
      c.error_mask = value;
      break;
    default:
      break;
  }
}

void Ioat::control_locked(std::uint64_t value) {
  constexpr hw::Field kDisable = ioat::kChannelControl["INT_DISABLE"];
  const std::uint64_t disabled = kDisable.is_set(value) ? 0 : kDisable.get(channel_.control);
  channel_.control = kDisable.set(value, disabled);
}

void Ioat::command_locked(std::uint64_t command) {
  Channel& c = channel_;
  if (ioat::kChannelCommand["RESET"].is_set(command)) {
    ++c.epoch;
    c.state = State::halted;
    c.appended = c.done = 0;
    c.last_completed = 0;
    c.suspend = c.completion_stale = false;
    c.current = {};
  } else if (ioat::kChannelCommand["ABORT"].is_set(command)) {
    ++c.epoch;
    c.state = State::halted;
  } else if (ioat::kChannelCommand["SUSPEND"].is_set(command)) {
    const bool in_descriptor = c.state == State::active && (c.busy || c.current.descriptor);
    if (in_descriptor)
      c.suspend = true;
    else if (c.state == State::active || c.state == State::idle)
      c.state = State::suspended;
  } else if (ioat::kChannelCommand["RESUME"].is_set(command)) {
    c.suspend = false;
    if (c.state == State::suspended) {
      c.state = State::idle;
      run_locked();
    }
  }
}

void Ioat::start_chain_locked() {
  Channel& c = channel_;
  if (c.error != 0) return;  // first the errors are cleared
  ++c.epoch;
  c.state = State::armed;
  c.appended = c.done = 0;
  c.last_completed = 0;
  c.suspend = c.completion_stale = false;
  c.current = Work{.epoch = c.epoch, .address = c.chain, .descriptor = {}};
}

void Ioat::run_locked() {
  Channel& c = channel_;
  if ((c.state == State::armed || c.state == State::idle) && c.appended != c.done) c.state = State::active;
}

void Ioat::update_line_locked() {
  set_intx(ioat::kChannelControl["INT_DISABLE"].is_set(channel_.control) &&
           ioat::kInterruptControl["MASTER"].is_set(channel_.interrupt_control) && !message_enabled());
}

void Ioat::reset_registers() {
  const FutexGuard lock(mutex_);
  const std::uint64_t epoch = channel_.epoch + 1;
  const std::optional<std::uint64_t> busy = channel_.busy;
  channel_ = {};
  channel_.epoch = epoch;
  channel_.busy = busy;
}

// ---- work

std::uint64_t Ioat::step(std::uint64_t now_ns) {
  flush_interrupts();
  std::uint64_t bytes = 0;
  for (unsigned n = 0; n < kSliceDescriptors && bytes < kSliceBytes; ++n) {
    std::optional<Work> work = take_work();
    if (!work) return kIdle;
    const std::uint64_t before = work->progress;
    const std::uint64_t error = work_on(*work);
    bytes += work->progress - before;
    finish(*work, error);
  }
  return now_ns;
}

std::optional<Work> Ioat::take_work() {
  const FutexGuard lock(mutex_);
  if (channel_.state != State::active) return std::nullopt;
  channel_.busy = channel_.epoch;
  channel_.current.epoch = channel_.epoch;
  return channel_.current;
}

// Fetches the descriptor if need be and does at most kSliceBytes of it. Answers CHANERR bits, 0 if all went well.
std::uint64_t Ioat::work_on(Work& work) {
  if (!work.descriptor)
    if (const std::uint64_t error = fetch(work)) return error;
  const Descriptor& descriptor = *work.descriptor;
  if (work.complete()) return 0;
  const std::uint64_t bytes = std::min(kSliceBytes, descriptor.size() - work.progress);
  const bool is_fill = ioat::kControlWord["OP"].get(descriptor.control()) == ioat::kOpFill;
  const std::uint64_t error = is_fill ? fill(descriptor, work.progress, bytes) : copy(descriptor, work.progress, bytes);
  if (error == 0) work.progress += bytes;
  return error;
}

std::uint64_t Ioat::fetch(Work& work) {
  Descriptor descriptor;
  if (!dma_read(Iova{work.address}, std::as_writable_bytes(std::span(descriptor.words))))
    return ioat::kChannelError["READ"].mask();
  const std::uint64_t op = ioat::kControlWord["OP"].get(descriptor.control());
  if (op != ioat::kOpCopy && op != ioat::kOpFill) return ioat::kChannelError["CONTROL"].mask();
  if (descriptor.size() > std::uint64_t{1} << transfer_cap_lg2_) return ioat::kChannelError["LENGTH"].mask();
  if (!is_aligned(descriptor.next(), ioat::kDescriptorBytes)) return ioat::kChannelError["ALIGNMENT"].mask();
  work.descriptor = descriptor;
  return 0;
}

std::uint64_t Ioat::copy(const Descriptor& descriptor, std::uint64_t at, std::uint64_t bytes) {
  const DmaResult result = dma_copy(Iova{descriptor.destination() + at}, Iova{descriptor.source() + at}, bytes);
  if (result) return 0;
  return result.side == Access::write ? ioat::kChannelError["DESTINATION"].mask()
                                      : ioat::kChannelError["SOURCE"].mask();
}

// `at` is a multiple of eight, so the pattern begins with its first byte.
std::uint64_t Ioat::fill(const Descriptor& descriptor, std::uint64_t at, std::uint64_t bytes) {
  std::array<std::uint64_t, kPageSize / sizeof(std::uint64_t)> pattern;
  pattern.fill(descriptor.words[ioat::kWordSource]);
  const auto page = std::as_bytes(std::span(pattern));
  for (std::uint64_t done = 0; done < bytes; done += page.size()) {
    const auto piece = page.first(std::min<std::uint64_t>(page.size(), bytes - done));
    if (!dma_write(Iova{descriptor.destination() + at + done}, piece)) return ioat::kChannelError["DESTINATION"].mask();
  }
  return 0;
}

void Ioat::finish(const Work& work, std::uint64_t error) {
  Notice notice;
  if (book(work, error, notice)) {
    if (error != 0) report_in_config(error);
    if (!write_completion(notice)) {
      constexpr std::uint64_t kLost = ioat::kChannelError["COMPLETION"].mask();
      book(work, kLost, notice);
      report_in_config(kLost);
    }
  }
  {
    const FutexGuard lock(mutex_);
    channel_.busy.reset();
    update_line_locked();
  }
  flush_interrupts();
  if (notice.message && message_enabled()) send_message(0);
}

// False: a reset, an abort or a new chain came between, and the outcome is nobody's.
bool Ioat::book(const Work& work, std::uint64_t error, Notice& notice) {
  const FutexGuard lock(mutex_);
  if (channel_.epoch != work.epoch) return false;
  if (error != 0) {
    fail_locked(error, notice);
  } else {
    channel_.current = work;
    if (work.complete()) complete_locked(notice);
  }
  return true;
}

void Ioat::report_in_config(std::uint64_t error) {
  set_config_bits(ioat::kConfigChannelError, sizeof(std::uint32_t), static_cast<std::uint32_t>(error));
}

bool Ioat::write_completion(const Notice& notice) {
  if (!notice.completion) return true;
  const std::array<std::uint64_t, 1> word = {from_little_endian(*notice.completion)};
  std::atomic_thread_fence(std::memory_order_release);  // after the data
  return bool{dma_write(Iova{notice.completion_address}, std::as_bytes(std::span(word)))};
}

void Ioat::complete_locked(Notice& notice) {
  Channel& c = channel_;
  const std::uint64_t control = c.current.descriptor->control();
  c.last_completed = c.current.address;
  c.current = Work{.epoch = c.epoch, .address = c.current.descriptor->next(), .descriptor = {}};
  ++c.done;
  if (std::exchange(c.suspend, false))
    c.state = State::suspended;
  else if (c.done == c.appended)
    c.state = State::idle;
  // A word that says ACTIVE is brought up to date when the channel stops, even if no descriptor asks for it.
  if (ioat::kControlWord["COMPLETION"].is_set(control) || (c.completion_stale && c.state != State::active)) {
    notice.completion = status_locked();
    notice.completion_address = c.completion;
    c.completion_stale = c.state == State::active;
  }
  if (ioat::kControlWord["INT"].is_set(control)) interrupt_locked(notice);
}

void Ioat::fail_locked(std::uint64_t error, Notice& notice) {
  Channel& c = channel_;
  c.error |= error;
  c.state = State::halted;
  c.suspend = false;
  if (ioat::kChannelControl["ERR_COMPLETION"].is_set(c.control)) {
    notice.completion = status_locked();
    notice.completion_address = c.completion;
  }
  if (ioat::kChannelControl["ERR_INT"].is_set(c.control) && (error & ~c.error_mask) != 0) interrupt_locked(notice);
}

// One interrupt, then none until the driver rearms the channel.
void Ioat::interrupt_locked(Notice& notice) {
  constexpr hw::Field kDisable = ioat::kChannelControl["INT_DISABLE"];
  notice.message |= !kDisable.is_set(channel_.control);
  channel_.control = kDisable.set(channel_.control, 1);
}

}  // namespace

DeviceModel ioat_device_model() {
  return {.name = "ioat",
          .doc = "Intel I/OAT DMA engine (8086:2021 or 8086:0b00): copies and fills by descriptor chain",
          .options = kOptions,
          .create = [](const PciFunction::Context& context,
                       const Options& options) -> Result<std::unique_ptr<PciFunction>> {
            return without_throwing(
                [&]() -> Result<std::unique_ptr<PciFunction>> { return std::make_unique<Ioat>(context, options); });
          },
          .virtual_functions = true};
}

}  // namespace softiommu
