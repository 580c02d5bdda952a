// SPDX-License-Identifier: BSD-3-Clause
// Path redirection: the generated /sys and /dev are a folder of the run, and paths into them are rewritten.
//
// The view mirrors the real hierarchy, so relative links, relative paths after chdir and openat inside it work by
// themselves; only paths that enter it need rewriting, and absolute results need the folder taken off again.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "launch/control/control_abi.h"
#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

struct Claim {
  const char* prefix;
  bool whole_name;  // the next character must end the component
};
constexpr Claim kClaims[] = {
    {"/sys/bus/pci", true},
    {"/sys/devices/pci", false},
    {"/sys/kernel/iommu_groups", true},
    {"/sys/class/iommu", true},
    {"/sys/class/vfio-dev", true},
    {"/sys/class/vfio", true},
    {"/sys/module/vfio", false},
    {"/sys/devices/virtual/iommu", true},
    {"/sys/devices/virtual/vfio", true},
    {"/dev/vfio", true},
    {"/dev/iommu", true},
};
constexpr Claim kFaultKnobs = {"/sys/kernel/debug", true};

bool claimed_by(const Claim& claim, const char* path) {
  if (!starts_with(path, claim.prefix)) return false;
  const char after = path[strlen(claim.prefix)];
  return !claim.whole_name || after == '\0' || after == '/';
}

bool claimed(const char* path) {
  for (const Claim& claim : kClaims) {
    if (claimed_by(claim, path)) return true;
  }
  return fault_injection && claimed_by(kFaultKnobs, path);
}

// Takes "." and "//" and, by name only, ".." out of an absolute path.
bool normalise(const char* path, char (&out)[PATH_MAX]) {
  size_t used = 0;
  while (*path != '\0') {
    while (*path == '/') ++path;
    const char* end = strchrnul(path, '/');
    const size_t bytes = static_cast<size_t>(end - path);
    if (bytes == 2 && path[0] == '.' && path[1] == '.') {
      while (used > 0 && out[--used] != '/') {
      }
    } else if (bytes > 0 && !(bytes == 1 && path[0] == '.')) {
      if (used + bytes + 2 > sizeof out) return false;
      out[used++] = '/';
      memcpy(out + used, path, bytes);
      used += bytes;
    }
    path = end;
  }
  out[used] = '\0';
  return true;
}

constexpr char kView[] = "/view";  // in the run's folder

// How much of a text of `bytes` characters is the view's folder; 0: it begins with something else.
size_t view_prefix(const char* text, size_t bytes) {
  const size_t run = strlen(run_dir), prefix = run + sizeof kView - 1;
  if (bytes < prefix || memcmp(text, run_dir, run) != 0 || memcmp(text + run, kView, sizeof kView - 1) != 0) return 0;
  return bytes == prefix || text[prefix] == '/' ? prefix : 0;
}
size_t view_prefix(const char* path) { return view_prefix(path, strlen(path)); }

bool interesting_name(const char* path) {
  return strstr(path, "pci") != nullptr || strstr(path, "iommu") != nullptr || strstr(path, "vfio") != nullptr;
}

// The absolute form of a path relative to a folder; false if it cannot be known or fits nowhere.
bool absolute(int dirfd, const char* path, char (&out)[PATH_MAX]) {
  const long length = observed_folder(dirfd, out);
  if (length <= 0 || static_cast<size_t>(length) + strlen(path) + 2 > sizeof out) return false;
  out[length] = '/';
  strcpy(out + length + 1, path);
  return true;
}

// The program's name for the file, absolute, if it is in the view; nullptr otherwise.
const char* name_in_view(int dirfd, const char* path, char (&buffer)[PATH_MAX]) {
  if (run_dir[0] == '\0' || inside() || path == nullptr) return nullptr;
  const char* whole = path;
  char joined[PATH_MAX];
  if (path[0] != '/') {
    if (path[0] == '\0' || !interesting_name(path) || !absolute(dirfd, path, joined)) return nullptr;
    whole = joined;
  }
  whole += view_prefix(whole);
  if (!starts_with(whole, "/sys/") && !starts_with(whole, "/dev/") && !starts_with(whole, "//")) return nullptr;
  if (!normalise(whole, buffer) || !claimed(buffer)) return nullptr;
  return buffer;
}

// Does the view have a file of this name? `buffer` gets its place.
bool in_view(const char* name, char (&buffer)[PATH_MAX]) {
  return real_place(name, buffer) && raw(SYS_faccessat, AT_FDCWD, word(buffer), 0) == 0;
}

