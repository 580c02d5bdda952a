// SPDX-License-Identifier: BSD-3-Clause
// Admin commands (section 5): what the controller is, its queues, its features and logs.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "machine/device/nvme/controller.h"

namespace softiommu::nvme {

namespace {

namespace hw = softiommu::hw::nvme;

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

// A structure of the specification: fields at offsets, little-endian.
class Structure {
 public:
  explicit Structure(std::size_t bytes) : bytes_(bytes) {}
  template <class T>
  Structure& put(std::size_t offset, T value) {
    std::memcpy(&bytes_.at(offset), &value, sizeof value);
    return *this;
  }
  // ASCII, padded with spaces.
  Structure& put_text(std::size_t offset, std::size_t bytes, std::string_view text) {
    std::memset(&bytes_.at(offset), ' ', bytes);
    std::memcpy(&bytes_.at(offset), text.data(), std::min(bytes, text.size()));
    return *this;
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

constexpr std::uint16_t kRoomTemperature = 310, kWarningTemperature = 343, kCriticalTemperature = 363;  // kelvins

// What the optional Commands Supported and Effects log says of a command: supported; it changes blocks.
constexpr std::uint32_t kSupported = 1, kChangesContent = 2;
struct Effect {
  std::uint32_t slot;  // admin commands from 0, I/O commands from 256
  std::uint32_t effect;
};
constexpr std::uint32_t of(hw::Admin opcode) { return static_cast<std::uint32_t>(opcode); }
constexpr std::uint32_t of(hw::Io opcode) { return 256 + static_cast<std::uint32_t>(opcode); }
constexpr Effect kEffects[] = {
    {of(hw::Admin::delete_sq), kSupported},
    {of(hw::Admin::create_sq), kSupported},
    {of(hw::Admin::get_log_page), kSupported},
    {of(hw::Admin::delete_cq), kSupported},
    {of(hw::Admin::create_cq), kSupported},
    {of(hw::Admin::identify), kSupported},
    {of(hw::Admin::abort), kSupported},
    {of(hw::Admin::set_features), kSupported},
    {of(hw::Admin::get_features), kSupported},
    {of(hw::Admin::async_event), kSupported},
    {of(hw::Io::flush), kSupported},
    {of(hw::Io::write), kSupported | kChangesContent},
    {of(hw::Io::read), kSupported},
    {of(hw::Io::compare), kSupported},
    {of(hw::Io::write_zeroes), kSupported | kChangesContent},
    {of(hw::Io::dsm), kSupported | kChangesContent},
};

// Features that are a number and no more, with what they are after a reset (5.21).
struct FeatureRow {
  hw::Feature id;
  std::uint32_t fallback, writable;
};
constexpr FeatureRow kFeatures[] = {
    {hw::Feature::arbitration, 0x7, ~0u},  // no limit on a burst
    {hw::Feature::power, 0, 0},            // one power state
    {hw::Feature::temperature, kWarningTemperature, ~0u},
    {hw::Feature::error_recovery, 0, 0x1ffff},
    {hw::Feature::write_cache, 1, 1},
    {hw::Feature::coalescing, 0, 0xffff},
    {hw::Feature::atomicity, 0, 1},
    {hw::Feature::async_events, 0, ~0u},
};
const FeatureRow* find_feature(std::uint64_t id) {
  const auto* const row = std::ranges::find(kFeatures, static_cast<hw::Feature>(id), &FeatureRow::id);
  return row == std::end(kFeatures) ? nullptr : row;
}

}  // namespace

std::optional<Outcome> Controller::admin(const Command& command) {
  // Over PCI Express admin commands use PRPs (4.1.3).
  if (hw::kCommandWord["PSDT"].is_set(command.words[0])) return Outcome(Status::invalid_field);
  switch (static_cast<hw::Admin>(command.opcode())) {
    case hw::Admin::delete_sq:
      return delete_submission_queue(command);
    case hw::Admin::create_sq:
      return create_submission_queue(command);
    case hw::Admin::get_log_page:
      return get_log_page(command);
    case hw::Admin::delete_cq:
      return delete_completion_queue(command);
    case hw::Admin::create_cq:
      return create_completion_queue(command);
    case hw::Admin::identify:
      return identify(command);
    case hw::Admin::abort:
      return abort(command);
    case hw::Admin::set_features:
      return set_features(command);
    case hw::Admin::get_features:
      return get_features(command);
    case hw::Admin::async_event:
      return async_event(command);
  }
  return Outcome(Status::invalid_opcode);
}

// ---- queues

Outcome Controller::create_completion_queue(const Command& command) {
  const std::uint64_t id = hw::kQueueDword["QID"].get(command.dw10()),
                      entries = hw::kQueueDword["QSIZE"].get(command.dw10()) + 1,
                      vector = hw::kCreateCqDword["IV"].get(command.dw11());
  if (id == 0 || id > queues_ || completion_[id].entries != 0) return Status::invalid_queue_id;
  if (entries < 2 || entries > kQueueEntries) return Status::invalid_queue_size;
  if (!hw::kCreateCqDword["PC"].is_set(command.dw11())) return Status::invalid_field;
  if (command.prp1() % page_bytes() != 0) return Status::invalid_prp_offset;
  if (vector > queues_) return Status::invalid_vector;
  completion_[id] = {.base = command.prp1(),
                     .entries = low(entries),
                     .vector = static_cast<std::uint16_t>(vector),
                     .interrupts = hw::kCreateCqDword["IEN"].is_set(command.dw11())};
  const FutexGuard lock(mutex_);
  registers_.heads[id].reset();
  return Status::success;
}

Outcome Controller::create_submission_queue(const Command& command) {
  const std::uint64_t id = hw::kQueueDword["QID"].get(command.dw10()),
                      entries = hw::kQueueDword["QSIZE"].get(command.dw10()) + 1,
                      completion = hw::kCreateSqDword["CQID"].get(command.dw11());
  if (id == 0 || id > queues_ || submission_[id].entries != 0) return Status::invalid_queue_id;
  if (completion == 0 || completion > queues_ || completion_[completion].entries == 0)
    return Status::invalid_completion_queue;
  if (entries < 2 || entries > kQueueEntries) return Status::invalid_queue_size;
  if (!hw::kCreateSqDword["PC"].is_set(command.dw11())) return Status::invalid_field;
  if (command.prp1() % page_bytes() != 0) return Status::invalid_prp_offset;
  submission_[id] = {
      .base = command.prp1(), .entries = low(entries), .completion = static_cast<std::uint16_t>(completion)};
  ++completion_[completion].users;
  const FutexGuard lock(mutex_);
  registers_.tails[id].reset();
  return Status::success;
}

// Commands are done one at a time, so that none of the queue is under way; those not yet fetched are dropped.
Outcome Controller::delete_submission_queue(const Command& command) {
  const std::uint64_t id = hw::kQueueDword["QID"].get(command.dw10());
  if (id == 0 || id > queues_ || submission_[id].entries == 0) return Status::invalid_queue_id;
  --completion_[submission_[id].completion].users;
  submission_[id] = {};
  return Status::success;
}

Outcome Controller::delete_completion_queue(const Command& command) {
  const std::uint64_t id = hw::kQueueDword["QID"].get(command.dw10());
  if (id == 0 || id > queues_ || completion_[id].entries == 0) return Status::invalid_queue_id;
  if (completion_[id].users != 0) return Status::invalid_queue_deletion;
  completion_[id] = {};
  return Status::success;
}

// ---- asynchronous events (5.2) and abort (5.1)

std::optional<Outcome> Controller::async_event(const Command& command) {
  if (!events_.empty()) {
    const std::uint32_t event = events_.front();
    events_.pop_front();
    return Outcome::of(event);
  }
  if (waiting_.size() == kMostAsync) return Outcome(Status::async_limit);
  waiting_.push_back(command);
  return std::nullopt;
}

// An error event; not told again before its log page was read.
void Controller::tell(hw::AsyncError error) {
  constexpr auto kPage = static_cast<std::uint32_t>(hw::Log::error);
  if ((announced_ >> kPage & 1) != 0) return;
  announced_ |= std::uint64_t{1} << kPage;
  const std::uint32_t event =
      low(hw::kAsyncResult["INFO"].put(static_cast<std::uint64_t>(error)) | hw::kAsyncResult["LID"].put(kPage));
  if (waiting_.empty() || completion_[0].full()) return events_.push_back(event);
  const Command command = waiting_.front();
  waiting_.erase(waiting_.begin());
  complete(command, Outcome::of(event));
}

// Only commands that wait can be aborted, and only event requests wait.
Outcome Controller::abort(const Command& command) {
  constexpr std::uint32_t kNotAborted = 1;
  const std::uint16_t queue = static_cast<std::uint16_t>(command.dw10()),
                      id = static_cast<std::uint16_t>(command.dw10() >> 16);
  const auto found = std::ranges::find(waiting_, id, &Command::id);
  const bool room = (completion_[0].tail + 2) % completion_[0].entries != completion_[0].head;  // for both answers
  if (queue != 0 || found == waiting_.end() || !room) return Outcome::of(kNotAborted);
  const Command aborted = *found;
  waiting_.erase(found);
  complete(aborted, Status::aborted);
  return Status::success;
}

// ---- identify (5.15)

std::vector<std::byte> Controller::controller_structure() const {
  namespace at = hw::controller;
  return Structure(hw::kIdentifyBytes)
      .put(at::kVendor, hw::kVendorId)
      .put(at::kSubsystemVendor, hw::kSubsystemVendorId)
      .put_text(at::kSerial, at::kSerialBytes, bdf().text())
      .put_text(at::kModel, at::kModelBytes, "softiommu NVMe controller")
      .put_text(at::kFirmware, at::kFirmwareBytes, "1.0")
      .put(at::kMdts, static_cast<std::uint8_t>(kTransferPagesLg2))
      .put(at::kControllerId, std::uint16_t{1})
      .put(at::kVersion, low(hw::kVersion.reset))
      .put(at::kType, at::kTypeIo)
      .put(at::kAbortLimit, std::uint8_t{3})
      .put(at::kAsyncLimit, static_cast<std::uint8_t>(kMostAsync - 1))
      .put(at::kFirmwareUpdates, std::uint8_t{3})    // one slot, which is read-only
      .put(at::kLogAttributes, std::uint8_t{0b110})  // effects log, offsets
      .put(at::kErrorLog, static_cast<std::uint8_t>(kErrorEntries - 1))
      .put(at::kWarningTemperature, kWarningTemperature)
      .put(at::kCriticalTemperature, kCriticalTemperature)
      .put(at::kSqEntry, static_cast<std::uint8_t>(hw::kSubmissionLg2 * 0x11))
      .put(at::kCqEntry, static_cast<std::uint8_t>(hw::kCompletionLg2 * 0x11))
      .put(at::kNamespaces, low(namespaces_.size()))
      .put(at::kOptional,
           static_cast<std::uint16_t>(at::kOptionalCompare | at::kOptionalDsm | at::kOptionalWriteZeroes))
      .put(at::kWriteCache, std::uint8_t{0b111})  // there is one; flush takes all namespaces
      .put(at::kSgl, at::kSglSupported | at::kSglBitBucket)
      .put_text(at::kSubsystemName, at::kSubsystemNameBytes, "nqn.2014-08.org.nvmexpress:softiommu:" + bdf().text())
      .put(at::kPowerState0, std::uint16_t{2500})  // hundredths of a watt
      .take();
}

std::vector<std::byte> Controller::namespace_structure(const Namespace& ns) const {
  namespace at = hw::name_space;
  return Structure(hw::kIdentifyBytes)
      .put(at::kSize, ns.blocks())
      .put(at::kCapacity, ns.blocks())
      .put(at::kUsed, ns.blocks())
      .put(at::kDeallocated, at::kDeallocatedZeroes)
      .put(at::kFormat0, ns.block_lg2 << at::kFormatDataShift)
      .take();
}

Outcome Controller::identify(const Command& command) {
  std::vector<std::byte> data;
  const Namespace* const ns = find_namespace(command.nsid());
  switch (static_cast<hw::Cns>(hw::kIdentifyDword["CNS"].get(command.dw10()))) {
    case hw::Cns::name_space:
      if (command.nsid() == 0 || command.nsid() > namespaces_.size()) return Status::invalid_namespace;
      data = namespace_structure(*ns);
      break;
    case hw::Cns::controller:
      data = controller_structure();
      break;
    case hw::Cns::active: {
      if (command.nsid() >= hw::kAllNamespaces - 1) return Status::invalid_namespace;
      Structure list(hw::kIdentifyBytes);
      std::size_t at = 0;
      for (std::uint32_t id = command.nsid() + 1; id <= namespaces_.size(); ++id, at += sizeof id) list.put(at, id);
      data = list.take();
      break;
    }
    case hw::Cns::descriptors: {
      if (ns == nullptr) return Status::invalid_namespace;
      // One NGUID: an id of 16 bytes made from where the namespace is.
      constexpr std::uint8_t kNguid = 2, kBytes = 16;
      data = Structure(hw::kIdentifyBytes)
                 .put(0, kNguid)
                 .put(1, kBytes)
                 .put(4, std::uint64_t{bdf().requester_id()} << 32 | command.nsid())
                 .put(12, std::uint64_t{hw::kVendorId} << 48)
                 .take();
      break;
    }
    default:
      return Status::invalid_field;
  }
  return send(command, data);
}

// ---- logs (5.14)

std::vector<std::byte> Controller::health_log() const {
  namespace at = hw::health;
  const auto units = [](std::uint64_t bytes) { return (bytes + at::kUnit - 1) / at::kUnit; };
  return Structure(at::kBytes)
      .put(at::kTemperature, kRoomTemperature)
      .put(at::kSpare, std::uint8_t{100})
      .put(at::kSpareThreshold, std::uint8_t{10})
      .put(at::kUnitsRead, units(counters_.bytes_read))
      .put(at::kUnitsWritten, units(counters_.bytes_written))
      .put(at::kReads, counters_.reads)
      .put(at::kWrites, counters_.writes)
      .put(at::kPowerCycles, std::uint64_t{1})
      .put(at::kErrorEntries, counters_.errors)
      .take();
}

std::vector<std::byte> Controller::error_log() const {
  namespace at = hw::error_entry;
  Structure log(kErrorEntries * at::kBytes);
  std::size_t entry = 0;
  for (const ErrorEntry& error : errors_) {
    const auto status = static_cast<std::uint16_t>(error.status);
    constexpr unsigned kStatusShift = 1, kDoNotRetry = 15;  // as in a completion entry, with the phase bit below
    log.put(entry + at::kCount, error.count)
        .put(entry + at::kQueue, error.command.queue)
        .put(entry + at::kCommand, error.command.id())
        .put(entry + at::kStatus, static_cast<std::uint16_t>(unsigned{status} << kStatusShift | 1u << kDoNotRetry))
        .put(entry + at::kLocation, std::uint16_t{0xffff})  // no byte of the command in particular
        .put(entry + at::kLba, error.command.queue == 0 ? 0 : error.command.dw10())
        .put(entry + at::kNamespace, error.command.nsid());
    entry += at::kBytes;
  }
  return log.take();
}

Outcome Controller::get_log_page(const Command& command) {
  const std::uint64_t id = hw::kLogDword["LID"].get(command.dw10()),
                      bytes = (hw::kLogDword["NUMD"].get(command.dw10()) + 1) * 4, offset = command.dw12();
  std::vector<std::byte> data;
  switch (static_cast<hw::Log>(id)) {
    case hw::Log::error:
      data = error_log();
      break;
    case hw::Log::health:
      data = health_log();
      break;
    case hw::Log::firmware: {
      constexpr std::size_t kBytes = 512, kRevision1 = 8;
      data =
          Structure(kBytes).put(0, std::uint8_t{1}).put_text(kRevision1, hw::controller::kFirmwareBytes, "1.0").take();
      break;
    }
    case hw::Log::commands: {
      Structure log(hw::kIdentifyBytes);
      for (const Effect& row : kEffects) log.put(row.slot * sizeof row.effect, row.effect);
      data = log.take();
      break;
    }
    default:
      return Status::invalid_log_page;
  }
  if (offset % 4 != 0 || offset > data.size()) return Status::invalid_field;
  data.erase(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(offset));
  data.resize(std::min<std::uint64_t>(bytes, hw::kIdentifyBytes));  // zeros behind the page
  const Status sent = send(command, data);
  if (sent == Status::success && !hw::kLogDword["RAE"].is_set(command.dw10())) announced_ &= ~(std::uint64_t{1} << id);
  return sent;
}

// ---- features

void Controller::reset_features() {
  features_ = {};
  for (const FeatureRow& row : kFeatures) features_[static_cast<std::size_t>(row.id)] = row.fallback;
  for (std::size_t vector = 0; vector < vector_features_.size(); ++vector) vector_features_[vector] = low(vector);
}

// The current value; nullopt: there is no such feature.
std::optional<std::uint32_t> Controller::feature(const Command& command) const {
  const std::uint64_t id = hw::kFeatureDword["FID"].get(command.dw10());
  if (find_feature(id) != nullptr) return features_[id];
  if (id == static_cast<std::uint64_t>(hw::Feature::queues)) return (queues_ - 1) * 0x10001;
  const std::uint32_t vector = command.dw11() & 0xffff;
  if (id == static_cast<std::uint64_t>(hw::Feature::vector) && vector <= queues_) return vector_features_[vector];
  return std::nullopt;
}

Outcome Controller::get_features(const Command& command) {
  constexpr std::uint64_t kCurrent = 0, kDefault = 1, kSaved = 2, kCapabilities = 3;
  constexpr std::uint32_t kChangeable = 1 << 2;
  const std::uint64_t select = hw::kFeatureDword["SEL"].get(command.dw10());
  const auto current = feature(command);
  if (!current || select > kCapabilities) return Status::invalid_field;
  if (select == kCapabilities) return Outcome::of(kChangeable);
  const FeatureRow* const row = find_feature(hw::kFeatureDword["FID"].get(command.dw10()));
  // Nothing is saved, so that the default is what a saved value would be.
  if ((select == kDefault || select == kSaved) && row != nullptr) return Outcome::of(row->fallback);
  static_assert(kCurrent == 0);
  return Outcome::of(*current);
}

Outcome Controller::set_features(const Command& command) {
  const std::uint64_t id = hw::kFeatureDword["FID"].get(command.dw10());
  const std::uint32_t value = command.dw11();
  if (!feature(command)) return Status::invalid_field;
  if (hw::kFeatureDword["SV"].is_set(command.dw10())) return Status::not_saveable;
  if (const FeatureRow* const row = find_feature(id)) {
    if ((value & ~row->writable) != 0) return Status::invalid_field;
    features_[id] = value;
    return Status::success;
  }
  if (id == static_cast<std::uint64_t>(hw::Feature::vector)) {
    constexpr std::uint32_t kNamed = 0x1ffff;
    vector_features_[value & 0xffff] = value & kNamed;
    return Status::success;
  }
  // Number of queues: as many as there are, whatever is asked, but before any is made (5.21.1.7).
  constexpr std::uint32_t kTooMany = 0xffff;
  if ((value & 0xffff) == kTooMany || value >> 16 == kTooMany) return Status::invalid_field;
  const auto made = [](const auto& queue) { return queue.entries != 0; };
  if (std::any_of(submission_.begin() + 1, submission_.end(), made) ||
      std::any_of(completion_.begin() + 1, completion_.end(), made))
    return Status::sequence_error;
  return Outcome::of((queues_ - 1) * 0x10001);
}

}  // namespace softiommu::nvme
