// SPDX-License-Identifier: BSD-3-Clause
// /proc/PID/status of the run's processes: VmLck and VmPin show what is pinned through us.
//
// Only an open of such a path looks at the run's table, and only if it counts something is the text changed: the
// program then gets a memory file with the host's text and the two numbers raised.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "launch/service/account_table.h"
#include "launch/shim/shim.h"

using softiommu::launch::AccountTable;

namespace softiommu::shim {
namespace {

constexpr size_t kMostText = 8192;
constexpr uint64_t kPageKilobytes = 4;

// The process whose status the path is; 0: it is not such a path.
int32_t process_of(const char* path) {
  static constexpr char kProc[] = "/proc/", kStatus[] = "/status";
  const size_t length = strlen(path);
  if (!starts_with(path, kProc) || length < sizeof kStatus ||
      strcmp(path + length - (sizeof kStatus - 1), kStatus) != 0)
    return 0;
  const char* name = path + sizeof kProc - 1;
  if (starts_with(name, "self/") || starts_with(name, "thread-self/")) return static_cast<int32_t>(observed_process());
  return atoi(name);
}

AccountTable::Sum counted(int32_t process) {
  char path[PATH_MAX];
  const int length = snprintf(path, sizeof path, "%s/accounts", run_dir);
  if (length < 0 || static_cast<size_t>(length) >= sizeof path) return {};
  const long fd = raw(SYS_openat, AT_FDCWD, word(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const long page = raw(SYS_mmap, 0, sizeof(AccountTable), PROT_READ, MAP_SHARED, fd, 0);
  raw(SYS_close, fd);
  if (page < 0 && page > -4096) return {};
  const AccountTable::Sum sum = reinterpret_cast<const AccountTable*>(page)->of(process);
  raw(SYS_munmap, page, sizeof(AccountTable));
  return sum;
}

// Adds to the number in the line that begins with `name`; the text has room. Its new length.
size_t raise(char* text, size_t length, const char* name, uint64_t kilobytes) {
  char* line = strstr(text, name);
  char* end = line == nullptr ? nullptr : strchr(line, '\n');
  if (end == nullptr || kilobytes == 0) return length;
  char fresh[64];
  const uint64_t present = strtoull(line + strlen(name), nullptr, 10);
  const int bytes =
      snprintf(fresh, sizeof fresh, "%s\t%8llu kB", name, static_cast<unsigned long long>(present + kilobytes));
  const size_t rest = static_cast<size_t>(text + length - end);
  if (bytes < 0 || length + sizeof fresh > kMostText) return length;
  memmove(line + bytes, end, rest + 1);
  memcpy(line, fresh, static_cast<size_t>(bytes));
  return static_cast<size_t>(line - text) + static_cast<size_t>(bytes) + rest;
}

long read_whole(int32_t process, char (&text)[kMostText + 1]) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/status", process);
  const long fd = raw(SYS_openat, AT_FDCWD, word(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fd;
  long length = 0;
  for (long got; (got = raw(SYS_read, fd, word(text + length), static_cast<long>(kMostText) - length)) > 0;)
    length += got;
  raw(SYS_close, fd);
  text[length] = '\0';
  return length;
}

}  // namespace

long open_status(const char* path, int flags) {
  if (run_dir[0] == '\0' || inside() || path == nullptr || path[0] != '/' || path[1] != 'p') return kNotStatus;
  const int32_t process = process_of(path);
  if (process <= 0 || (flags & O_ACCMODE) != O_RDONLY) return kNotStatus;
  const AccountTable::Sum sum = counted(process);
  char text[kMostText + 1];
  const long read = sum.locked + sum.pinned == 0 ? -ENOENT : read_whole(process, text);
  if (read <= 0) return kNotStatus;
  size_t length = raise(text, static_cast<size_t>(read), "VmLck:", sum.locked * kPageKilobytes);
  length = raise(text, length, "VmPin:", sum.pinned * kPageKilobytes);
  const long fd = raw(SYS_memfd_create, word("status"), (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0u);
  if (fd < 0) return kNotStatus;
  raw(SYS_pwrite64, fd, word(text), static_cast<long>(length), 0);
  return fd;
}

}  // namespace softiommu::shim
