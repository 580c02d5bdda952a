// SPDX-License-Identifier: BSD-3-Clause
// The parts of the SMMUv1/v2 model: global registers, stream mapping, context banks, faults, walks, IOTLB.
//
// Everything is in registers and takes effect at once for what is translated later; what is under way, and what the
// IOTLB remembers, ends with a TLB synchronisation. One leaf lock guards the registers. It is never held while the unit
// waits for DMA or raises an interrupt.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <variant>

#include "base/futex_lock.h"
#include "hw/arm_smmu.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/arm_lpae.h"
#include "machine/iommu/walk/arm_v7s.h"
#include "machine/options.h"

namespace softiommu::smmu {

// IOTLB tags: which regime, then VMID, then ASID. Invalidations compare them in part.
inline constexpr std::uint64_t kAsidMask = 0xffff, kVmidMask = 0xffff'0000, kRegimeMask = std::uint64_t{3} << 32;
inline constexpr std::uint64_t kRegimeStage1 = std::uint64_t{1} << 32;  // ASIDs mean something
inline constexpr std::uint64_t kRegimeStage2 = std::uint64_t{2} << 32;
constexpr std::uint64_t tag_vmid(std::uint64_t vmid) { return vmid << 16; }

// A row of a register space: where a word is, and which bits software writes.
template <class Words>
struct RegisterRow {
  std::uint32_t offset;
  unsigned bytes;
  std::uint64_t writable;
  std::uint64_t Words::* word;

  constexpr bool covers(std::uint64_t at, unsigned size) const { return at >= offset && at + size <= offset + bytes; }
};

struct GlobalWords {
  std::uint64_t cr0 = 0, acr = 0, gfar = 0, gfsr = 0, gfsynr0 = 0, gfsynr1 = 0;
};

struct BankWords {
  std::uint64_t cbar = 0, cba2r = 0, cbfrsynra = 0;
  std::uint64_t sctlr = 0, tcr2 = 0, ttbr0 = 0, ttbr1 = 0, tcr = 0, contextidr = 0, mair0 = 0, mair1 = 0, par = 0;
  std::uint64_t fsr = 0, far = 0, fsynr0 = 0, ipafar = 0;
  enum class Answer : std::uint8_t { none, retry, terminate } resume = Answer::none;
};

// Stage 1 in long descriptors: what TTBR0 and TTBR1 translate. No stage: a translation fault for all of it.
struct LongTables {
  std::array<std::optional<walk::ArmStage>, 2> halves{};
  bool aarch32 = false;
  std::uint64_t upper_from = 0;  // AArch32: TTBR1 translates from here on
  friend bool operator==(const LongTables&, const LongTables&) = default;
};
struct ShortTables {
  std::array<std::optional<walk::ArmV7sTable>, 2> halves{};
  std::uint64_t upper_from = 0;
};

// What a context bank (with the bank of stage 2 under it, if it is nested) makes of an address.
struct Context {
  unsigned bank = 0, stage2_bank = 0;
  std::variant<std::monostate, LongTables, ShortTables> stage1{};
  std::optional<walk::ArmStage> stage2{};
  bool has_stage2 = false;  // and it is turned on; without tables: everything faults
  std::uint64_t space = 0;  // tag in the IOTLB
  std::uint64_t format = 0;

  bool has_stage1() const { return !std::holds_alternative<std::monostate>(stage1); }
  bool passes() const { return !has_stage1() && !has_stage2; }
};

// What the stream mapping says of a stream.
struct Route {
  enum class Kind : std::uint8_t { bypass, fault, translate };
  Kind kind = Kind::fault;
  std::uint64_t gfsr = 0;  // Kind::fault: bits of sGFSR
  unsigned bank = 0;
};

using WalkResult = std::expected<walk::Page, walk::Failure>;
// Its bit in FSR and PAR.
std::uint64_t fsr_of(walk::Fault fault);

class ArmSmmu final : public IommuUnit {
 public:
  ArmSmmu(const UnitContext& context, const Options& options);

