// SPDX-License-Identifier: BSD-3-Clause
// The driver for OMAP MMUs. The clients behind one set of MMUs are one group, and a domain serves one group.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "drivers/omap/domain.h"
#include "drivers/omap/unit.h"
#include "drivers/registry.h"
#include "drivers/static_domain.h"
#include "drivers/unit_wide.h"

namespace softiommu {
namespace omap {

class OmapDriver final : public UnitWideDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "omap"; }
  std::string_view unit_model() const override { return "omap-mmu"; }

  Result<> add_unit(const UnitHardware& hardware) override { return add(std::make_unique<Unit>(hardware)); }
  void interrupt(unsigned unit, unsigned line) override { units_[unit]->report_fault(line); }
  Result<std::unique_ptr<DeviceData>> probe(Device& /*device*/) override { return std::make_unique<DeviceData>(); }
  std::vector<ReservedRegion> reserved_regions(const Device& /*device*/) const override { return {}; }
  // As on 32-bit Arm, where Linux gives these devices nothing else.
  DomainType default_domain_type(const Device& /*device*/) const override { return DomainType::identity; }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override {
    return type == DomainType::identity ? &identity_ : type == DomainType::blocked ? &blocked_ : nullptr;
  }
  // No domain fits devices of two units, but for a group that the bus has made of them.
  std::uint64_t fit(const Device& device) const override { return device.unit_index(); }

 private:
  AttachResult<> admits(const Unit& unit, const PagingDomain& to) const override;

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<std::unique_ptr<Domain>> OmapDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "OMAP MMUs have no dirty tracking, nesting or PASIDs");
  TRY(fault::pass("omap.domain"));
  std::vector<Unit*> units;
  for (const Device* device : devices)
    if (Unit& unit = unit_of(*device); std::ranges::find(units, &unit) == units.end()) units.push_back(&unit);
  if (units.empty()) return fail(ENODEV, "no device to make a domain for");
  auto table = TRY(PagingDomain::Table::create(units.front()->tables(), {}));
  return std::make_unique<PagingDomain>(*this, std::move(table), std::move(units));
}

// In Linux a domain is anybody's until one client has it, and nobody's but that client's then.
AttachResult<> OmapDriver::admits(const Unit& unit, const PagingDomain& to) const {
  if (!as_linux()) return to.fits(unit);
  if (!to.in_use()) return {};
  log::error("omap-iommu {}: iommu domain is already attached", unit.name());
  return driver_says(AttachFailure::incompatible, {"clients of the domain", 1, 2});
}

}  // namespace omap

std::unique_ptr<Driver> make_omap_driver() { return std::make_unique<omap::OmapDriver>(); }

}  // namespace softiommu
