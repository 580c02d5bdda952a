// SPDX-License-Identifier: BSD-3-Clause
// The mock IOMMU's guest side: nested domains with an "IOTLB" that tests look into, and virtual IOMMUs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/mutex.h"
#include "core/domain.h"
#include "core/driver.h"
#include "core/user_data.h"
#include "core/virtual_iommu.h"
#include "drivers/mock_abi.h"

namespace softiommu::mock {

class MockViommu;

// What a mock device caches for its guest, and by which name a virtual IOMMU knows it since it is on a nested domain.
class GuestSide {
 public:
  GuestSide() { caches_.fill(abi::kDeviceCacheDefault); }

  void move_to(MockViommu* viommu, std::uint64_t virtual_id);
  // Tells the guest of an event. ENOENT: it does not know the device; what VirtualIommuOwner::report answers.
  Result<> report_event();

  std::uint32_t cached(unsigned entry) const;
  void forget(unsigned entry);

 private:
  mutable Mutex mutex_;
  MockViommu* viommu_ GUARDED_BY(mutex_) = nullptr;
  std::uint64_t virtual_id_ GUARDED_BY(mutex_) = 0;
  std::array<std::uint32_t, abi::kDeviceCaches> caches_ GUARDED_BY(mutex_);
};

class MockNested final : public Domain {
 public:
  // EOPNOTSUPP: not the mock's data; EINVAL, EFAULT (UserData::as).
  static Result<std::unique_ptr<Domain>> create(Driver& owner, const UserData& data, MockViommu* viommu);
  MockNested(Driver& owner, std::uint32_t iotlb, MockViommu* viommu)
      : Domain(owner, DomainType::nested), viommu_(viommu) {
    iotlb_.fill(iotlb);
  }

  Result<> cache_invalidate_user(UserArray& entries) override;

  MockViommu* viommu() const { return viommu_; }  // that it was made through; nullptr: none
  std::uint32_t cached(unsigned entry) const { return iotlb_[entry]; }

 private:
  MockViommu* const viommu_;
  std::array<std::uint32_t, abi::kIotlbEntries> iotlb_;
};

class MockViommu final : public VirtualIommu {
 public:
  // With data: a page for the program to map, and its number handed back. EINVAL, EFAULT (UserData::as), ENOMEM.
  static Result<std::unique_ptr<VirtualIommu>> create(Driver& driver, const VirtualIommuRequest& request);
  MockViommu(Driver& driver, const VirtualIommuRequest& request)
      : VirtualIommu(request.owner), driver_(driver), parent_(request.parent) {}

  Result<std::unique_ptr<Domain>> allocate_nested(const DomainRequest& request, const UserData& data) override;
  Result<> invalidate(UserArray& entries) override;
  bool offers_queue(std::uint32_t type) const override { return type == abi::kHwQueueType; }
  // EINVAL, EEXIST: as the interface says; EIO: the queue before it is missing; EFAULT: the address is not what it is.
  Result<std::unique_ptr<HardwareQueue>> make_queue(const HardwareQueueRequest& request) override;

 private:
  class Queue;
  Driver& driver_;
  Domain& parent_;
  std::array<Queue*, abi::kHwQueues> queues_{};
};

}  // namespace softiommu::mock
