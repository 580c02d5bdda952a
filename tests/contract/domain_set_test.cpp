// SPDX-License-Identifier: BSD-3-Clause
// The search for a domain: how many are tried, how many exist afterwards, and what each failure leaves behind.
#include "ioas/domain_set.h"

#include <gtest/gtest.h>

#include "base/fault.h"
#include "check/counting_new.h"
#include "contract/world.h"

namespace softiommu::testing {
namespace {

class Search : public ::testing::TestWithParam<DriverCase> {
 protected:
  AttachResult<Domain*> join(Group& group, char mark = 'A') {
    return set.attach(world.own(group), {}, world.fill(mark));
  }
  // Attach calls since the last question, as group answers: "+" attached, "i" incompatible, "!" anything else.
  std::string tries() {
    std::string answers;
    for (const AttachRecord& record : world.attaches()) {
      if (record.kind != AttachRecord::Kind::attach || record.domain_driver.empty()) continue;
      if (!record.error)
        answers += '+';
      else
        answers += record.error->failure == AttachFailure::incompatible ? 'i' : '!';
    }
    world.system().journal().clear();
    return answers;
  }

  World world{GetParam()};
  DomainSet set{world.system()};
};

INSTANTIATE_TEST_SUITE_P(EveryDriver, Search, ::testing::ValuesIn(driver_cases()), case_name);

class SearchShared : public Search {};
INSTANTIATE_TEST_SUITE_P(DriversWhoseDomainsServeManyGroups, SearchShared,
                         ::testing::ValuesIn(cases_where(&DriverCase::shares)), case_name);
class SearchMisfit : public Search {};
INSTANTIATE_TEST_SUITE_P(DriversOfUnequalDevices, SearchMisfit, ::testing::ValuesIn(cases_where(&DriverCase::misfits)),
                         case_name);
class SearchSharedMisfit : public Search {};
INSTANTIATE_TEST_SUITE_P(
    DriversOfUnequalDevicesWhoseDomainsServeManyGroups, SearchSharedMisfit,
    ::testing::ValuesIn(cases_where([](const DriverCase& row) { return row.shares && row.misfits; })), case_name);

TEST_P(Search, TheFirstGroupGetsAFreshDomainThatIsFilledBeforeItIsAttached) {
  world.own(world.alone());
  bool blocked_while_filling = false;
  const auto fill = [&](Domain& domain) -> AttachResult<> {
    blocked_while_filling = world.alone().domain()->type() == DomainType::blocked;
    return world.fill('A')(domain);
  };
  const auto domain = set.attach(world.alone(), {}, fill);
  ASSERT_TRUE(domain);
  EXPECT_TRUE(blocked_while_filling);
  EXPECT_EQ(world.sees(world.alone()), "A");
  EXPECT_EQ(set.members().size(), 1u);
}

TEST_P(SearchShared, GroupsThatFitShareOneDomainAndNothingIsAllocatedForTheSecond) {
  const Domain* const first = join(world.alone()).value();
  world.own(world.trio());
  world.own(world.twin());
  world.system().journal().clear();
  EXPECT_EQ(set.attach(world.trio(), {}, world.fill('A')).value(), first);
  EXPECT_EQ(set.attach(world.twin(), {}, world.fill('A')).value(), first);
  EXPECT_EQ(world.system().journal().all().size(), 2u);  // two attaches, no allocation
  EXPECT_EQ(set.members().size(), 1u);
  EXPECT_EQ(world.sees(world.trio()) + world.sees(world.twin()), "AAAA");
}

TEST_P(SearchMisfit, AGroupThatCannotFitGetsADomainOfItsOwn) {
  const Domain* const first = join(world.alone()).value();
  const Domain* const other = join(world.odd()).value();
  EXPECT_NE(first, other);
  EXPECT_EQ(set.members().size(), 2u);
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.odd()), "AA");
}

