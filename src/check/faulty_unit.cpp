// SPDX-License-Identifier: BSD-3-Clause
#include "check/faulty_unit.h"

#include <algorithm>
#include <array>

#include "hw/amd_iommu.h"
#include "hw/smmuv3.h"
#include "hw/virtio_iommu.h"
#include "hw/vtd_scalable.h"

namespace softiommu::check {

namespace {

// A queue of commands in memory, as a unit's registers tell of it. Positions are bytes from its start.
struct CommandQueue {
  std::string_view model;
  std::uint64_t tail_register;
  unsigned (*command_bytes)(IommuUnit&);
  std::uint64_t (*base)(IommuUnit&);
  std::uint64_t (*bytes)(IommuUnit&);
  std::uint64_t (*head)(IommuUnit&);
  std::uint64_t (*tail)(IommuUnit&, std::uint64_t written);
  std::uint64_t no_command;  // a first word that the unit does not know
};

namespace vtd = hw::vtd;
namespace smmu = hw::smmuv3;
namespace amd = hw::amd;
constexpr std::uint64_t kSmmuSlots = 1;

std::uint64_t smmu_slots(IommuUnit& unit) {
  return kSmmuSlots << smmu::kCmdqBase["LOG2SIZE"].get(unit.read64(smmu::kCmdqBase.offset));
}

constexpr auto kCommandQueues = std::to_array<CommandQueue>({
    {"intel-vtd", vtd::kIqt.offset,
     [](IommuUnit& unit) { return vtd::descriptor_bytes(unit.read64(vtd::kIqa.offset)); },
     [](IommuUnit& unit) { return vtd::kIqa["IQA"].in_place(unit.read64(vtd::kIqa.offset)); },
     [](IommuUnit& unit) { return std::uint64_t{vtd::queue_bytes(unit.read64(vtd::kIqa.offset))}; },
     [](IommuUnit& unit) { return vtd::kIqh["QH"].in_place(unit.read64(vtd::kIqh.offset)); },
     [](IommuUnit&, std::uint64_t written) { return vtd::kIqt["QT"].in_place(written); },
     vtd::kDescriptor["TYPE"].mask()},
    {"arm-smmu-v3", smmu::kCmdqProd.offset, [](IommuUnit&) -> unsigned { return smmu::kCommandBytes; },
     [](IommuUnit& unit) { return smmu::kCmdqBase["ADDR"].in_place(unit.read64(smmu::kCmdqBase.offset)); },
     [](IommuUnit& unit) { return smmu_slots(unit) * smmu::kCommandBytes; },
     [](IommuUnit& unit) {
       return smmu::kCmdqCons["RD"].get(unit.read32(smmu::kCmdqCons.offset)) % smmu_slots(unit) * smmu::kCommandBytes;
     },
     [](IommuUnit& unit, std::uint64_t written) {
       return smmu::kCmdqProd["WR"].get(written) % smmu_slots(unit) * smmu::kCommandBytes;
     },
     smmu::kCommandSync0["Opcode"].mask()},
    {"amd-iommu", amd::kCommandTail.offset, [](IommuUnit&) -> unsigned { return amd::kQueueEntryBytes; },
     [](IommuUnit& unit) { return amd::kCommandBase["ComBase"].in_place(unit.read64(amd::kCommandBase.offset)); },
     [](IommuUnit& unit) {
       return std::uint64_t{amd::kQueueEntryBytes}
              << amd::kCommandBase["ComLen"].get(unit.read64(amd::kCommandBase.offset));
     },
     [](IommuUnit& unit) { return unit.read64(amd::kCommandHead.offset); },
     [](IommuUnit&, std::uint64_t written) { return written; }, amd::kOpcode.mask()},
});

}  // namespace

void FaultyUnit::arm(const Failure& failure) {
  failure_ = failure;
  seen_ = 0;
  struck_ = false;
}

bool FaultyUnit::disarm() {
  failure_ = {};
  polled_.reset();
  for (const Write& write : late_) deliver(write.offset, write.bytes, write.value);
  late_.clear();
  return struck_;
}

bool FaultyUnit::power_cycle() {
  late_.clear();
  if (struck_) reset();
  return disarm();
}

bool FaultyUnit::is_silent() {
  if (failure_.kind != FailureKind::registers) return false;
  if (!struck_ && ++seen_ >= failure_.nth) struck_ = true;
  return struck_;
}

std::uint64_t FaultyUnit::read(std::uint64_t offset, unsigned bytes) {
  if (!is_silent()) return WrappedUnit::read(offset, bytes);
  if (!polled_ || polled_->offset != offset || polled_->bytes != bytes)
    polled_ = Read{offset, bytes, WrappedUnit::read(offset, bytes)};
  return polled_->value;
}

void FaultyUnit::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (is_silent()) {
    late_.push_back({offset, bytes, value});
    return;
  }
  note_virtqueue(offset, value);
  if (failure_.kind == FailureKind::queue) spoil_commands(offset, value);
  if (failure_.kind == FailureKind::answers && model() == "virtio-iommu" &&
      offset == hw::virtio_iommu::kQueueNotify.offset && value == hw::virtio_iommu::kRequestQueue)
    return refuse_request({offset, bytes, value});
  deliver(offset, bytes, value);
}

