// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/descriptors.h"

#include <algorithm>
#include <atomic>
#include <span>

#include "drivers/arm_smmu_v3/domain.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

namespace {

constexpr std::uint64_t kWriteBack = 1, kNonCacheable = 0;  // IR0, OR0: how table walks are cached
constexpr std::uint64_t kInnerShareable = 3, kNonShareable = 0;
constexpr std::uint64_t kMairWriteBack = 0xff;  // normal memory, write-back, allocating
constexpr unsigned kLeafPages = (1u << DescriptorTable::kLeafLg2) * kCdBytes / kPageSize;

void store(std::uint64_t& word, std::uint64_t value) { std::atomic_ref(word).store(value, std::memory_order_release); }

unsigned pages_for(std::size_t bytes) { return static_cast<unsigned>((bytes + kPageSize - 1) / kPageSize); }

}  // namespace

ContextDescriptor ContextDescriptor::of(const PagingDomain& domain, const StreamTraits& traits, UnitId asid) {
  const pt::ArmLpaeConfig& config = domain.config();
  const std::uint64_t cacheability = traits.coherent ? kWriteBack : kNonCacheable;
  ContextDescriptor cd;
  cd.words[0] = kCd0["T0SZ"].put(64 - config.input_bits) | kCd0["IR0"].put(cacheability) |
                kCd0["OR0"].put(cacheability) | kCd0["SH0"].put(traits.coherent ? kInnerShareable : kNonShareable) |
                kCd0["EPD1"].put(1) | kCd0["V"].put(1) | kCd0["IPS"].put(output_size(config.output_bits)) |
                kCd0["AA64"].put(1) | kCd0["HA"].put(config.dirty_tracking) | kCd0["HD"].put(config.dirty_tracking) |
                kCd0["S"].put(traits.stalls) | kCd0["R"].put(1) | kCd0["A"].put(1) | kCd0["ASET"].put(1) |
                kCd0["ASID"].put(asid);
  cd.words[1] = kCd1["TTB0"].in_place(domain.root().value);
  cd.words[3] = kCd3["MAIR0"].put(kMairWriteBack << 8 * pt::ArmLpae::kAttrIndexWriteBack);
  return cd;
}

Result<std::unique_ptr<DescriptorPair>> DescriptorPair::create(TableMemory& memory) {
  auto pair = std::make_unique<DescriptorPair>(memory);
  pair->page_ = TRY(memory.allocate());
  return pair;
}

DescriptorPair::Slot DescriptorPair::hold(const ContextDescriptor& wanted) {
  for (unsigned slot = 0; slot < kSlots; ++slot)
    if (std::ranges::equal(wanted.words, std::span(words(slot), kCdWords)))
      return {slot, memory_.address(words(slot)), false};
  const unsigned spare = (live_ + 1) % kSlots;
  for (unsigned word = kCdWords; word-- > 0;) store(words(spare)[word], wanted.words[word]);
  return {spare, memory_.address(words(spare)), true};
}

// ---- The table --------------------------------------------------------------------------------------------------

Result<std::unique_ptr<DescriptorTable>> DescriptorTable::create(TableMemory& memory, unsigned pasid_bits) {
  auto table = std::make_unique<DescriptorTable>(memory, pasid_bits);
  const std::size_t descriptors = std::size_t{1} << pasid_bits;
  if (table->has_two_levels()) table->leaves_.resize(descriptors >> kLeafLg2);
  const std::size_t l1_bytes = table->leaves_.size() * sizeof(std::uint64_t);
  table->root_ = TRY(memory.allocate(pages_for(table->has_two_levels() ? l1_bytes : descriptors * kCdBytes)));
  TRY(table->reserve(0));
  return table;
}

DescriptorTable::~DescriptorTable() {
  for (const PhysAddr leaf : leaves_)
    if (leaf.value != 0) memory_.free(leaf, kLeafPages);
  const std::size_t bytes =
      has_two_levels() ? leaves_.size() * sizeof(std::uint64_t) : (std::size_t{1} << pasid_bits_) * kCdBytes;
  if (root_.value != 0) memory_.free(root_, pages_for(bytes));
}

std::uint64_t DescriptorTable::entry_bits() const {
  const S1Format format = has_two_levels() ? S1Format::leaves_64k : S1Format::linear;
  return kSte0["S1ContextPtr"].in_place(root_.value) | kSte0["S1Fmt"].put(std::to_underlying(format)) |
         kSte0["S1CDMax"].put(pasid_bits_);
}

Result<bool> DescriptorTable::reserve(Pasid pasid) {
  if (!has_two_levels()) return false;
  PhysAddr& leaf = leaves_[pasid >> kLeafLg2];
  if (leaf.value != 0) return false;
  leaf = TRY(memory_.allocate(kLeafPages));
  store(memory_.words(root_)[pasid >> kLeafLg2], kL1Cd["V"].put(1) | kL1Cd["L2Ptr"].in_place(leaf.value));
  return true;
}

std::uint64_t* DescriptorTable::words(Pasid pasid) const {
  if (!reaches(pasid)) return nullptr;
  if (!has_two_levels()) return memory_.words(root_) + std::size_t{pasid} * kCdWords;
  const PhysAddr leaf = leaves_[pasid >> kLeafLg2];
  constexpr Pasid kInLeaf = (Pasid{1} << kLeafLg2) - 1;
  return leaf.value != 0 ? memory_.words(leaf) + std::size_t{pasid & kInLeaf} * kCdWords : nullptr;
}

bool DescriptorTable::is_valid(Pasid pasid) const {
  const std::uint64_t* const place = words(pasid);
  return place != nullptr && kCd0["V"].is_set(*place);
}

bool DescriptorTable::says(Pasid pasid, const ContextDescriptor& wanted) const {
  return std::ranges::equal(wanted.words, std::span(words(pasid), kCdWords));
}

void DescriptorTable::fill(Pasid pasid, const ContextDescriptor& wanted) {
  for (unsigned word = kCdWords; --word > 0;) store(words(pasid)[word], wanted.words[word]);
}

void DescriptorTable::set_first_word(Pasid pasid, std::uint64_t word) { store(words(pasid)[0], word); }

void DescriptorTable::make_invalid(Pasid pasid) {
  if (is_valid(pasid)) store(words(pasid)[0], words(pasid)[0] & ~kCd0["V"].mask());
}

}  // namespace softiommu::arm_smmu_v3
