// SPDX-License-Identifier: BSD-3-Clause
// All that a check asks, as a numbered list of items: the same list wherever it is made, so that shards and processes
// divide it by number.
#pragma once

#include <deque>
#include <vector>

#include "check/check.h"
#include "check/matrix.h"

namespace softiommu::check {

class Plan {
 public:
  // EINVAL: see check().
  static Result<Plan> make(std::span<const CheckedDriver> drivers, const CheckOptions& options);

  std::size_t size() const { return items_.size(); }
  // Runs an item and adds what came of it to `drivers`, which has a report for each driver.
  void run(std::size_t item, std::vector<DriverReport>& drivers) const;
  // For an item that did not come back.
  void add_crash(std::size_t item, std::string what, std::vector<DriverReport>& drivers) const;
  // The shortest sequence for a breach of `driver` (by its number).
  void shorten(std::size_t driver, Breach& breach) const;

 private:
  struct Place {
    std::size_t driver;
    const CheckedMachine* machine;
    MachineSpec spec;
    std::vector<Seat> seats;
    std::vector<Sweep> sweeps;
  };
  struct Item {
    std::size_t place;
    std::size_t sweep;  // of the place's sweeps; beyond them: a random sequence
  };

  Bench bench(const Place& place) const;
  Result<> add(std::size_t driver, const CheckOptions& options);
  Result<> add_sequence(std::size_t driver, std::string_view text);
  void run_sweep(std::size_t item, const Place& place, const Sweep& sweep, DriverReport& report) const;
  Outcome run_case(std::size_t item, const Place& place, const Steps& steps, DriverReport& report) const;
  Steps random(const Item& item) const;

  std::span<const CheckedDriver> drivers_;
  std::uint64_t seed_ = 1;
  std::deque<Place> places_;
  std::vector<Item> items_;
};

// One breach for each law and kind of failure, the lowest order first found; counts add up.
void add_breach(DriverReport& report, Breach breach);
void merge_into(DriverReport& report, DriverReport&& more);

}  // namespace softiommu::check