// What follows `prefix`; nullptr: `text` does not begin with it.
const char* after(const char* text, const char* prefix) {
  return starts_with(text, prefix) ? text + strlen(prefix) : nullptr;
}

// Is it the fail-nth of a thread of ours (/proc/thread-self/fail-nth, /proc/P/fail-nth, /proc/P/task/T/fail-nth)?
// `buffer` gets "/proc/self/task/T/fail-nth".
bool fail_nth_file(const char* path, char (&buffer)[PATH_MAX]) {
  static constexpr char kFile[] = "/fail-nth";
  char folder[64], own[32];
  const size_t bytes = strlen(path), tail = sizeof kFile - 1;
  if (!starts_with(path, "/proc/") || bytes >= sizeof folder || strcmp(path + bytes - tail, kFile) != 0) return false;
  memcpy(folder, path, bytes - tail);
  folder[bytes - tail] = '\0';
  snprintf(own, sizeof own, "/proc/%ld", raw(SYS_getpid));
  const char* process = after(folder, "/proc/self");
  if (process == nullptr) process = after(folder, own);
  const char* task = process == nullptr ? nullptr : after(process, "/task/");
  long thread;
  if (strcmp(folder, "/proc/thread-self") == 0) {
    thread = raw(SYS_gettid);
  } else if (process != nullptr && *process == '\0') {
    thread = raw(SYS_getpid);
  } else if (task != nullptr && raw(SYS_faccessat, AT_FDCWD, word(folder), 0) == 0) {
    thread = strtol(task, nullptr, 10);
  } else {
    return false;
  }
  snprintf(buffer, sizeof buffer, "/proc/self/task/%ld%s", thread, kFile);
  return true;
}

// In the view a device file is an empty regular file; programs are told the truth about the device.
constexpr unsigned kMiscMajor = 10, kVfioMinor = 196, kIommuMinor = 125, kVfioMajor = 511, kVfioDeviceMajor = 510;
constexpr char kDeviceFiles[] = "/dev/vfio/devices/vfio";

struct DeviceNode {
  mode_t mode;
  unsigned major, minor;
};

DeviceNode node_of(const char* name) {
  if (strcmp(name, "/dev/vfio/vfio") == 0) return {S_IFCHR | 0666, kMiscMajor, kVfioMinor};
  if (strcmp(name, "/dev/iommu") == 0) return {S_IFCHR | 0666, kMiscMajor, kIommuMinor};
  if (starts_with(name, kDeviceFiles)) {
    const char* number = name + sizeof kDeviceFiles - 1;
    return {S_IFCHR | 0600, kVfioDeviceMajor, static_cast<unsigned>(strtoul(number, nullptr, 10))};
  }
  const char* digits = strrchr(name, '/') + 1;
  return {S_IFCHR | 0600, kVfioMajor, static_cast<unsigned>(strtoul(digits, nullptr, 10))};
}

}  // namespace

