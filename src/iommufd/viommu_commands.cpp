// SPDX-License-Identifier: BSD-3-Clause
// Commands that make what a guest's IOMMU needs, and the queues that tell of it: VIOMMU_ALLOC, VDEVICE_ALLOC,
// HW_QUEUE_ALLOC, VEVENTQ_ALLOC, FAULT_QUEUE_ALLOC.
#include "iommufd/abi.h"
#include "iommufd/call.h"
#include "iommufd/context.h"
#include "iommufd/queue_file.h"

namespace softiommu::iommufd {

// ---- queues with a file

Result<> Context::fault_queue_alloc(Call& call) {
  auto request = call.request<abi::FaultQueueAlloc>();
  if (request.flags != 0) return fail(EOPNOTSUPP, "unknown flags");
  FaultQueue* queue = nullptr;
  {
    const MutexLock lock(mutex_);
    queue = TRY(objects_.add(std::make_unique<FaultQueue>()));
    queue->use();
  }
  request.out_fault_id = queue->id();
  return respond_with_queue(call, request, &abi::FaultQueueAlloc::out_fault_fd, *queue);
}

Result<> Context::veventq_alloc(Call& call) {
  auto request = call.request<abi::VeventqAlloc>();
  constexpr std::uint32_t kMostDepth = 1U << 19;  // Linux's: more than any hardware has
  if (request.flags != 0 || request.reserved != 0 || request.type == abi::kVeventqTypeDefault)
    return fail(EOPNOTSUPP, "unknown flags or type, or a reserved field is set");
  if (request.veventq_depth == 0 || request.veventq_depth > kMostDepth) return fail(EINVAL, "no such depth");
  Veventq* queue = nullptr;
  {
    const MutexLock lock(mutex_);
    auto* const viommu = objects_.find<Viommu>(request.viommu_id);
    if (viommu == nullptr) return fail(ENOENT, "no virtual IOMMU has this id");
    auto made = std::make_unique<Veventq>(*viommu, request.type, request.veventq_depth);
    TRY(viommu->add_queue(*made));
    queue = TRY(objects_.add(std::move(made)));
    queue->use();
  }
  request.out_veventq_id = queue->id();
  return respond_with_queue(call, request, &abi::VeventqAlloc::out_veventq_fd, *queue);
}

// The queue is in use by the file that is about to be made.
template <class Answer>
Result<> Context::respond_with_queue(Call& call, Answer& answer, std::uint32_t Answer::* descriptor,
                                     EventQueue& queue) {
  const std::uint32_t id = queue.id();
  std::shared_ptr<QueueFile> file;
  Result<> done = without_throwing([&]() -> Result<> {
    file = std::make_shared<QueueFile>(shared_from_this(), queue, call.whoever_calls());
    return {};
  });
  if (done)
    done = call.respond_with_file(answer, descriptor, std::move(file));
  else
    unuse(queue);
  return keep_made(done, id);
}

// ---- virtual IOMMUs

Result<> Context::viommu_alloc(Call& call) {
  auto request = call.request<abi::ViommuAlloc>();
  if (request.flags != 0 || request.type == abi::kViommuTypeDefault) return fail(EOPNOTSUPP, "unknown flags or type");
  UserData data(call.program(), request.type, request.data_len, request.data_uptr);
  {
    const MutexLock lock(mutex_);
    request.out_viommu_id = TRY(make_viommu(request, data));
  }
  Result<> responded = data.write_back(call.program());
  if (responded) responded = call.respond(request);
  return keep_made(responded, request.out_viommu_id);
}

Result<std::uint32_t> Context::make_viommu(const abi::ViommuAlloc& request, UserData& data) {
  auto* const device = objects_.find<BoundDevice>(request.dev_id);
  if (device == nullptr) return fail(ENOENT, "no device has this id");
  Driver& driver = *device->device().driver();
  if (!driver.offers_viommu(device->device(), request.type)) return fail(EOPNOTSUPP, "no such virtual IOMMU");
  auto* const parent = objects_.find<PagingHwpt>(request.hwpt_id);
  if (parent == nullptr) return fail(ENOENT, "no hardware page table has this id");
  if (!parent->nest_parent()) return fail(EINVAL, "the page table is no nest parent");
  auto made = std::make_unique<Viommu>(*parent, device->device(), mmaps_);
  const VirtualIommuRequest asked{request.type, parent->domain(), data.empty() ? nullptr : &data, *made};
  made->set_driver_part(TRY(without_throwing([&] { return driver.make_viommu(device->device(), asked); })));
  return TRY(objects_.add(std::move(made)))->id();
}

Result<> Context::vdevice_alloc(Call& call) {
  auto request = call.request<abi::VdeviceAlloc>();
  {
    const MutexLock lock(mutex_);
    auto* const viommu = objects_.find<Viommu>(request.viommu_id);
    if (viommu == nullptr) return fail(ENOENT, "no virtual IOMMU has this id");
    auto* const device = objects_.find<BoundDevice>(request.dev_id);
    if (device == nullptr) return fail(ENOENT, "no device has this id");
    if (!viommu->serves(device->device())) return fail(EINVAL, "the device is behind another IOMMU");
    if (device->vdevice() != nullptr) return fail(EEXIST, "the device has a name already");
    auto made = TRY(Vdevice::create(*viommu, *device, request.virt_id));
    request.out_vdevice_id = TRY(objects_.add(std::move(made)))->id();
  }
  return respond_made(call, request, request.out_vdevice_id);
}

Result<> Context::hw_queue_alloc(Call& call) {
  auto request = call.request<abi::HwQueueAlloc>();
  if (request.flags != 0 || request.type == abi::kHwQueueTypeDefault) return fail(EOPNOTSUPP, "unknown flags or type");
  if (request.length == 0) return fail(EINVAL, "the length is 0");
  if (request.nesting_parent_iova + (request.length - 1) < request.nesting_parent_iova)
    return fail(EOVERFLOW, "the range wraps");
  {
    const MutexLock lock(mutex_);
    auto* const viommu = objects_.find<Viommu>(request.viommu_id);
    if (viommu == nullptr) return fail(ENOENT, "no virtual IOMMU has this id");
    if (!viommu->driver_part().offers_queue(request.type)) return fail(EOPNOTSUPP, "no such hardware queue");
    const HardwareQueueRequest asked{
        request.type, request.index, Iova{request.nesting_parent_iova}, {}, request.length};
    auto made = TRY(HwQueue::create(*viommu, asked));
    request.out_hw_queue_id = TRY(objects_.add(std::move(made)))->id();
  }
  return respond_made(call, request, request.out_hw_queue_id);
}

}  // namespace softiommu::iommufd
