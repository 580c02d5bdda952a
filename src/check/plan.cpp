// SPDX-License-Identifier: BSD-3-Clause
#include "check/plan.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace softiommu::check {

namespace {

constexpr unsigned kMostPlaces = 1u << 14;

// Where a failure is tried next. Late places are much alike: from some on only every so-manieth is.
struct StrideRow {
  FailureKind kind;
  unsigned each;  // up to here all
  unsigned part;  // then n + n / part
};
constexpr StrideRow kStrides[] = {
    {FailureKind::memory, 40, 4}, {FailureKind::way_back, 16, 2}, {FailureKind::registers, 2, 1},
    {FailureKind::queue, 8, 2},   {FailureKind::answers, 24, 1},
};
unsigned after(FailureKind kind, unsigned n) {
  const auto row = std::ranges::find(kStrides, kind, &StrideRow::kind);
  return n < row->each ? n + 1 : n + std::max(1u, n / row->part);
}
bool is_swept(FailureKind kind) { return std::ranges::find(kStrides, kind, &StrideRow::kind) != std::end(kStrides); }

constexpr unsigned kLengthShift = 48, kItemShift = 16;
std::uint64_t order_of(std::size_t item, const Steps& steps) {
  return std::uint64_t{steps.size()} << kLengthShift | std::uint64_t{item} << kItemShift | steps.back().failure.nth;
}

}  // namespace

std::uint64_t DriverReport::all_cases() const {
  std::uint64_t all = 0;
  for (const std::uint64_t count : cases) all += count;
  return all;
}

void add_breach(DriverReport& report, Breach breach) {
  const auto same = std::ranges::find_if(
      report.breaches, [&](const Breach& other) { return other.law == breach.law && other.failure == breach.failure; });
  if (same == report.breaches.end()) {
    const auto key = [](const Breach& b) { return std::tuple(b.law, b.failure); };
    report.breaches.insert(std::ranges::upper_bound(report.breaches, key(breach), {}, key), std::move(breach));
    return;
  }
  const std::uint64_t count = same->count + breach.count;
  if (breach.order < same->order) *same = std::move(breach);
  same->count = count;
}

void merge_into(DriverReport& report, DriverReport&& more) {
  for (std::size_t kind = 0; kind < kFailureKinds; ++kind) report.cases[kind] += more.cases[kind];
  for (Breach& breach : more.breaches) add_breach(report, std::move(breach));
}

// ---- what is asked ----------------------------------------------------------------------------------------------

Result<Plan> Plan::make(std::span<const CheckedDriver> drivers, const CheckOptions& options) {
  return without_throwing([&]() -> Result<Plan> {
    Plan plan;
    plan.drivers_ = drivers;
    plan.seed_ = options.seed;
    for (std::size_t driver = 0; driver < drivers.size(); ++driver) TRY(plan.add(driver, options));
    return plan;
  });
}

Bench Plan::bench(const Place& place) const {
  const CheckedDriver& driver = drivers_[place.driver];
  return {driver, *place.machine, place.spec, faulty_models(driver.unit_models)};
}

Result<> Plan::add(std::size_t driver, const CheckOptions& options) {
  for (const CheckedMachine& machine : drivers_[driver].machines) {
    const auto models = faulty_models(drivers_[driver].unit_models);
    auto spec = parse_machine(machine.toml, machine.name, models, {});
    if (!spec) return fail(EINVAL, "a machine file is wrong");
    Place& place = places_.emplace_back(Place{driver, &machine, std::move(*spec), {}, {}});
    place.seats = TRY(survey(bench(place)));
    if (!options.steps.empty()) {
      place.sweeps.push_back({TRY(parse_steps(options.steps)), FailureKind::none});
      items_.push_back({places_.size() - 1, 0});
      return {};
    }
    place.sweeps = sweeps(place.seats);
    for (std::size_t item = 0; item < place.sweeps.size() + options.sequences; ++item)
      items_.push_back({places_.size() - 1, item});
  }
  return {};
}

Steps Plan::random(const Item& item) const {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const Place& place = places_[item.place];
  return random_steps(place.seats, (seed_ * kGolden + item.place) * kGolden + item.sweep);
}