void FaultyUnit::spoil_commands(std::uint64_t offset, std::uint64_t value) {
  const auto queue = std::ranges::find(kCommandQueues, model(), &CommandQueue::model);
  if (queue == kCommandQueues.end() || offset != queue->tail_register) return;
  const std::uint64_t bytes = queue->bytes(real()), tail = queue->tail(real(), value);
  const unsigned step = queue->command_bytes(real());
  for (std::uint64_t at = queue->head(real()); at != tail && at < bytes; at = (at + step) % bytes) {
    if (++seen_ != failure_.nth) continue;
    words(queue->base(real()) + at)[0] = queue->no_command;
    struck_ = true;
  }
}

// Queue 0 is the one of requests.
void FaultyUnit::note_virtqueue(std::uint64_t offset, std::uint64_t value) {
  using namespace hw::virtio_iommu;
  if (model() != "virtio-iommu") return;
  constexpr unsigned kHigh = 32;
  if (offset == kQueueSel.offset) queue_ = value;
  if (queue_ != kRequestQueue) return;
  if (offset == kQueueNum.offset) slots_ = std::max(value, std::uint64_t{1});
  if (offset == kQueueDesc.offset) descriptors_ = value;
  if (offset == kQueueDesc.offset + 4) descriptors_ |= value << kHigh;
  if (offset == kQueueDriver.offset) available_ = value;
  if (offset == kQueueDriver.offset + 4) available_ |= value << kHigh;
}

// The device sees a request of no type that it knows, and does nothing; then the status becomes the one wanted.
void FaultyUnit::refuse_request(const Write& notify) {
  using namespace hw::virtio_iommu;
  constexpr unsigned kStatuses = std::to_underlying(Answer::no_memory);
  const bool chosen = seen_++ == (failure_.nth - 1) / kStatuses;
  if (!chosen) return deliver(notify.offset, notify.bytes, notify.value);
  struck_ = true;
  TableMemory& tables = context_.memory.tables();
  const auto* const ring = tables.as<std::uint16_t>(PhysAddr{available_});
  const std::uint16_t index = ring[1], head = ring[2 + (index - 1u) % slots_];
  constexpr unsigned kWords = kDescriptorBytes / sizeof(std::uint64_t);
  const std::uint64_t* descriptor = words(descriptors_) + head * kWords;
  *tables.as<std::uint32_t>(PhysAddr{descriptor[0]}) = static_cast<std::uint32_t>(kHead["TYPE"].mask());
  deliver(notify.offset, notify.bytes, notify.value);
  while (kDescriptor1["NEXT"].is_set(descriptor[1]))
    descriptor = words(descriptors_) + kDescriptor1["INDEX"].get(descriptor[1]) * kWords;
  const std::uint64_t end = descriptor[0] + kDescriptor1["LEN"].get(descriptor[1]);
  *tables.as<std::uint32_t>(PhysAddr{end - sizeof(std::uint32_t)}) =
      static_cast<std::uint32_t>(kTail["STATUS"].put((failure_.nth - 1) % kStatuses + 1));
}

// ---- models -----------------------------------------------------------------------------------------------------

namespace {

// A model is made by a plain function, so each has a place of its own here.
constexpr std::size_t kMostModels = 32;
std::array<UnitModel, kMostModels> real_models, faulty;

template <std::size_t place>
Result<std::unique_ptr<IommuUnit>> create(const UnitContext& context, const Options& options) {
  return std::make_unique<FaultyUnit>(context, TRY(real_models[place].create(context, options)));
}

template <std::size_t... place>
void fill(std::size_t count, std::index_sequence<place...>) {
  ((faulty[place] = real_models[place], faulty[place].create = place < count ? create<place> : nullptr), ...);
}

}  // namespace

std::span<const UnitModel> faulty_models(std::span<const UnitModel> models) {
  std::size_t count = 0;
  const auto add = [&](const UnitModel& model) {
    const auto known = std::span(real_models).first(count);
    if (count < kMostModels && std::ranges::find(known, model.name, &UnitModel::name) == known.end())
      real_models[count++] = model;
  };
  std::ranges::for_each(models, add);
  std::ranges::for_each(unit_models(), add);
  fill(count, std::make_index_sequence<kMostModels>());
  return std::span(faulty).first(count);
}

}  // namespace softiommu::check
