// SPDX-License-Identifier: BSD-3-Clause
// Every attach decision, for `--explain`: which group, which domain, the answer and its reason, what it cost.
//
// The latest kMost are kept, in storage taken at the start: a detach is recorded without memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/attach_error.h"
#include "base/mutex.h"
#include "core/domain.h"

namespace softiommu {

struct AttachRecord {
  enum class Kind : std::uint8_t { attach, replace, detach, allocate };
  Kind kind = Kind::attach;
  unsigned group = 0;
  std::string_view devices = {};        // "0000:00:02.0, 0000:00:03.0"; lives as long as the System
  std::uint64_t domain = 0;             // Domain::id(); 0: none
  std::string_view domain_driver = {};  // "intel"; lives as long as the System
  DomainType domain_type = DomainType::paging;
  Pasid pasid = 0;
  bool fresh = false;                               // the domain was made for this group
  std::optional<AttachError> error = std::nullopt;  // nullopt: success
  std::uint64_t nanoseconds = 0;
};

// One line for people: "group 1 (0000:00:02.0): attach to intel domain 7 (fresh): incompatible: address width, domain
// 0x30, device 0x27".
std::string describe(const AttachRecord& record);

class Journal {
 public:
  static constexpr std::size_t kMost = 10'000;

  Journal();
  void add(const AttachRecord& record) noexcept;
  // Called with each record from now on, under the locks of who attaches. Before anybody else uses the journal.
  void on_add(std::function<void(const AttachRecord&)> called) { on_add_ = std::move(called); }
  std::vector<AttachRecord> all() const;  // oldest first
  std::uint64_t dropped() const;          // older records that are gone
  void clear();

 private:
  std::function<void(const AttachRecord&)> on_add_;
  mutable Mutex mutex_;
  std::vector<AttachRecord> records_ GUARDED_BY(mutex_);  // a ring once it is full
  std::uint64_t added_ GUARDED_BY(mutex_) = 0;
};

}  // namespace softiommu
