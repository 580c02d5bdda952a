// SPDX-License-Identifier: BSD-3-Clause
// A table in the run's folder that all its processes map.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace softiommu::launch {

template <typename Table>
class RunPage {
 public:
  // Maps it at the first call, for good. nullptr: there is none.
  Table* get(const std::string& path) {
    if (Table* present = table_.load(std::memory_order_acquire)) return present;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return nullptr;
    void* page = ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (page == MAP_FAILED) return nullptr;
    Table* other = nullptr;
    if (table_.compare_exchange_strong(other, static_cast<Table*>(page))) return static_cast<Table*>(page);
    ::munmap(page, sizeof(Table));
    return other;
  }

 private:
  std::atomic<Table*> table_{nullptr};
};

}  // namespace softiommu::launch
