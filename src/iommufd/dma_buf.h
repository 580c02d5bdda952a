// SPDX-License-Identifier: BSD-3-Clause
// Memory of a device that a program passes on as a descriptor, to map it for the DMA of others (a DMA-BUF).
//
// Its exporter may revoke it: then it disappears from every address space, and maps nothing until it is given again;
// what was mapped before stays gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"

namespace softiommu::iommufd {

class Context;

class DmaBuf {
 public:
  explicit DmaBuf(std::uint64_t bytes) : bytes_(bytes) {}
  virtual ~DmaBuf() = default;
  DmaBuf(const DmaBuf&) = delete;
  DmaBuf& operator=(const DmaBuf&) = delete;

  std::uint64_t bytes() const { return bytes_; }
  virtual PhysAddr first() const = 0;
  virtual bool contiguous() const { return true; }  // else an IOAS does not take it

  bool revoked() const { return revoked_.load(std::memory_order_acquire); }
  // Returns when nothing of it is mapped any more. Call without a lock.
  void revoke();
  void give_again() { revoked_.store(false, std::memory_order_release); }
  // Is told of a revocation, as long as it lives. May throw std::bad_alloc.
  void add_importer(const std::shared_ptr<Context>& context);

 private:
  const std::uint64_t bytes_;
  std::atomic<bool> revoked_{false};
  Mutex mutex_;
  std::vector<std::weak_ptr<Context>> importers_ GUARDED_BY(mutex_);
};

// A file that stands for one.
class DmaBufFile : public File {
 public:
  explicit DmaBufFile(std::shared_ptr<DmaBuf> buffer) : buffer_(std::move(buffer)) {}
  const std::shared_ptr<DmaBuf>& buffer() const { return buffer_; }

  std::string path() const override { return "/dmabuf:"; }
  long ioctl(unsigned int /*command*/, std::uint64_t /*argument*/) override { return -ENOTTY; }

 private:
  const std::shared_ptr<DmaBuf> buffer_;
};

// What one IOAS_MAP_FILE takes of it.
struct DmaBufPart {
  std::shared_ptr<DmaBuf> buffer;
  std::uint64_t start = 0;  // in the buffer
  PhysAddr first{};         // where that is
};

}  // namespace softiommu::iommufd
