// SPDX-License-Identifier: BSD-3-Clause
// TLB maintenance (IHI 0062 chapter 5): global operations, those of a context bank, and synchronisation.
//
// An invalidation is done when the write returns; a synchronisation also waits for DMA that used what is gone.
#include "machine/iommu/arm_smmu/model.h"

namespace softiommu::smmu {

using namespace hw::smmu;

ArmSmmu::After ArmSmmu::invalidate_global(std::uint64_t at, std::uint64_t value) {
  constexpr std::uint64_t kNarrow = 0xff;
  if (at == kTlbGsync.offset) return After::synchronise;
  if (at == kTlbiVmid.offset) {
    const std::uint64_t vmid = kTlbiVmid["VMID"].get(value);
    iotlb_.invalidate_masked(kVmidMask, tag_vmid(has_wide_vmids() ? vmid : vmid & kNarrow));
  } else if (at == kTlbiAllNsnh.offset) {
    iotlb_.invalidate_all();
  }  // TLBIALLH: there are no contexts of a hypervisor
  bump_generation();
  return After::nothing;
}

void ArmSmmu::invalidate_stage1(unsigned number, std::uint64_t at, std::uint64_t value) {
  const BankWords& bank = banks_[number];
  const bool aarch64 = is_aarch64(bank);
  std::uint64_t vmid = vmid_of(bank);
  if (static_cast<ContextType>(kCbar["TYPE"].get(bank.cbar)) == ContextType::nested)
    vmid = vmid_of(banks_[kNestedCbar["CBNDX"].get(bank.cbar) % banks_.size()]);
  const std::uint64_t space = kRegimeStage1 | tag_vmid(vmid);
  const std::uint64_t asid = aarch64 ? kTlbiVa64["ASID"].get(value) : kTlbiVa32["ASID"].get(value);
  const std::uint64_t address =
      aarch64 ? kTlbiVa64["VA"].get(value) << kPageShift : kTlbiVa32["VA"].get(value) << kPageShift;
  const IovaRange page = IovaRange::of(Iova{address}, kPageSize);
  if (at == kTlbiAsid.offset) {
    iotlb_.invalidate_space(space | kTlbiAsid["ASID"].get(value));
  } else if (at == kTlbiAll.offset) {
    iotlb_.invalidate_masked(kRegimeMask | kVmidMask, space);
  } else if (at == kTlbiVa.offset || at == kTlbiVal.offset) {
    iotlb_.invalidate_range(space | asid, page);
  } else if (at == kTlbiVaa.offset || at == kTlbiVaal.offset) {
    iotlb_.invalidate_masked_range(kRegimeMask | kVmidMask, space, page);
  }
}

ArmSmmu::After ArmSmmu::invalidate_bank(unsigned number, std::uint64_t at, std::uint64_t value) {
  if (at == kTlbSync.offset) return After::synchronise;
  const BankWords& bank = banks_[number];
  const bool stage2 = static_cast<ContextType>(kCbar["TYPE"].get(bank.cbar)) == ContextType::stage2;
  if (!stage2) {
    invalidate_stage1(number, at, value);
  } else if (is_version2() && (at == kTlbiIpas2.offset || at == kTlbiIpas2l.offset)) {
    const Iova address{kTlbiIpa["IPA"].get(value) << kPageShift};
    iotlb_.invalidate_range(kRegimeStage2 | tag_vmid(vmid_of(bank)), IovaRange::of(address, kPageSize));
  }  // of stage 2 there are no other operations in a bank
  bump_generation();
  return After::nothing;
}

}  // namespace softiommu::smmu
