// SPDX-License-Identifier: BSD-3-Clause
// The commands of /dev/iommu: one row each; what they do with an address space is in ioas_commands.cpp, with a hardware
// page table in hwpt_commands.cpp.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <iterator>
#include <string_view>

#include "base/fault.h"
#include "base/trace.h"
#include "iommufd/abi.h"
#include "iommufd/call.h"
#include "iommufd/commands.h"
#include "iommufd/context.h"
#include "iommufd/selftest/operation.h"

namespace softiommu::iommufd {

namespace {

#define ROW(name, number, structure, last, handler, summary)                                                         \
  Command {                                                                                                          \
    name, number, sizeof(structure), offsetof(structure, last) + sizeof(structure::last), &Context::handler, summary \
  }
// clang-format off: a table
constexpr Command kCommands[] = {
    ROW("DESTROY", abi::kDestroy, abi::Destroy, id, destroy,
        "ends an object that nothing uses"),
    ROW("IOAS_ALLOC", abi::kIoasAlloc, abi::IoasAlloc, out_ioas_id, ioas_alloc,
        "makes an address space"),
    ROW("IOAS_ALLOW_IOVAS", abi::kIoasAllowIovas, abi::IoasAllowIovas, allowed_iovas, ioas_allow_iovas,
        "says which addresses stay usable whatever is attached"),
    ROW("IOAS_COPY", abi::kIoasCopy, abi::IoasCopy, src_iova, ioas_copy,
        "maps what another address space maps, or this one elsewhere"),
    ROW("IOAS_IOVA_RANGES", abi::kIoasIovaRanges, abi::IoasIovaRanges, out_iova_alignment, ioas_iova_ranges,
        "asks which addresses can be mapped"),
    ROW("IOAS_MAP", abi::kIoasMap, abi::IoasMap, iova, ioas_map,
        "maps memory of the program"),
    ROW("IOAS_UNMAP", abi::kIoasUnmap, abi::IoasUnmap, length, ioas_unmap,
        "unmaps whole mappings"),
    ROW("OPTION", abi::kOption, abi::Option, val64, option,
        "gets or sets how memory is counted, and large pages"),
    ROW("VFIO_IOAS", abi::kVfioIoas, abi::VfioIoas, reserved, vfio_ioas,
        "gets, sets or clears the address space of type1's calls"),
    ROW("HWPT_ALLOC", abi::kHwptAlloc, abi::HwptAlloc, reserved, hwpt_alloc,
        "makes a page table: of an address space, or nested"),
    ROW("GET_HW_INFO", abi::kGetHwInfo, abi::HwInfo, reserved, get_hw_info,
        "tells of the IOMMU in front of a device"),
    ROW("HWPT_SET_DIRTY_TRACKING", abi::kHwptSetDirtyTracking, abi::HwptSetDirtyTracking, reserved, hwpt_set_dirty_tracking,
        "starts or stops noting what devices write"),
    ROW("HWPT_GET_DIRTY_BITMAP", abi::kHwptGetDirtyBitmap, abi::HwptGetDirtyBitmap, data, hwpt_get_dirty_bitmap,
        "reads, and clears, what devices wrote"),
    ROW("HWPT_INVALIDATE", abi::kHwptInvalidate, abi::HwptInvalidate, reserved, hwpt_invalidate,
        "makes the hardware forget parts of nested page tables"),
    ROW("FAULT_QUEUE_ALLOC", abi::kFaultQueueAlloc, abi::FaultQueueAlloc, out_fault_fd, fault_queue_alloc,
        "makes a file from which page requests are read and to which answers are written"),
    ROW("IOAS_MAP_FILE", abi::kIoasMapFile, abi::IoasMapFile, iova, ioas_map_file,
        "maps a memory file or a DMA-BUF"),
    ROW("VIOMMU_ALLOC", abi::kViommuAlloc, abi::ViommuAlloc, out_viommu_id, viommu_alloc,
        "makes a slice of an IOMMU for a guest"),
    ROW("VDEVICE_ALLOC", abi::kVdeviceAlloc, abi::VdeviceAlloc, virt_id, vdevice_alloc,
        "gives a device the name that a guest's IOMMU has for it"),
    ROW("IOAS_CHANGE_PROCESS", abi::kIoasChangeProcess, abi::IoasChangeProcess, reserved, ioas_change_process,
        "hands mapped files to the process that calls"),
    ROW("VEVENTQ_ALLOC", abi::kVeventqAlloc, abi::VeventqAlloc, out_veventq_fd, veventq_alloc,
        "makes a file from which a guest's events are read"),
    ROW("HW_QUEUE_ALLOC", abi::kHwQueueAlloc, abi::HwQueueAlloc, length, hw_queue_alloc,
        "lets the hardware read a queue in the guest's memory"),
    ROW("TEST_CMD", selftest::abi::kTestCommand, selftest::abi::Command, last, test,
        "the kernel's own tests of a mock IOMMU (`softiommu run --selftest` only)"),
};
// clang-format on
#undef ROW

constexpr bool fits_the_call() {
  for (const Command& command : kCommands)
    if (command.bytes > Call::kMost) return false;
  return true;
}
static_assert(fits_the_call());

// Numbers follow each other, but for the last row's.
constexpr bool numbers_are_indices() {
  for (unsigned number = abi::kDestroy; number <= abi::kLast; ++number)
    if (kCommands[number - abi::kDestroy].number != number) return false;
  return std::size(kCommands) == abi::kLast - abi::kDestroy + 2;
}
static_assert(numbers_are_indices());

const Command* find(unsigned number) {
  if (number >= abi::kDestroy && number <= abi::kLast) return &kCommands[number - abi::kDestroy];
  const Command& last = std::end(kCommands)[-1];
  return number == last.number ? &last : nullptr;
}

bool may_change_accounting() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[0].effective >> CAP_SYS_RESOURCE & 1) != 0;
}

}  // namespace

