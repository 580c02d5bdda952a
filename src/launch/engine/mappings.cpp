// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/mappings.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>

namespace softiommu::launch {
namespace {

std::string read_whole(const char* path) {
  std::string text;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char part[16384];
  for (ssize_t got; (got = ::read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<std::size_t>(got));
  ::close(fd);
  return text;
}

// "7f12-7f34 rw-p 00000000 00:00 0   [heap]"
bool parse_line(const std::string& line, Mapping& out) {
  unsigned long start = 0, end = 0, offset = 0, inode = 0;
  unsigned device_major = 0, device_minor = 0;
  int path = 0;
  char rights[5] = "";
  if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, rights, &offset, &device_major,
                  &device_minor, &inode, &path) != 7) {
    return false;
  }
  out.first = start;
  out.last = end - 1;
  out.read = rights[0] == 'r';
  out.write = rights[1] == 'w';
  out.shared = rights[3] == 's';
  out.anonymous = inode == 0;
  out.prot = (out.read ? PROT_READ : 0) | (out.write ? PROT_WRITE : 0) | (rights[2] == 'x' ? PROT_EXEC : 0);
  out.offset = offset;
  out.device = makedev(device_major, device_minor);
  out.inode = inode;
  out.path = path > 0 ? line.substr(static_cast<std::size_t>(path)) : std::string();
  return true;
}

}  // namespace

std::vector<Mapping> parse_mappings(const std::string& text, std::uintptr_t first, std::uintptr_t last) {
  std::vector<Mapping> found;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    Mapping mapping;
    if (parse_line(text.substr(at, end - at), mapping) && mapping.first <= last && first <= mapping.last)
      found.push_back(std::move(mapping));
    at = end + 1;
  }
  return found;
}

std::string own_maps() { return read_whole("/proc/self/maps"); }

Result<> Mappings::check_elsewhere(std::uintptr_t first, std::size_t bytes, bool write) {
  if (bytes == 0 || first + (bytes - 1) < first) return fail(EFAULT, "the range wraps around");
  const std::uintptr_t last = first + (bytes - 1);
  const MutexLock lock(mutex_);
  if (covers_locked(first, last, write)) return {};
  refresh_locked();
  if (covers_locked(first, last, write)) return {};
  return fail(EFAULT, "the memory is not mapped, or not with the access that the device gets");
}

bool Mappings::covers_locked(std::uintptr_t first, std::uintptr_t last, bool write) {
  auto at = std::upper_bound(list_.begin(), list_.end(), first,
                             [](std::uintptr_t a, const Mapping& m) { return a < m.first; });
  if (at == list_.begin()) return false;
  for (--at; at != list_.end() && at->first <= first && first <= at->last; ++at) {
    if (!at->read || (write && !at->write)) return false;
    if (last <= at->last) {
      latest_ = static_cast<std::size_t>(at - list_.begin());
      return true;
    }
    first = at->last + 1;
  }
  return false;
}

void Mappings::refresh_locked() {
  list_.clear();
  try {
    list_ = parse_mappings(own_maps());
  } catch (const std::bad_alloc&) {
    list_.clear();
  }
}

void Mappings::invalidate() {
  const MutexLock lock(mutex_);
  list_.clear();
}

bool Mappings::find(std::uintptr_t address, Mapping& out) {
  const MutexLock lock(mutex_);
  refresh_locked();
  const auto at =
      std::ranges::find_if(list_, [&](const Mapping& m) { return m.first <= address && address <= m.last; });
  if (at == list_.end()) return false;
  out = *at;
  return true;
}

}  // namespace softiommu::launch