  std::string_view model() const override { return "arm-smmu"; }
  std::uint64_t register_bytes() const override { return pages_.bytes(); }
  void reset() override;
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;

 private:
  // What a write sets off once the lock is free.
  enum class After : std::uint8_t { nothing, synchronise };

  // ---- registers (registers.cpp): called with mutex_ ----
  std::uint64_t read_global0(std::uint64_t at, unsigned bytes) const;
  std::uint64_t read_global1(std::uint64_t at) const;
  std::uint64_t read_bank(unsigned bank, std::uint64_t at, unsigned bytes) const;
  After write_global0(std::uint64_t at, unsigned bytes, std::uint64_t value);
  void write_stream_entry(std::uint64_t at, std::uint64_t value);
  void write_global1(std::uint64_t at, std::uint64_t value);
  After write_bank(unsigned bank, std::uint64_t at, unsigned bytes, std::uint64_t value);
  void translate_for_software(unsigned bank, std::uint64_t at, std::uint64_t value);
  bool is_extended() const { return hw::smmu::kCr0["EXIDENABLE"].is_set(global_.cr0); }
  bool has_wide_vmids() const { return hw::smmu::kCr0["VMID16EN"].is_set(global_.cr0); }
  bool is_version2() const { return version_ == 2; }

  // ---- TLB maintenance (invalidation.cpp): called with mutex_ ----
  After invalidate_global(std::uint64_t at, std::uint64_t value);
  After invalidate_bank(unsigned bank, std::uint64_t at, std::uint64_t value);
  void invalidate_stage1(unsigned bank, std::uint64_t at, std::uint64_t value);

  // ---- streams (streams.cpp): called with mutex_ ----
  Route route_of(StreamId stream) const;
  Route route_of_entry(unsigned entry) const;
  bool matches(unsigned entry, StreamId stream) const;

  // ---- contexts (context.cpp): called with mutex_ ----
  std::expected<Context, std::uint64_t> context_of(unsigned bank) const;  // else: bits of sGFSR
  LongTables long_tables(const BankWords& bank) const;
  ShortTables short_tables(const BankWords& bank) const;
  std::optional<walk::ArmStage> stage2_tables(const BankWords& bank) const;
  bool is_aarch64(const BankWords& bank) const { return hw::smmu::kCba2r["VA64"].is_set(bank.cba2r); }
  std::uint64_t vmid_of(const BankWords& bank) const;
  std::uint64_t asid_of(const BankWords& bank) const;
  bool has_granule(unsigned lg2) const;
  unsigned output_bits(std::uint64_t code) const;
  WalkResult walk(const Context& context, Iova iova, Access access) const;  // takes no lock

  // ---- faults (faults.cpp): called without mutex_ ----
  std::optional<Translation> refuse(const Transaction& transaction, std::uint64_t gfsr);
  // True: software wants the transaction to be tried again.
  bool context_fault(const Transaction& transaction, const Context& context, const walk::Failure& failure);
  std::optional<unsigned> context_line(unsigned bank);
  bool is_held_up(const Context& context) const;  // with mutex_

  struct Plan {
    Route route;
    Context context{};
  };
  Plan plan_for(StreamId stream) const;
  std::optional<Translation> pass(const Transaction& transaction);
  std::optional<Translation> checked_hit(const Transaction&, const Context&, Translation hit);

  const unsigned version_;
  const std::uint64_t idr0_, idr1_, idr2_;
  const unsigned entries_, banks_count_, stage2_banks_, interrupts_;
  const unsigned input_bits_, output_bits_, upstream_bits_;  // IAS, OAS, UBS
  const hw::smmu::Pages pages_;

  mutable FutexLock mutex_;
  GlobalWords global_;
  std::array<std::uint32_t, hw::smmu::kMostStreamEntries> smr_{}, s2cr_{};
  std::array<BankWords, hw::smmu::kMostContextBanks> banks_{};

  Iotlb iotlb_;
};

}  // namespace softiommu::smmu
