// SPDX-License-Identifier: BSD-3-Clause
#include "contract/deaf_unit.h"

#include <utility>

#include "hw/smmuv3.h"
#include "hw/vtd.h"
#include "machine/registry.h"

namespace softiommu::testing {

DeafUnit::DeafUnit(const UnitContext& context, std::unique_ptr<IommuUnit> real)
    : IommuUnit(context), real_(std::move(real)) {
  real_->on_interrupt([this](unsigned line) { interrupt(line); });
}

// The ports know this unit, not the real one: they ask again after every write, and no copy is under way when it
// returns.
void DeafUnit::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (deaf && !soften(offset, value)) return;
  real_->write(offset, bytes, value);
  bump_generation();
  wait_for_dma();
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
         at = (at + kDescriptorBytes) % queue_bytes(queue)) {
      std::uint64_t* const descriptor = words(kIqa["IQA"].in_place(queue) + at);
      if (kIotlbDescriptor0["TYPE"].get(descriptor[0]) != std::to_underlying(Descriptor::iotlb)) continue;
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
    if (opcode < Opcode::tlbi_nh_all || opcode > Opcode::tlbi_nsnh_all) return;
    const bool stage1 = opcode < Opcode::tlbi_s12_vmall;
    swallow(stage1 ? kCommandTlbi0["ASID"].get(command[0]) : kCommandTlbi0["VMID"].get(command[0]));
    command[0] = kCommandSync0["Opcode"].put(std::to_underlying(Opcode::sync));
    command[1] = 0;
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
  static const UnitModel models[] = {deaf_model<DeafVtd, intel_vtd_unit_model>(),
                                     deaf_model<DeafSmmu, arm_smmu_v3_unit_model>()};
  return models;
}

}  // namespace softiommu::testing
