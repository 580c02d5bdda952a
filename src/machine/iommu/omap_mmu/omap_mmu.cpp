// SPDX-License-Identifier: BSD-3-Clause
// What stands in front of one OMAP client: one to four MMUs in one window of registers, one for each of its masters.
//
// A request goes to the MMU that its stream id chooses, modulo their number; no other meaning has the id here.
#include <memory>
#include <vector>

#include "machine/findings.h"
#include "machine/iommu/omap_mmu/mmu.h"
#include "machine/registry.h"

namespace softiommu {

namespace omap_mmu {

using hw::omap_mmu::kRegisterBytes;

namespace {

constexpr unsigned kWordBytes = 4;

constexpr Option kOptions[] = {
    {"mmus",
     Option::Kind::integer,
     1,
     1,
     hw::omap_mmu::kMostMmus,
     {},
     "MMUs of the client side by side; a request goes to the one that its stream id modulo their number says"},
    {"tlb_entries", Option::Kind::choice, 2, 0, 2, "8|16|32", "entries of each MMU's TLB"},
};
constexpr unsigned kEntries[] = {8, 16, 32};

class OmapMmus final : public IommuUnit {
 public:
  OmapMmus(UnitContext context, const Options& options) : IommuUnit(std::move(context)) {
    for (std::uint64_t i = 0; i < options["mmus"]; ++i)
      mmus_.push_back(std::make_unique<Mmu>(context_.memory, kEntries[options["tlb_entries"]]));
  }

  std::string_view model() const override { return "omap-mmu"; }
  std::uint64_t register_bytes() const override { return mmus_.size() * kRegisterBytes; }
  void reset() override {
    for (const auto& mmu : mmus_) mmu->reset();
    bump_generation();
    wait_for_dma();
  }
  // Registers are words: other widths read as ones and write nothing.
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    if (bytes != kWordBytes || offset >= register_bytes()) return ~std::uint64_t{0};
    return mmus_[offset / kRegisterBytes]->read(static_cast<std::uint32_t>(offset % kRegisterBytes));
  }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    if (bytes != kWordBytes || offset >= register_bytes()) return;
    Mmu& mmu = *mmus_[offset / kRegisterBytes];
    if (!mmu.write(static_cast<std::uint32_t>(offset % kRegisterBytes), static_cast<std::uint32_t>(value))) return;
    bump_generation();
    wait_for_dma();
  }
  std::optional<Translation> translate(const Transaction& transaction) override;

 private:
  std::vector<std::unique_ptr<Mmu>> mmus_;
};

std::optional<Translation> OmapMmus::translate(const Transaction& transaction) {
  const std::size_t index = transaction.stream % mmus_.size();
  Mmu& mmu = *mmus_[index];
  Mmu::Answer answer = mmu.translate(transaction);
  if (context_.paranoid && answer.walked) {
    if (const auto wrong = mmu.doubt(transaction, *answer.translation))
      context_.findings.add(
          fmt::format("{}: stale translation: MMU {}, {}; missing: MMU_FLUSH_ENTRY or MMU_GFLUSH of MMU {}", name(),
                      index, *wrong, index));
  }
  if (answer.interrupt) interrupt(static_cast<unsigned>(index));
  if (answer.translation) answer.translation->cacheable = !context_.paranoid;
  return answer.translation;
}

}  // namespace

}  // namespace omap_mmu

UnitModel omap_mmu_unit_model() {
  return {"omap-mmu", "OMAP system MMUs: one to four in front of one client, with TLBs that software can load",
          omap_mmu::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              return std::make_unique<omap_mmu::OmapMmus>(context, options);
            });
          }};
}

}  // namespace softiommu
