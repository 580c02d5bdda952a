// SPDX-License-Identifier: BSD-3-Clause
// One open /dev/iommu: its objects, its commands, and the devices that programs bind to it.
//
// Commands are rows of a table (commands.cpp): name, number, sizes, handler; size and zero-tail checks and tracing
// follow from it. One lock guards everything; the program's memory is read before it is taken and written after it is
// given back. The context lives as long as its file, a file of one of its queues, or a bound device.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/memlock.h"
#include "base/mutex.h"
#include "base/program.h"
#include "base/result.h"
#include "core/system.h"
#include "iommufd/call.h"
#include "iommufd/objects.h"
#include "iommufd/viommu.h"

namespace softiommu::mock {
class MockDriver;
}

namespace softiommu::iommufd {

struct Options {
  MemlockLimit memlock;
  bool allow_unsafe_interrupts = false;  // bind devices whose interrupts are not isolated
  mock::MockDriver* selftest = nullptr;  // the kernel's own tests may ask for its devices (IOMMU_TEST_CMD)
};

class Context : public std::enable_shared_from_this<Context> {
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
  // Attaches a PASID of it (0: its requests without one) to the HWPT or a fitting domain of the IOAS `pt_id`; returns
  // the id of the HWPT that it is on.
  //   ENOENT  no such object;  EBUSY  it is attached
  //   EINVAL  not an object to attach to, incompatible, or the HWPT and what is attached differ in PASID use
  //   others  from the search. On failure everything is as it was.
  Result<std::uint32_t> attach(BoundDevice& device, std::uint32_t pt_id, Pasid pasid = 0);
  // Moves it there. EINVAL: it is not attached.
  Result<std::uint32_t> replace(BoundDevice& device, std::uint32_t pt_id, Pasid pasid = 0);
  // Whichever of the two it takes: as VFIO's device files do.
  Result<std::uint32_t> attach_or_replace(BoundDevice& device, std::uint32_t pt_id, Pasid pasid = 0);
  void detach(BoundDevice& device, Pasid pasid = 0);
  // The id of the device as bound here; 0: it is not, but its group is this context's; nullopt: it is someone else's.
  std::optional<std::uint32_t> owned_id(const Device& device);

  // ---- for files: mmap of what a virtual IOMMU offers, as mmap answers (0 or a negative errno).
  int mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out);
  // A file of the object, or a mapping, is gone.
  void unuse(Object& object);

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
  PagesRef make_pages(Program& caller, std::uint64_t user, bool writable) {
    return PagesRef::make(account_of(caller), memory(), user, writable);
  }
  PagesRef make_pages(Program& caller, std::unique_ptr<FileMapping> file, bool writable) {
    return PagesRef::make(account_of(caller), memory(), std::move(file), writable);
  }
  // Memory of a device; it counts as nobody's.
  PagesRef make_pages(Program& caller, DmaBufPart part, bool writable) {
    return PagesRef::make(Account(caller.shared(), user_, options_.memlock, Accounting::none), memory(),
                          std::move(part), writable);
  }
  // Unmaps in an IOAS; accesses are asked to let go without a lock. ENOENT: no such IOAS; IoPagetable::unmap.
  Result<> unmap(std::uint32_t ioas_id, IoPagetable::Unmapping& unmapping);
  // The DMA-BUF is revoked: nothing of it stays mapped.
  void revoke(const DmaBuf& buffer);

  // ---- for drivers that use a program's memory themselves, and for the kernel's tests
  System& system() { return system_; }
  Memory& memory() { return system_.machine().memory(); }
  // Runs `action(ObjectTable&)` under the lock.
  template <class Action>
  auto locked(Action&& action) {
    const MutexLock lock(mutex_);
    return action(objects_);
  }
  // For objects that end with a device of theirs.
  void unbind_locked(BoundDevice& device) REQUIRES(mutex_);

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
  Result<> hwpt_invalidate(Call& call);
  Result<> get_hw_info(Call& call);
  Result<> fault_queue_alloc(Call& call);
  Result<> viommu_alloc(Call& call);
  Result<> vdevice_alloc(Call& call);
  Result<> veventq_alloc(Call& call);
  Result<> hw_queue_alloc(Call& call);
  Result<> test(Call& call);

 private:
  friend struct StateView;  // of tests/faults: what a failed call must not change
  // Which PASID of a device changes, and how.
  struct Change {
    enum class Kind : std::uint8_t { attach, replace } kind;
    BoundDevice& device;
    Pasid pasid;
  };
  Result<std::uint32_t> change_pt(const Change& change, std::uint32_t pt_id) REQUIRES(mutex_);
  Result<> change_hwpt(const Change& change, Hwpt& hwpt) REQUIRES(mutex_);
  Result<> join(const Change& change, Hwpt& hwpt) REQUIRES(mutex_);
  Result<> attach_first(const Change& change, Hwpt& hwpt) REQUIRES(mutex_);
  Result<> move(const Change& change, Hwpt& hwpt) REQUIRES(mutex_);
  Result<Hwpt*> search(const Change& change, Ioas& ioas) REQUIRES(mutex_);
  Result<> reserve_for(const Device& device, Ioas& ioas) REQUIRES(mutex_);
  void leave(BoundDevice& device, Pasid pasid) REQUIRES(mutex_);
  void drop(Hwpt& hwpt, std::size_t users) REQUIRES(mutex_);

  Result<PagingHwpt*> make_hwpt(BoundDevice& device, Ioas& ioas, const DomainRequest& request, PagingHwpt::Life life)
      REQUIRES(mutex_);
  Result<NestedHwpt*> make_nested_hwpt(BoundDevice& device, Object& with, const DomainRequest& request,
                                       const UserData& data) REQUIRES(mutex_);
  Result<std::uint32_t> make_requested_hwpt(const abi::HwptAlloc& request, const UserData& data) REQUIRES(mutex_);
  Result<std::uint32_t> make_viommu(const abi::ViommuAlloc& request, UserData& data) REQUIRES(mutex_);
  // The end of a call that made an object: it is undone if the answer could not be written.
  Result<> keep_made(const Result<>& responded, std::uint32_t id);
  template <class Answer>
  Result<> respond_made(Call& call, const Answer& answer, std::uint32_t id) {
    return keep_made(call.respond(answer), id);
  }
  template <class Answer>
  Result<> respond_with_queue(Call& call, Answer& answer, std::uint32_t Answer::* descriptor, EventQueue& queue);
  Result<> remove(std::uint32_t id) REQUIRES(mutex_);
  Result<PagesRef> pages_of_file(Program& caller, const FilePart& part);
  Account account_of(Program& caller) {
    return {caller.shared(), user_, options_.memlock, accounting_.load(std::memory_order_relaxed)};
  }

  System& system_;
  LockedMemory& user_;
  const Options& options_;
  Mutex mutex_;
  ObjectTable objects_ GUARDED_BY(mutex_);
  OfferedMmaps mmaps_ GUARDED_BY(mutex_);
  std::map<unsigned, std::weak_ptr<BoundGroup>> groups_ GUARDED_BY(mutex_);
  Ioas* compat_ GUARDED_BY(mutex_) = nullptr;
  std::atomic<Accounting> accounting_{Accounting::user};  // IOMMU_OPTION_RLIMIT_MODE
};

}  // namespace softiommu::iommufd
