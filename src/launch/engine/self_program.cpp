// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/self_program.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "base/fault.h"
#include "base/guarded_copy.h"
#include "launch/engine/shim_services.h"

namespace softiommu::launch {

namespace {

// A program built with MemorySanitizer hears what was written without its knowledge; nullptr: it is not.
using Written = void (*)(const volatile void* memory, std::size_t bytes);
Written find_unpoison() { return reinterpret_cast<Written>(::dlsym(RTLD_DEFAULT, "__msan_unpoison")); }

void tell_written(std::uint64_t user, std::uint64_t bytes) {
  static const Written written = find_unpoison();
  if (written != nullptr) written(reinterpret_cast<const void*>(user), bytes);
}

}  // namespace

Result<> SelfProgram::copy_in(void* to, std::uint64_t user, std::size_t bytes) {
  TRY(fault::pass("program.copy_in", EFAULT));
  if (guarded_copy(to, reinterpret_cast<const void*>(user), bytes)) return {};
  return fail(EFAULT, "the program's memory cannot be read");
}

Result<> SelfProgram::copy_out(std::uint64_t user, const void* from, std::size_t bytes) {
  TRY(fault::pass("program.copy_out", EFAULT));
  if (guarded_copy(reinterpret_cast<void*>(user), from, bytes)) {
    tell_written(user, bytes);
    return {};
  }
  return fail(EFAULT, "the program's memory cannot be written");
}

Result<> SelfProgram::check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) {
  TRY(fault::pass("program.pin"));
  if (ended_) return fail(EFAULT, "the process has ended");
  TRY(mappings_.check(user, bytes, write));
  if (write) tell_written(user, bytes);  // by devices, from now on
  return {};
}

Result<PhysAddr> SelfProgram::registers_at(std::uint64_t user, std::uint64_t bytes, bool write) {
  return regions_.physical_at(user, bytes, write);
}

Result<int> SelfProgram::install(std::shared_ptr<File> file, int flags) {
  return descriptors_.install(std::move(file), flags | O_RDWR);
}

void SelfProgram::take_back(int descriptor) { descriptors_.close(descriptor); }

Result<std::shared_ptr<File>> SelfProgram::file_of(int descriptor) {
  const auto use = descriptors_.find(descriptor);
  if (use) {
    if (use->peer < 0) return fail(EINVAL, "the descriptor belongs to another process's machine");
    return use->file;
  }
  if (::fcntl(descriptor, F_GETFD) < 0) return fail(EBADF, "no such descriptor");
  return fail(EINVAL, "the descriptor is not a file of ours");
}

Result<std::unique_ptr<FileMapping>> SelfProgram::map_file(const FilePart& part) {
  if (descriptors_.find(part.descriptor)) return fail(EINVAL, "the descriptor is not a memory file");
  TRY(fault::pass("program.file"));
  auto mapping = TRY(FileMapping::create(part));
  mappings_.invalidate();
  return mapping;
}

Result<int> SelfProgram::take_eventfd(int descriptor) {
  TRY(fault::pass("program.eventfd", EMFILE));
  char path[40], link[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  const ssize_t length = ::readlink(path, link, sizeof link);
  if (length < 0) return fail(EBADF, "no such descriptor");
  if (std::string_view(link, static_cast<std::size_t>(length)) != "anon_inode:[eventfd]") {
    return fail(EINVAL, "the descriptor is not an eventfd");
  }
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return fail(errno, "no descriptor is left");
  const int hidden = hide_descriptor(copy);
  if (hidden < 0) return fail(EMFILE, "no descriptor is left");
  return hidden;
}

}  // namespace softiommu::launch
