// SPDX-License-Identifier: BSD-3-Clause
// The driver for Rockchip IOMMUs. A unit serves one group; a domain serves every unit of its table version.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "drivers/registry.h"
#include "drivers/rockchip/domain.h"
#include "drivers/rockchip/unit.h"
#include "drivers/static_domain.h"
#include "drivers/unit_wide.h"

namespace softiommu {
namespace rockchip {

class RockchipDriver final : public UnitWideDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "rockchip"; }
  std::string_view unit_model() const override { return "rockchip-iommu"; }

  Result<> add_unit(const UnitHardware& hardware) override {
    return add(std::make_unique<Unit>(hardware, Unit::count_mmus(hardware.registers)));
  }
  void interrupt(unsigned unit, unsigned line) override { units_[unit]->report_fault(line); }
  Result<std::unique_ptr<DeviceData>> probe(Device& /*device*/) override { return std::make_unique<DeviceData>(); }
  std::vector<ReservedRegion> reserved_regions(const Device& /*device*/) const override { return {}; }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override {
    return type == DomainType::identity ? &identity_ : type == DomainType::blocked ? &blocked_ : nullptr;
  }
  std::uint64_t fit(const Device& device) const override { return unit_of(device).wide(); }

 private:
  AttachResult<> admits(const Unit& unit, const PagingDomain& to) const override {
    if (to.wide() == unit.wide()) return {};
    return driver_says(AttachFailure::incompatible, {"table version", to.wide() ? 2u : 1u, unit.wide() ? 2u : 1u});
  }

  // Linux's driver has one set of tables for all.
  Result<> accept(const Unit& unit) const override {
    const bool mixed = as_linux() && !units_.empty() && units_.front()->wide() != unit.wide();
    return mixed ? fail(EINVAL, "an IOMMU of the other table version is there") : Result<>{};
  }
  // Linux gives up with the device on identity.
  AttachError refusal(Unit& unit, const Error& error) override {
    if (!as_linux()) return UnitWideDriver::refusal(unit, error);
    unit.let_pass();
    return {AttachFailure::no_device, error.code, {error.why}};
  }

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<std::unique_ptr<Domain>> RockchipDriver::allocate(std::span<Device* const> devices,
                                                         const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "Rockchip IOMMUs have no dirty tracking, nesting or PASIDs");
  TRY(fault::pass("rockchip.domain"));
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  Unit& unit = unit_of(*devices.front());
  const auto differs = [&](const Device* device) { return unit_of(*device).wide() != unit.wide(); };
  if (std::ranges::any_of(devices, differs)) return fail(ENODEV, "the group is behind IOMMUs of both table versions");
  return make_domain(*this, unit);
}

}  // namespace rockchip

std::unique_ptr<Driver> make_rockchip_driver() { return std::make_unique<rockchip::RockchipDriver>(); }

}  // namespace softiommu
