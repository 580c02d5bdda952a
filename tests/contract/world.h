// SPDX-License-Identifier: BSD-3-Clause
// A machine with a subsystem, and the verbs of the contract tests: domains that are told apart by what a device reads
// through them, devices that really read, and the log.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "check/log_capture.h"
#include "contract/driver_case.h"
#include "contract/flat_mmu.h"
#include "core/system.h"
#include "ioas/domain_set.h"
#include "machine/machine.h"

namespace softiommu::testing {

using check::LogCapture;

class World {
 public:
  struct Setup {
    Rules rules = Rules::contract;
    FlatKnobs knobs = {};  // of the driver flat, from the start
    std::string_view more_toml = {};
  };
  explicit World(const DriverCase& row, const Setup& setup);
  explicit World(const DriverCase& row) : World(row, Setup{}) {}
  ~World();

  System& system() { return *system_; }
  Machine& machine() { return *machine_; }
  Device& device(std::string_view short_name) { return *system_->device("0000:00:" + std::string(short_name)); }
  Group& group(std::string_view short_name) { return *device(short_name).group(); }
  Iova iova() const { return iova_; }  // the page that every domain of these tests maps
  Group& alone() { return group("02.0"); }
  Group& trio() { return group("03.0"); }  // three devices
  Group& second() { return group("04.0"); }
  Group& twin() { return group("05.0"); }     // behind u1
  Group& odd() { return group("06.0"); }      // behind u2
  Group& foreign() { return group("07.0"); }  // another driver's
  FlatDriver& flat() { return dynamic_cast<FlatDriver&>(*system_->drivers().front()); }

  // A program takes the group.
  Group& own(Group& group);
  // A fresh domain for the group in which iova() reads as `mark`.
  std::unique_ptr<Domain> domain(Group& group, char mark);
  Result<> map(Domain& domain, char mark);
  // What each device of the group reads at iova(): its domain's mark, or '-' where the IOMMU refuses.
  std::string sees(const Group& group);
  DomainSet::Fill fill(char mark);

  std::uint64_t table_pages() { return machine_->memory().tables().allocated_pages(); }
  std::vector<AttachRecord> attaches();  // of the journal, without allocations

 private:
  static constexpr std::size_t kPages = 16;
  PhysAddr page(char mark);
  // The other driver's domains have a page of their own place.
  Iova place(const Driver& driver) { return &driver == &foreign().driver() ? DriverCase{}.iova : iova_; }

  const Iova iova_;
  std::byte* memory_ = nullptr;
  std::vector<std::pair<char, PhysAddr>> pages_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
};

}  // namespace softiommu::testing
