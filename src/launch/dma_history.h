// SPDX-License-Identifier: BSD-3-Clause
// What was mapped for which device, by whom, and who ended it: the memory of the DMA sanitizer.
//
// Mappings are kept by domain; which domain a device is on, and which ones it was on, comes from the journal. What the
// program gave up while it was mapped is cut out as records of their own. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/journal.h"
#include "launch/stack_traces.h"
#include "machine/dma_watch.h"

namespace softiommu::launch {

struct MappingRecord {
  IovaRange range;
  std::uint64_t user = 0;  // the program's address of its first byte
  Prot prot;
  StackId mapped_by = StackTraces::kNone;
  const char* given_up = nullptr;  // how the program gave the memory up while it was mapped; nullptr: it did not
  StackId given_up_by = StackTraces::kNone;
  StackId unmapped_by = StackTraces::kNone;

  std::uint64_t user_of(Iova iova) const { return user + (iova - range.first); }
};

class DmaHistory {
 public:
  // Of a domain. A mapping that reaches over an end of the range is cut there, and keeps the rest.
  void mapped(const DmaMapping& mapping, StackId by);
  void unmapped(std::uint64_t domain, IovaRange range, StackId by);
  // Of each device that the record names.
  void attached(const AttachRecord& record);
  // The program's memory [user, user + bytes), where it is mapped for DMA: given up, or moved to another address.
  void gave_up(std::uint64_t user, std::uint64_t bytes, const char* how, StackId by);
  void moved(std::uint64_t from, std::uint64_t to, std::uint64_t bytes);

  // What is mapped at `iova` for the device now. nullptr: nothing, or it is on no domain that was told.
  const MappingRecord* present(std::string_view device, Pasid pasid, Iova iova) const;
  // The latest mapping that was there, in any domain that the device is or was on.
  const MappingRecord* past(std::string_view device, Pasid pasid, Iova iova) const;
  // The mapping that ends closest below `iova`.
  const MappingRecord* below(std::string_view device, Pasid pasid, Iova iova) const;

 private:
  using Records = std::map<std::uint64_t, MappingRecord>;  // by first IOVA
  struct Past {
    std::uint64_t domain;
    MappingRecord record;
  };
  const std::vector<std::uint64_t>* domains_of(std::string_view device, Pasid pasid) const;
  const Records* records_of(std::string_view device, Pasid pasid) const;
  static void cut_at(Records& records, Iova iova);
  StackId original_of(const DmaMapping& mapping) const;
  // Calls change(record) for what lies in the program's memory; parts become records of their own.
  template <class Change>
  void change_user(std::uint64_t user, std::uint64_t bytes, Change&& change);

  static constexpr std::size_t kMostPast = 65'536, kMostDomains = 16;
  std::map<std::uint64_t, Records> present_;                                                 // by domain
  std::deque<Past> past_;                                                                    // oldest first
  std::map<std::string, std::map<Pasid, std::vector<std::uint64_t>>, std::less<>> domains_;  // by device, latest last
};

}  // namespace softiommu::launch