TEST_P(SearchMisfit, ADomainThatCannotFitByTheDriversIndexIsNotEvenTried) {
  ASSERT_TRUE(join(world.odd()));
  world.own(world.alone());
  tries();
  ASSERT_TRUE(set.attach(world.alone(), {}, world.fill('A')));
  const auto fit = [](Group& group) { return group.driver().fit(*group.devices().front()); };
  EXPECT_EQ(tries(), fit(world.odd()) == fit(world.alone()) ? "i+" : "+");
}

TEST_P(Search, AnotherDriversGroupGetsADomainOfItsOwn) {
  ASSERT_TRUE(join(world.alone()));
  ASSERT_TRUE(join(world.foreign()));
  EXPECT_EQ(set.members().size(), 2u);
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.foreign()), "AA");
}

TEST_P(SearchSharedMisfit, MembersAreTriedInTheOrderTheyWereMade) {
  const Domain* const odd = join(world.odd()).value();
  const Domain* const even = join(world.alone()).value();
  EXPECT_EQ(join(world.second()).value(), even);
  ASSERT_EQ(set.members().size(), 2u);
  EXPECT_EQ(set.members()[0].domain.get(), odd);
  EXPECT_EQ(set.members()[1].groups, (std::vector<Group*>{&world.alone(), &world.second()}));
}

TEST_P(Search, AFailedFillLeavesTheSetAndTheGroupAsBefore) {
  world.own(world.alone());
  const std::uint64_t pages = world.table_pages();
  for (const AttachFailure failure : {AttachFailure::incompatible, AttachFailure::no_memory}) {
    const auto answer = set.attach(world.alone(), {}, [&](Domain& domain) -> AttachResult<> {
      EXPECT_TRUE(world.map(domain, 'A'));
      return driver_says(failure, {"a test"});
    });
    EXPECT_EQ(answer.error().failure, failure);
    EXPECT_TRUE(set.empty());
    EXPECT_EQ(world.sees(world.alone()), "-");
    EXPECT_EQ(world.table_pages(), pages);
  }
}

TEST_P(SearchShared, TheLastGroupThatLeavesFreesTheDomain) {
  world.own(world.alone());
  world.own(world.twin());
  const std::uint64_t pages = world.table_pages();
  ASSERT_TRUE(set.attach(world.alone(), {}, world.fill('A')));
  ASSERT_TRUE(set.attach(world.twin(), {}, world.fill('A')));
  EXPECT_FALSE(set.detach(world.alone()));
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "-A");
  EXPECT_TRUE(set.detach(world.twin()));
  EXPECT_FALSE(set.detach(world.twin()));
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(world.table_pages(), pages);
}

TEST_P(Search, AGroupThatIsInTheSetIsBusy) {
  ASSERT_TRUE(join(world.alone()));
  EXPECT_EQ(set.attach(world.alone(), {}, world.fill('A')).error().failure, AttachFailure::busy);
  EXPECT_EQ(world.sees(world.alone()), "A");
}

// A hard failure of an existing domain ends the search: memory that is short is not used for a second domain.
TEST_P(SearchShared, NoMemoryFromADomainThatFitsMakesNoSecondDomain) {
  ASSERT_TRUE(join(world.alone()));
  world.own(world.second());
  world.system().journal().clear();
  fault::fail_point("core.prepare", 1);
  EXPECT_EQ(set.attach(world.second(), {}, world.fill('A')).error().failure, AttachFailure::no_memory);
  EXPECT_EQ(world.system().journal().all().size(), 1u);  // one attach, no allocation
  EXPECT_EQ(set.members().size(), 1u);
}

struct Injector {
  void (*arm)(std::uint64_t nth);
  bool (*struck)();
  void (*disarm)();
};
constexpr Injector kFaultPoints{fault::fail_nth, fault::struck, fault::disarm};
constexpr Injector kOperatorNew{check::fail_nth_allocation, check::allocation_failed,
                                [] { check::fail_nth_allocation(0); }};

