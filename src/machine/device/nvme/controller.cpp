// SPDX-License-Identifier: BSD-3-Clause
#include "machine/device/nvme/controller.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/log.h"
#include "machine/registry.h"

namespace softiommu::nvme {

namespace {

namespace hw = softiommu::hw::nvme;

constexpr FunctionIdentity kIdentity{.vendor = hw::kVendorId,
                                     .device = hw::kDeviceId,
                                     .subsystem_vendor = hw::kSubsystemVendorId,
                                     .subsystem_device = hw::kSubsystemId,
                                     .class_code = hw::kClassCode,
                                     .revision = 2};
constexpr BarSpec kBarSpecs[] = {{.bytes = hw::kBarBytes, .memory64 = true}};

// What one call of step() does at most before other devices get their turn.
constexpr unsigned kSliceCommands = 32;

constexpr std::uint64_t kCapabilitiesValue = hw::kCapabilities["MQES"].put(kQueueEntries - 1) |
                                             hw::kCapabilities["CQR"].put(1) | hw::kCapabilities["TO"].put(4) |
                                             hw::kCapabilities["CSS"].put(1) |
                                             hw::kCapabilities["MPSMAX"].put(kMostPageLg2 - 12);

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

Controller::Controller(const Context& context, Setup setup)
    : PciFunction(context, kIdentity, kBarSpecs),
      namespaces_(std::move(setup.namespaces)),
      queues_(setup.queues),
      told_(setup.queues + 1),
      submission_(setup.queues + 1),
      completion_(setup.queues + 1),
      vector_features_(setup.queues + 1) {
  add_intx_pin(1);
  add_msix(setup.queues + 1, 0, hw::kMsixTable, hw::kMsixPba);
  waiting_.reserve(kMostAsync);
  reset_features();
}

// ---- registers (3.1): 4 or 8 bytes at a time; doorbells 4

std::uint64_t Controller::bar_read(unsigned, std::uint64_t offset, unsigned bytes) {
  if (bytes < 4 || offset >= hw::kDoorbells) return 0;
  const FutexGuard lock(mutex_);
  const std::uint64_t value = read_locked(offset);
  return bytes == 8 ? value | read_locked(offset + 4) << 32 : value;
}

std::uint64_t Controller::read_locked(std::uint64_t offset) const {
  const Registers& r = registers_;
  switch (offset) {
    case hw::kCapabilities.offset:
      return low(kCapabilitiesValue);
    case hw::kCapabilities.offset + 4:
      return kCapabilitiesValue >> 32;
    case hw::kVersion.offset:
      return hw::kVersion.reset;
    case hw::kMaskSet.offset:
    case hw::kMaskClear.offset:
      return r.masked;
    case hw::kConfiguration.offset:
      return r.configuration;
    case hw::kStatus.offset:
      return r.status;
    case hw::kAdminAttributes.offset:
      return r.admin_attributes;
    case hw::kAdminSubmission.offset:
      return low(r.admin_submission);
    case hw::kAdminSubmission.offset + 4:
      return r.admin_submission >> 32;
    case hw::kAdminCompletion.offset:
      return low(r.admin_completion);
    case hw::kAdminCompletion.offset + 4:
      return r.admin_completion >> 32;
    default:
      return 0;
  }
}

void Controller::bar_write(unsigned, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (bytes < 4) return;
  {
    const FutexGuard lock(mutex_);
    if (offset >= hw::kDoorbells) {
      doorbell_locked(offset, low(value));
    } else {
      write_locked(offset, low(value));
      if (bytes == 8) write_locked(offset + 4, low(value >> 32));
    }
    update_line_locked();
  }
  wake();
}

void Controller::write_locked(std::uint64_t offset, std::uint32_t value) {
  Registers& r = registers_;
  const auto set_low = [&](std::uint64_t& word, std::uint64_t named) {
    word = (word & ~0xffff'ffffull) | (value & named);
  };
  const auto set_high = [&](std::uint64_t& word) { word = (word & 0xffff'ffffull) | std::uint64_t{value} << 32; };
  switch (offset) {
    case hw::kMaskSet.offset:
      r.masked |= value;
      break;
    case hw::kMaskClear.offset:
      r.masked &= ~value;
      break;
    case hw::kConfiguration.offset:
      // Disabled and enabled again before the next step: queues end all the same.
      r.epoch += hw::kConfiguration["EN"].is_set(r.configuration) && !hw::kConfiguration["EN"].is_set(value);
      r.configuration = value & low(hw::kConfiguration.layout.named());
      break;
    case hw::kAdminAttributes.offset:
      r.admin_attributes = value & low(hw::kAdminAttributes.layout.named());
      break;
    case hw::kAdminSubmission.offset:
      set_low(r.admin_submission, hw::kAdminSubmission["BASE"].mask());
      break;
    case hw::kAdminSubmission.offset + 4:
      set_high(r.admin_submission);
      break;
    case hw::kAdminCompletion.offset:
      set_low(r.admin_completion, hw::kAdminCompletion["BASE"].mask());
      break;
    case hw::kAdminCompletion.offset + 4:
      set_high(r.admin_completion);
      break;
    default:
      break;
  }
}

void Controller::doorbell_locked(std::uint64_t offset, std::uint32_t value) {
  const std::uint64_t number = (offset - hw::kDoorbells) / 4, queue = number / 2;
  if (queue > queues_) return;
  (number % 2 == 0 ? registers_.tails : registers_.heads)[queue] = value;
}

void Controller::reset_registers() {
  const FutexGuard lock(mutex_);
  const std::uint64_t epoch = registers_.epoch + 1;
  registers_ = {};
  registers_.epoch = epoch;
}

// ---- life

// Enables, disables, shuts down as the registers say. False: the controller does nothing now.
bool Controller::follow_registers() {
  Registers now;
  {
    const FutexGuard lock(mutex_);
    now = registers_;
  }
  const bool enabled = hw::kConfiguration["EN"].is_set(now.configuration);
  const bool ended = !enabled || now.epoch != epoch_;
  if (running_ && ended) stop();
  epoch_ = now.epoch;
  std::uint64_t status = ended ? 0 : now.status;
  if (enabled && !running_ && status == 0) {
    running_ = start(now);
    status = running_ ? hw::kStatus["RDY"].put(1) : hw::kStatus["CFS"].put(1);
  }
  const bool shut = hw::kConfiguration["SHN"].is_set(now.configuration);
  if (shut && hw::kStatus["SHST"].get(status) != hw::kShutdownComplete) {
    flush_all();
    status = hw::kStatus["SHST"].set(status, hw::kShutdownComplete);
  } else if (!shut) {
    status = hw::kStatus["SHST"].set(status, 0);
  }
  const FutexGuard lock(mutex_);
  // Disabled again, or reset, meanwhile: the next step sees it.
  if (registers_.epoch == now.epoch) registers_.status = low(status);
  return running_ && !shut && !hw::kStatus["CFS"].is_set(status);
}

// 3.1.5: what is not supported, or no admin queues, is fatal.
bool Controller::start(const Registers& registers) {
  const std::uint64_t configuration = registers.configuration;
  page_lg2_ = 12 + static_cast<unsigned>(hw::kConfiguration["MPS"].get(configuration));
  const std::uint64_t submissions = hw::kAdminAttributes["ASQS"].get(registers.admin_attributes) + 1,
                      completions = hw::kAdminAttributes["ACQS"].get(registers.admin_attributes) + 1;
  if (hw::kConfiguration["CSS"].is_set(configuration) || hw::kConfiguration["AMS"].is_set(configuration) ||
      page_lg2_ > kMostPageLg2 || submissions < 2 || completions < 2) {
    log::warning("nvme {}: cannot be enabled with CC {:#x} and AQA {:#x}", bdf().text(), configuration,
                 registers.admin_attributes);
    return false;
  }
  submission_[0] = {.base = registers.admin_submission, .entries = low(submissions)};
  completion_[0] = {.base = registers.admin_completion, .entries = low(completions), .users = 1, .interrupts = true};
  return true;
}

void Controller::stop() {
  running_ = false;
  std::ranges::fill(submission_, SubmissionQueue{});
  std::ranges::fill(completion_, CompletionQueue{});
  waiting_.clear();
  events_.clear();
  announced_ = 0;
  next_queue_ = 0;
  reset_features();
  const FutexGuard lock(mutex_);
  registers_.tails = registers_.heads = {};
}

// A queue that cannot be reached: the controller does nothing more until it is disabled (CSTS.CFS).
void Controller::die() {
  log::warning("nvme {}: a queue cannot be reached in memory; the controller stops", bdf().text());
  const FutexGuard lock(mutex_);
  if (registers_.epoch == epoch_) registers_.status |= low(hw::kStatus["CFS"].put(1));
}

void Controller::flush_all() {
  for (const Namespace& ns : namespaces_)
    if (!ns.storage->flush()) log::warning("nvme {}: the image could not be written out", bdf().text());
}

// ---- queues

void Controller::ring(SubmissionQueue& queue, std::uint32_t tail) {
  if (queue.entries == 0) return tell(hw::AsyncError::invalid_doorbell_register);
  if (tail >= queue.entries) return tell(hw::AsyncError::invalid_doorbell_value);
  queue.tail = tail;
}

// The head only moves over entries that were posted.
void Controller::ring(CompletionQueue& queue, std::uint32_t head) {
  if (queue.entries == 0) return tell(hw::AsyncError::invalid_doorbell_register);
  const std::uint32_t posted = (queue.tail + queue.entries - queue.head) % queue.entries;
  if (head >= queue.entries || (head + queue.entries - queue.head) % queue.entries > posted)
    return tell(hw::AsyncError::invalid_doorbell_value);
  queue.head = head;
}

void Controller::take_doorbells() {
  decltype(Registers::tails) tails, heads;
  {
    const FutexGuard lock(mutex_);
    tails = std::exchange(registers_.tails, {});
    heads = std::exchange(registers_.heads, {});
  }
  for (unsigned id = 0; id <= queues_; ++id) {
    if (heads[id]) ring(completion_[id], *heads[id]);
    if (tails[id]) ring(submission_[id], *tails[id]);
  }
}

// Serves the next command of the queue. False: there is none, or no room to answer.
bool Controller::serve(std::uint16_t id) {
  SubmissionQueue& queue = submission_[id];
  if (queue.entries == 0 || queue.head == queue.tail || completion_[queue.completion].full()) return false;
  Command command{.words = {}, .queue = id};
  const std::uint64_t at = queue.base + (std::uint64_t{queue.head} << hw::kSubmissionLg2);
  if (!dma_read(Iova{at}, std::as_writable_bytes(std::span(command.words)))) {
    die();
    return false;
  }
  queue.head = (queue.head + 1) % queue.entries;
  if (const auto outcome = execute(command)) complete(command, *outcome);
  return true;
}

std::optional<Outcome> Controller::execute(const Command& command) {
  if (hw::kCommandWord["FUSE"].is_set(command.words[0])) return Outcome(Status::invalid_field);
  try {
    return command.queue == 0 ? admin(command) : std::optional(io(command));
  } catch (const std::bad_alloc&) {
    return Outcome(Status::internal_error);
  }
}

void Controller::complete(const Command& command, const Outcome& outcome) {
  const SubmissionQueue& from = submission_[command.queue];
  CompletionQueue& queue = completion_[from.completion];
  if (outcome.status != Status::success) {
    ++counters_.errors;
    if (errors_.size() == kErrorEntries) errors_.pop_back();
    errors_.push_front({counters_.errors, command, outcome.status});
  }
  const auto status = static_cast<std::uint64_t>(outcome.status);
  const std::array<std::uint64_t, 2> entry{
      outcome.result, hw::kCompletionWord["SQHD"].put(from.head) | hw::kCompletionWord["SQID"].put(command.queue) |
                          hw::kCompletionWord["CID"].put(command.id()) | hw::kCompletionWord["P"].put(queue.phase) |
                          hw::kCompletionWord["SC"].put(status & 0xff) | hw::kCompletionWord["SCT"].put(status >> 8) |
                          hw::kCompletionWord["DNR"].put(outcome.status != Status::success)};
  const std::uint64_t at = queue.base + (std::uint64_t{queue.tail} << hw::kCompletionLg2);
  if (!dma_write(Iova{at}, std::as_bytes(std::span(entry)))) return die();
  queue.tail = (queue.tail + 1) % queue.entries;
  if (queue.tail == 0) queue.phase = !queue.phase;
  if (queue.interrupts && message_enabled()) send_message(queue.vector);
}

// Without messages the line is up while a queue with interrupts has entries that software did not take. A doorbell or a
// mask counts at once: software that acknowledged an interrupt must not find the line up (VFIO looks when it unmasks).
void Controller::update_line_locked() {
  const bool unmasked = (registers_.masked & 1) == 0 && !message_enabled();
  bool pending = false;
  for (unsigned id = 0; unmasked && id <= queues_; ++id) {
    const CompletionQueue& queue = told_[id];
    pending = pending || (queue.interrupts && registers_.heads[id].value_or(queue.head) != queue.tail);
  }
  set_intx(pending);
}

void Controller::update_line() {
  {
    const FutexGuard lock(mutex_);
    if (!message_enabled()) told_ = completion_;
    update_line_locked();
  }
  flush_interrupts();
}

std::uint64_t Controller::step(std::uint64_t now_ns) {
  std::uint64_t next = kIdle;
  if (follow_registers()) {
    take_doorbells();
    unsigned served = 0, idle = 0;
    while (served < kSliceCommands && idle <= queues_) {
      const bool did = serve(next_queue_);
      next_queue_ = static_cast<std::uint16_t>((next_queue_ + 1) % (queues_ + 1));
      served += did;
      idle = did ? 0 : idle + 1;
    }
    if (served == kSliceCommands) next = now_ns;
  }
  update_line();
  return next;
}

}  // namespace softiommu::nvme

namespace softiommu {

namespace {

constexpr Option kOptions[] = {
    {.key = "image",
     .kind = Option::Kind::text,
     .fallback = 0,
     .choices = "",
     .doc = "file that holds namespace 1; made with `size` if it is not there. Without one it is memory"},
    {.key = "size",
     .kind = Option::Kind::size,
     .fallback = 64 * kMiB,
     .min = kPageSize,
     .max = 64 * kGiB * 1024,
     .choices = {},
     .doc = "bytes of each namespace without an image"},
    {.key = "namespaces",
     .kind = Option::Kind::integer,
     .fallback = 1,
     .min = 1,
     .max = 16,
     .choices = {},
     .doc = "how many; those after the first are memory"},
    {.key = "block",
     .kind = Option::Kind::choice,
     .fallback = 0,
     .max = 1,
     .choices = "512|4096",
     .doc = "bytes of a block"},
    {.key = "queues",
     .kind = Option::Kind::integer,
     .fallback = 16,
     .min = 1,
     .max = nvme::kMostQueues - 1,
     .choices = {},
     .doc = "I/O queues of each kind; each has an MSI-X vector"},
};

Result<std::unique_ptr<PciFunction>> create_nvme(const PciFunction::Context& context, const Options& options) {
  constexpr unsigned kBlockLg2[] = {9, 12};
  nvme::Controller::Setup setup{.namespaces = {}, .queues = static_cast<unsigned>(options["queues"])};
  for (std::uint64_t i = 0; i < options["namespaces"]; ++i) {
    const std::string image = i == 0 ? options.text("image") : std::string();
    auto storage = Storage::open(image, options["size"]);
    if (!storage) {
      log::error("nvme {}: {}: {}", context.bdf.text(), image, storage.error().why);
      return std::unexpected(storage.error());
    }
    setup.namespaces.push_back({std::move(*storage), kBlockLg2[options["block"]]});
    if (setup.namespaces.back().blocks() == 0) return fail(EINVAL, "the image is smaller than a block");
  }
  return std::make_unique<nvme::Controller>(context, std::move(setup));
}

}  // namespace

DeviceModel nvme_device_model() {
  return {"nvme", "an NVM Express 1.4 controller (1b36:0010, as QEMU's) with namespaces in memory or in a file",
          kOptions,
          [](const PciFunction::Context& context, const Options& options) -> Result<std::unique_ptr<PciFunction>> {
            return without_throwing([&] { return create_nvme(context, options); });
          }};
}

}  // namespace softiommu
