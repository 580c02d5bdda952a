// SPDX-License-Identifier: BSD-3-Clause
// Bind mounts where the folder exists; where it does not, an overlay for the parent (sysfs has no mkdir); for /dev a
// tmpfs with each entry of the host bound into it, because a mkdir in /dev would change the host's.
#include "launch/view/namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "launch/run_options.h"

namespace softiommu::launch {
namespace {

namespace fs = std::filesystem;

Result<> check(int result, const char* why) {
  if (result == 0) return {};
  return fail(errno, why);
}

Result<> bind_mount(const std::string& from, const std::string& to) {
  return check(::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr), "a bind mount is refused");
}

// An ordinary user is mapped to itself, so that the program sees its own uid.
Result<> enter() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (user == 0) return check(::unshare(CLONE_NEWNS), "a mount namespace is refused");
  TRY(check(::unshare(CLONE_NEWUSER | CLONE_NEWNS), "a user namespace is refused"));
  TRY(write_text("/proc/self/setgroups", "deny"));
  TRY(write_text("/proc/self/uid_map", fmt::format("{} {} 1", user, user)));
  return write_text("/proc/self/gid_map", fmt::format("{} {} 1", group, group));
}

// The folder itself where the host has it; else it appears in its parent through an overlay.
Result<> show_folder(const std::string& view, const std::string& folder) {
  std::error_code error;
  if (!fs::exists(view + folder, error)) return {};
  if (fs::is_directory(folder, error)) return bind_mount(view + folder, folder);
  const std::string parent = fs::path(folder).parent_path();
  const std::string layers = fmt::format("lowerdir={}:{}", view + parent, parent);
  return check(::mount("overlay", parent.c_str(), "overlay", MS_RDONLY, layers.c_str()), "an overlay is refused");
}

Result<> copy_entry(const fs::directory_entry& entry, const std::string& to) {
  std::error_code error;
  if (entry.is_symlink(error)) {
    fs::copy_symlink(entry.path(), to, error);
    return error ? Result<>(fail(error.value(), "a link cannot be made")) : Result<>{};
  }
  if (entry.is_directory(error)) {
    fs::create_directory(to, error);
  } else {
    const int fd = ::open(to.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) return fail(errno, "a place for a device cannot be made");
    ::close(fd);
  }
  return bind_mount(entry.path(), to);
}

Result<> show_dev(const std::string& view) {
  const std::string fresh = view + "/../dev";
  std::error_code error;
  fs::create_directory(fresh, error);
  TRY(check(::mount("tmpfs", fresh.c_str(), "tmpfs", MS_NOSUID, "mode=0755"), "a tmpfs is refused"));
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    const auto name = entry.path().filename();
    if (name != "vfio" && name != "iommu") TRY(copy_entry(entry, fresh + "/" + name.string()));
  }
  TRY(copy_entry(fs::directory_entry(view + "/dev/iommu"), fresh + "/iommu"));
  fs::create_directory(fresh + "/vfio", error);
  TRY(bind_mount(view + "/dev/vfio", fresh + "/vfio"));
  return bind_mount(fresh, "/dev");
}

}  // namespace

Result<> enter_namespace(const std::string& view) {
  TRY(enter());
  TRY(check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "the mounts cannot be made private"));
  // The view's own folders, deepest parents last: an overlay of a parent would hide what was bound below it.
  std::vector<std::string> folders = {
      "/sys/devices/virtual/iommu", "/sys/devices/virtual/vfio", "/sys/module/vfio", "/sys/bus/pci",
      "/sys/kernel/iommu_groups",   "/sys/kernel/debug",         "/sys/class/iommu", "/sys/class/vfio",
      "/sys/class/vfio-dev"};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(view + "/sys/devices", error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("pci")) folders.push_back("/sys/devices/" + name);
  }
  for (const std::string& folder : folders) TRY(show_folder(view, folder));
  return show_dev(view);
}

}  // namespace softiommu::launch