bool starts_with(const char* text, const char* prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

bool real_place(const char* name, char (&buffer)[PATH_MAX]) {
  const size_t run = strlen(run_dir), tail = strlen(name) + 1;
  if (run + sizeof kView - 1 + tail > sizeof buffer) return false;
  memcpy(buffer, run_dir, run);
  memcpy(buffer + run, kView, sizeof kView - 1);
  memcpy(buffer + run + sizeof kView - 1, name, tail);
  return true;
}

const char* sysfs_name(int dirfd, const char* path, char (&buffer)[PATH_MAX]) {
  if (run_dir[0] == '\0' || inside() || path == nullptr || path[0] == '\0') return nullptr;
  char joined[PATH_MAX];
  if (path[0] != '/') {
    if (!absolute(dirfd, path, joined)) return nullptr;
    path = joined;
  }
  const char* name = name_in_view(AT_FDCWD, path, buffer);
  if (name == nullptr || claimed_by(kFaultKnobs, name)) return nullptr;  // those are plain files
  return starts_with(name, "/sys/") ? name : nullptr;
}

bool take_view_off(char* path) {
  const size_t prefix = view_prefix(path);
  memmove(path, path + prefix, strlen(path + prefix) + 1);
  return prefix != 0 || !redirecting;
}

Redirected redirect(int dirfd, const char* path, char (&buffer)[PATH_MAX]) {
  if (!redirecting || inside() || path == nullptr) return {path, false};
  if (path[0] == '/' && path[1] != 's' && path[1] != 'd' && path[1] != '/') return {path, false};
  if (view_prefix(path) != 0) return {path, false};
  // The program's own spelling is kept where it can be: ".." after a link is not a matter of names.
  if (claimed(path) && strstr(path, "/..") != nullptr && in_view(path, buffer)) return {buffer, true};
  char name[PATH_MAX];
  if (name_in_view(dirfd, path, name) == nullptr) return {path, false};
  return real_place(claimed(path) ? path : name, buffer) ? Redirected{buffer, true} : Redirected{path, false};
}

const char* device_file(int dirfd, const char* path, char (&buffer)[PATH_MAX]) {
  if (run_dir[0] == '\0' || inside() || path == nullptr) return nullptr;
  if (fault_injection && fail_nth_file(path, buffer)) return buffer;
  if (path[0] == '/' && !starts_with(path, "/dev") && !starts_with(path, run_dir) && path[1] != '/') return nullptr;
  char name[PATH_MAX];
  // A bare name ("vfio", "12") in a folder that may be /dev/vfio needs the folder's path.
  const bool bare = path[0] != '/' && !interesting_name(path) && path[0] >= '0' && path[0] <= '9';
  if (bare) {
    char joined[PATH_MAX];
    if (!absolute(dirfd, path, joined)) return nullptr;
    if (name_in_view(AT_FDCWD, joined, name) == nullptr) return nullptr;
  } else if (name_in_view(dirfd, path, name) == nullptr) {
    return nullptr;
  }
  if (!starts_with(name, "/dev/vfio/") && strcmp(name, "/dev/iommu") != 0) return nullptr;
  // Only what the view has: a path that is not there is the kernel's ENOENT, a folder the kernel's folder.
  char real[PATH_MAX];
  if (!real_place(name, real)) return nullptr;
  char link[1];
  if (raw(SYS_readlinkat, AT_FDCWD, word(real), word(link), 1) != -EINVAL) return nullptr;
  if (raw(SYS_faccessat, AT_FDCWD, word(real), 1 /* X_OK: folders have it */) == 0) return nullptr;
  strcpy(buffer, name);
  return buffer;
}

void show(char* path) {
  const auto bytes = static_cast<long>(strlen(path));
  if (const long left = show(path, bytes); left != bytes) path[left] = '\0';
}

long show(char* text, long bytes) {
  if (run_dir[0] == '\0' || !redirecting || inside() || bytes <= 0) return bytes;
  const auto prefix = static_cast<long>(view_prefix(text, static_cast<size_t>(bytes)));
  memmove(text, text + prefix, static_cast<size_t>(bytes - prefix));
  if (bytes == prefix) text[0] = '/';
  return bytes == prefix ? 1 : bytes - prefix;
}

int descriptor_link(int dirfd, const char* path) {
  if (run_dir[0] == '\0' || inside() || path == nullptr) return -1;
  char joined[PATH_MAX];
  if (path[0] != '/') {
    if (path[0] < '0' || path[0] > '9' || !absolute(dirfd, path, joined)) return -1;
    path = joined;
  }
  if (!starts_with(path, "/proc/")) return -1;
  const char* digits = strstr(path, "/fd/");
  if (digits == nullptr) return -1;
  char own[32];
  snprintf(own, sizeof own, "/proc/%ld/", observed_process());
  if (!starts_with(path, "/proc/self/") && !starts_with(path, "/proc/thread-self/") && !starts_with(path, own))
    return -1;
  int fd = 0;
  for (digits += 4; *digits >= '0' && *digits <= '9' && fd < INT_MAX / 10; ++digits) fd = fd * 10 + (*digits - '0');
  return *digits == '\0' ? fd : -1;
}

int own_descriptor_link(int dirfd, const char* path) {
  const int fd = descriptor_link(dirfd, path);
  return fd >= 0 && owned(fd) ? fd : -1;
}

void make_device(struct stat* out, const char* device_file) {
  const DeviceNode node = node_of(device_file);
  out->st_mode = node.mode;
  out->st_rdev = makedev(node.major, node.minor);
  out->st_size = 0;
  out->st_blocks = 0;
}

bool is_marked(mode_t mode) { return S_ISREG(mode) && (mode & launch::kAttributeMark) != 0; }

void show_attribute(struct stat* out) {
  out->st_mode &= ~static_cast<mode_t>(launch::kAttributeMark);
  out->st_size = launch::kAttributeBytes;
  out->st_blocks = 0;
}

void patch_statx(struct statx* out, const struct stat& plain) {
  out->stx_mode = static_cast<uint16_t>(plain.st_mode);
  out->stx_rdev_major = major(plain.st_rdev);
  out->stx_rdev_minor = minor(plain.st_rdev);
  out->stx_size = static_cast<uint64_t>(plain.st_size);
}

}  // namespace softiommu::shim