class ShortMemory : public Search {
 protected:
  // A trio joins a set while its 1st, 2nd, ... allocation fails, until none does. Returns how many there were.
  int join_while_failing(const Injector& injector, bool a_domain_fits) {
    world.own(world.alone());
    world.own(world.trio());
    const auto fill = world.fill('A');
    {
      DomainSet once(world.system());  // what drivers keep for next time is kept now
      EXPECT_TRUE(once.attach(world.alone(), {}, fill));
      EXPECT_TRUE(once.attach(world.trio(), {}, fill));
    }
    for (int n = 1;; ++n) {
      const std::uint64_t pages = world.table_pages();
      const std::int64_t live = check::live_allocations();
      bool struck = false;
      {
        DomainSet short_of_memory(world.system());
        if (a_domain_fits) {
          EXPECT_TRUE(short_of_memory.attach(world.alone(), {}, fill));
        }
        injector.arm(static_cast<std::uint64_t>(n));
        const auto answer = short_of_memory.attach(world.trio(), {}, fill);
        struck = injector.struck();
        injector.disarm();
        if (&injector == &kFaultPoints) {  // not while memory is counted: the machine keeps notes of faults
          EXPECT_EQ(world.sees(world.trio()), struck ? "---" : "AAA");
        }
        expect_answer(answer, struck, short_of_memory.members().size(), a_domain_fits);
        if (!answer && &injector == &kOperatorNew) {
          EXPECT_EQ(answer.error().failure, AttachFailure::no_memory);
        }
      }
      if (&injector == &kOperatorNew) {
        EXPECT_EQ(check::live_allocations(), live) << "leaked when allocation " << n << " failed";
      }
      EXPECT_EQ(world.table_pages(), pages) << "leaked when step " << n << " failed";
      if (!struck || n > 1000) return n - 1;
    }
  }

  void expect_answer(const AttachResult<Domain*>& answer, bool struck, std::size_t domains, bool a_domain_fits) {
    EXPECT_EQ(answer.has_value(), !struck);
    EXPECT_EQ(domains, struck && !a_domain_fits ? 0u : 1u);
    if (!answer) {
      EXPECT_NE(answer.error().failure, AttachFailure::incompatible);  // a fault point may stand for hardware
    }
  }
};

INSTANTIATE_TEST_SUITE_P(EveryDriver, ShortMemory, ::testing::ValuesIn(driver_cases()), case_name);

class ShortMemoryShared : public ShortMemory {};
INSTANTIATE_TEST_SUITE_P(DriversWhoseDomainsServeManyGroups, ShortMemoryShared,
                         ::testing::ValuesIn(cases_where(&DriverCase::shares)), case_name);

TEST_P(ShortMemoryShared, AtAnyFaultPointNeverMakesASecondDomainAndLeaksNothing) {
  EXPECT_GE(join_while_failing(kFaultPoints, true), 4);  // prepare and three commits at least
}

TEST_P(ShortMemory, AtAnyFaultPointOfTheFirstJoinLeavesNoDomain) {
  EXPECT_GE(join_while_failing(kFaultPoints, false), 5);
}

TEST_P(ShortMemoryShared, InAnyOperatorNewNeverMakesASecondDomainAndLeaksNothing) {
  EXPECT_GE(join_while_failing(kOperatorNew, true), 1);
}

TEST_P(ShortMemory, InAnyOperatorNewOfTheFirstJoinLeavesNoDomain) {
  EXPECT_GE(join_while_failing(kOperatorNew, false), 3);
}

// With the driver "flat", which answers as it is told.
class SearchFlat : public ::testing::Test {
 protected:
  explicit SearchFlat(Rules rules = Rules::contract) : world(driver_cases().front(), {.rules = rules}) {}
  ~SearchFlat() override { world.flat().knobs = {}; }
  World world;
  DomainSet set{world.system()};
};

