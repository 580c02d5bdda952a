// SPDX-License-Identifier: BSD-3-Clause
#include "check/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

namespace softiommu::check {

// ---- groups -----------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kMostSeats = 6;
constexpr Pasid kPasid = 5;

const std::string& name_of(const Group& group) { return group.devices().front()->name(); }

// What tells groups apart for a driver.
std::string kind_of(const Group& group) {
  std::string kind;
  for (const Device* device : group.devices())
    kind += fmt::format("{} {} {} {} {}; ", device->unit_index(), device->stream_ids().size(),
                        device->function() != nullptr, device->requires_direct(), group.driver().pasid_bits(*device));
  return kind;
}

// Would `user` take a domain of `maker`? nullopt: it cannot be found out.
std::optional<bool> takes(System& system, Group& user, Group& maker) {
  const auto domain = system.allocate_domain(maker);
  int owner = 0;
  if (!domain || !user.claim_dma_owner(&owner)) return std::nullopt;
  const auto answer = user.attach(**domain);
  if (answer) user.detach();
  user.release_dma_owner();
  if (answer) return true;
  // With whatever words it is refused: those are judged when the question is asked.
  const AttachFailure why = answer.error().failure;
  return why == AttachFailure::no_memory || why == AttachFailure::no_space ? std::nullopt : std::optional(false);
}

Seat seat_of(World& world, Group& group) {
  Seat seat{.group = name_of(group)};
  Driver& driver = group.driver();
  seat.identity = driver.static_domain(DomainType::identity) != nullptr;
  seat.pasids = driver.attaches_pasids() &&
                std::ranges::any_of(group.devices(), [&](const Device* d) { return driver.pasid_bits(*d) != 0; });
  for (const auto& other : world.system().groups()) {
    if (&other->driver() != &driver) {
      if (seat.foreign.empty()) seat.foreign = name_of(*other);
      continue;
    }
    if (other.get() == &group || (!seat.fits.empty() && !seat.misfits.empty())) continue;
    const auto taken = takes(world.system(), group, *other);
    if (!taken) continue;
    std::string& place = *taken ? seat.fits : seat.misfits;
    if (place.empty()) place = name_of(*other);
  }
  return seat;
}

}  // namespace

Result<std::vector<Seat>> survey(const Bench& bench) {
  const LogCapture quiet(log::Level::info);
  const auto world = TRY(World::create(bench.driver, bench.spec, bench.models));
  std::map<std::string, Group*> kinds;
  std::vector<Seat> seats;
  for (const auto& group : world->system().groups()) {
    if (&group->driver() != &world->driver() || seats.size() == kMostSeats) continue;
    if (kinds.emplace(kind_of(*group), group.get()).second) seats.push_back(seat_of(*world, *group));
  }
  if (seats.empty()) return fail(EINVAL, "the machine has no device that the driver serves");
  return seats;
}

// ---- sweeps -----------------------------------------------------------------------------------------------------

