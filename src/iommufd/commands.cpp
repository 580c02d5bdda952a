// SPDX-License-Identifier: BSD-3-Clause
// The commands of /dev/iommu: one row each; what they do with an address space is in ioas_commands.cpp, with a hardware
// page table in hwpt_commands.cpp.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include "base/trace.h"
#include "iommufd/abi.h"
#include "iommufd/call.h"
#include "iommufd/context.h"

namespace softiommu::iommufd {

namespace {

struct Command {
  std::string_view name;
  unsigned number;
  std::size_t bytes, minimum;  // of the structure, and what of it a program must have
  Result<> (Context::*run)(Call&);
};

#define ROW(name, number, structure, last, handler) \
  Command { name, number, sizeof(structure), offsetof(structure, last) + sizeof(structure::last), &Context::handler }
constexpr Command kCommands[] = {
    ROW("DESTROY", abi::kDestroy, abi::Destroy, id, destroy),
    ROW("IOAS_ALLOC", abi::kIoasAlloc, abi::IoasAlloc, out_ioas_id, ioas_alloc),
    ROW("IOAS_ALLOW_IOVAS", abi::kIoasAllowIovas, abi::IoasAllowIovas, allowed_iovas, ioas_allow_iovas),
    ROW("IOAS_COPY", abi::kIoasCopy, abi::IoasCopy, src_iova, ioas_copy),
    ROW("IOAS_IOVA_RANGES", abi::kIoasIovaRanges, abi::IoasIovaRanges, out_iova_alignment, ioas_iova_ranges),
    ROW("IOAS_MAP", abi::kIoasMap, abi::IoasMap, iova, ioas_map),
    ROW("IOAS_UNMAP", abi::kIoasUnmap, abi::IoasUnmap, length, ioas_unmap),
    ROW("OPTION", abi::kOption, abi::Option, val64, option),
    ROW("VFIO_IOAS", abi::kVfioIoas, abi::VfioIoas, reserved, vfio_ioas),
    ROW("HWPT_ALLOC", abi::kHwptAlloc, abi::HwptAlloc, reserved, hwpt_alloc),
    ROW("HWPT_SET_DIRTY_TRACKING", abi::kHwptSetDirtyTracking, abi::HwptSetDirtyTracking, reserved,
        hwpt_set_dirty_tracking),
    ROW("HWPT_GET_DIRTY_BITMAP", abi::kHwptGetDirtyBitmap, abi::HwptGetDirtyBitmap, data, hwpt_get_dirty_bitmap),
    ROW("IOAS_MAP_FILE", abi::kIoasMapFile, abi::IoasMapFile, iova, ioas_map_file),
    ROW("IOAS_CHANGE_PROCESS", abi::kIoasChangeProcess, abi::IoasChangeProcess, reserved, ioas_change_process),
    ROW("GET_HW_INFO", abi::kGetHwInfo, abi::HwInfo, reserved, get_hw_info),
};
#undef ROW

constexpr bool fits_the_call() {
  for (const Command& command : kCommands)
    if (command.bytes > Call::kMost) return false;
  return true;
}
static_assert(fits_the_call());

const Command* find(unsigned number) {
  for (const Command& command : kCommands)
    if (command.number == number) return &command;
  return nullptr;
}

bool may_change_accounting() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[0].effective >> CAP_SYS_RESOURCE & 1) != 0;
}

}  // namespace

long Context::ioctl(Program& program, unsigned number, std::uint64_t argument) {
  Call call(program, argument);
  const std::uint64_t begin = trace::on() ? trace::now_ns() : 0;
  const Command* const command = find(number);
  const auto work = [&]() -> Result<> {
    TRY(call.fetch(command->minimum, command->bytes));
    return (this->*command->run)(call);
  };
  if (command == nullptr) return -ENOTTY;
  const Result<> done = without_throwing(work);
  const long answer = done ? 0 : -done.error().code;
  if (trace::on()) {
    trace::span("iommufd", command->name, begin,
                {{"argument", argument}, {"result", static_cast<std::uint64_t>(answer)}});
  }
  return answer;
}

Result<> Context::destroy(Call& call) {
  const MutexLock lock(mutex_);
  return remove(call.request<abi::Destroy>().id);
}

Result<> Context::option(Call& call) {
  auto request = call.request<abi::Option>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  const bool get = request.op == abi::kOptionGet, set = request.op == abi::kOptionSet;
  {
    const MutexLock lock(mutex_);
    if (request.option_id == abi::kOptionRlimitMode) {
      if (request.object_id != 0 || (!get && !set)) return fail(EOPNOTSUPP, "no such operation");
      if (get) request.val64 = accounting_ == Accounting::process ? 1 : 0;
      if (set) {
        if (!may_change_accounting()) return fail(EPERM, "CAP_SYS_RESOURCE is needed");
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
