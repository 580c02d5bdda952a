// SPDX-License-Identifier: BSD-3-Clause
// Walks of the stream's tables (IHI0070 3.12, 3.13), and what their failures are called in events (7.3).
#include "machine/iommu/arm_smmu_v3/model.h"

namespace softiommu::smmuv3 {

using hw::smmuv3::Event;

namespace {

Event event_of(walk::Fault fault) {
  switch (fault) {
    case walk::Fault::output_range:
      return Event::f_addr_size;
    case walk::Fault::access_flag:
      return Event::f_access;
    case walk::Fault::permission:
      return Event::f_permission;
    case walk::Fault::memory:
      return Event::f_walk_eabt;
    default:  // addresses outside TxSZ and descriptors of reserved types are translation faults, too
      return Event::f_translation;
  }
}

}  // namespace

WalkFault ArmSmmuV3::fault_of(const StreamConfig& config, const walk::Failure& failure) {
  const bool stage2 = failure.stage == 2;
  return {.event = event_of(failure.fault),
          .stage2 = stage2,
          .record = (stage2 ? config.stage2 : config.stage1).record,
          .stall = (stage2 ? config.stage2 : config.stage1).stall && failure.fault != walk::Fault::memory,
          .address = stage2 ? failure.input.value : 0,
          .fault_class = failure.of_table ? kClassTable : kClassInput};
}

ArmSmmuV3::WalkResult ArmSmmuV3::walk(const StreamConfig& config, Iova iova, Access access) {
  const walk::ArmStages stages{.stage1 = config.has_stage1 ? &config.stage1.tables : nullptr,
                               .stage2 = config.has_stage2 ? &config.stage2.tables : nullptr};
  const walk::Outcome page = walk::arm_lpae(context_.memory, stages, iova, access);
  if (!page) return std::unexpected(fault_of(config, page.error()));
  return *page;
}

// Where stage 2 puts a structure that stage 1 is described in.
std::expected<PhysAddr, WalkFault> ArmSmmuV3::translate_structure(const StreamConfig& config, PhysAddr structure) {
  const walk::Outcome page =
      walk::arm_lpae(context_.memory, {.stage2 = &config.stage2.tables}, Iova{structure.value}, Access::read);
  if (!page) {
    WalkFault fault = fault_of(config, page.error());
    fault.fault_class = kClassDescriptor;
    return std::unexpected(fault);
  }
  return page->first + (structure.value & ((std::uint64_t{1} << page->lg2) - 1));
}

}  // namespace softiommu::smmuv3
