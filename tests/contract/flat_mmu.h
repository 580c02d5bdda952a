// SPDX-License-Identifier: BSD-3-Clause
// A third kind of IOMMU, for the contract tests: hardware "test-flat" and its driver "flat". It shows that the core
// knows nothing of the real ones, and it fails on request at each step.
//
// The hardware holds everything in registers: rows that give a stream a context, and per context a window of one entry
// for each page from address 0. There is no IOTLB.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/driver.h"
#include "core/page_faults.h"
#include "machine/machine.h"

namespace softiommu::testing {

// Two names for one thing, so that a machine can have two kinds of IOMMU.
UnitModel flat_unit_model();        // "test-flat"
UnitModel other_flat_unit_model();  // "test-flat-b"

// What the driver does wrong when asked to. Steps are counted from 0 within one attach.
struct FlatKnobs {
  struct Step {
    std::size_t device;
    AttachFailure failure;
  };
  std::optional<Step> fail_prepare = {}, fail_commit = {};
  std::set<std::size_t> refuse_undo = {};                  // switches, by their position
  bool throw_in_prepare = false, throw_in_commit = false;  // std::bad_alloc
  int allocate_errno = 0;
  bool allocate_foreign = false;  // a domain that is not a paging domain
  bool no_blocked = false, no_identity = false;
  bool refuse_paging = false;  // paging domains cannot be prepared: no_space

  std::map<StreamId, std::vector<ReservedRegion>> reserved = {};
  std::map<StreamId, DomainType> default_types = {};
  std::set<StreamId> deferred = {}, unserved = {};
  bool no_pasids = false;
  std::map<StreamId, unsigned> pasid_bits = {};  // of devices that have PASIDs
};

// How often the core called.
struct FlatCalls {
  unsigned allocate, prepare, commit, undo, finish, abandon, block, interrupt;
  friend bool operator==(const FlatCalls&, const FlatCalls&) = default;
};

class FlatDriver : public Driver {
 public:
  FlatDriver(std::string_view name, std::string_view model);
  ~FlatDriver() override;

  FlatKnobs knobs;
  FlatCalls calls{};
  std::vector<std::string> undone;  // names of devices, in order
  // What a PASID of a device translates through; there only where something but the blocked domain is attached.
  std::map<std::pair<const Device*, Pasid>, Domain*> pasids;
  std::vector<PageAnswer> page_answers;  // in order

  std::string_view name() const override { return name_; }
  std::string_view unit_model() const override { return model_; }
  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned line) override;
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  void release(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  DomainType default_domain_type(const Device& device) const override;
  bool attach_is_deferred(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  unsigned pasid_bits(const Device& device) const override;
  bool attaches_pasids() const override { return !knobs.no_pasids; }
  void page_response(const Device& device, const PageRequest& request, PageAnswer answer) override;
  std::uint64_t fit(const Device& device) const override;
  AttachResult<> prepare(std::span<Switch> switches) override;
  AttachResult<> commit(Switch& change) override;
  bool undo(Switch& change) override;
  void finish(std::span<Switch> switches) override;
  void abandon(std::span<Switch> switches) override;
  void block(Device& device) override;

  unsigned contexts_in_use(unsigned unit) const;
  TableMemory& tables() const { return *tables_; }

 private:
  friend class FlatDomain;
  struct Unit;
  AttachResult<> reserve(Switch& change);
  void give_back(const Device& device, Domain* domain);
  void point_at(const Device& device, const Domain* domain);
  void point_at(const Switch& change, Domain* domain);

  std::string_view name_, model_;
  mutable std::recursive_mutex mutex_;  // all of the driver's and its domains' state
  std::vector<std::unique_ptr<Unit>> units_;
  TableMemory* tables_ = nullptr;
  std::unique_ptr<Domain> blocked_, identity_;
};

// The knobs that the next drivers are made with (reserved regions and the like are read at probe).
extern FlatKnobs next_knobs;
std::unique_ptr<Driver> make_flat_driver();
std::unique_ptr<Driver> make_other_flat_driver();

}  // namespace softiommu::testing
