// SPDX-License-Identifier: BSD-3-Clause
// The driver for virtio IOMMUs (virtio 1.2, 5.13): which domains fit which units, and what an attach asks for.
//
// Linux gives each device its own domains, and blocks by an empty one; here a domain serves every unit that takes its
// addresses and pages, and a blocked endpoint has none.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "drivers/registry.h"
#include "drivers/virtio_iommu/domain.h"
#include "drivers/virtio_iommu/unit.h"

namespace softiommu {
namespace virtio_iommu {

// Where Linux maps the doorbell of interrupt messages unless the device tells of a window for them (MSI_IOVA_BASE).
constexpr IovaRange kMessageWindow = IovaRange::of(Iova{0x800'0000}, kMiB);

// The endpoints of a device, and what a probe told of them.
struct Endpoints final : DeviceData {
  explicit Endpoints(Unit& its_unit) : unit(its_unit) {}
  ~Endpoints() override {
    for (const StreamId endpoint : endpoints) unit.give_endpoint(endpoint);
  }
  Unit& unit;
  std::vector<StreamId> endpoints;
  std::vector<ReservedRegion> reserved;
};

class VirtioIommuDriver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "virtio-iommu"; }
  std::string_view unit_model() const override { return "virtio-iommu"; }
  bool linux_ties_domains_to_a_unit() const override { return true; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned /*line*/) override { units_[unit]->serve_interrupt(); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // What is compared is an order, no equivalence: any two units may share.
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

 private:
  AttachResult<> admits(const Switch& change) override;
  Result<> program(const Switch& change, const Domain* to, UnitId id) override;
  AttachError refusal(const Error& error) const override;

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<> VirtioIommuDriver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  units_.push_back(std::move(unit));
  return {};
}

Result<std::unique_ptr<DeviceData>> VirtioIommuDriver::probe(Device& device) {
  Unit& unit = unit_of(device);
  auto data = std::make_unique<Endpoints>(unit);
  data->endpoints.reserve(device.stream_ids().size());
  for (const StreamId endpoint : device.stream_ids()) {
    TRY(unit.take_endpoint(endpoint));
    data->endpoints.push_back(endpoint);
    std::ranges::copy(unit.reserved_regions(endpoint), std::back_inserter(data->reserved));
  }
  const auto is_for_messages = [](const ReservedRegion& region) { return region.kind == ReservedRegion::Kind::msi; };
  if (std::ranges::none_of(data->reserved, is_for_messages))
    data->reserved.push_back({kMessageWindow, ReservedRegion::Kind::software_msi});
  return data;
}

std::vector<ReservedRegion> VirtioIommuDriver::reserved_regions(const Device& device) const {
  const auto* const data = static_cast<const Endpoints*>(device.data());
  return data != nullptr ? data->reserved : std::vector<ReservedRegion>{};
}

// Bypass is for those units that have it: identity is there if all do.
Domain* VirtioIommuDriver::static_domain(DomainType type) {
  if (type == DomainType::blocked) return &blocked_;
  const bool all = std::ranges::all_of(units_, [](const auto& unit) { return unit->features().bypass; });
  return type == DomainType::identity && all ? &identity_ : nullptr;
}

// Made for all devices: the least that their units can do.
Result<std::unique_ptr<Domain>> VirtioIommuDriver::allocate(std::span<Device* const> devices,
                                                            const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "there is no dirty tracking, no nesting and no PASID support");
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TRY(fault::pass("virtio_iommu.domain"));
  IovaRange aperture{Iova{0}, Iova{~std::uint64_t{0}}};
  std::uint64_t page_sizes = ~std::uint64_t{0};
  for (const Device* device : devices) {
    const Features& features = unit_of(*device).features();
    aperture.first = std::max(aperture.first, features.input.first);
    aperture.last = std::min(aperture.last, features.input.last);
    page_sizes &= features.page_sizes;
  }
  if (aperture.first > aperture.last || page_sizes == 0)
    return fail(ENODEV, "the group's units have nothing in common");
  return std::make_unique<PagingDomain>(*this, aperture, page_sizes);
}

AttachResult<> VirtioIommuDriver::admits(const Switch& change) {
  const auto* const to = dynamic_cast<const PagingDomain*>(change.to);
  return to != nullptr ? to->fits(unit_of(*change.device)) : AttachResult<>{};
}

// Linux hands on what the device says, EINVAL as well.
AttachError VirtioIommuDriver::refusal(const Error& error) const {
  if (!as_linux() || error.code == ENOMEM) return SharedTableDriver::refusal(error);
  const auto failure = error.code == EINVAL ? AttachFailure::incompatible : AttachFailure::no_device;
  return {failure, error.code, {error.why}};
}

Result<> VirtioIommuDriver::program(const Switch& change, const Domain* to, UnitId id) {
  const Device& device = *change.device;
  Unit& unit = unit_of(device);
  Result<> answer;
  for (const StreamId endpoint : static_cast<Endpoints*>(device.data())->endpoints) {
    Result<> done;
    if (to == nullptr || to->type() == DomainType::blocked) {
      done = unit.detach(endpoint);
    } else if (to->type() == DomainType::identity) {
      done = unit.attach_to_bypass(endpoint);
    } else {
      done = static_cast<const PagingDomain&>(*to).enter(unit, id, endpoint);
    }
    if (!done && answer) answer = std::move(done);  // all of them, whatever one answers: this blocks, too
  }
  return answer;
}

}  // namespace virtio_iommu

std::unique_ptr<Driver> make_virtio_iommu_driver() { return std::make_unique<virtio_iommu::VirtioIommuDriver>(); }

}  // namespace softiommu
