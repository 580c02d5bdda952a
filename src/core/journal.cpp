// SPDX-License-Identifier: BSD-3-Clause
#include "core/journal.h"

#include <fmt/format.h>

namespace softiommu {

namespace {

const char* phrase(AttachRecord::Kind kind) {
  switch (kind) {
    case AttachRecord::Kind::attach:
      return "attach to";
    case AttachRecord::Kind::replace:
      return "replace by";
    case AttachRecord::Kind::detach:
      return "back to";
    case AttachRecord::Kind::allocate:
      return "allocate";
  }
  return "attach to";
}

// Paging domains are told apart by their number alone.
const char* kind_of(DomainType type) {
  switch (type) {
    case DomainType::blocked:
      return "blocked ";
    case DomainType::identity:
      return "identity ";
    case DomainType::nested:
      return "nested ";
    case DomainType::paging:
      return "";
  }
  return "";
}

}  // namespace

std::string describe(const AttachRecord& record) {
  std::string line = fmt::format("group {} ({}): {} {} {}domain", record.group, record.devices, phrase(record.kind),
                                 record.domain_driver, kind_of(record.domain_type));
  if (record.domain != 0) line += fmt::format(" {}", record.domain);
  if (record.pasid != 0) line += fmt::format(" for PASID {}", record.pasid);
  if (record.fresh) line += " (fresh)";
  if (!record.error) return line + ": ok";
  const Reason& reason = record.error->reason;
  line += fmt::format(": {}", name_of(record.error->failure));
  if (reason.property != nullptr && *reason.property != '\0')
    line += fmt::format(": {}, domain {:#x}, device {:#x}", reason.property, reason.domain_value, reason.device_value);
  return line;
}

Journal::Journal() { records_.reserve(kMost); }

void Journal::add(const AttachRecord& record) noexcept {
  if (on_add_) on_add_(record);
  const MutexLock lock(mutex_);
  if (records_.size() < kMost)
    records_.push_back(record);  // within the capacity: no allocation
  else
    records_[added_ % kMost] = record;
  ++added_;
}

std::vector<AttachRecord> Journal::all() const {
  const MutexLock lock(mutex_);
  std::vector<AttachRecord> ordered;
  ordered.reserve(records_.size());
  const auto oldest = records_.begin() + static_cast<std::ptrdiff_t>(records_.size() < kMost ? 0 : added_ % kMost);
  ordered.insert(ordered.end(), oldest, records_.end());
  ordered.insert(ordered.end(), records_.begin(), oldest);
  return ordered;
}

std::uint64_t Journal::dropped() const {
  const MutexLock lock(mutex_);
  return added_ - records_.size();
}

void Journal::clear() {
  const MutexLock lock(mutex_);
  records_.clear();
  added_ = 0;
}

}  // namespace softiommu
