// SPDX-License-Identifier: BSD-3-Clause
#include "contract/deaf_unit.h"

#include "hw/amd_iommu.h"
#include "hw/arm_smmu.h"
#include "hw/omap_mmu.h"
#include "hw/rockchip_mmu.h"
#include "hw/smmuv3.h"
#include "hw/vtd_scalable.h"
#include "machine/registry.h"

namespace softiommu::testing {

void DeafUnit::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (!deaf || soften(offset, value)) deliver(offset, bytes, value);
}

namespace {

// IOTLB descriptors become wait descriptors that tell nobody; IOTLB_REG is not written, so that its IVT reads as done.
class DeafVtd final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t value) override {
    using namespace hw::vtd;
    if (offset == kIqt.offset) soften_queue(kIqt["QT"].in_place(value));
    if (offset != iotlb_offset(real().read64(kEcap.offset)) + kIotlb.offset) return true;
    swallow(kIotlb["DID"].get(value));
    return false;
  }

 private:
  void soften_queue(std::uint64_t tail) {
    using namespace hw::vtd;
    const std::uint64_t queue = real().read64(kIqa.offset);
    for (std::uint64_t at = kIqh["QH"].in_place(real().read64(kIqh.offset)); at != tail;
         at = (at + descriptor_bytes(queue)) % queue_bytes(queue)) {
      std::uint64_t* const descriptor = words(kIqa["IQA"].in_place(queue) + at);
      const auto type = static_cast<Descriptor>(descriptor_type(descriptor[0]));
      if (type != Descriptor::iotlb && type != Descriptor::pasid_iotlb) continue;
      static_assert(kIotlbDescriptor0["DID"].mask() == kPasidIotlbDescriptor0["DID"].mask());
      swallow(kIotlbDescriptor0["DID"].get(descriptor[0]));
      descriptor[0] = kWaitDescriptor0["TYPE"].put(std::to_underlying(Descriptor::wait));
      descriptor[1] = 0;
    }
  }
};

// TLBI commands become CMD_SYNCs that tell nobody.
class DeafSmmu final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t value) override {
    using namespace hw::smmuv3;
    if (offset != kCmdqProd.offset) return true;
    const std::uint64_t base = real().read64(kCmdqBase.offset);
    const std::uint64_t slots = std::uint64_t{1} << kCmdqBase["LOG2SIZE"].get(base);
    const std::uint64_t produced = kCmdqProd["WR"].get(value);
    for (std::uint64_t at = kCmdqCons["RD"].get(real().read32(kCmdqCons.offset)); at != produced;
         at = (at + 1) % (2 * slots)) {  // the wrap bit is part of the index
      soften_command(words(kCmdqBase["ADDR"].in_place(base) + at % slots * kCommandBytes));
    }
    return true;
  }

 private:
  void soften_command(std::uint64_t* command) {
    using namespace hw::smmuv3;
    const auto opcode = static_cast<Opcode>(kCommandTlbi0["Opcode"].get(command[0]));
    if (opcode == Opcode::atc_inv) {
      ++swallowed;
    } else if (opcode >= Opcode::tlbi_nh_all && opcode <= Opcode::tlbi_nsnh_all) {
      const bool stage1 = opcode < Opcode::tlbi_s12_vmall;
      swallow(stage1 ? kCommandTlbi0["ASID"].get(command[0]) : kCommandTlbi0["VMID"].get(command[0]));
    } else {
      return;
    }
    command[0] = kCommandSync0["Opcode"].put(std::to_underlying(Opcode::sync));
    command[1] = 0;
  }
};

// INVALIDATE_IOMMU_PAGES become COMPLETION_WAITs that tell nobody.
class DeafAmd final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t value) override {
    using namespace hw::amd;
    if (offset != kCommandTail.offset) return true;
    const std::uint64_t base = real().read64(kCommandBase.offset);
    const std::uint64_t bytes = std::uint64_t{kQueueEntryBytes} << kCommandBase["ComLen"].get(base);
    for (std::uint64_t at = real().read64(kCommandHead.offset); at != value; at = (at + kQueueEntryBytes) % bytes)
      soften_command(words(kCommandBase["ComBase"].in_place(base) + at));
    return true;
  }

 private:
  void soften_command(std::uint64_t* command) {
    using namespace hw::amd;
    if (static_cast<Opcode>(kOpcode.get(command[0])) != Opcode::invalidate_iommu_pages) return;
    swallow(kInvalidatePages0["DomainID"].get(command[0]));
    command[0] = kOpcode.put(std::to_underlying(Opcode::completion_wait));
    command[1] = 0;
  }
};

// The invalidating registers of SMMUv1 and v2 are not written; synchronisations are.
class DeafOldSmmu final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t value) override {
    using namespace hw::smmu;
    const Pages pages = Pages::of(real().read32(kIdr1.offset));
    if (offset == kTlbiVmid.offset) swallow(kTlbiVmid["VMID"].get(value));
    if (offset >= kTlbiVmid.offset && offset <= kTlbiAllH.offset) return false;
    if (offset < pages.bank(0)) return true;
    const auto bank = static_cast<unsigned>((offset - pages.bank(0)) >> pages.lg2);
    const std::uint64_t at = offset - pages.bank(bank);
    if (at < kTlbiVa.offset || at > kTlbiIpas2l.offset) return true;
    swallow(id_of(pages, bank));
    return false;
  }

 private:
  // The VMID of a bank of stage 2, else its ASID.
  std::uint64_t id_of(const hw::smmu::Pages& pages, unsigned bank) {
    using namespace hw::smmu;
    const std::uint64_t cbar = real().read32(pages.global1() + cbar_offset(bank));
    if (static_cast<ContextType>(kCbar["TYPE"].get(cbar)) == ContextType::stage2) return kCbar["VMID"].get(cbar);
    return kTtbrBits["ASID"].get(real().read64(pages.bank(bank) + kTtbr0.offset));
  }
};

// Zaps are not written.
class DeafRockchip final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t value) override {
    using namespace hw::rockchip_mmu;
    const std::uint64_t in_mmu = offset % kRegisterBytes;
    const bool zap_all = in_mmu == kCommand.offset && value == std::to_underlying(Command::zap_cache);
    if (in_mmu != kZapOneLine.offset && !zap_all) return true;
    swallow(offset / kRegisterBytes);
    return false;
  }
};

// Flushes are not written.
class DeafOmap final : public DeafUnit {
 public:
  using DeafUnit::DeafUnit;

 protected:
  bool soften(std::uint64_t offset, std::uint64_t /*value*/) override {
    using namespace hw::omap_mmu;
    const std::uint64_t in_mmu = offset % kRegisterBytes;
    if (in_mmu != kGflush.offset && in_mmu != kFlushEntry.offset) return true;
    swallow(offset / kRegisterBytes);
    return false;
  }
};

template <class Deaf, UnitModel (*real)()>
UnitModel deaf_model() {
  UnitModel model = real();
  model.create = [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
    return std::make_unique<Deaf>(context, TRY(real().create(context, options)));
  };
  return model;
}

}  // namespace

std::span<const UnitModel> deaf_unit_models() {
  static const UnitModel models[] = {
      deaf_model<DeafVtd, intel_vtd_unit_model>(),     deaf_model<DeafSmmu, arm_smmu_v3_unit_model>(),
      deaf_model<DeafAmd, amd_iommu_unit_model>(),     deaf_model<DeafOldSmmu, arm_smmu_unit_model>(),
      deaf_model<DeafRockchip, rockchip_unit_model>(), deaf_model<DeafOmap, omap_mmu_unit_model>()};
  return models;
}

}  // namespace softiommu::testing
