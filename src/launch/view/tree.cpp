// SPDX-License-Identifier: BSD-3-Clause
#include "launch/view/tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "launch/control/control_abi.h"

namespace softiommu::launch {

void Tree::folder(const std::string& path) {
  if (error_ != 0) return;
  std::error_code error;
  std::filesystem::create_directories(root_ + "/" + path, error);
  if (error) error_ = error.value();
}

// Most files are new, in a folder that is there: that is tried first, since a run makes hundreds of them at its start.
int Tree::open_for_writing(const std::string& path, mode_t mode) {
  constexpr mode_t kOwner = S_IRUSR | S_IWUSR;
  constexpr int kNew = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC;
  const std::string place = root_ + "/" + path;
  int fd = ::open(place.c_str(), kNew, kOwner);
  if (fd < 0 && errno == ENOENT) {
    folder(path.substr(0, path.rfind('/')));
    fd = ::open(place.c_str(), kNew, kOwner);
  }
  if (fd >= 0 || errno != EEXIST) return fd;
  (void)::chmod(place.c_str(), mode | kOwner);  // with its mark: who opens it meanwhile sees a file of sysfs
  return ::open(place.c_str(), O_WRONLY | O_CLOEXEC);
}

void Tree::file(const std::string& path, std::string_view contents, mode_t mode) {
  if (error_ != 0) return;
  const int fd = open_for_writing(path, mode);
  if (fd < 0) {
    if (error_ == 0) error_ = errno;
    return;
  }
  const auto bytes = static_cast<ssize_t>(contents.size());
  if (::pwrite(fd, contents.data(), contents.size(), 0) != bytes || ::ftruncate(fd, bytes) != 0) error_ = EIO;
  if (::fchmod(fd, mode) != 0) error_ = errno;
  ::close(fd);
}

void Tree::attribute(const std::string& path, std::string_view contents, mode_t mode) {
  constexpr mode_t kWrite = S_IWUSR | S_IWGRP | S_IWOTH;
  if (shown_ != nullptr && (mode & kWrite) != 0) shown_->insert_or_assign(path, contents);
  file(path, contents, mode | kAttributeMark);
}

void Tree::link(const std::string& path, const std::string& target) {
  if (error_ != 0) return;
  const std::string parent = path.substr(0, path.rfind('/')), place = root_ + "/" + path;
  const std::string relative = std::filesystem::path("/" + target).lexically_relative("/" + parent);
  if (::symlink(relative.c_str(), place.c_str()) == 0) return;
  if (errno == ENOENT) folder(parent);
  (void)::unlink(place.c_str());
  if (error_ == 0 && ::symlink(relative.c_str(), place.c_str()) != 0) error_ = errno;
}

void Tree::remove(const std::string& path) {
  if (error_ != 0) return;
  std::error_code error;
  std::filesystem::remove_all(root_ + "/" + path, error);
  if (error) error_ = error.value();
}

}  // namespace softiommu::launch
