// SPDX-License-Identifier: BSD-3-Clause
#include "check/bench.h"

#include "check/counting_new.h"

namespace softiommu::check {

namespace {

Outcome run_once(const Bench& bench, const Steps& steps) {
  Outcome outcome;
  const auto trial = Trial::create(bench.driver, bench.spec, bench.models);
  if (!trial) {
    outcome.finding =
        Finding{Law::probe, FailureKind::none, std::string("the machine does not come up: ") + trial.error().why};
    return outcome;
  }
  for (const Step& step : steps) {
    outcome.finding = (*trial)->run(step);
    outcome.struck = (*trial)->struck();
    outcome.struck_as = (*trial)->struck_as();
    if ((*trial)->asked()) ++outcome.asked[std::to_underlying(outcome.struck_as)];
    if (outcome.finding) return outcome;
    ++outcome.at;
  }
  outcome.finding = (*trial)->end();
  return outcome;
}

}  // namespace

// What the heap lacks must be lacking each time: some things are made once and kept.
Outcome run_steps(const Bench& bench, const Steps& steps) {
  constexpr int kTimes = 3;
  std::int64_t lost = 0;
  Outcome outcome;
  for (int i = 0; i < kTimes; ++i) {
    const std::int64_t before = live_allocations();
    {
      const Outcome again = run_once(bench, steps);
      if (again.finding) return again;
      outcome = again;
    }
    lost = live_allocations() - before;
    if (lost <= 0) return outcome;
  }
  outcome.finding =
      Finding{Law::leak, outcome.struck_as, "memory is not given back: " + std::to_string(lost) + " allocations"};
  return outcome;
}

namespace {

class Shrinker {
 public:
  Shrinker(const Bench& bench, const Finding& finding) : bench_(bench), finding_(finding) {}

  // Takes `simpler` if it still breaks the law.
  bool accept(Steps& steps, Steps simpler) {
    constexpr unsigned kMostRuns = 400;
    if (++runs_ > kMostRuns) return false;
    const Outcome outcome = run_steps(bench_, simpler);
    if (!outcome.finding || outcome.finding->law != finding_.law || outcome.finding->failure != finding_.failure)
      return false;
    if (outcome.at + 1 < simpler.size()) simpler.resize(outcome.at + 1);
    steps = std::move(simpler);
    return true;
  }

 private:
  const Bench& bench_;
  const Finding& finding_;
  unsigned runs_ = 0;
};

bool drop_one(Shrinker& shrinker, Steps& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    Steps simpler = steps;
    simpler.erase(simpler.begin() + static_cast<std::ptrdiff_t>(i));
    if (shrinker.accept(steps, std::move(simpler))) return true;
  }
  return false;
}

// Without a failure, asked once, or at an earlier place.
bool calm_one(Shrinker& shrinker, Steps& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    std::vector<Step> calmer;
    if (step.failure.kind != FailureKind::none) calmer.push_back(step), calmer.back().failure = {};
    if (step.failure.nth > 1) calmer.push_back(step), calmer.back().failure.nth = 1;
    if (step.failure.nth > 2) calmer.push_back(step), calmer.back().failure.nth = step.failure.nth / 2;
    if (step.times > 1) calmer.push_back(step), calmer.back().times = 1;
    if (step.times > 2) calmer.push_back(step), calmer.back().times = step.times / 2;
    for (const Step& candidate : calmer) {
      Steps simpler = steps;
      simpler[i] = candidate;
      if (shrinker.accept(steps, std::move(simpler))) return true;
    }
  }
  return false;
}

}  // namespace

Steps shrink(const Bench& bench, Steps steps, const Finding& finding) {
  Shrinker shrinker(bench, finding);
  while (drop_one(shrinker, steps) || calm_one(shrinker, steps)) {
  }
  return steps;
}

}  // namespace softiommu::check