TEST_F(SearchFlat, OnlyIncompatibleGoesOn) {
  ASSERT_TRUE(set.attach(world.own(world.alone()), {}, world.fill('A')));
  world.own(world.second());
  for (const AttachFailure failure :
       {AttachFailure::no_memory, AttachFailure::no_space, AttachFailure::busy, AttachFailure::no_device}) {
    world.flat().knobs.fail_prepare = FlatKnobs::Step{0, failure};
    const unsigned allocated = world.flat().calls.allocate;
    EXPECT_EQ(set.attach(world.second(), {}, world.fill('A')).error().failure, failure);
    EXPECT_EQ(world.flat().calls.allocate, allocated);
    EXPECT_EQ(set.members().size(), 1u);
  }
}

TEST_F(SearchFlat, IncompatibleForTheFreshDomainIsABrokenDriver) {
  world.own(world.alone());
  world.flat().knobs.fail_prepare = FlatKnobs::Step{0, AttachFailure::incompatible};
  const LogCapture log(log::Level::error);
  EXPECT_EQ(set.attach(world.alone(), {}, world.fill('A')).error().failure, AttachFailure::no_device);
  EXPECT_TRUE(log.has("driver flat is broken"));
  EXPECT_TRUE(set.empty());
}

TEST_F(SearchFlat, AnAllocationsErrnoNeverReadsAsIncompatible) {
  world.own(world.alone());
  const std::pair<int, AttachFailure> rows[] = {{ENOMEM, AttachFailure::no_memory},
                                                {ENOSPC, AttachFailure::no_space},
                                                {EOPNOTSUPP, AttachFailure::no_device},
                                                {EINVAL, AttachFailure::no_device}};
  for (const auto& [code, failure] : rows) {
    world.flat().knobs.allocate_errno = code;
    const auto answer = set.attach(world.alone(), {}, world.fill('A'));
    EXPECT_EQ(answer.error().failure, failure);
    EXPECT_NE(answer.error().code, EINVAL);
  }
}

class SearchAsLinux : public SearchFlat {
 protected:
  SearchAsLinux() : SearchFlat(Rules::linux7) {}
};

TEST_F(SearchAsLinux, AllocatesAndAttachesAFreshDomainFirstThenMovesToTheOneThatFits) {
  const Domain* const first = set.attach(world.own(world.alone()), {}, world.fill('A')).value();
  world.own(world.second());
  const FlatCalls before = world.flat().calls;
  EXPECT_EQ(set.attach(world.second(), {}, world.fill('A')).value(), first);
  EXPECT_EQ(world.flat().calls.allocate, before.allocate + 1);
  EXPECT_EQ(world.flat().calls.commit, before.commit + 3);  // to the fresh one, back to blocked, to the one that fits
  EXPECT_EQ(world.sees(world.second()), "A");
}

TEST_F(SearchAsLinux, AFailedFillLeavesTheSetAndTheGroupAsBefore) {
  world.own(world.alone());
  const auto full = [](Domain&) -> AttachResult<> { return driver_says(AttachFailure::no_memory, {"a test"}); };
  EXPECT_FALSE(set.attach(world.alone(), {}, full));
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(world.alone().domain()->type(), DomainType::blocked);
}

TEST_F(SearchAsLinux, AHardFailureOfOneMemberGoesOnAndMakesASecondDomain) {
  ASSERT_TRUE(set.attach(world.own(world.alone()), {}, world.fill('A')));
  world.own(world.second());
  fault::fail_point("core.prepare", 2);  // the first is for the fresh domain
  ASSERT_TRUE(set.attach(world.second(), {}, world.fill('A')));
  EXPECT_EQ(set.members().size(), 2u);
  EXPECT_EQ(world.sees(world.second()), "A");
}

}  // namespace
}  // namespace softiommu::testing
