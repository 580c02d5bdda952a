// SPDX-License-Identifier: BSD-3-Clause
// One open /dev/iommu: its objects, its commands, and the devices that programs bind to it.
//
// Commands are rows of a table (commands.cpp): name, number, sizes, handler; size and zero-tail checks and tracing
// follow from it. One lock guards everything; the program's memory is read before it is taken and written after it is
// given back. The context lives as long as its file or a bound device.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "base/program.h"
#include "base/result.h"
#include "core/system.h"
#include "base/memlock.h"
#include "iommufd/objects.h"

namespace softiommu::iommufd {

struct Options {
  MemlockLimit memlock;
  bool allow_unsafe_interrupts = false;  // bind devices whose interrupts are not isolated
};

class Call;

class Context {
 public:
  // `user`: what the user's programs have locked together.
  Context(System& system, LockedMemory& user, const Options& options)
      : system_(system), user_(user), options_(options) {}
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // As ioctl answers: a value >= 0 or a negative errno. ENOTTY: not a command of iommufd.
  long ioctl(Program& program, unsigned number, std::uint64_t argument);

  // ---- for device files: a bound device is used by its file, so that DESTROY answers EBUSY.
  // EPERM: interrupts not isolated, or the group is someone else's; EBUSY; ENOMEM; the rest from the claim.
  Result<BoundDevice*> bind(const Device& device);
  void unbind(BoundDevice& device);
  // Attaches it (or moves it, if it is attached) to the HWPT or a fitting domain of the IOAS `pt_id`; returns the id of
  // the HWPT that it is on. ENOENT: no such object; EINVAL: not one to attach to, or incompatible; others
  // from the search. On failure everything is as it was.
  Result<std::uint32_t> attach(BoundDevice& device, std::uint32_t pt_id);
  void detach(BoundDevice& device);
  // The id of the device as bound here; 0: it is not, but its group is this context's; nullopt: it is someone else's.
  std::optional<std::uint32_t> owned_id(const Device& device);

  // ---- VFIO compatibility: one IOAS serves calls that name none.
  // Makes it if there is none.
  Result<> make_compat_ioas();
  // Its id. ENODEV: there is none.
  Result<std::uint32_t> compat_ioas();
  // Runs `action(Ioas&)` on it under the lock.
  template <class Action>
  auto with_compat_ioas(Action&& action) -> decltype(action(std::declval<Ioas&>())) {
    const MutexLock lock(mutex_);
    if (compat_ == nullptr) return fail(ENODEV, "no group was given to this context");
    return action(*compat_);
  }
  // Memory of the calling program, or of a file that it has open.
  std::shared_ptr<Pages> make_pages(Program& caller, std::uint64_t user, bool writable) {
    return std::make_shared<Pages>(account_of(caller), system_.machine().memory(), user, writable);
  }
  std::shared_ptr<Pages> make_pages(Program& caller, std::unique_ptr<FileMapping> file, bool writable) {
    return std::make_shared<Pages>(account_of(caller), system_.machine().memory(), std::move(file), writable);
  }

  // ---- handlers of commands: the request as the program gave it, which they change into the answer.
  Result<> destroy(Call& call);
  Result<> ioas_alloc(Call& call);
  Result<> ioas_allow_iovas(Call& call);
  Result<> ioas_copy(Call& call);
  Result<> ioas_iova_ranges(Call& call);
  Result<> ioas_map(Call& call);
  Result<> ioas_map_file(Call& call);
  Result<> ioas_unmap(Call& call);
  Result<> ioas_change_process(Call& call);
  Result<> option(Call& call);
  Result<> vfio_ioas(Call& call);
  Result<> hwpt_alloc(Call& call);
  Result<> hwpt_set_dirty_tracking(Call& call);
  Result<> hwpt_get_dirty_bitmap(Call& call);
  Result<> get_hw_info(Call& call);

 private:
  // What an attach does with one HWPT: for a device that is attached it is a replacement.
  Result<> attach_to(BoundDevice& device, Hwpt& hwpt) REQUIRES(mutex_);
  Result<> join(BoundDevice& device, Hwpt& hwpt) REQUIRES(mutex_);
  Result<> replace(BoundDevice& device, Hwpt& hwpt) REQUIRES(mutex_);
  Result<Hwpt*> attach_to_ioas(BoundDevice& device, Ioas& ioas) REQUIRES(mutex_);
  Result<> reserve_for(const Device& device, Ioas& ioas) REQUIRES(mutex_);
  Result<Hwpt*> make_hwpt(BoundDevice& device, Ioas& ioas, const DomainRequest& request, Hwpt::Life life)
      REQUIRES(mutex_);
  void leave(BoundDevice& device) REQUIRES(mutex_);
  void drop(Hwpt& hwpt, std::size_t users) REQUIRES(mutex_);
  Result<> remove(std::uint32_t id) REQUIRES(mutex_);
  Account account_of(Program& caller) {
    return {caller.shared_from_this(), user_, options_.memlock, accounting_.load(std::memory_order_relaxed)};
  }

  System& system_;
  LockedMemory& user_;
  const Options& options_;
  Mutex mutex_;
  ObjectTable objects_ GUARDED_BY(mutex_);
  std::map<unsigned, std::weak_ptr<BoundGroup>> groups_ GUARDED_BY(mutex_);
  Ioas* compat_ GUARDED_BY(mutex_) = nullptr;
  std::atomic<Accounting> accounting_{Accounting::user};  // IOMMU_OPTION_RLIMIT_MODE
};

}  // namespace softiommu::iommufd
