// SPDX-License-Identifier: BSD-3-Clause
// The request queue (virtio 5.13.6): each request runs to its end inside the write that announces it.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "machine/iommu/virtio_iommu/model.h"

namespace softiommu::virtio_iommu {

using namespace hw::virtio_iommu;

namespace {

std::uint64_t wide(std::span<const std::uint32_t> words, unsigned at) {
  return words[at] | std::uint64_t{words[at + 1]} << 32;
}

// nullptr: no memory is there, or not all of it in one piece.
std::uint32_t* words_at(Memory& memory, const Queue::Piece& piece) {
  if (piece.address.value % sizeof(std::uint32_t) != 0) return nullptr;
  TableMemory& tables = memory.tables();
  if (tables.contains(piece.address)) {
    const bool whole = piece.bytes != 0 && tables.contains(piece.address + (piece.bytes - 1));
    return whole ? tables.as<std::uint32_t>(piece.address) : nullptr;
  }
  std::uint64_t contiguous = 0;
  std::byte* const there = memory.host(piece.address, &contiguous);
  return contiguous < piece.bytes ? nullptr : reinterpret_cast<std::uint32_t*>(there);
}

}  // namespace

void VirtioIommu::run_requests() {
  if (!is_running()) return;
  bool sound = true, used = false;
  while (const auto chain = requests_.take(context_.memory, sound)) {
    requests_.give_back(context_.memory, *chain, answer(*chain));
    used = true;
  }
  if (!sound) status_ |= static_cast<std::uint32_t>(kStatus["NEEDS_RESET"].mask());
  if (used && requests_.wants_interrupt(context_.memory))
    interrupt_status_ |= static_cast<std::uint32_t>(kInterruptStatus["USED"].mask());
}

// The bytes that were written: the reply, and the tail in the last word that the driver has room for.
std::uint32_t VirtioIommu::answer(const Queue::Chain& chain) {
  Words words{};
  unsigned count = 0;
  for (const Queue::Piece& piece : chain.readable.all()) {
    const std::uint32_t* const from = words_at(context_.memory, piece);
    const unsigned more = piece.bytes / sizeof(std::uint32_t);
    if (from == nullptr || count + more > words.size()) return 0;
    std::copy_n(from, more, words.begin() + count);
    count += more;
  }
  const Queue::Piece& space = chain.writable.list[0];
  if (chain.writable.count != 1 || space.bytes < sizeof(std::uint32_t)) return 0;
  std::uint32_t* const to = words_at(context_.memory, space);
  if (to == nullptr || count == 0) return 0;
  const std::size_t room = space.bytes / sizeof(std::uint32_t) - 1;
  Reply reply;
  Answer status = run(words, count, reply);
  if (reply.count > room) status = Answer::invalid;
  if (status == Answer::ok) std::copy_n(reply.words.begin(), reply.count, to);
  to[room] = static_cast<std::uint32_t>(kTail["STATUS"].put(std::to_underlying(status)));
  return space.bytes;
}

VirtioIommu::Answer VirtioIommu::run(const Words& words, unsigned count, Reply& reply) {
  const struct {
    Request type;
    unsigned words;
  } kRequests[] = {{Request::attach, kAttachWords},
                   {Request::detach, kDetachWords},
                   {Request::map, kMapWords},
                   {Request::unmap, kUnmapWords},
                   {Request::probe, kProbeWords}};
  const auto type = static_cast<Request>(kHead["TYPE"].get(words[0]));
  const auto row = std::ranges::find(kRequests, type, [](const auto& r) { return r.type; });
  if (row == std::end(kRequests)) return Answer::unsupported;
  if (count != row->words || kHead["RESERVED"].is_set(words[0])) return Answer::invalid;
  if (type == Request::probe && !has_negotiated(kFeatures["PROBE"])) return Answer::unsupported;
  try {
    return run_known(type, words, reply);
  } catch (const std::bad_alloc&) {
    return Answer::no_memory;
  }
}

VirtioIommu::Answer VirtioIommu::run_known(Request type, const Words& words, Reply& reply) {
  switch (type) {
    case Request::attach:
      return attach(words);
    case Request::detach:
      return detach(words);
    case Request::map:
      return map(words);
    case Request::unmap:
      return unmap(words);
    default:
      return probe(reply);
  }
}

// A domain that no endpoint is in ceases to exist, and its mappings with it.
void VirtioIommu::leave_domain(std::uint32_t number) {
  const auto domain = domains_.find(number);
  if (--domain->second.endpoints == 0) domains_.erase(domain);
}

VirtioIommu::Answer VirtioIommu::attach(const Words& words) {
  const std::uint32_t number = words[kDomainWord], endpoint = words[kEndpointWord], flags = words[kAttachFlagsWord];
  const bool bypass = kAttachFlags["BYPASS"].is_set(flags);
  const bool known = (flags & kAttachFlags.unnamed()) == 0 && (!bypass || has_negotiated(kFeatures["BYPASS_CONFIG"]));
  if (!known || words[kAttachWords - 1] != 0) return Answer::invalid;
  if (number < domain_first_ || number > domain_last_) return Answer::range;
  {
    const std::scoped_lock lock(state_mutex_);
    const auto there = domains_.find(number);
    if (there != domains_.end() && there->second.bypass != bypass) return Answer::invalid;
    const auto at = endpoints_.find(endpoint);
    if (at != endpoints_.end() && at->second == number) return Answer::ok;
    // What needs memory comes first, and goes again if there is none.
    const auto place = endpoints_.try_emplace(endpoint, number);
    try {
      domains_[number].bypass = bypass;
    } catch (...) {
      if (place.second) endpoints_.erase(place.first);
      throw;
    }
    ++domains_[number].endpoints;
    if (!place.second) leave_domain(std::exchange(place.first->second, number));
  }
  bump_generation();
  wait_for_dma();
  return Answer::ok;
}

VirtioIommu::Answer VirtioIommu::detach(const Words& words) {
  const std::uint32_t number = words[kDomainWord], endpoint = words[kEndpointWord];
  {
    const std::scoped_lock lock(state_mutex_);
    const auto at = endpoints_.find(endpoint);
    if (at == endpoints_.end() || at->second != number) return Answer::invalid;
    endpoints_.erase(at);
    leave_domain(number);
  }
  bump_generation();
  wait_for_dma();
  return Answer::ok;
}

VirtioIommu::Answer VirtioIommu::map(const Words& words) {
  const std::uint64_t first = wide(words, kVirtStartWord), last = wide(words, kVirtEndWord);
  const Mapping mapping{last, wide(words, kPhysStartWord), words[kMapFlagsWord]};
  constexpr std::uint64_t kKnown = kMapFlags["READ"].mask() | kMapFlags["WRITE"].mask();
  if ((mapping.flags & ~kKnown) != 0 || last < first) return Answer::invalid;
  if (((first | mapping.physical | (last + 1)) & (granule_ - 1)) != 0 || first < input_first_ || last > input_last_)
    return Answer::range;
  const std::scoped_lock lock(state_mutex_);
  const auto domain = domains_.find(words[kDomainWord]);
  if (domain == domains_.end()) return Answer::no_entry;
  if (domain->second.bypass) return Answer::invalid;
  auto& mappings = domain->second.mappings;
  const auto next = mappings.lower_bound(first);
  if (next != mappings.end() && next->first <= last) return Answer::invalid;
  if (next != mappings.begin() && std::prev(next)->second.last >= first) return Answer::invalid;
  mappings.emplace(first, mapping);
  return Answer::ok;
}

// Whole mappings only: one that would be split is left, and all others with it.
VirtioIommu::Answer VirtioIommu::unmap(const Words& words) {
  const std::uint64_t first = wide(words, kVirtStartWord), last = wide(words, kVirtEndWord);
  {
    const std::scoped_lock lock(state_mutex_);
    const auto domain = domains_.find(words[kDomainWord]);
    if (domain == domains_.end()) return Answer::no_entry;
    if (domain->second.bypass || last < first) return Answer::invalid;
    auto& mappings = domain->second.mappings;
    const auto from = mappings.lower_bound(first), to = mappings.upper_bound(last);
    if (from != mappings.begin() && std::prev(from)->second.last >= first) return Answer::range;
    if (to != mappings.begin() && std::prev(to)->first >= first && std::prev(to)->second.last > last)
      return Answer::range;
    mappings.erase(from, to);
  }
  bump_generation();
  wait_for_dma();
  return Answer::ok;
}

VirtioIommu::Answer VirtioIommu::probe(Reply& reply) const {
  constexpr std::uint64_t kMessagesFirst = 0xfee0'0000, kMessagesLast = 0xfeef'ffff, kMessages = 1;
  if (!message_window_) return Answer::ok;
  const std::uint64_t bytes = (kReservedWords - 1) * sizeof(std::uint32_t);
  reply.words = {static_cast<std::uint32_t>(kProperty["TYPE"].put(kReservedMemory) | kProperty["LENGTH"].put(bytes)),
                 static_cast<std::uint32_t>(kReservedKind["SUBTYPE"].put(kMessages)),
                 static_cast<std::uint32_t>(kMessagesFirst),
                 0,
                 static_cast<std::uint32_t>(kMessagesLast),
                 0,
                 0};
  reply.count = kReservedWords + 1;
  return Answer::ok;
}

// ---- Events -----------------------------------------------------------------------------------------------------

// Without a buffer for it the event is lost (5.13.6.8).
void VirtioIommu::report(const Transaction& transaction, std::uint64_t reason) {
  bool raise = false;
  {
    const std::scoped_lock lock(events_mutex_);
    bool sound = true;
    const auto chain = events_.take(context_.memory, sound);
    if (!chain || chain->writable.list[0].bytes < kFaultWords * sizeof(std::uint32_t)) return;
    std::uint32_t* const to = words_at(context_.memory, chain->writable.list[0]);
    if (to == nullptr) return;
    const bool is_write = transaction.access == Access::write;
    to[0] = static_cast<std::uint32_t>(kFaultReason["REASON"].put(reason));
    to[kFaultFlagsWord] = static_cast<std::uint32_t>(
        kFaultFlags["READ"].put(!is_write) | kFaultFlags["WRITE"].put(is_write) | kFaultFlags["ADDRESS"].put(1));
    to[kFaultEndpointWord] = transaction.stream;
    to[kFaultEndpointWord + 1] = 0;
    to[kFaultAddressWord] = static_cast<std::uint32_t>(transaction.iova.value);
    to[kFaultAddressWord + 1] = static_cast<std::uint32_t>(transaction.iova.value >> 32);
    events_.give_back(context_.memory, *chain, kFaultWords * sizeof(std::uint32_t));
    raise = events_.wants_interrupt(context_.memory);
    if (raise) interrupt_status_ |= static_cast<std::uint32_t>(kInterruptStatus["USED"].mask());
  }
  if (raise) interrupt(kInterruptLine);
}

std::optional<Translation> VirtioIommu::refuse(const Transaction& transaction, std::uint64_t reason) {
  report(transaction, reason);
  return std::nullopt;
}

}  // namespace softiommu::virtio_iommu
