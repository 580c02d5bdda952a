// SPDX-License-Identifier: BSD-3-Clause
#include "machine/device_tlb.h"

#include <algorithm>

namespace softiommu {

namespace {

constexpr bool allows(const Translation& translation, Access access) {
  return access == Access::write ? translation.write : translation.read;
}
constexpr std::uint64_t page_of(Iova iova) { return iova.value >> kPageShift; }

}  // namespace

void DeviceTlb::enable(bool translates, bool requests_pages) {
  const bool was_on = on_.exchange(translates, std::memory_order_acq_rel);
  const bool requested = requests_pages_.exchange(translates && requests_pages, std::memory_order_acq_rel);
  if (was_on && !translates) kept_.invalidate_all();
  if (requested == (translates && requests_pages)) return;
  const FutexGuard lock(mutex_);
  requests_.clear();
  failed_ = false;
}

void DeviceTlb::forget() {
  kept_.invalidate_all();
  const FutexGuard lock(mutex_);
  requests_.clear();
}

bool DeviceTlb::has_failed() const {
  const FutexGuard lock(mutex_);
  return failed_;
}

DeviceTlb::Answer DeviceTlb::translate(IommuUnit& unit, const Transaction& transaction) {
  if (const auto kept = kept_.look_up(transaction.pasid, transaction.iova); kept && allows(*kept, transaction.access)) {
    if (!unit.admits_translated(transaction, *kept)) return {};
    return {kept};
  }
  const Iotlb::Ticket ticket = kept_.ticket();
  const auto found = unit.translate_for_device(transaction);
  if (!found) return {};
  if (allows(*found, transaction.access)) {
    kept_.insert(ticket, transaction.pasid, transaction.iova, *found);
    if (requests_pages()) drop_request(transaction);
    return {found};
  }
  return {std::nullopt, requests_pages() && request(unit, transaction)};
}

// True: the access waits for an answer.
bool DeviceTlb::request(IommuUnit& unit, const Transaction& transaction) {
  bool waits = false;
  std::optional<PageRequestMessage> wanted;
  {
    const FutexGuard lock(mutex_);
    wanted = next_request(transaction, waits);
  }
  if (!wanted) return waits;
  // Without the lock: the answer may come from inside.
  if (unit.request_page(*wanted)) return true;
  drop_request(transaction);
  return false;
}

// What is to be sent. nullopt: nothing; the access waits for what was sent before, or fails.
std::optional<PageRequestMessage> DeviceTlb::next_request(const Transaction& transaction, bool& waits) {
  const bool write = transaction.access == Access::write;
  const auto found = std::ranges::find_if(requests_, [&](const Request& request) {
    return request.pasid == transaction.pasid && request.page == page_of(transaction.iova) && request.write == write;
  });
  Request next{transaction.pasid, page_of(transaction.iova), write, next_group_};
  if (found != requests_.end()) {
    waits = found->state == Request::State::outstanding;
    if (waits) return std::nullopt;
    const bool gives_up = found->state == Request::State::denied || found->tries == kMostTries;
    next.tries = found->tries + 1;
    requests_.erase(found);
    if (gives_up) return std::nullopt;
  }
  if (failed_) return std::nullopt;
  next_group_ = static_cast<std::uint16_t>((next_group_ + 1) % kGroups);
  requests_.push_back(next);
  return PageRequestMessage{.stream = transaction.stream,
                     .pasid = transaction.pasid,
                     .address = Iova{next.page << kPageShift},
                     .read = !write,
                     .write = write,
                     .group = next.group};
}

void DeviceTlb::drop_request(const Transaction& transaction) {
  const FutexGuard lock(mutex_);
  std::erase_if(requests_, [&](const Request& request) {
    return request.pasid == transaction.pasid && request.page == page_of(transaction.iova);
  });
}

bool DeviceTlb::invalidate(const DeviceTlbInvalidation& what) {
  if (!is_on()) return false;
  if (what.all_pasids)
    kept_.invalidate_masked_range(0, 0, what.range);
  else
    kept_.invalidate_range(what.pasid, what.range);
  return true;
}

bool DeviceTlb::answer(const PageResponse& response) {
  using Code = PageResponse::Code;
  {
    const FutexGuard lock(mutex_);
    const auto found = std::ranges::find_if(requests_, [&](const Request& request) {
      return request.group == response.group && request.state == Request::State::outstanding;
    });
    if (found == requests_.end()) return false;
    found->state = response.code == Code::success ? Request::State::granted : Request::State::denied;
    // PCIe 5.0, 10.4.2.1: a failure stops the interface until software enables it anew.
    if (response.code == Code::failure) failed_ = true;
  }
  if (woken_) woken_();
  return true;
}

}  // namespace softiommu