std::span<const Command> commands() { return kCommands; }

long Context::ioctl(Program& program, unsigned number, std::uint64_t argument) {
  Call call(program, argument);
  const std::uint64_t begin = trace::on() ? trace::now_ns() : 0;
  const Command* const command = find(number);
  const auto work = [&]() -> Result<> {
    const fault::Call fallible;
    TRY(call.fetch(command->minimum, command->bytes));
    return (this->*command->run)(call);
  };
  const bool hidden = number == selftest::abi::kTestCommand && options_.selftest == nullptr;
  if (command == nullptr || hidden) return -ENOTTY;
  const Result<> done = without_throwing(work);
  const long answer = done ? call.value() : -done.error().code;
  if (trace::on()) {
    trace::span("iommufd", command->name, begin,
                {{"argument", argument}, {"result", static_cast<std::uint64_t>(answer)}});
  }
  return answer;
}

Result<> Context::test(Call& call) { return selftest::run(*this, *options_.selftest, call); }

Result<> Context::destroy(Call& call) {
  const MutexLock lock(mutex_);
  return remove(call.request<abi::Destroy>().id);
}

Result<> Context::option(Call& call) {
  auto request = call.request<abi::Option>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  const bool get = request.op == abi::kOptionGet, set = request.op == abi::kOptionSet;
  TRY(call.prove_response());
  {
    const MutexLock lock(mutex_);
    if (request.option_id == abi::kOptionRlimitMode) {
      if (request.object_id != 0 || (!get && !set)) return fail(EOPNOTSUPP, "no such operation");
      if (get) request.val64 = accounting_ == Accounting::process ? 1 : 0;
      if (set) {
        // A run for the kernel's tests is privileged as those expect, also where the host's root is not.
        if (options_.selftest == nullptr && !may_change_accounting()) return fail(EPERM, "CAP_SYS_RESOURCE is needed");
        if (!objects_.empty()) return fail(EBUSY, "there are objects already");
        if (request.val64 > 1) return fail(EINVAL, "the mode is 0 or 1");
        accounting_ = request.val64 == 1 ? Accounting::process : Accounting::user;
      }
    } else if (request.option_id == abi::kOptionHugePages) {
      auto* const ioas = objects_.find<Ioas>(request.object_id);
      if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
      if (!get && !set) return fail(EOPNOTSUPP, "no such operation");
      if (get) request.val64 = ioas->table().large_pages() ? 1 : 0;
      if (set && request.val64 > 1) return fail(EINVAL, "the value is 0 or 1");
      if (set && request.val64 == 0) TRY(ioas->table().disable_large_pages());
      if (set && request.val64 == 1) ioas->table().enable_large_pages();
    } else {
      return fail(EOPNOTSUPP, "no such option");
    }
  }
  return call.respond(request);
}

}  // namespace softiommu::iommufd
