// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/device_cdev.h"

#include "vfio/iommufd_file.h"

namespace softiommu::vfio {

namespace {

constexpr Command<DeviceCdevFile> kBindRows[] = {
    row<&DeviceCdevFile::bind, DeviceCdevFile>("DEVICE_BIND_IOMMUFD", abi::kDeviceBindIommufd,
                                               abi::kBindIommufdMinimum),
    row<&DeviceCdevFile::attach, DeviceCdevFile>("DEVICE_ATTACH_IOMMUFD_PT", abi::kDeviceAttachIommufdPt,
                                                 abi::kAttachIommufdPtMinimum),
    row<&DeviceCdevFile::detach, DeviceCdevFile>("DEVICE_DETACH_IOMMUFD_PT", abi::kDeviceDetachIommufdPt,
                                                 abi::kDetachIommufdPtMinimum),
};
constexpr CommandTable kCommands(kBindRows);

// The field behind the least structure, which a flag says is there.
template <class Request>
Result<Pasid> pasid_of(const Call& call, std::uint32_t argsz) {
  if (argsz < sizeof(Request)) return fail(EINVAL, "argsz leaves no room for the PASID");
  return call.fetch_at<std::uint32_t>(offsetof(Request, pasid));
}

Result<std::optional<Uuid>> token_of(Call& call, const abi::BindIommufd& request) {
  if ((request.flags & abi::kBindToken) == 0) return std::nullopt;
  if (request.argsz < sizeof request) return fail(EINVAL, "argsz leaves no room for the token");
  const auto where = TRY(call.fetch_at<std::uint64_t>(offsetof(abi::BindIommufd, token_uuid_ptr)));
  Uuid token;
  TRY(call.program().copy_in(token.data(), where, token.size()));
  return token;
}

}  // namespace

DeviceCdevFile::~DeviceCdevFile() {
  const MutexLock lock(mutex_);
  if (bound_) close_bound();
}

long DeviceCdevFile::ioctl(unsigned int command, std::uint64_t argument) {
  if (command != abi::kDeviceBindIommufd && !bound_.load(std::memory_order_acquire)) return -EINVAL;
  if (kCommands.find(command) == nullptr) return DeviceFile::ioctl(command, argument);
  return kCommands.dispatch(*this, program_, device_.device().name(), command, argument);
}

ssize_t DeviceCdevFile::pread(std::uint64_t user, std::size_t bytes, off_t offset) {
  return bound_.load(std::memory_order_acquire) ? DeviceFile::pread(user, bytes, offset) : -EINVAL;
}

ssize_t DeviceCdevFile::pwrite(std::uint64_t user, std::size_t bytes, off_t offset) {
  return bound_.load(std::memory_order_acquire) ? DeviceFile::pwrite(user, bytes, offset) : -EINVAL;
}

int DeviceCdevFile::mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) {
  return bound_.load(std::memory_order_acquire) ? DeviceFile::mmap(offset, bytes, prot, flags, out) : -EINVAL;
}

Result<> DeviceCdevFile::open_bound(std::shared_ptr<iommufd::Context> to) {
  if (device_.is_open()) return fail(EINVAL, "the device is open already");
  TRY(group_.block());
  auto binding = iommufd::Binding::create(std::move(to), device_.device());
  if (binding) {
    if (const auto opened = device_.open(); !opened) binding = std::unexpected(opened.error());
  }
  if (!binding) {
    group_.unblock();
    return std::unexpected(binding.error());
  }
  binding_ = *std::move(binding);
  return {};
}

void DeviceCdevFile::close_bound() {
  device_.close();
  binding_.reset();
  group_.unblock();
}

Result<long> DeviceCdevFile::bind(Call& call) {
  auto request = call.request<abi::BindIommufd>();
  if ((request.flags & ~abi::kBindToken) != 0 || request.iommufd < 0)
    return fail(EINVAL, "unknown flags, or no iommufd");
  const MutexLock lock(mutex_);
  if (bound_) return fail(EINVAL, "the file is bound already");
  const auto token = TRY(token_of(call, request));
  TRY(device_.match_token(token));
  const auto file = call.program().file_of(request.iommufd);
  if (!file) return fail(file.error().code == EBADF ? EBADF : EBADFD, "the descriptor is not an iommufd");
  const auto* const iommufd = dynamic_cast<const IommufdFile*>(file->get());
  if (iommufd == nullptr) return fail(EBADFD, "the descriptor is not an iommufd");
  TRY(open_bound(iommufd->context()));
  request.out_devid = binding_->id();
  if (const auto answered = call.answer(request, abi::kBindIommufdMinimum); !answered) {
    close_bound();
    return std::unexpected(answered.error());
  }
  bound_.store(true, std::memory_order_release);
  return 0;
}

Result<long> DeviceCdevFile::attach(Call& call) {
  auto request = call.request<abi::AttachIommufdPt>();
  if ((request.flags & ~abi::kAttachPasid) != 0) return fail(EINVAL, "unknown flags");
  Pasid pasid = 0;
  if ((request.flags & abi::kAttachPasid) != 0) pasid = TRY(pasid_of<abi::AttachIommufdPt>(call, request.argsz));
  TRY(call.prove_answer(abi::kAttachIommufdPtMinimum));  // what it was attached to before could not be had back
  request.pt_id = TRY(binding_->attach(request.pt_id, pasid));
  TRY(call.answer(request, abi::kAttachIommufdPtMinimum));
  return 0;
}

Result<long> DeviceCdevFile::detach(Call& call) {
  const auto request = call.request<abi::DetachIommufdPt>();
  if ((request.flags & ~abi::kDetachPasid) != 0) return fail(EINVAL, "unknown flags");
  Pasid pasid = 0;
  if ((request.flags & abi::kDetachPasid) != 0) pasid = TRY(pasid_of<abi::DetachIommufdPt>(call, request.argsz));
  binding_->detach(pasid);
  return 0;
}

}  // namespace softiommu::vfio
