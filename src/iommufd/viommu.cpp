// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/viommu.h"

#include "base/fault.h"
#include "core/shared_memory.h"

namespace softiommu::iommufd {

namespace {

// Whole pages around the queue: the hardware may read any of its bytes, whatever becomes of the mapping.
IoPagetable::PinRequest pages_of(const HardwareQueueRequest& queue) {
  const std::uint64_t first = align_down(queue.address.value, kPageSize);
  const std::uint64_t last = align_down(queue.address.value + (queue.bytes - 1), kPageSize);
  return {.iova = first, .length = last - first + kPageSize, .for_hardware = true};
}

}  // namespace

Viommu::Viommu(PagingHwpt& parent, const Device& device, OfferedMmaps& mmaps)
    : parent_(parent), driver_(*device.driver()), unit_(device.unit_index()), mmaps_(mmaps) {
  parent_.use();
}

Viommu::~Viommu() {
  driver_part_.reset();
  std::erase_if(mmaps_, [this](const auto& offered) { return offered.second.owner == this; });
  parent_.unuse();
}

bool Viommu::serves(const Device& device) const { return device.driver() == &driver_ && device.unit_index() == unit_; }

Result<> Viommu::add_queue(Veventq& queue) {
  const MutexLock lock(queues_lock_);
  if (std::ranges::find(queues_, queue.type(), &Veventq::type) != queues_.end())
    return fail(EEXIST, "there is a queue for this type of event");
  queues_.push_back(&queue);
  return {};
}

void Viommu::remove_queue(Veventq& queue) {
  const MutexLock lock(queues_lock_);
  std::erase(queues_, &queue);
}

// The first page is left out, so that no offset is 0.
Result<std::uint64_t> Viommu::offer_mmap(std::shared_ptr<SharedMemory> memory) {
  return without_throwing([&]() -> Result<std::uint64_t> {
    TRY(fault::pass("iommufd.offer_mmap"));
    std::uint64_t offset = kPageSize;
    for (const auto& [first, offered] : mmaps_) {
      if (first - offset >= memory->bytes()) break;
      offset = first + offered.memory->bytes();
    }
    mmaps_.emplace(offset, OfferedMmap{this, std::move(memory)});
    return offset;
  });
}

Result<> Viommu::report(std::uint32_t type, std::span<const std::byte> event) {
  const MutexLock lock(queues_lock_);
  const auto queue = std::ranges::find(queues_, type, &Veventq::type);
  if (queue == queues_.end()) return fail(EOPNOTSUPP, "nobody listens to this type of event");
  return (*queue)->add(event);
}

Vdevice::Vdevice(Viommu& viommu, BoundDevice& device, std::uint64_t virtual_id)
    : viommu_(viommu), device_(device), virtual_id_(virtual_id) {
  viommu_.use();
  device_.set_vdevice(this);
}

Vdevice::~Vdevice() {
  viommu_.driver_part().remove_device(virtual_id_);
  device_.set_vdevice(nullptr);
  viommu_.unuse();
}

Result<std::unique_ptr<Vdevice>> Vdevice::create(Viommu& viommu, BoundDevice& device, std::uint64_t virtual_id) {
  TRY(without_throwing([&] { return viommu.driver_part().add_device(device.device(), virtual_id); }));
  auto* const made = new (std::nothrow) Vdevice(viommu, device, virtual_id);
  if (made != nullptr) return std::unique_ptr<Vdevice>(made);
  viommu.driver_part().remove_device(virtual_id);
  return fail(ENOMEM, "memory for the virtual device");
}

Result<std::unique_ptr<HwQueue>> HwQueue::create(Viommu& viommu, HardwareQueueRequest request) {
  TRY(fault::pass("iommufd.hw_queue"));
  std::unique_ptr<HwQueue> made(new (std::nothrow) HwQueue(viommu));
  if (made == nullptr) return fail(ENOMEM, "memory for the hardware queue");
  request.physical = TRY(made->pin(request));
  viommu.hw_queues().reserve(viommu.hw_queues().size() + 1);
  made->driver_part_ = TRY(viommu.driver_part().make_queue(request));
  for (HwQueue* other : viommu.hw_queues())
    if (made->driver_part_->depends_on() == other->driver_part_.get()) made->before_ = other;
  if (made->before_ != nullptr) made->before_->use();
  viommu.hw_queues().push_back(made.get());
  return made;
}

Result<PhysAddr> HwQueue::pin(const HardwareQueueRequest& request) {
  const IoPagetable::PinRequest pages = pages_of(request);
  if (pages.iova + (pages.length - 1) < pages.iova) return fail(ERANGE, "the pages of the queue wrap");
  TRY(table().add_access(this, kPageSize));
  access_ = true;
  const std::vector<PhysAddr> found = TRY(table().pin(pages));
  pinned_ = pages;
  for (std::size_t i = 1; i < found.size(); ++i)
    if (found[i] != found[i - 1] + kPageSize) return fail(EFAULT, "the queue's memory is not contiguous");
  return found.front() + request.address.value % kPageSize;
}

HwQueue::~HwQueue() {
  driver_part_.reset();
  if (pinned_) table().unpin(*pinned_);
  if (access_) table().remove_access(this);
  std::erase(viommu_.hw_queues(), this);
  if (before_ != nullptr) before_->unuse();
  viommu_.unuse();
}

}  // namespace softiommu::iommufd
