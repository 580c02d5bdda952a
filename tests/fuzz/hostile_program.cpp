// SPDX-License-Identifier: BSD-3-Clause
#include "hostile_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/guarded_copy.h"
#include "base/types.h"

namespace softiommu::test {

namespace {

constexpr std::uint64_t kLargePage = std::uint64_t{2} << 20;

struct sigaction before_segv, before_bus;

// Faults that are no guarded copy's are the sanitizer's, or nobody's.
void on_fault(int signal, siginfo_t* info, void* context) {
  if (guarded_copy_recover(static_cast<ucontext_t*>(context))) return;
  const struct sigaction& before = signal == SIGBUS ? before_bus : before_segv;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else {
    ::signal(signal, SIG_DFL);
  }
}

void guard_copies() {
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
}

void* pointer(std::uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

Arena::Arena() {
  void* const pages = mmap(nullptr, kBytes + kLargePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto start = reinterpret_cast<std::uint64_t>(pages);
  first_ = (start + kLargePage - 1) / kLargePage * kLargePage;
  munmap(pages, first_ - start);
  munmap(pointer(first_ + kBytes), start + kLargePage - first_);
  mprotect(pointer(first_ + kReadOnly), kAbsent - kReadOnly, PROT_READ);
  mprotect(pointer(first_ + kAbsent), kBytes - kAbsent, PROT_NONE);
}

Arena::~Arena() { munmap(pointer(first_), kBytes); }

bool Arena::holds(std::uint64_t user, std::uint64_t bytes) const {
  return user >= first_ && bytes <= kBytes && user - first_ <= kBytes - bytes;
}

bool Arena::accessible(std::uint64_t user, std::uint64_t bytes, bool write) const {
  return holds(user, bytes) && user - first_ + bytes <= (write ? kReadOnly : kAbsent);
}

std::uint64_t Arena::hostile_address(Choice& choice) const {
  switch (choice.below(8)) {
    case 0:
      return choice.below(kPageSize);
    case 1:
      return ~choice.below(kPageSize);
    case 2:
      return std::uint64_t{1} << (47 + choice.below(17));  // what no process has
    case 3:
      return first_ + kAbsent - choice.below(64);
    case 4:
      return first_ + kReadOnly - choice.below(64);
    default:
      return first_ + choice.below(kBytes);
  }
}

void Arena::replace(Memory& memory, std::uint64_t offset, std::uint64_t bytes) const {
  if (memory.any_pinned(first_ + offset, bytes) && !memory.move_aside(first_ + offset, bytes)) return;
  mmap(pointer(first_ + offset), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

HostileProgram::HostileProgram() {
  guard_copies();
  for (int& event : eventfds_) event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

HostileProgram::~HostileProgram() {
  close_all();
  for (const int event : eventfds_) ::close(event);
  sigaction(SIGSEGV, &before_segv, nullptr);
  sigaction(SIGBUS, &before_bus, nullptr);
}

Result<> HostileProgram::copy_in(void* to, std::uint64_t user, std::size_t bytes) {
  if (bytes != 0 && !guarded_copy(to, pointer(user), bytes)) return fail(EFAULT, "not mapped");
  return {};
}

// Outside of the arena this process itself would be overwritten.
Result<> HostileProgram::copy_out(std::uint64_t user, const void* from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (!arena_.holds(user, bytes) || !guarded_copy(pointer(user), from, bytes)) return fail(EFAULT, "not mapped");
  return {};
}

Result<> HostileProgram::check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) {
  if (!arena_.accessible(user, bytes, write)) return fail(EFAULT, "not mapped");
  return {};
}

Result<int> HostileProgram::install(std::shared_ptr<File> file, int) {
  const std::scoped_lock lock(mutex_);
  constexpr std::size_t kMost = 40;
  if (files_.size() >= kMost) return fail(EMFILE, "too many open files");
  files_[next_] = std::move(file);
  return next_++;
}

Result<std::shared_ptr<File>> HostileProgram::file_of(int descriptor) {
  if (auto file = get(descriptor)) return file;
  if (fcntl(descriptor, F_GETFD) == -1) return fail(EBADF, "closed");
  return fail(EINVAL, "not ours");
}

Result<std::unique_ptr<FileMapping>> HostileProgram::map_file(const FilePart& part) {
  if (std::ranges::find(eventfds_, part.descriptor) == eventfds_.end()) return fail(EBADF, "closed");
  return FileMapping::create(part);
}

Result<int> HostileProgram::take_eventfd(int descriptor) {
  for (const int event : eventfds_) {
    if (event != descriptor) continue;
    const int copy = dup(descriptor);
    return copy < 0 ? Result<int>(fail(EBADF, "closed")) : Result<int>(copy);
  }
  return fail(descriptor < 0 ? EBADF : EINVAL, "not an eventfd");
}

int HostileProgram::pick(Choice& choice, std::string_view path) {
  const std::scoped_lock lock(mutex_);
  std::vector<int> fitting;
  for (const auto& [descriptor, file] : files_) {
    if (file->path().starts_with(path)) fitting.push_back(descriptor);
  }
  return fitting.empty() ? -1 : fitting[choice.below(fitting.size())];
}

std::shared_ptr<File> HostileProgram::get(int descriptor) {
  const std::scoped_lock lock(mutex_);
  const auto found = files_.find(descriptor);
  return found == files_.end() ? nullptr : found->second;
}

std::size_t HostileProgram::open_count() {
  const std::scoped_lock lock(mutex_);
  return files_.size();
}

void HostileProgram::close(int descriptor) {
  std::shared_ptr<File> file;  // it goes without the lock
  {
    const std::scoped_lock lock(mutex_);
    const auto found = files_.find(descriptor);
    if (found == files_.end()) return;
    file = std::move(found->second);
    files_.erase(found);
  }
  file->release();
}

void HostileProgram::close_all() {
  for (;;) {
    int first;
    {
      const std::scoped_lock lock(mutex_);
      if (files_.empty()) return;
      first = files_.begin()->first;
    }
    close(first);
  }
}

}  // namespace softiommu::test