// ---- asking it --------------------------------------------------------------------------------------------------

void Plan::run(std::size_t number, std::vector<DriverReport>& drivers) const {
  const Item& item = items_[number];
  const Place& place = places_[item.place];
  DriverReport& report = drivers[place.driver];
  if (item.sweep < place.sweeps.size())
    run_sweep(number, place, place.sweeps[item.sweep], report);
  else
    run_case(number, place, random(item), report);
}

// Of a sweep, only the last step is a new case.
void Plan::run_sweep(std::size_t item, const Place& place, const Sweep& sweep, DriverReport& report) const {
  Steps steps = sweep.steps;
  Step& last = steps.back();
  if (!is_swept(sweep.kind)) {
    if (sweep.kind == FailureKind::ids) last.failure = {sweep.kind, 0};
    run_case(item, place, steps, report);
    if (sweep.kind != FailureKind::none || last.verb == Verb::probe || last.times > 1) return;
    last.times = place.machine->times;
    run_case(item, place, steps, report);
    return;
  }
  std::array<unsigned, kFailureKinds> latest{};  // by what struck
  for (unsigned n = 1; n < kMostPlaces; n = after(sweep.kind, n)) {
    last.failure = {sweep.kind, n};
    const Outcome outcome = run_case(item, place, steps, report);
    if (!outcome.struck) break;
    latest[std::to_underlying(outcome.struck_as)] = n;
  }
  if (sweep.kind != FailureKind::memory || last.verb == Verb::probe) return;
  for (const unsigned n : latest) {
    if (n == 0) continue;
    last.failure = {sweep.kind, n};
    last.times = place.machine->times;
    run_case(item, place, steps, report);
  }
}

Outcome Plan::run_case(std::size_t item, const Place& place, const Steps& steps, DriverReport& report) const {
  Outcome outcome = run_steps(bench(place), steps);
  const bool is_random = items_[item].sweep >= place.sweeps.size();
  if (is_random) {
    for (std::size_t kind = 0; kind < kFailureKinds; ++kind) report.cases[kind] += outcome.asked[kind];
  } else if (outcome.struck || outcome.finding || steps.back().failure.kind == FailureKind::none ||
             steps.back().failure.nth == 0) {
    ++report.cases[std::to_underlying(outcome.struck_as)];
  }
  if (outcome.finding) {
    Steps until = steps;
    if (outcome.at < steps.size()) until.resize(outcome.at + 1);
    add_breach(report, {.law = outcome.finding->law,
                        .failure = outcome.finding->failure,
                        .machine = place.machine->name,
                        .steps = text_of(until),
                        .what = outcome.finding->what,
                        .order = order_of(item, until)});
  }
  return outcome;
}

void Plan::add_crash(std::size_t number, std::string what, std::vector<DriverReport>& drivers) const {
  const Item& item = items_[number];
  const Place& place = places_[item.place];
  const bool swept = item.sweep < place.sweeps.size();
  Steps steps = swept ? place.sweeps[item.sweep].steps : random(item);
  const FailureKind kind = swept ? place.sweeps[item.sweep].kind : FailureKind::none;
  if (is_swept(kind)) steps.back().failure = {kind, 1};
  add_breach(drivers[place.driver], {.law = Law::crash,
                                     .failure = kind,
                                     .machine = place.machine->name,
                                     .steps = text_of(steps),
                                     .what = std::move(what),
                                     .order = order_of(number, steps)});
}

void Plan::shorten(std::size_t driver, Breach& breach) const {
  const auto place = std::ranges::find_if(places_, [&](const Place& candidate) {
    return candidate.driver == driver && candidate.machine->name == breach.machine;
  });
  const auto steps = parse_steps(breach.steps);
  if (place == places_.end() || !steps || breach.law == Law::crash) return;
  const Steps shorter = shrink(bench(*place), *steps, {breach.law, breach.failure, {}});
  breach.steps = text_of(shorter);
  if (const Outcome outcome = run_steps(bench(*place), shorter); outcome.finding) breach.what = outcome.finding->what;
}

}  // namespace softiommu::check
