// SPDX-License-Identifier: BSD-3-Clause
// A driver over a good one: hands every call on, so that a mutant overrides the one call in which it is wrong.
//
// The core knows a domain by its driver, so the good driver's domains wear a coat too. Nothing here allocates but
// allocate(): undo, finish, abandon and block need no memory, as the good driver's do not.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/driver.h"

namespace softiommu::testing {

class OverDomain final : public Domain {
 public:
  OverDomain(Driver& owner, std::unique_ptr<Domain> good) : OverDomain(owner, *good) { owned_ = std::move(good); }
  OverDomain(Driver& owner, Domain& good) : Domain(owner, good.type()), good_(good) { look(); }

  Domain& good() { return good_; }
  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override {
    return good_.map(iova, pa, bytes, prot);
  }
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override { return good_.unmap(iova, bytes); }
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return good_.iova_to_phys(iova); }
  bool enforce_cache_coherency() override;
  Result<> set_dirty_tracking(bool on) override { return good_.set_dirty_tracking(on); }
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override {
    return good_.read_dirty(range, clear, dirty);
  }
  Result<> cache_invalidate_user(UserArray& entries) override { return good_.cache_invalidate_user(entries); }

 private:
  void look();
  Domain& good_;
  std::unique_ptr<Domain> owned_;
};

class OverDriver : public Driver {
 public:
  explicit OverDriver(MakeDriver make) : good_(make()) {}

  std::string_view name() const override { return good_->name(); }
  std::string_view unit_model() const override { return good_->unit_model(); }
  Result<> add_unit(const UnitHardware& hardware) override { return good_->add_unit(hardware); }
  void interrupt(unsigned unit, unsigned line) override { good_->interrupt(unit, line); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override { return good_->probe(device); }
  void release(Device& device) override { good_->release(device); }
  std::uint64_t group_key(const Device& device) const override { return good_->group_key(device); }
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override {
    return good_->reserved_regions(device);
  }
  DomainType default_domain_type(const Device& device) const override { return good_->default_domain_type(device); }
  bool attach_is_deferred(const Device& device) const override { return good_->attach_is_deferred(device); }
  bool can_enforce_cache_coherency(const Device& device) const override {
    return good_->can_enforce_cache_coherency(device);
  }
  bool tracks_dirty(const Device& device) const override { return good_->tracks_dirty(device); }
  HardwareInfo hardware_info(const Device& device) const override { return good_->hardware_info(device); }
  unsigned pasid_bits(const Device& device) const override { return good_->pasid_bits(device); }
  bool attaches_pasids() const override { return good_->attaches_pasids(); }
  void page_response(const Device& device, const PageRequest& request, PageAnswer answer) override {
    good_->page_response(device, request, answer);
  }
  bool takes_domain_data() const override { return good_->takes_domain_data(); }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  std::uint64_t fit(const Device& device) const override { return good_->fit(device); }

  AttachResult<> prepare(std::span<Switch> switches) override;
  AttachResult<> commit(Switch& change) override;
  bool undo(Switch& change) override;
  void finish(std::span<Switch> switches) override;
  void abandon(std::span<Switch> switches) override;
  void block(Device& device) override { good_->block(device); }

 protected:
  // For who gave it something that it uses to its end.
  void end_good() { good_.reset(); }

 private:
  // The changes as the good driver knows them: of its own domains. Its notes come back when this goes.
  class Inner;
  std::unique_ptr<Driver> good_;
  std::optional<OverDomain> identity_, blocked_;
};

}  // namespace softiommu::testing
