// SPDX-License-Identifier: BSD-3-Clause
#include "machine/executor.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

namespace softiommu {
namespace {

// Does what it is told at each step.
struct Model final : Steppable {
  explicit Model(std::function<std::uint64_t(std::uint64_t)> action) : action_(std::move(action)) {}
  std::uint64_t step(std::uint64_t now) override { return action_(now); }

 private:
  std::function<std::uint64_t(std::uint64_t)> action_;
};

class VirtualTime : public testing::Test {
 protected:
  std::unique_ptr<Executor> executor_ = std::move(Executor::create(Executor::Time::virtual_time)).value();
};

TEST_F(VirtualTime, AWokenModelIsSteppedAfterTheLatency) {
  std::vector<std::uint64_t> steps;
  Model model([&](std::uint64_t now) {
    steps.push_back(now);
    return Steppable::kIdle;
  });
  executor_->add(model);
  EXPECT_EQ(executor_->run(), 0u);
  executor_->wake(model);
  EXPECT_EQ(executor_->run(), 20'000u);
  executor_->set_latency(5);
  executor_->wake(model);
  executor_->wake(model);
  executor_->run();
  EXPECT_EQ(steps, (std::vector<std::uint64_t>{20'000, 20'005}));
}

TEST_F(VirtualTime, ModelsRunInTheOrderOfTheirDueTimes) {
  std::string order;
  Model slow([&](std::uint64_t now) {
    order += 's';
    return now < 100 ? now + 50 : Steppable::kIdle;
  });
  Model fast([&](std::uint64_t now) {
    order += 'f';
    return now < 90 ? now + 20 : Steppable::kIdle;
  });
  executor_->add(slow);
  executor_->add(fast);
  executor_->set_latency(0);
  executor_->wake(slow);
  executor_->wake(fast);
  executor_->run();
  EXPECT_EQ(order, "sfffsffsf");
}

TEST_F(VirtualTime, ALimitIsReachedEvenByAModelThatIsAlwaysDue) {
  std::uint64_t steps = 0;
  Model busy([&](std::uint64_t now) {
    ++steps;
    return now;
  });
  executor_->add(busy);
  executor_->set_latency(0);
  executor_->wake(busy);
  EXPECT_EQ(executor_->run(1000), 1000u);
  EXPECT_EQ(steps, 1001u);
}

TEST_F(VirtualTime, AModelMayRemoveItselfAndWakeOthers) {
  unsigned woken = 0;
  Model other([&](std::uint64_t) {
    ++woken;
    return Steppable::kIdle;
  });
  Model once([](std::uint64_t) { return Steppable::kIdle; });
  Model first([&](std::uint64_t) {
    executor_->wake(other);
    executor_->remove(first);
    return std::uint64_t{1};
  });
  executor_->add(first);
  executor_->add(once);
  executor_->add(other);
  executor_->wake(first);
  executor_->run();
  EXPECT_EQ(woken, 1u);
}

TEST_F(VirtualTime, OtherThreadsWakeModelsWhileOneRunsThem) {
  std::uint64_t steps = 0;
  Model model([&](std::uint64_t) {
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) executor_->wake(model);
  });
  for (std::uint64_t until = 0; until < 1'000'000; until += 1000) executor_->run(until);
  other.join();
  executor_->run();
  EXPECT_GE(steps, 1u);
}

class RealTime : public testing::Test {
 protected:
  static void wait_for(const std::atomic<unsigned>& counter, unsigned value) {
    while (counter.load() < value) std::this_thread::yield();
  }
  std::unique_ptr<Executor> executor_ = std::move(Executor::create(Executor::Time::real)).value();
};

TEST_F(RealTime, StepsOnAnotherThreadAfterStart) {
  std::atomic<unsigned> steps{0};
  std::atomic<bool> elsewhere{false};
  const auto caller = std::this_thread::get_id();
  Model model([&](std::uint64_t) {
    elsewhere = std::this_thread::get_id() != caller;
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  executor_->wake(model);
  EXPECT_EQ(steps, 0u) << "no thread before start";
  executor_->start();
  executor_->start();
  wait_for(steps, 1);
  EXPECT_TRUE(elsewhere);
  executor_->remove(model);
}

TEST_F(RealTime, NoStepComesBeforeTheLatency) {
  std::atomic<unsigned> steps{0};
  std::atomic<std::uint64_t> stepped_at{0};
  Model model([&](std::uint64_t now) {
    stepped_at = now;
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  executor_->set_latency(3'000'000);
  executor_->start();
  const std::uint64_t woken_at = executor_->now_ns();
  executor_->wake(model);
  wait_for(steps, 1);
  EXPECT_GE(stepped_at, woken_at + 3'000'000);
  executor_->remove(model);
}

TEST_F(RealTime, NoWakeIsLost) {
  std::atomic<unsigned> steps{0};
  Model model([&](std::uint64_t) {
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  executor_->set_latency(0);
  executor_->start();
  for (unsigned i = 1; i <= 2000; ++i) {
    executor_->wake(model);
    wait_for(steps, i);
  }
  executor_->remove(model);
}

TEST_F(RealTime, ADueTimeNeedsNoWake) {
  std::atomic<unsigned> steps{0};
  Model model([&](std::uint64_t now) { return ++steps < 20 ? now + 10'000 : Steppable::kIdle; });
  executor_->add(model);
  executor_->start();
  executor_->wake(model);
  wait_for(steps, 20);
  executor_->remove(model);
}

TEST_F(RealTime, RemoveReturnsWhenNoStepIsRunning) {
  executor_->set_latency(0);
  executor_->start();
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> inside{false};
    std::atomic<unsigned> steps{0};
    Model model([&](std::uint64_t now) {
      inside = true;
      ++steps;
      std::this_thread::yield();
      inside = false;
      return now;
    });
    executor_->add(model);
    executor_->wake(model);
    wait_for(steps, 1);
    executor_->remove(model);
    ASSERT_FALSE(inside);
  }
}

TEST_F(RealTime, AModelMayRemoveItself) {
  std::atomic<unsigned> steps{0};
  Model model([&](std::uint64_t now) {
    executor_->remove(model);
    ++steps;
    return now;
  });
  executor_->add(model);
  executor_->start();
  executor_->wake(model);
  wait_for(steps, 1);
  executor_.reset();
  EXPECT_EQ(steps, 1u);
}

TEST_F(RealTime, TheThreadBlocksSignalsButItsOwnFaults) {
  std::atomic<unsigned> steps{0};
  sigset_t mask;
  sigemptyset(&mask);
  Model model([&](std::uint64_t) {
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  executor_->start();
  executor_->wake(model);
  wait_for(steps, 1);
  executor_.reset();
  for (const int blocked : {SIGALRM, SIGCHLD, SIGUSR1, SIGTERM, SIGPROF}) EXPECT_TRUE(sigismember(&mask, blocked));
  EXPECT_FALSE(sigismember(&mask, SIGSEGV));
  EXPECT_FALSE(sigismember(&mask, SIGBUS));
}

TEST_F(RealTime, AfterForkTheChildHasNoThreadUntilItStartsOne) {
  std::atomic<unsigned> steps{0};
  Model model([&](std::uint64_t) {
    ++steps;
    return Steppable::kIdle;
  });
  executor_->add(model);
  executor_->start();
  executor_->wake(model);
  wait_for(steps, 1);
  const pid_t child = fork();
  if (child == 0) {
    executor_->forget_thread();
    executor_.reset();  // joins nothing
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  executor_->remove(model);
}

}  // namespace
}  // namespace softiommu
