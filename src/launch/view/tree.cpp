// SPDX-License-Identifier: BSD-3-Clause
#include "launch/view/tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

namespace softiommu::launch {

void Tree::folder(const std::string& path) {
  if (error_ != 0) return;
  std::error_code error;
  std::filesystem::create_directories(root_ + "/" + path, error);
  if (error) error_ = error.value();
}

void Tree::file(const std::string& path, std::string_view contents, mode_t mode) {
  folder(path.substr(0, path.rfind('/')));
  if (error_ != 0) return;
  const int fd = ::open((root_ + "/" + path).c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) {
    error_ = errno;
    return;
  }
  if (::write(fd, contents.data(), contents.size()) != static_cast<ssize_t>(contents.size())) error_ = EIO;
  ::close(fd);
}

void Tree::link(const std::string& path, const std::string& target) {
  const std::string parent = path.substr(0, path.rfind('/'));
  folder(parent);
  if (error_ != 0) return;
  const std::string relative = std::filesystem::path("/" + target).lexically_relative("/" + parent);
  if (::symlink(relative.c_str(), (root_ + "/" + path).c_str()) != 0) error_ = errno;
}

}  // namespace softiommu::launch
