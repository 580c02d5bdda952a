// SPDX-License-Identifier: BSD-3-Clause
// A Rockchip IOMMU: one to four MMUs in one window of registers, each in front of some ports of the same master.
//
// A request goes to the MMU that its stream id chooses, modulo their number; no other meaning has the id here.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "machine/findings.h"
#include "machine/iommu/rockchip/mmu.h"
#include "machine/options.h"

namespace softiommu::rockchip {

class Rockchip final : public IommuUnit {
 public:
  Rockchip(UnitContext context, const Options& options);

  std::string_view model() const override { return "rockchip-iommu"; }
  std::uint64_t register_bytes() const override { return mmus_.size() * hw::rockchip_mmu::kRegisterBytes; }
  void reset() override;
  // Registers are words: other widths read as ones and write nothing.
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;

 private:
  std::vector<std::unique_ptr<Mmu>> mmus_;
};

}  // namespace softiommu::rockchip
