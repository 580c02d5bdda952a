// SPDX-License-Identifier: BSD-3-Clause
// Global faults and context faults (IHI 0062 chapter 3): what is recorded, which interrupt is raised, and stalls.
//
// A register holds the first fault until software clears it; later ones only set MULTI.
#include <mutex>

#include "machine/iommu/arm_smmu/model.h"

namespace softiommu::smmu {

using namespace hw::smmu;

std::uint64_t fsr_of(walk::Fault fault) {
  switch (fault) {
    case walk::Fault::output_range:
      return kFsr["ASF"].mask();
    case walk::Fault::access_flag:
      return kFsr["AFF"].mask();
    case walk::Fault::permission:
      return kFsr["PF"].mask();
    case walk::Fault::memory:
      return kFsr["EF"].mask();
    default:
      return kFsr["TF"].mask();
  }
}

namespace {

// Arm's number of the level: failures count from the leaves.
std::uint64_t level_of(const walk::Failure& failure, bool short_descriptors) {
  const unsigned last = short_descriptors ? 2 : 3;
  return failure.level > last ? 0 : last - failure.level;
}

// What is outstanding: FORMAT says nothing of that.
constexpr std::uint64_t kFaultBits = kFsr.layout.named() & ~kFsr["FORMAT"].mask();

}  // namespace

std::optional<Translation> ArmSmmu::refuse(const Transaction& transaction, std::uint64_t gfsr) {
  bool raise = false;
  {
    const std::scoped_lock lock(mutex_);
    if (global_.gfsr != 0) {
      global_.gfsr |= kGfsr["MULTI"].mask();
    } else {
      global_.gfsr = gfsr;
      global_.gfar = transaction.iova.value;
      global_.gfsynr0 = kGfsynr0["WNR"].put(transaction.access == Access::write);
      global_.gfsynr1 = kGfsynr1["STREAMID"].put(transaction.stream & kGfsynr1["STREAMID"].max());
    }
    raise = kCr0["GFIE"].is_set(global_.cr0);
  }
  if (raise) interrupt(kGlobalLine);
  return std::nullopt;
}

// With HUPCF clear, an outstanding fault of a context stops all of its transactions.
bool ArmSmmu::is_held_up(const Context& context) const {
  const BankWords& bank = banks_[context.bank];
  return (bank.fsr & kFaultBits) != 0 && !kSctlr["HUPCF"].is_set(bank.sctlr);
}

// Version 2 has an interrupt for each bank; in version 1 banks choose one.
std::optional<unsigned> ArmSmmu::context_line(unsigned bank) {
  const auto index = is_version2() ? bank : static_cast<unsigned>(kCbar["IRPTNDX"].get(banks_[bank].cbar));
  if (index >= interrupts_) return std::nullopt;
  return kFirstContextLine + index;
}

bool ArmSmmu::context_fault(const Transaction& transaction, const Context& context, const walk::Failure& failure) {
  const bool of_stage2 = context.has_stage2 && (failure.stage == 2 || !context.has_stage1());
  const bool nested = of_stage2 && context.has_stage1();
  const unsigned number = of_stage2 ? context.stage2_bank : context.bank;
  bool stalls = false, raise = false;
  std::optional<unsigned> line;
  {
    const std::scoped_lock lock(mutex_);
    BankWords& bank = banks_[number];
    if ((bank.fsr & kFaultBits) != 0) {
      bank.fsr |= kFsr["MULTI"].mask();
    } else {
      stalls = kSctlr["CFCFG"].is_set(bank.sctlr) && !kCr0["STALLD"].is_set(global_.cr0);
      bank.fsr = fsr_of(failure.fault) | kFsr["FORMAT"].put(context.format) | kFsr["SS"].put(stalls);
      bank.far = transaction.iova.value;
      bank.fsynr0 = kFsynr0["PLVL"].put(level_of(failure, std::holds_alternative<ShortTables>(context.stage1))) |
                    kFsynr0["WNR"].put(transaction.access == Access::write) |
                    kFsynr0["PTWF"].put(nested && failure.of_table) | kFsynr0["S1CBNDX"].put(nested ? context.bank : 0);
      bank.ipafar = of_stage2 ? failure.input.value & kIpaFar["IPA"].mask() : 0;
      bank.cbfrsynra = kCbfrsynra["STREAMID"].put(transaction.stream & kCbfrsynra["STREAMID"].max());
      bank.resume = BankWords::Answer::none;
    }
    raise = kSctlr["CFIE"].is_set(bank.sctlr);
    line = context_line(number);
  }
  if (raise && !line) {
    refuse(transaction, kGfsr["UCIF"].mask());
    return false;
  }
  if (raise) interrupt(*line);
  if (!stalls) return false;
  // The interrupt's handler has run. A transaction that it did not resume cannot wait here: it is terminated.
  const std::scoped_lock lock(mutex_);
  return banks_[number].resume == BankWords::Answer::retry;
}

}  // namespace softiommu::smmu