namespace {

Step on(Verb verb, const std::string& group, char domain = 0) {
  return {.verb = verb, .group = group, .domain = domain};
}
Step on_pasid(Verb verb, const std::string& group, char domain = 0) {
  return {.verb = verb, .group = group, .domain = domain, .pasid = kPasid};
}

// How there comes to be a domain for a group, and what it is called.
struct DomainRow {
  Steps before;
  char domain;
};

std::vector<DomainRow> domains_for(const Seat& seat) {
  std::vector<DomainRow> rows{
      {{on(Verb::make, seat.group, 'B')}, 'B'},
      // It has served the group before.
      {{on(Verb::make, seat.group, 'B'), on(Verb::replace, seat.group, 'B'), on(Verb::detach, seat.group)}, 'B'},
      {{}, kBlocked},
  };
  if (seat.identity) rows.push_back({{}, kIdentity});
  if (!seat.fits.empty())
    rows.push_back({{on(Verb::make, seat.fits, 'B'), on(Verb::own, seat.fits), on(Verb::attach, seat.fits, 'B')}, 'B'});
  if (!seat.misfits.empty())
    rows.push_back(
        {{on(Verb::make, seat.misfits, 'B'), on(Verb::own, seat.misfits), on(Verb::attach, seat.misfits, 'B')}, 'B'});
  if (!seat.foreign.empty()) rows.push_back({{on(Verb::make, seat.foreign, 'B')}, 'B'});
  return rows;
}

Steps operator+(Steps left, const Steps& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// Sequences whose last step is the question.
std::vector<Steps> questions(const Seat& seat) {
  const std::string& group = seat.group;
  const Steps own{on(Verb::own, group)};
  const Steps attached = own + Steps{on(Verb::make, group, 'A'), on(Verb::attach, group, 'A')};
  std::vector<Steps> all{
      own,
      {on(Verb::make, group, 'A')},
      attached + Steps{on(Verb::detach, group)},
      attached + Steps{on(Verb::release, group)},
      attached + Steps{on(Verb::make, group, 'B'), on(Verb::attach, group, 'B')},
      attached + Steps{on(Verb::attach, group, 'A')},
      // The old domain's tables change after the switch: nobody may still read them.
      attached + Steps{on(Verb::make, group, 'B'), on(Verb::replace, group, 'B'), on(Verb::unmap, "", 'A'),
                       on(Verb::unmap, "", 'B'), on(Verb::map, "", 'B'), on(Verb::drop, "", 'A')},
  };
  if (!seat.fits.empty())  // somebody else stays on the old domain
    all.push_back(attached + Steps{on(Verb::own, seat.fits), on(Verb::attach, seat.fits, 'A'),
                                   on(Verb::make, group, 'B'), on(Verb::replace, group, 'B')});
  for (const DomainRow& row : domains_for(seat)) {
    all.push_back(own + row.before + Steps{on(Verb::attach, group, row.domain)});
    // Back on A where the row has detached it.
    all.push_back(attached + row.before + Steps{on(Verb::replace, group, 'A'), on(Verb::replace, group, row.domain)});
  }
  if (!seat.pasids) return all;
  const Steps two = own + Steps{on(Verb::make_pasid, group, 'A'), on(Verb::make_pasid, group, 'B')};
  const Steps through = two + Steps{on_pasid(Verb::attach_pasid, group, 'A')};
  all.push_back(through);
  all.push_back(through + Steps{on_pasid(Verb::attach_pasid, group, 'B')});
  all.push_back(through + Steps{on_pasid(Verb::replace_pasid, group, 'B')});
  all.push_back(through + Steps{on_pasid(Verb::detach_pasid, group)});
  all.push_back(through + Steps{on(Verb::replace, group, 'B')});
  all.push_back(two + Steps{on(Verb::attach, group, 'B'), on_pasid(Verb::attach_pasid, group, 'A')});
  if (!seat.foreign.empty())
    all.push_back(own + Steps{on(Verb::make, seat.foreign, 'B'), on_pasid(Verb::attach_pasid, group, 'B')});
  return all;
}

constexpr FailureKind kSwept[] = {FailureKind::none,     FailureKind::ids,       FailureKind::memory,
                                  FailureKind::way_back, FailureKind::registers, FailureKind::queue,
                                  FailureKind::answers};

}  // namespace

std::vector<Sweep> sweeps(const std::vector<Seat>& seats) {
  std::vector<Sweep> all;
  for (const FailureKind kind : kSwept)
    if (kind != FailureKind::ids && kind != FailureKind::way_back) all.push_back({{{.verb = Verb::probe}}, kind});
  for (const Seat& seat : seats)
    for (const Steps& question : questions(seat))
      for (const FailureKind kind : kSwept) all.push_back({question, kind});
  return all;
}

// ---- random sequences -------------------------------------------------------------------------------------------

namespace {

struct Weight {
  Verb verb;
  unsigned weight;
};
constexpr Weight kWeights[] = {
    {Verb::own, 6},      {Verb::release, 1}, {Verb::make, 4},         {Verb::make_pasid, 1},    {Verb::attach, 10},
    {Verb::replace, 10}, {Verb::detach, 4},  {Verb::attach_pasid, 2}, {Verb::replace_pasid, 2}, {Verb::detach_pasid, 1},
    {Verb::unmap, 2},    {Verb::map, 2},     {Verb::drop, 2},
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  // The standard's distributions differ between libraries.
  unsigned below(std::size_t bound) { return static_cast<unsigned>(random_() % bound); }

 private:
  std::mt19937_64 random_;
};

Verb random_verb(Dice& dice) {
  unsigned sum = 0;
  for (const Weight& row : kWeights) sum += row.weight;
  unsigned left = dice.below(sum);
  for (const Weight& row : kWeights) {
    if (left < row.weight) return row.verb;
    left -= row.weight;
  }
  return Verb::own;
}

Failure random_failure(Dice& dice) {
  const auto kind = kSwept[dice.below(std::size(kSwept))];
  if (kind == FailureKind::none) return {};
  if (kind == FailureKind::ids) return {kind, 0};
  const unsigned most = 2u << dice.below(5);
  return {kind, 1 + dice.below(most)};
}

}  // namespace

Steps random_steps(const std::vector<Seat>& seats, std::uint64_t seed) {
  constexpr unsigned kLength = 40, kLetters = 4, kOneFailureIn = 3;
  Dice dice(seed);
  std::vector<std::string> groups;
  const auto add = [&](const std::string& group) {
    if (!group.empty() && std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
  };
  for (const Seat& seat : seats)
    for (const std::string& group : {seat.group, seat.fits, seat.misfits}) add(group);
  Steps steps;
  while (steps.size() < kLength) {
    Step step{.verb = random_verb(dice)};
    const VerbRow& row = row_of(step.verb);
    const unsigned domain = dice.below(kLetters + 2);
    if (row.group) step.group = groups[dice.below(groups.size())];
    if (row.domain)
      step.domain = domain == 0 ? kBlocked : domain == 1 ? kIdentity : static_cast<char>('A' + domain - 2);
    if (row.pasid) step.pasid = 1 + dice.below(2);
    if (dice.below(kOneFailureIn) == 0) step.failure = random_failure(dice);
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace softiommu::check
