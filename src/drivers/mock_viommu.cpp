// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/mock_viommu.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "base/fault.h"
#include "core/shared_memory.h"
#include "drivers/mock.h"

namespace softiommu::mock {

// ---- a device

void GuestSide::move_to(MockViommu* viommu, std::uint64_t virtual_id) {
  const MutexLock lock(mutex_);
  viommu_ = viommu;
  virtual_id_ = virtual_id;
}

Result<> GuestSide::report_event() {
  const MutexLock lock(mutex_);
  if (viommu_ == nullptr || virtual_id_ == 0) return fail(ENOENT, "no guest knows the device");
  const abi::ViommuEvent event{static_cast<std::uint32_t>(virtual_id_)};
  return viommu_->owner().report(abi::kVeventqType, std::as_bytes(std::span(&event, 1)));
}

std::uint32_t GuestSide::cached(unsigned entry) const {
  const MutexLock lock(mutex_);
  return caches_[entry];
}

void GuestSide::forget(unsigned entry) {
  const MutexLock lock(mutex_);
  caches_[entry] = 0;
}

// ---- nested domains

Result<std::unique_ptr<Domain>> MockNested::create(Driver& owner, const UserData& data, MockViommu* viommu) {
  if (data.type() != abi::kHwptDataType) return fail(EOPNOTSUPP, "not the mock's data");
  const auto given = TRY(data.as<abi::HwptData>(abi::kHwptDataType, sizeof(abi::HwptData::iotlb)));
  TRY(fault::pass("mock.nested"));
  return std::make_unique<MockNested>(owner, given.iotlb, viommu);
}

Result<> MockNested::cache_invalidate_user(UserArray& entries) {
  if (entries.type() != abi::kHwptInvalidateType) return fail(EINVAL, "not the mock's invalidations");
  for (; entries.more(); entries.accept()) {
    const auto entry = TRY(entries.next<abi::HwptInvalidate>(abi::kHwptInvalidateType, sizeof(abi::HwptInvalidate)));
    if ((entry.flags & ~abi::kInvalidateAll) != 0) return fail(EOPNOTSUPP, "unknown flags");
    if (entry.iotlb_id >= abi::kIotlbEntries) return fail(EINVAL, "no such entry of the IOTLB");
    if ((entry.flags & abi::kInvalidateAll) != 0)
      iotlb_.fill(0);
    else
      iotlb_[entry.iotlb_id] = 0;
  }
  return {};
}

// ---- virtual IOMMUs

class MockViommu::Queue final : public HardwareQueue {
 public:
  Queue(MockViommu& viommu, unsigned index)
      : viommu_(viommu), index_(index), before_(index != 0 ? viommu.queues_[index - 1] : nullptr) {
    viommu_.queues_[index_] = this;
  }
  ~Queue() override { viommu_.queues_[index_] = nullptr; }
  const HardwareQueue* depends_on() const override { return before_; }

 private:
  MockViommu& viommu_;
  const unsigned index_;
  const Queue* const before_;
};

Result<std::unique_ptr<VirtualIommu>> MockViommu::create(Driver& driver, const VirtualIommuRequest& request) {
  auto made = std::make_unique<MockViommu>(driver, request);
  if (request.data == nullptr) return made;
  constexpr std::uint64_t kBytes = 2 * kPageSize;
  constexpr std::size_t kLeast = offsetof(abi::ViommuData, out_data) + sizeof(abi::ViommuData::out_data);
  auto data = TRY(request.data->as<abi::ViommuData>(abi::kViommuType, kLeast));
  auto memory = TRY(SharedMemory::create(kBytes));
  std::memcpy(memory->data(), &data.in_data, sizeof data.in_data);
  data.out_data = data.in_data;
  data.out_mmap_length = kBytes;
  data.out_mmap_offset = TRY(request.owner.offer_mmap(std::move(memory)));
  request.data->answer(data);
  return made;
}

Result<std::unique_ptr<Domain>> MockViommu::allocate_nested(const DomainRequest& /*request*/, const UserData& data) {
  return MockNested::create(driver_, data, this);
}

Result<> MockViommu::invalidate(UserArray& entries) {
  if (entries.type() != abi::kViommuInvalidateType) return fail(EINVAL, "not the mock's invalidations");
  for (; entries.more(); entries.accept()) {
    const auto entry = TRY(entries.next_of_any_length<abi::ViommuInvalidate>(abi::kViommuInvalidateType));
    if ((entry.flags & ~abi::kInvalidateAll) != 0) return fail(EOPNOTSUPP, "unknown flags");
    if (entry.cache_id >= abi::kDeviceCaches) return fail(EINVAL, "no such cache of a device");
    TRY(with_device(entry.vdev_id, [&](const Device& device) {
      GuestSide& guest = MockDriver::data_of(device).guest();
      for (unsigned cache = 0; cache < abi::kDeviceCaches; ++cache)
        if ((entry.flags & abi::kInvalidateAll) != 0 || cache == entry.cache_id) guest.forget(cache);
    }));
  }
  return {};
}

Result<std::unique_ptr<HardwareQueue>> MockViommu::make_queue(const HardwareQueueRequest& request) {
  if (request.index >= abi::kHwQueues) return fail(EINVAL, "no such queue");
  if (queues_[request.index] != nullptr) return fail(EEXIST, "the queue is there");
  if (request.index != 0 && queues_[request.index - 1] == nullptr) return fail(EIO, "the queue before it is missing");
  if (parent_.iova_to_phys(request.address) != request.physical) return fail(EFAULT, "the parent maps something else");
  TRY(fault::pass("mock.hw_queue"));
  return std::make_unique<Queue>(*this, request.index);
}

}  // namespace softiommu::mock
