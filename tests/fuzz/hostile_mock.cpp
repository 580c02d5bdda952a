// SPDX-License-Identifier: BSD-3-Clause
#include "hostile_mock.h"

#include <tuple>

#include "drivers/mock_abi.h"
#include "iommufd/selftest/abi.h"

namespace softiommu::test {

namespace {

namespace fd = iommufd::abi;
namespace mabi = mock::abi;
namespace tabi = iommufd::selftest::abi;

constexpr std::string_view kIommufd = "/dev/iommu", kAccess = "anon_inode:[iommufd_test", kDmaBuf = "/dmabuf",
                           kQueue = "anon_inode:[iommufd-";

}  // namespace

template <class T>
bool HostileMock::call(int descriptor, unsigned command, const T& request) {
  std::ignore = program_.copy_out(block_, &request, sizeof request);
  const auto file = program_.get(descriptor);
  return file != nullptr && file->ioctl(command, block_) >= 0;
}

template <class Set>
bool HostileMock::test(int descriptor, Set&& set) {
  tabi::Command request{};
  request.size = sizeof request;
  set(request);
  return call(descriptor, tabi::kTestCommand, request);
}

// Few pages of the aperture, so that everybody meets there.
std::uint64_t HostileMock::iova() {
  return choice_.one_in(10) ? choice_.number() : mabi::kApertureFirst + choice_.below(8) * kPageSize;
}

bool HostileMock::plug(int iommufd) {
  const bool replace = choice_.one_in(2);
  return test(iommufd, [&](tabi::Command& ask) {
    ask.op = replace ? tabi::Op::mock_domain_replace : tabi::Op::mock_domain_flags;
    ask.id = object();
    if (replace)
      ask.mock_domain_replace.pt_id = object();
    else
      ask.mock_domain.dev_flags = static_cast<std::uint32_t>(choice_.below(8));
  });
}

bool HostileMock::map(int iommufd) {
  constexpr std::uint32_t kBoth = fd::kMapFixedIova | fd::kMapReadable | fd::kMapWriteable;
  if (choice_.one_in(3))
    return call(iommufd, fd::kIoasUnmap, fd::IoasUnmap{sizeof(fd::IoasUnmap), object(), iova(), bytes()});
  return call(iommufd, fd::kIoasMap, fd::IoasMap{sizeof(fd::IoasMap), kBoth, object(), 0, user(), bytes(), iova()});
}

bool HostileMock::use_access(int iommufd) {
  const std::uint64_t what = choice_.below(6);
  return test(iommufd, [&](tabi::Command& ask) {
    ask.id = what == 0 ? object() : descriptor_of(kAccess);
    switch (what) {
      case 0:
        ask.op = tabi::Op::create_access;
        ask.create_access.flags = static_cast<std::uint32_t>(choice_.below(2));
        break;
      case 1:
      case 2:
        ask.op = tabi::Op::access_pages;
        ask.access_pages = {static_cast<std::uint32_t>(choice_.below(2)), 0, iova(), bytes(), 0};
        break;
      case 3:
        ask.op = tabi::Op::destroy_access_pages;
        ask.destroy_access_pages.access_pages_id = static_cast<std::uint32_t>(choice_.below(8));
        break;
      case 4:
        ask.op = tabi::Op::access_rw;
        ask.access_rw = {iova(), choice_.below(2 * kPageSize), user(), choice_.one_in(2) ? 5U : 0U};
        break;
      default:
        ask.op = tabi::Op::access_replace_ioas;
        ask.access_replace_ioas.ioas_id = object();
    }
  });
}

bool HostileMock::use_guest(int iommufd) {
  switch (choice_.below(4)) {
    case 0:
      return call(iommufd, fd::kViommuAlloc,
                  fd::ViommuAlloc{sizeof(fd::ViommuAlloc), 0, mabi::kViommuType, object(), object(), 0,
                                  choice_.one_in(2) ? 0U : 24U, 0, user()});
    case 1:
      return call(iommufd, fd::kVdeviceAlloc,
                  fd::VdeviceAlloc{sizeof(fd::VdeviceAlloc), object(), object(), 0, choice_.below(3)});
    case 2:
      return call(iommufd, fd::kVeventqAlloc,
                  fd::VeventqAlloc{sizeof(fd::VeventqAlloc), 0, object(), mabi::kVeventqType, 2, 0, 0, 0});
    default:
      return call(iommufd, fd::kHwQueueAlloc,
                  fd::HwQueueAlloc{sizeof(fd::HwQueueAlloc), 0, object(), mabi::kHwQueueType,
                                   static_cast<std::uint32_t>(choice_.below(3)), 0, iova(), bytes()});
  }
}

bool HostileMock::make_nested(int iommufd) {
  const mabi::HwptData data{7, 0};
  std::ignore = program_.copy_out(block_ + kPageSize, &data, sizeof data);
  fd::HwptAlloc request{};
  request.size = sizeof request;
  request.flags = static_cast<std::uint32_t>(choice_.below(16));
  request.dev_id = object();
  request.pt_id = object();
  request.fault_id = object();
  if (choice_.one_in(2)) {
    request.data_type = mabi::kHwptDataType;
    request.data_len = sizeof data;
    request.data_uptr = user();
  }
  return call(iommufd, fd::kHwptAlloc, request);
}

bool HostileMock::invalidate(int iommufd) {
  const auto count = static_cast<std::uint32_t>(choice_.below(600));
  return call(iommufd, fd::kHwptInvalidate,
              fd::HwptInvalidate{sizeof(fd::HwptInvalidate), object(), user(), mabi::kHwptInvalidateType,
                                 choice_.one_in(2) ? 8U : 12U, count, 0});
}

bool HostileMock::use_pasid(int iommufd) {
  constexpr tabi::Op kOps[] = {tabi::Op::pasid_attach, tabi::Op::pasid_replace, tabi::Op::pasid_detach};
  return test(iommufd, [&](tabi::Command& ask) {
    ask.op = kOps[choice_.below(std::size(kOps))];
    ask.id = object();
    ask.pasid_attach = {1 + static_cast<std::uint32_t>(choice_.below(2)), object()};
  });
}

bool HostileMock::use_queue(int iommufd) {
  if (choice_.one_in(6))
    return call(iommufd, fd::kFaultQueueAlloc, fd::FaultQueueAlloc{sizeof(fd::FaultQueueAlloc), 0, 0, 0});
  const auto file = program_.get(program_.pick(choice_, kQueue));
  if (file == nullptr) return false;
  std::ignore = file->poll();
  if (choice_.one_in(2)) return file->pread(user(), choice_.below(4) * sizeof(fd::PageFault), 0) > 0;
  const fd::PageResponse response{static_cast<std::uint32_t>(choice_.below(4)), 0};
  std::ignore = program_.copy_out(block_, &response, sizeof response);
  return file->pwrite(block_, sizeof response, 0) > 0;
}

bool HostileMock::use_dma_buf(int iommufd) {
  const std::uint64_t what = choice_.below(3);
  if (what == 0) {
    constexpr std::uint32_t kBoth = fd::kMapFixedIova | fd::kMapReadable | fd::kMapWriteable;
    return call(iommufd, fd::kIoasMapFile,
                fd::IoasMapFile{sizeof(fd::IoasMapFile), kBoth, object(), static_cast<int>(descriptor_of(kDmaBuf)), 0,
                                kPageSize, iova()});
  }
  return test(iommufd, [&](tabi::Command& ask) {
    ask.op = what == 1 ? tabi::Op::dmabuf_get : tabi::Op::dmabuf_revoke;
    if (what == 1)
      ask.dmabuf_get = {static_cast<std::uint32_t>(choice_.below(3 * kPageSize)), 0};
    else
      ask.dmabuf_revoke = {static_cast<int>(descriptor_of(kDmaBuf)), static_cast<std::uint32_t>(choice_.below(2))};
  });
}

bool HostileMock::trigger(int iommufd) {
  return test(iommufd, [&](tabi::Command& ask) {
    if (choice_.one_in(2)) {
      ask.op = tabi::Op::trigger_iopf;
      ask.trigger_iopf = {object(), static_cast<std::uint32_t>(choice_.below(3)), 1, 3, iova()};
    } else {
      ask.op = tabi::Op::trigger_vevent;
      ask.trigger_vevent = {object()};
    }
  });
}

unsigned HostileMock::step() {
  constexpr bool (HostileMock::* kSteps[])(int) = {
      &HostileMock::plug,      &HostileMock::map,         &HostileMock::use_access, &HostileMock::use_access,
      &HostileMock::use_guest, &HostileMock::make_nested, &HostileMock::invalidate, &HostileMock::use_pasid,
      &HostileMock::use_queue, &HostileMock::use_dma_buf, &HostileMock::trigger};
  unsigned served = 0;
  const int iommufd = program_.pick(choice_, kIommufd);
  for (int i = 0; i < 4; ++i) served += (this->*kSteps[choice_.below(std::size(kSteps))])(iommufd) ? 1 : 0;
  return served;
}

}  // namespace softiommu::test
