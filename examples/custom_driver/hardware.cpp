// SPDX-License-Identifier: BSD-3-Clause
// The hardware "slot-mmu": registers on one side, translation on the other. It reads its tables with a walker of its
// own and keeps translations in an IOTLB, tagged by the table, until it is told to forget them.
#include "hardware.h"

#include <array>
#include <atomic>

#include "machine/findings.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/stale.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/x86_64.h"

namespace slot_mmu {

using namespace softiommu;

namespace {

class SlotMmu final : public IommuUnit {
 public:
  SlotMmu(UnitContext context, unsigned levels) : IommuUnit(std::move(context)), levels_(levels) {}

  std::string_view model() const override { return "slot-mmu"; }
  std::uint64_t register_bytes() const override { return kRegisterBytes; }
  void reset() override {
    for (auto& slot : slots_) slot = 0;
    iotlb_.invalidate_all();
    bump_generation();
  }

  std::uint64_t read(std::uint64_t offset, unsigned /*bytes*/) override {
    if (offset == kCapability.offset) return kCapability["LEVELS"].put(levels_);
    return is_slot(offset) ? slots_[slot_of(offset)].load() : 0;
  }
  void write(std::uint64_t offset, unsigned /*bytes*/, std::uint64_t value) override {
    if (offset == kInvalidate.offset) iotlb_.invalidate_space(kInvalidate["ROOT"].in_place(value));
    if (is_slot(offset)) slots_[slot_of(offset)] = value;
    bump_generation();
    wait_for_dma();
  }

  std::optional<Translation> translate(const Transaction& transaction) override {
    for (const auto& register_word : slots_) {
      const std::uint64_t slot = register_word.load();
      if (kSlot["STREAM"].get(slot) != transaction.stream) continue;
      if (kSlot["BYPASS"].is_set(slot))
        return Translation{
            .page = PhysAddr{align_down(transaction.iova.value, kPageSize)}, .read = true, .write = true};
      if (kSlot["TRANSLATE"].is_set(slot)) return through(PhysAddr{kSlot["ROOT"].in_place(slot)}, transaction);
    }
    return std::nullopt;
  }

 private:
  static bool is_slot(std::uint64_t offset) { return offset >= slot_offset(0) && offset < kRegisterBytes; }
  static std::size_t slot_of(std::uint64_t offset) { return (offset - slot_offset(0)) / 8; }

  std::optional<Translation> through(PhysAddr root, const Transaction& transaction) {
    auto found = iotlb_.look_up(root.value, transaction.iova);
    if (found && context_.paranoid) compare(root, transaction, *found);
    if (!found) {
      const auto ticket = iotlb_.ticket();
      const auto page = walk(root, transaction);
      if (!page) return std::nullopt;
      found = Translation{.page = page->first,
                          .page_lg2 = static_cast<std::uint8_t>(page->lg2),
                          .read = page->read,
                          .write = page->write,
                          .cacheable = !context_.paranoid};
      iotlb_.insert(ticket, root.value, transaction.iova, *found);
    }
    const bool allowed = transaction.access == Access::read ? found->read : found->write;
    return allowed ? found : std::nullopt;
  }
  walk::Outcome walk(PhysAddr root, const Transaction& transaction) {
    return walk::x86_64(context_.memory, {.root = root, .levels = levels_, .accessed_dirty = false}, transaction.iova,
                        transaction.access);
  }
  // Paranoid mode: is what was cached still true?
  void compare(PhysAddr root, const Transaction& transaction, const Translation& cached) {
    if (const auto stale = contradiction(transaction.iova, cached, walk(root, transaction)))
      context_.findings.add(context_.name + ": stale translation: " + *stale);
  }

  const unsigned levels_;
  std::array<std::atomic<std::uint64_t>, kSlots> slots_{};
  Iotlb iotlb_;
};

constexpr Option kOptions[] = {{.key = "levels",
                                .kind = Option::Kind::integer,
                                .fallback = 4,
                                .min = 4,
                                .max = 5,
                                .choices = "",
                                .doc = "of the tables that it walks"}};

Result<std::unique_ptr<IommuUnit>> create(const UnitContext& context, const Options& options) {
  return std::make_unique<SlotMmu>(context, static_cast<unsigned>(options["levels"]));
}

}  // namespace

UnitModel unit_model() { return {"slot-mmu", "the IOMMU of examples/custom_driver", kOptions, create}; }

}  // namespace slot_mmu
