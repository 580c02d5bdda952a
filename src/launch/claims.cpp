// SPDX-License-Identifier: BSD-3-Clause
#include "launch/claims.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "launch/run_options.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kBytes = Claims::kSlots * sizeof(std::int32_t);

bool alive(std::int32_t pid) { return ::kill(pid, 0) == 0 || errno != ESRCH; }

}  // namespace

Result<> Claims::create(const std::string& path) { return write_text(path, std::string(kBytes, '\0')); }

Claims::Claims(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* page = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (page != MAP_FAILED) slots_ = static_cast<std::atomic<std::int32_t>*>(page);
}

Claims::~Claims() {
  if (slots_ != nullptr) ::munmap(static_cast<void*>(slots_), kBytes);
}

Result<> Claims::claim(unsigned slot) {
  if (slots_ == nullptr || slot >= kSlots) return {};
  const std::int32_t own = ::getpid();
  std::int32_t owner = slots_[slot].load();
  while (owner == 0 || owner == own || !alive(owner)) {
    if (slots_[slot].compare_exchange_strong(owner, own)) return {};
  }
  return fail(EBUSY, "another process of this run has the group open");
}

void Claims::release(unsigned slot) {
  if (slots_ == nullptr || slot >= kSlots) return;
  std::int32_t own = ::getpid();
  slots_[slot].compare_exchange_strong(own, 0);
}

void Claims::hand_over(unsigned slot, std::int32_t process) {
  if (slots_ != nullptr && slot < kSlots) slots_[slot].store(process);
}

}  // namespace softiommu::launch
