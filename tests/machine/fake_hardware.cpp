// SPDX-License-Identifier: BSD-3-Clause
#include "fake_hardware.h"

namespace softiommu::test {
namespace {

using Kind = Option::Kind;

constexpr Option kUnitOptions[] = {
    {"width", Kind::integer, 39, 30, 57, "", "bits of address"},
    {"snoop", Kind::flag, 0, 0, 1, "", "forces snooping"},
    {"window", Kind::size, kMiB, 4096, kGiB, "", "bytes of window"},
    {"levels", Kind::list, 0b1100, 2, 5, "", "table levels"},
    {"pages", Kind::list, 1u << 12, 12, 16, "12|14|16", "log2 of page sizes"},
    {"stage", Kind::choice, 1, 0, 2, "1|2|both", "stages of translation"},
    {"label", Kind::text, 0, 0, 0, "plain", "any text"},
};
constexpr Option kDeviceOptions[] = {{"queues", Kind::integer, 1, 1, 8, "", "queues"}};
constexpr BarSpec kWindows[] = {
    {.bytes = 8 * kKiB}, {.bytes = 64 * kKiB, .memory64 = true}, {}, {.bytes = 32, .io = true}};

class Unit final : public IommuUnit {
 public:
  using IommuUnit::IommuUnit;
  ~Unit() override { diary().push_back("unit " + name() + " gone"); }
  std::string_view model() const override { return "test-iommu"; }
  std::uint64_t register_bytes() const override { return kPageSize; }
  void reset() override {}
  std::optional<Translation> translate(const Transaction&) override { return std::nullopt; }
  std::uint64_t read(std::uint64_t, unsigned) override { return 0; }
  void write(std::uint64_t, unsigned, std::uint64_t) override {}
};

class Device final : public PciFunction {
 public:
  explicit Device(const Context& context)
      : PciFunction(context,
                    {.vendor = 0x1234,
                     .device = 0x5678,
                     .subsystem_vendor = 0,
                     .subsystem_device = 0,
                     .class_code = 0xff0000,
                     .revision = 0},
                    kWindows) {}
  ~Device() override { diary().push_back("device " + bdf().text() + " gone"); }
  std::string_view model() const override { return "test-device"; }
  std::uint64_t step(std::uint64_t) override { return kIdle; }

 protected:
  std::uint64_t bar_read(unsigned, std::uint64_t, unsigned) override { return 0; }
  void bar_write(unsigned, std::uint64_t, unsigned, std::uint64_t) override {}
  void reset_registers() override {}
};

}  // namespace

UnitModel unit_model() {
  return {"test-iommu", "An IOMMU that refuses everything.", kUnitOptions,
          [](const UnitContext& context, const Options&) -> Result<std::unique_ptr<IommuUnit>> {
            return std::make_unique<Unit>(context);
          },
          [](const Options& options) -> Result<> {
            if (options["width"] == 31) return fail(EINVAL, "width: must not be 31");
            return {};
          }};
}

DeviceModel device_model() {
  return {"test-device", "A device that does nothing.", kDeviceOptions,
          [](const PciFunction::Context& context, const Options&) -> Result<std::unique_ptr<PciFunction>> {
            return std::make_unique<Device>(context);
          }};
}

std::vector<std::string>& diary() {
  static std::vector<std::string> lines;
  return lines;
}

}  // namespace softiommu::test
