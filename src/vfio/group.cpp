// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/group.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "vfio/devices.h"
#include "vfio/group_device_file.h"
#include "vfio/iommufd_file.h"
#include "vfio/vf_token.h"

namespace softiommu::vfio {

namespace {

constexpr Command<GroupFile> kRows[] = {
    row<&GroupFile::get_status, GroupFile>("GROUP_GET_STATUS", abi::kGroupGetStatus, sizeof(abi::GroupStatus)),
    row<&GroupFile::set_container, GroupFile>("GROUP_SET_CONTAINER", abi::kGroupSetContainer, 0),
    row<&GroupFile::unset_container, GroupFile>("GROUP_UNSET_CONTAINER", abi::kGroupUnsetContainer, 0),
    row<&GroupFile::get_device_fd, GroupFile>("GROUP_GET_DEVICE_FD", abi::kGroupGetDeviceFd, 0),
};
constexpr CommandTable kCommands(kRows);

constexpr std::string_view kTokenOption = "vf_token=";

// What follows a device's address: blanks and at most one token.
Result<std::optional<Uuid>> parse_options(std::string_view text) {
  std::optional<Uuid> token;
  while (!text.empty()) {
    if (text[0] == ' ') {
      text.remove_prefix(1);
      continue;
    }
    if (token || !text.starts_with(kTokenOption))
      return fail(EINVAL, "unknown or repeated option behind the device's name");
    text.remove_prefix(kTokenOption.size());
    token = parse_uuid(text.substr(0, kUuidLength));
    if (!token) return fail(EINVAL, "vf_token takes a UUID");
    text.remove_prefix(kUuidLength);
  }
  return token;
}

// A string of at most `kMost` bytes with its end, as strndup_user takes it. EFAULT, EINVAL: too long.
Result<std::string> fetch_string(Program& program, std::uint64_t user) {
  constexpr std::size_t kMost = 4096, kPiece = 64;
  std::string text;
  while (text.size() < kMost) {
    // Pieces end at aligned addresses, so that none reaches into a page that the string does not.
    std::array<char, kPiece> piece{};
    const std::size_t bytes = kPiece - (user + text.size()) % kPiece;
    TRY(program.copy_in(piece.data(), user + text.size(), bytes));
    const auto end = std::find(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(bytes), '\0');
    text.append(piece.begin(), end);
    if (end != piece.begin() + static_cast<std::ptrdiff_t>(bytes)) return text;
  }
  return fail(EINVAL, "the device's name is too long");
}

}  // namespace

Result<PciDevice*> VfioGroup::find(std::string_view name) const {
  for (const auto& device : devices_.all()) {
    if (device == nullptr || device->device().group() != &group_ || !device->registration().registered()) continue;
    const std::string& own = device->device().name();
    if (!name.starts_with(own)) continue;
    const std::string_view options = name.substr(own.size());
    if (!options.empty() && options[0] != ' ') continue;
    const auto token = TRY(parse_options(options));
    TRY(device->match_token(token));
    return device.get();
  }
  return fail(ENODEV, "no such device in this group");
}

Result<> VfioGroup::check_alive() const {
  if (!devices_.any_registered(*this)) return fail(ENODEV, "the group's devices are gone");
  return {};
}

void VfioGroup::device_left() {
  const MutexLock lock(mutex_);
  if (!devices_.any_registered(*this)) leave_locked();
}

Result<> VfioGroup::open() {
  const MutexLock lock(mutex_);
  TRY(check_alive());
  if (open_) return fail(EBUSY, "the group's file is open");
  if (blocked_ != 0) return fail(EBUSY, "a device file of the group is bound");
  open_ = true;
  return {};
}

void VfioGroup::close() {
  const MutexLock lock(mutex_);
  leave_locked();
  open_ = false;
}

Result<> VfioGroup::block() {
  const MutexLock lock(mutex_);
  if (open_) return fail(EBUSY, "the group's file is open");
  ++blocked_;
  return {};
}

void VfioGroup::unblock() {
  const MutexLock lock(mutex_);
  --blocked_;
}

void VfioGroup::leave_locked() {
  context_.reset();
  if (container_ == nullptr) return;
  container_->remove(group_);
  container_.reset();
}

Result<> VfioGroup::set_container(std::shared_ptr<Container> container) {
  const MutexLock lock(mutex_);
  TRY(check_alive());
  if (container_ != nullptr || context_ != nullptr) return fail(EINVAL, "the group is in a container");
  TRY(container->add(group_, this));
  container_ = std::move(container);
  return {};
}

Result<> VfioGroup::set_iommufd(std::shared_ptr<iommufd::Context> context) {
  const MutexLock lock(mutex_);
  TRY(check_alive());
  if (container_ != nullptr || context_ != nullptr) return fail(EINVAL, "the group is in a container");
  TRY(context->make_compat_ioas());
  context_ = std::move(context);
  return {};
}

Result<> VfioGroup::unset_container() {
  const MutexLock lock(mutex_);
  if (container_ == nullptr && context_ == nullptr) return fail(EINVAL, "the group is in no container");
  if (users_ != 0) return fail(EBUSY, "a device of the group is open");
  leave_locked();
  return {};
}

bool VfioGroup::in_container() {
  const MutexLock lock(mutex_);
  return container_ != nullptr || context_ != nullptr;
}

std::shared_ptr<iommufd::Context> VfioGroup::context() {
  const MutexLock lock(mutex_);
  return context_;
}

Result<std::uint32_t> VfioGroup::status() {
  const MutexLock lock(mutex_);
  TRY(check_alive());
  if (container_ != nullptr || context_ != nullptr) return abi::kGroupViable | abi::kGroupContainerSet;
  return group_.dma_owner_claimed() ? 0U : abi::kGroupViable;
}

Result<> VfioGroup::use() {
  const MutexLock lock(mutex_);
  if (container_ == nullptr && context_ == nullptr) return fail(EINVAL, "the group is in no container");
  if (container_ != nullptr && !container_->has_iommu())
    return fail(EINVAL, "the container has no IOMMU yet (SET_IOMMU)");
  ++users_;
  return {};
}

void VfioGroup::unuse() {
  const MutexLock lock(mutex_);
  --users_;
}

long GroupFile::ioctl(unsigned int command, std::uint64_t argument) {
  return kCommands.dispatch(*this, program_, "vfio group", command, argument);
}

Result<long> GroupFile::get_status(Call& call) {
  auto status = call.request<abi::GroupStatus>();
  status.flags = TRY(group_.status());
  TRY(call.answer(status));
  return 0;
}

Result<long> GroupFile::set_container(Call& call) {
  const auto descriptor = TRY(call.fetch_at<std::int32_t>(0));
  const auto file = call.program().file_of(descriptor);
  if (!file && file.error().code == EBADF) return std::unexpected(file.error());
  if (group_.in_container()) return fail(EINVAL, "the group is in a container");
  if (!file) return fail(EBADFD, "the descriptor is neither a container nor an iommufd");
  if (const auto* const container = dynamic_cast<const ContainerFile*>(file->get())) {
    TRY(group_.set_container(container->container()));
  } else if (const auto* const iommufd = dynamic_cast<const IommufdFile*>(file->get())) {
    TRY(group_.set_iommufd(iommufd->context()));
  } else {
    return fail(EBADFD, "the descriptor is neither a container nor an iommufd");
  }
  return 0;
}

Result<long> GroupFile::unset_container(Call& /*call*/) {
  TRY(group_.unset_container());
  return 0;
}

Result<long> GroupFile::get_device_fd(Call& call) {
  const std::string name = TRY(fetch_string(call.program(), call.argument()));
  PciDevice* const device = TRY(group_.find(name));
  auto file = TRY(GroupDeviceFile::open(shared_from_this(), *device, call.program()));
  return TRY(call.program().install(std::move(file), O_CLOEXEC));
}

}  // namespace softiommu::vfio
