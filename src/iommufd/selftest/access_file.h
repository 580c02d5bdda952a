// SPDX-License-Identifier: BSD-3-Clause
// The file behind a test's access: a driver that pins what it is told to.
#pragma once

#include <memory>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "iommufd/access.h"

namespace softiommu::iommufd::selftest {

class AccessFile final : public File, public AccessUser, public std::enable_shared_from_this<AccessFile> {
 public:
  using Pin = IoPagetable::PinRequest;

  // Errors: Access::create, Access::attach.
  static Result<std::shared_ptr<AccessFile>> create(std::shared_ptr<Context> context, Access::Kind kind,
                                                    std::uint32_t ioas_id);
  ~AccessFile() override { release(); }

  std::string path() const override { return "anon_inode:[iommufd_test_staccess]"; }
  long ioctl(unsigned int /*command*/, std::uint64_t /*argument*/) override { return -ENOTTY; }
  void release() override;
  void unmap(IovaRange range) override;

  Access& access() const { return *access_; }
  // Pins and remembers; `check` sees where the pages are before. Returns a number for unpin(). Errors: Access::pin,
  // and those of `check`.
  template <class Check>
  Result<std::uint32_t> pin(const Pin& request, Check&& check) {
    const MutexLock lock(mutex_);
    items_.reserve(items_.size() + 1);
    const auto pages = TRY(access_->pin(request));
    if (const Result<> checked = check(pages); !checked) {
      access_->unpin(request);
      return std::unexpected(checked.error());
    }
    items_.push_back({request, next_});
    return next_++;
  }
  // ENOENT: nothing pinned has this number.
  Result<> unpin(std::uint32_t number);

 private:
  struct Item {
    Pin pin;
    std::uint32_t number;
  };
  std::unique_ptr<Access> access_;
  Mutex mutex_;
  std::vector<Item> items_ GUARDED_BY(mutex_);
  std::uint32_t next_ GUARDED_BY(mutex_) = 0;
};

}  // namespace softiommu::iommufd::selftest
