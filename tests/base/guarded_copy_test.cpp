// SPDX-License-Identifier: BSD-3-Clause
#include "base/guarded_copy.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/guarded_copies.h"

namespace softiommu {
namespace {

#if defined(__x86_64__)

constexpr std::size_t kPage = 4096;

// Two pages; the second one cannot be accessed.
class GuardedCopy : public testing::Test {
 protected:
  void SetUp() override {
    page_ = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(page_ + kPage, kPage, PROT_NONE);
  }
  void TearDown() override { munmap(page_, 2 * kPage); }
  char* page_ = nullptr;

 private:
  test::GuardedCopies guarded_;
};

TEST_F(GuardedCopy, CopiesEverySizeAndNotAByteMore) {
  std::vector<char> from(9100), to(9100);
  // Sizes on both sides of each routine, with source and destination misaligned differently.
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<char>(i * 7 + 1);
  for (std::size_t bytes = 0; bytes < 9000; bytes = bytes < 600 ? bytes + 1 : bytes + 97) {
    std::ranges::fill(to, 0);
    ASSERT_TRUE(guarded_copy(to.data() + 3, from.data() + 5, bytes));
    ASSERT_EQ(std::memcmp(to.data() + 3, from.data() + 5, bytes), 0) << bytes;
    ASSERT_EQ(to[2], 0);
    ASSERT_EQ(to[3 + bytes], 0) << bytes;
  }
}

// Looks at the target after each instruction, as a program on another processor may: a byte that has changed is counted
// and, as a program takes a completion, changed back.
class Watcher {
 public:
  static constexpr char kOld = 0, kNew = 1;
  static constexpr std::size_t kMost = 300;

  Watcher() {
    watcher_ = this;
    struct sigaction action{};
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
      auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
      constexpr greg_t kTrap = 0x100;
      flags = watcher_->watching_ ? flags | kTrap : flags & ~kTrap;
      watcher_->look();
    };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before_);
  }
  ~Watcher() { sigaction(SIGTRAP, &before_, nullptr); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // How often each byte was written.
  std::vector<unsigned> watch(std::size_t bytes) {
    bytes_ = bytes;
    std::ranges::fill(from_, kNew);
    std::ranges::fill(to_, kOld);
    changes_.fill(0);
    watching_ = true;
    raise(SIGTRAP);
    copied_ = guarded_copy(const_cast<char*>(to_.data()), from_.data(), bytes);
    watching_ = false;
    look();
    return {changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(bytes)};
  }
  bool copied() const { return copied_; }

 private:
  void look() {
    for (std::size_t i = 0; i < bytes_; ++i) {
      volatile char& byte = to_[i];
      if (byte == kOld) continue;
      byte = kOld;
      ++changes_[i];
    }
  }

  inline static Watcher* watcher_ = nullptr;
  struct sigaction before_{};
  std::array<char, kMost> from_{}, to_{};
  std::array<unsigned, kMost> changes_{};
  std::size_t bytes_ = 0;
  volatile bool watching_ = false;
  bool copied_ = false;
};

TEST_F(GuardedCopy, WritesEachByteOnce) {
  Watcher watcher;
  for (std::size_t bytes = 1; bytes < 128; ++bytes) {
    EXPECT_EQ(watcher.watch(bytes), std::vector(bytes, 1u)) << bytes;
    EXPECT_TRUE(watcher.copied());
  }
  // Of larger ones the end, which a program may watch.
  for (std::size_t bytes = 128; bytes < Watcher::kMost; ++bytes) EXPECT_EQ(watcher.watch(bytes).back(), 1u) << bytes;
}

TEST_F(GuardedCopy, SaysFalseWhereMemoryIsMissingWhateverTheSize) {
  char buffer[2 * kPage] = {};
  for (const std::size_t bytes :
       {1u, 3u, 4u, 8u, 15u, 16u, 31u, 32u, 64u, 100u, 128u, 200u, 256u, 300u, 1024u, 4096u}) {
    EXPECT_FALSE(guarded_copy(page_ + kPage - bytes + 1, buffer, bytes)) << bytes;
    EXPECT_FALSE(guarded_copy(buffer, page_ + kPage - bytes + 1, bytes)) << bytes;
    EXPECT_TRUE(guarded_copy(page_ + kPage - bytes, buffer, bytes)) << bytes;
  }
}

TEST_F(GuardedCopy, SaysFalseForAnAddressThatNoProcessorKnows) {
  char buffer[16] = {};
  EXPECT_FALSE(guarded_copy(buffer, reinterpret_cast<const void*>(std::uintptr_t{0xdead} << 48), sizeof buffer));
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SOFTIOMMU_HANDLERS_MASK_ALL  // its handlers run with every signal blocked, faults too: the kernel kills
#endif
#endif
#if !defined(SOFTIOMMU_HANDLERS_MASK_ALL)
int nested_answers = 0;

TEST_F(GuardedCopy, WorksInASignalHandlerThatInterruptsIt) {
  static char* missing = page_ + kPage;
  struct sigaction action{}, before{};
  action.sa_handler = [](int) {
    char buffer[8] = {};
    if (!guarded_copy(missing, buffer, sizeof buffer)) ++nested_answers;
  };
  sigaction(SIGUSR1, &action, &before);
  raise(SIGUSR1);
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(nested_answers, 1);
}
#endif

TEST(GuardedCopyRecover, LeavesOtherFaultsAlone) {
  ucontext_t context{};
  getcontext(&context);
  EXPECT_FALSE(guarded_copy_recover(&context));
}

#endif

}  // namespace
}  // namespace softiommu
