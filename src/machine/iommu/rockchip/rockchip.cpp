// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/rockchip/rockchip.h"

#include "machine/registry.h"

namespace softiommu {

namespace rockchip {

using hw::rockchip_mmu::kRegisterBytes;

namespace {

constexpr unsigned kWordBytes = 4;

constexpr Option kOptions[] = {
    {"version", Option::Kind::choice, 0, 0, 1, "1|2", "of the table format: 1 has 32-bit addresses, 2 has 40-bit ones"},
    {"mmus",
     Option::Kind::integer,
     1,
     1,
     hw::rockchip_mmu::kMostMmus,
     {},
     "MMUs side by side; a request goes to the one that its stream id modulo their number says"},
};

}  // namespace

Rockchip::Rockchip(UnitContext context, const Options& options) : IommuUnit(std::move(context)) {
  for (std::uint64_t i = 0; i < options["mmus"]; ++i)
    mmus_.push_back(std::make_unique<Mmu>(context_.memory, options["version"] == 1));
}

void Rockchip::reset() {
  for (const auto& mmu : mmus_) mmu->reset();
  bump_generation();
  wait_for_dma();
}

std::uint64_t Rockchip::read(std::uint64_t offset, unsigned bytes) {
  if (bytes != kWordBytes || offset >= register_bytes()) return ~std::uint64_t{0};
  return mmus_[offset / kRegisterBytes]->read(static_cast<std::uint32_t>(offset % kRegisterBytes));
}

void Rockchip::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (bytes != kWordBytes || offset >= register_bytes()) return;
  Mmu& mmu = *mmus_[offset / kRegisterBytes];
  if (!mmu.write(static_cast<std::uint32_t>(offset % kRegisterBytes), static_cast<std::uint32_t>(value))) return;
  bump_generation();
  wait_for_dma();
}

std::optional<Translation> Rockchip::translate(const Transaction& transaction) {
  const std::size_t index = transaction.stream % mmus_.size();
  Mmu& mmu = *mmus_[index];
  const Mmu::Answer answer = mmu.translate(transaction);
  if (context_.paranoid && answer.cached) {
    if (const auto wrong = mmu.doubt(transaction, *answer.cached))
      context_.findings.add(
          fmt::format("{}: stale translation: MMU {}, {}; missing: MMU_ZAP_ONE_LINE or ZAP_CACHE of "
                      "MMU {}",
                      name(), index, *wrong, index));
  }
  if (answer.interrupt) interrupt(static_cast<unsigned>(index));
  auto translation = answer.translation;
  if (translation) translation->cacheable = !context_.paranoid;
  return translation;
}

}  // namespace rockchip

UnitModel rockchip_unit_model() {
  return {"rockchip-iommu", "Rockchip IOMMU: up to four MMUs with one set of tables", rockchip::kOptions,
          [](const UnitContext& context, const Options& options) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing([&]() -> Result<std::unique_ptr<IommuUnit>> {
              return std::make_unique<rockchip::Rockchip>(context, options);
            });
          }};
}

}  // namespace softiommu
