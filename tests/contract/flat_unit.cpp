// SPDX-License-Identifier: BSD-3-Clause
// The hardware "test-flat".
#include <array>
#include <atomic>

#include "contract/flat_mmu.h"
#include "contract/flat_registers.h"

namespace softiommu::testing {

namespace {

using namespace flat;

class FlatUnit : public IommuUnit {
 public:
  FlatUnit(UnitContext context, std::string_view model, std::uint64_t pages, std::uint64_t contexts)
      : IommuUnit(std::move(context)),
        model_(model),
        capability_(kCapability["PAGES"].put(pages) | kCapability["CONTEXTS"].put(contexts)) {}

  std::string_view model() const override { return model_; }
  std::uint64_t register_bytes() const override { return kRegisterBytes; }
  void reset() override {
    for (auto& word : words_) word = 0;
    bump_generation();
  }

  std::uint64_t read(std::uint64_t offset, unsigned) override {
    if (offset == kCapabilityOffset) return capability_;
    return offset < kRegisterBytes ? words_[offset / 8].load() : 0;
  }
  void write(std::uint64_t offset, unsigned, std::uint64_t value) override {
    if (offset >= kRegisterBytes) return;
    if (offset == kInvalidateOffset) {
      bump_generation();
      wait_for_dma();
      return;
    }
    words_[offset / 8] = value;
  }

  std::optional<Translation> translate(const Transaction& transaction) override {
    auto translation = look_up(transaction);
    if (!translation) {
      ++words_[kFaultsOffset / 8];
      interrupt(0);
    }
    return translation;
  }

 private:
  std::optional<Translation> look_up(const Transaction& transaction) const {
    for (unsigned row = 0; row < kStreamRows; ++row) {
      const std::uint64_t word = words_[stream_row(row) / 8];
      if (!kStreamRow["VALID"].is_set(word) || kStreamRow["STREAM"].get(word) != transaction.stream) continue;
      const std::uint64_t page = align_down(transaction.iova.value, kPageSize);
      if (kStreamRow["BYPASS"].is_set(word)) return Translation{.page = PhysAddr{page}, .read = true, .write = true};
      if (page >> kPageShift >= kCapability["PAGES"].get(capability_)) return std::nullopt;
      const auto context = static_cast<unsigned>(kStreamRow["CONTEXT"].get(word));
      return from_entry(words_[window_entry(context, page >> kPageShift) / 8], transaction.access);
    }
    return std::nullopt;
  }

  static std::optional<Translation> from_entry(std::uint64_t entry, Access access) {
    const Translation translation{.page = PhysAddr{kEntry["ADDR"].in_place(entry)},
                                  .read = kEntry["R"].is_set(entry),
                                  .write = kEntry["W"].is_set(entry)};
    const bool allowed = access == Access::read ? translation.read : translation.write;
    return allowed ? std::optional(translation) : std::nullopt;
  }

  std::string_view model_;
  std::uint64_t capability_;
  std::array<std::atomic<std::uint64_t>, kRegisterBytes / 8> words_{};
};

constexpr Option kOptions[] = {
    {.key = "pages",
     .kind = Option::Kind::integer,
     .fallback = kMostPages,
     .min = 1,
     .max = kMostPages,
     .choices = "",
     .doc = "entries of a window"},
    {.key = "contexts",
     .kind = Option::Kind::integer,
     .fallback = kMostContexts,
     .min = 1,
     .max = kMostContexts,
     .choices = "",
     .doc = "windows"},
};

template <const char* model>
Result<std::unique_ptr<IommuUnit>> create(const UnitContext& context, const Options& options) {
  return std::make_unique<FlatUnit>(context, model, options["pages"], options["contexts"]);
}

constexpr char kFlat[] = "test-flat";
constexpr char kOtherFlat[] = "test-flat-b";

}  // namespace

UnitModel flat_unit_model() { return {kFlat, "for the contract tests", kOptions, create<kFlat>}; }
UnitModel other_flat_unit_model() { return {kOtherFlat, "for the contract tests", kOptions, create<kOtherFlat>}; }

}  // namespace softiommu::testing
