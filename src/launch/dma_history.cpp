// SPDX-License-Identifier: BSD-3-Clause
#include "launch/dma_history.h"

#include <algorithm>
#include <iterator>

namespace softiommu::launch {

// A domain that is filled for a group that joins: the mapping is older than the attach, and so is who made it.
StackId DmaHistory::original_of(const DmaMapping& mapping) const {
  for (const auto& [domain, records] : present_) {
    const auto same = records.find(mapping.range.first.value);
    if (domain != mapping.domain && same != records.end() && same->second.user == mapping.user)
      return same->second.mapped_by;
  }
  return StackTraces::kNone;
}

void DmaHistory::mapped(const DmaMapping& mapping, StackId by) {
  const StackId original = original_of(mapping);
  present_[mapping.domain].insert_or_assign(mapping.range.first.value,
                                            MappingRecord{.range = mapping.range,
                                                          .user = mapping.user,
                                                          .prot = mapping.prot,
                                                          .mapped_by = original != StackTraces::kNone ? original : by});
}

// The record around `iova` ends before it, and a second one begins there.
void DmaHistory::cut_at(Records& records, Iova iova) {
  auto at = records.upper_bound(iova.value);
  if (at == records.begin()) return;
  MappingRecord& front = std::prev(at)->second;
  if (front.range.first == iova || front.range.last < iova) return;
  MappingRecord back = front;
  back.range.first = iova;
  back.user = front.user_of(iova);
  front.range.last = iova - 1;
  records.emplace_hint(at, iova.value, back);
}

void DmaHistory::unmapped(std::uint64_t domain, IovaRange range, StackId by) {
  const auto found = present_.find(domain);
  if (found == present_.end()) return;
  Records& records = found->second;
  cut_at(records, range.first);
  if (range.last.value != ~std::uint64_t{0}) cut_at(records, range.last + 1);
  const auto begin = records.lower_bound(range.first.value);
  auto end = begin;
  for (; end != records.end() && end->second.range.last <= range.last; ++end) {
    past_.push_back({domain, end->second});
    past_.back().record.unmapped_by = by;
    if (past_.size() > kMostPast) past_.pop_front();
  }
  records.erase(begin, end);
  if (records.empty()) present_.erase(found);
}

void DmaHistory::attached(const AttachRecord& record) {
  if (record.error || record.kind == AttachRecord::Kind::allocate) return;
  for (std::string_view rest = record.devices; !rest.empty();) {
    const std::size_t end = std::min(rest.find(", "), rest.size());
    auto& domains = domains_[std::string(rest.substr(0, end))][record.pasid];
    std::erase(domains, record.domain);
    domains.push_back(record.domain);
    if (domains.size() > kMostDomains) domains.erase(domains.begin());
    rest.remove_prefix(std::min(end + 2, rest.size()));
  }
}

template <class Change>
void DmaHistory::change_user(std::uint64_t user, std::uint64_t bytes, Change&& change) {
  const std::uint64_t end = user + bytes;
  for (auto& [domain, records] : present_) {
    std::vector<IovaRange> parts;
    for (const auto& [first, record] : records) {
      const std::uint64_t from = std::max(user, record.user), to = std::min(end, record.user + record.range.bytes());
      if (from < to) parts.push_back(IovaRange::of(record.range.first + (from - record.user), to - from));
    }
    for (const IovaRange& part : parts) {
      cut_at(records, part.first);
      if (part.last.value != ~std::uint64_t{0}) cut_at(records, part.last + 1);
      change(records.at(part.first.value));
    }
  }
}

void DmaHistory::gave_up(std::uint64_t user, std::uint64_t bytes, const char* how, StackId by) {
  change_user(user, bytes, [&](MappingRecord& record) {
    if (record.given_up != nullptr) return;
    record.given_up = how;
    record.given_up_by = by;
  });
}

void DmaHistory::moved(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
  change_user(from, bytes, [&](MappingRecord& record) {
    if (record.given_up == nullptr) record.user = to + (record.user - from);
  });
}

const std::vector<std::uint64_t>* DmaHistory::domains_of(std::string_view device, Pasid pasid) const {
  const auto of_device = domains_.find(device);
  if (of_device == domains_.end()) return nullptr;
  const auto of_pasid = of_device->second.find(pasid);
  return of_pasid == of_device->second.end() ? nullptr : &of_pasid->second;
}

const DmaHistory::Records* DmaHistory::records_of(std::string_view device, Pasid pasid) const {
  const auto* domains = domains_of(device, pasid);
  if (domains == nullptr) return nullptr;
  const auto records = present_.find(domains->back());
  return records == present_.end() ? nullptr : &records->second;
}

const MappingRecord* DmaHistory::below(std::string_view device, Pasid pasid, Iova iova) const {
  const Records* const records = records_of(device, pasid);
  if (records == nullptr) return nullptr;
  const auto after = records->upper_bound(iova.value);
  return after == records->begin() ? nullptr : &std::prev(after)->second;
}

const MappingRecord* DmaHistory::present(std::string_view device, Pasid pasid, Iova iova) const {
  const MappingRecord* const record = below(device, pasid, iova);
  return record != nullptr && iova <= record->range.last ? record : nullptr;
}

const MappingRecord* DmaHistory::past(std::string_view device, Pasid pasid, Iova iova) const {
  const auto* domains = domains_of(device, pasid);
  if (domains == nullptr) return nullptr;
  const auto found = std::ranges::find_if(past_.rbegin(), past_.rend(), [&](const Past& past) {
    return past.record.range.contains(IovaRange::of(iova, 1)) &&
           std::ranges::find(*domains, past.domain) != domains->end();
  });
  return found == past_.rend() ? nullptr : &found->record;
}

}  // namespace softiommu::launch
