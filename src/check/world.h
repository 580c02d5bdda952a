// SPDX-License-Identifier: BSD-3-Clause
// One machine with the checked driver in it, paranoid and with units that can fail, and eyes: what each id of each
// device reads through its IOMMU right now.
//
// Every domain maps one page at place(), which holds the domain's letter. One more page, which no domain maps, is what
// only identity shows: the device reads it at its physical address.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "check/check.h"
#include "check/faulty_unit.h"
#include "check/steps.h"
#include "core/system.h"

namespace softiommu::check {

class World {
 public:
  // ENOMEM, and what Machine::create and System::create answer. `models` are faulty.
  static Result<std::unique_ptr<World>> create(const CheckedDriver& driver, const MachineSpec& spec,
                                               std::span<const UnitModel> models);
  ~World();

  Machine& machine() { return *machine_; }
  System& system() { return *system_; }
  Driver& driver() { return *system_->drivers().front(); }  // the checked one
  Group* group(std::string_view first_device);              // nullptr: none
  std::uint64_t table_bytes() { return machine_->memory().tables().allocated_bytes(); }

  // The system goes and comes again, on hardware as the last one left it. What the bring-up answers.
  Result<> bring_up();
  void take_down();
  bool is_up() const { return system_ != nullptr; }

  // ENOMEM, or what Domain::map says.
  Result<> map(Domain& domain, char letter);
  void unmap(Domain& domain);
  // One letter for each id of each device of the group; '-' where the IOMMU refuses, '?' where it is no letter.
  std::string sees(const Group& group);
  // The same at the page that identity shows.
  std::string sees_identity(const Group& group);
  // For requests with a PASID; ' ' for devices that have none.
  std::string sees(const Group& group, Pasid pasid);

  // For all units.
  void arm(const Failure& failure);
  bool disarm();
  bool power_cycle();

 private:
  struct Eye {
    Device* device;
    std::unique_ptr<DmaPort> port;
  };
  static constexpr std::uint64_t kPageBytes = 64 * kKiB;  // of a letter: the largest granule that hardware has
  static constexpr std::size_t kLetters = 27;             // A to Z, and the page of identity

  World(const CheckedDriver& driver, std::span<const UnitModel> models) : driver_(driver), models_(models) {}
  Result<> make_machine(const MachineSpec& spec);
  void open_eyes();
  IommuUnit* unit_of(const Device& device) const;
  bool each_unit(bool (FaultyUnit::*end)());
  static Iova place(const Domain& domain);
  Iova place(const Group& group);
  Result<> pin_letters();
  char read(DmaPort& port, Iova iova);
  char read(const Eye& eye, Iova iova, Pasid pasid);
  template <typename Look>
  std::string each_eye(const Group& group, Look&& look);

  const CheckedDriver& driver_;
  std::span<const UnitModel> models_;
  std::byte* memory_ = nullptr;
  std::array<PhysAddr, kLetters> letters_{};
  std::vector<PhysRun> pinned_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::vector<Eye> eyes_;
};

}  // namespace softiommu::check
