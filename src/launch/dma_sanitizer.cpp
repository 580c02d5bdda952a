// SPDX-License-Identifier: BSD-3-Clause
#include "launch/dma_sanitizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/log.h"
#include "machine/memory.h"

namespace softiommu::launch {
namespace {

// A report that memory is lacking for is no reason to end the program.
template <class Work>
void quietly(Work&& work) noexcept {
  try {
    work();
  } catch (...) {
    log::write(log::Level::error, "DMA sanitizer: out of memory, a finding may be lost");
  }
}

std::string phrase(const DmaTouch& touch) {
  const std::string pasid = touch.pasid != 0 ? fmt::format(", PASID {}", touch.pasid) : "";
  return fmt::format("{} {} {} bytes at IOVA {:#x}{}", touch.device, touch.access == Access::read ? "reads" : "writes",
                     touch.bytes, touch.iova.value, pasid);
}

// What makes two findings one: who did what to whose mapping.
std::string cause(const char* kind, const DmaTouch& touch, StackId first, StackId second) {
  return fmt::format("{} {} {} {} {}", kind, touch.device, touch.access == Access::read ? 'r' : 'w', first, second);
}
std::string cause(const char* kind, const DmaTouch& touch) {
  return fmt::format("{} {} {} {:#x}", kind, touch.device, touch.access == Access::read ? 'r' : 'w',
                     align_down(touch.iova.value, kPageSize));
}

bool allows(Prot prot, Access access) { return access == Access::read ? prot.read : prot.write; }

std::optional<MappingRecord> copy_of(const MappingRecord* record) {
  return record == nullptr ? std::nullopt : std::optional(*record);
}

}  // namespace

std::string DmaSanitizer::stack(const char* what, StackId id) const {
  return id == StackTraces::kNone ? std::string() : fmt::format("\n  {}:\n{}", what, stacks_.describe(id));
}

std::string DmaSanitizer::told_of(const MappingRecord& record) const {
  return fmt::format("\n  mapping: IOVA {:#x} to {:#x} ({}{}), the program's memory at {:#x}", record.range.first.value,
                     record.range.last.value, record.prot.read ? "r" : "", record.prot.write ? "w" : "", record.user) +
         stack("mapped by", record.mapped_by);
}

// ---- devices

void DmaSanitizer::touches(const DmaTouch& touch, const std::byte* host) noexcept {
  quietly([&] {
    Seen seen;
    {
      const MutexLock lock(mutex_);
      look(touch, host, seen);
    }
    if (seen.record) judge_memory(touch, seen);
    judge_poison(touch, host);
    if (!seen.other.empty()) tell_overlap(touch, seen);
  });
}

void DmaSanitizer::look(const DmaTouch& touch, const std::byte* host, Seen& seen) {
  seen.record = copy_of(history_.present(touch.device, touch.pasid, touch.iova));
  if (seen.record && seen.record->given_up == nullptr) look_for_freed(touch, seen);
  if (touch.access == Access::write) look_for_overlap(touch, host, seen);
}

void DmaSanitizer::look_for_freed(const DmaTouch& touch, Seen& seen) {
  const std::uint64_t user = seen.record->user_of(touch.iova);
  const auto after = freed_.lower_bound(user + touch.bytes);
  if (after == freed_.begin()) return;
  const auto& [block, freed] = *std::prev(after);
  if (block + freed.bytes <= user) return;
  seen.block = block;
  seen.freed = freed;
}

// Another device wrote these bytes after software last spoke to this one: nobody can have ordered the two.
void DmaSanitizer::look_for_overlap(const DmaTouch& touch, const std::byte* host, Seen& seen) {
  const auto first = reinterpret_cast<std::uint64_t>(host), end = first + touch.bytes;
  for (const auto& [device, writes] : written_) {
    if (device == touch.device) continue;
    const auto hit = std::ranges::find_if(writes, [&](const Written& written) {
      return written.first < end && first < written.end && written.until > touch.told;
    });
    if (hit == writes.end()) continue;
    seen.other = device;
    seen.other_iova = hit->iova;
  }
  auto at = written_.find(touch.device);
  if (at == written_.end()) at = written_.emplace(touch.device, std::deque<Written>()).first;
  auto& own = at->second;
  const std::uint64_t now = tick();
  if (!own.empty() && own.back().end == first && own.back().until + 1 == now) {  // nothing happened in between
    own.back().end = end;
    own.back().until = now;
  } else {
    own.push_back({first, end, now, touch.iova});
    if (own.size() > kMostWritten) own.pop_front();
  }
}

void DmaSanitizer::judge_memory(const DmaTouch& touch, const Seen& seen) {
  const MappingRecord& record = *seen.record;
  if (record.given_up != nullptr) {
    findings_.add(cause("given up", touch, record.mapped_by, record.given_up_by), [&] {
      return fmt::format("DMA sanitizer: use after free: {}, memory that the program gave up by {}", phrase(touch),
                         record.given_up) +
             told_of(record) + stack("given up by", record.given_up_by);
    });
  } else if (seen.freed) {
    findings_.add(cause("freed", touch, record.mapped_by, seen.freed->by), [&] {
      return fmt::format("DMA sanitizer: use after free: {}, in the block of {} bytes at {:#x} that the program freed",
                         phrase(touch), seen.freed->bytes, seen.block) +
             told_of(record) + stack("freed by", seen.freed->by);
    });
  }
}

void DmaSanitizer::judge_poison(const DmaTouch& touch, const std::byte* host) {
  if (poisoned_ == nullptr) return;
  const void* const bad = poisoned_(const_cast<std::byte*>(host), touch.bytes);
  if (bad == nullptr) return;
  findings_.add(cause("poisoned", touch), [&] {
    return fmt::format(
        "DMA sanitizer: {}, where the program's AddressSanitizer has poisoned the byte at {}: past the end of a "
        "buffer, or freed",
        phrase(touch), bad);
  });
}

void DmaSanitizer::tell_overlap(const DmaTouch& touch, const Seen& seen) {
  findings_.add(fmt::format("overlap {} {}", std::min<std::string_view>(seen.other, touch.device),
                            std::max<std::string_view>(seen.other, touch.device)),
                [&] {
                  return fmt::format(
                      "DMA sanitizer: two devices write the same memory: {}, which {} wrote as IOVA {:#x} and up since "
                      "the program last spoke to {}: which of the two stays is chance",
                      phrase(touch), seen.other, seen.other_iova.value, touch.device);
                });
}

void DmaSanitizer::refused(const DmaTouch& touch) noexcept {
  quietly([&] {
    std::optional<MappingRecord> present, past, below;
    {
      const MutexLock lock(mutex_);
      present = copy_of(history_.present(touch.device, touch.pasid, touch.iova));
      past = copy_of(history_.past(touch.device, touch.pasid, touch.iova));
      below = copy_of(history_.below(touch.device, touch.pasid, touch.iova));
    }
    if (present) {
      const bool allowed = allows(present->prot, touch.access);
      return findings_.add(cause("no right", touch, present->mapped_by, allowed), [&] {
        return fmt::format(
                   "DMA sanitizer: {}, {}", phrase(touch),
                   allowed ? "which the IOMMU refused although it is mapped" : "a right that its mapping lacks") +
               told_of(*present);
      });
    }
    if (past) {
      return findings_.add(cause("unmapped", touch, past->mapped_by, past->unmapped_by), [&] {
        return fmt::format("DMA sanitizer: use after unmap: {}, where nothing is mapped any more", phrase(touch)) +
               told_of(*past) + stack("unmapped by", past->unmapped_by);
      });
    }
    findings_.add(cause("never mapped", touch), [&] {
      const std::string near =
          below ? fmt::format("\n  {} bytes past the end of the mapping below it", touch.iova - below->range.last - 1) +
                      told_of(*below)
                : "";
      return fmt::format("DMA sanitizer: {}, where nothing was ever mapped", phrase(touch)) + near;
    });
  });
}

void DmaSanitizer::lost(const DmaTouch& touch) noexcept {
  quietly([&] {
    std::optional<MappingRecord> record;
    {
      const MutexLock lock(mutex_);
      record = copy_of(history_.present(touch.device, touch.pasid, touch.iova));
    }
    findings_.add(cause("lost", touch), [&] {
      return fmt::format(
                 "DMA sanitizer: {}, but the program's memory there is gone, protected, or past the end of its "
                 "file: nothing is copied (pinned pages of a real kernel would be)",
                 phrase(touch)) +
             (record ? told_of(*record) + stack("given up by", record->given_up_by) : std::string());
    });
  });
}

// ---- software

void DmaSanitizer::mapped(const DmaMapping& mapping) noexcept {
  quietly([&] {
    const StackId by = stacks_.take();
    const MutexLock lock(mutex_);
    history_.mapped(mapping, by);
  });
}

void DmaSanitizer::unmapping(std::uint64_t domain, IovaRange range) noexcept {
  quietly([&] {
    const StackId by = stacks_.take();
    const MutexLock lock(mutex_);
    history_.unmapped(domain, range, by);
  });
}

void DmaSanitizer::attached(const AttachRecord& record) noexcept {
  quietly([&] {
    const MutexLock lock(mutex_);
    history_.attached(record);
  });
}

void DmaSanitizer::gave_up(std::uint64_t user, std::uint64_t bytes, const char* how) noexcept {
  if (!memory_.any_pinned(user, bytes)) return;
  quietly([&] {
    const StackId by = stacks_.take();
    const MutexLock lock(mutex_);
    history_.gave_up(user, bytes, how, by);
  });
}

void DmaSanitizer::moved(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) noexcept {
  quietly([&] {
    const MutexLock lock(mutex_);
    history_.moved(from, to, bytes);
  });
}

// ---- the heap

// The memory is asked without our lock: its own is held while it waits for devices, which take ours. Who freed a block
// that we have is answered that we keep it, whether or not a device still reaches it: it goes to the heap once.
bool DmaSanitizer::keep_freed(std::uint64_t block, std::uint64_t bytes) noexcept {
  if (const auto before = freed(block)) {
    quietly([&] { tell_freed_twice(block, *before); });
    return true;
  }
  if (!memory_.any_pinned(block, bytes)) return false;
  bool kept = false;
  quietly([&] {
    const StackId by = stacks_.take();
    const MutexLock lock(mutex_);
    const auto [at, fresh] = freed_.try_emplace(block, Freed{bytes, by});
    kept = true;
    if (!fresh) return;  // two threads free it at once
    try {
      freed_order_.push_back(block);
    } catch (...) {
      freed_.erase(at);
      kept = false;
      throw;
    }
    freed_bytes_ += bytes;
  });
  return kept;
}

std::optional<DmaSanitizer::Freed> DmaSanitizer::freed(std::uint64_t block) const {
  const MutexLock lock(mutex_);
  const auto at = freed_.find(block);
  return at == freed_.end() ? std::nullopt : std::optional(at->second);
}

void DmaSanitizer::tell_freed_twice(std::uint64_t block, const Freed& before) {
  const StackId by = stacks_.take();
  findings_.add(fmt::format("freed twice {} {}", before.by, by), [&] {
    return fmt::format(
               "DMA sanitizer: freed twice: the block of {} bytes at {:#x}, which was mapped for DMA when the "
               "program freed it first",
               before.bytes, block) +
           stack("freed first by", before.by) + stack("freed again by", by);
  });
}

std::uint64_t DmaSanitizer::take_freed() noexcept {
  constexpr int kLookedAt = 2;
  for (int looked = 0; looked < kLookedAt; ++looked) {
    std::uint64_t block = 0, bytes = 0;
    bool too_many = false;
    {
      const MutexLock lock(mutex_);
      if (freed_order_.empty()) return 0;
      block = freed_order_.front();
      bytes = freed_.at(block).bytes;
      too_many = freed_bytes_ > kMostFreedBytes;
      freed_order_.pop_front();
    }
    bool stays = false;
    if (!too_many && memory_.any_pinned(block, bytes)) {
      quietly([&] {
        const MutexLock lock(mutex_);
        freed_order_.push_back(block);
        stays = true;
      });
    }
    if (stays) continue;
    const MutexLock lock(mutex_);
    freed_.erase(block);
    freed_bytes_ -= bytes;
    return block;
  }
  return 0;
}

}  // namespace softiommu::launch
