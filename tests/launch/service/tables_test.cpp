// SPDX-License-Identifier: BSD-3-Clause
// The two pages that the processes of a run share.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "base/memlock.h"
#include "launch/service/accounts.h"
#include "launch/service/handle_table.h"

namespace softiommu::launch {
namespace {

TEST(HandleTableTest, KnowsWhatWasAdded) {
  const auto table = std::make_unique<HandleTable>();
  EXPECT_FALSE(table->contains(17));
  EXPECT_TRUE(table->add(17));
  EXPECT_TRUE(table->add(17));
  EXPECT_TRUE(table->contains(17));
  table->remove(17);
  EXPECT_FALSE(table->contains(17));
}

TEST(HandleTableTest, FindsAnEntryBehindOneThatWasRemoved) {
  const auto table = std::make_unique<HandleTable>();
  std::uint64_t added = 0;
  while (table->add(100 + added)) ++added;  // until places collide for good
  EXPECT_GT(added, HandleTable::kSlots / 2);
  for (std::uint64_t i = 0; i < added; i += 2) table->remove(100 + i);
  for (std::uint64_t i = 0; i < added; ++i) ASSERT_EQ(table->contains(100 + i), i % 2 == 1) << i;
}

TEST(HandleTableTest, UsesRemovedPlacesAgain) {
  const auto table = std::make_unique<HandleTable>();
  for (std::uint64_t inode = 2; inode < 20 * HandleTable::kSlots; ++inode) {
    ASSERT_TRUE(table->add(inode));
    table->remove(inode);
  }
}

TEST(Accounts, OfOneProcessAddUp) {
  const auto table = std::make_unique<AccountTable>();
  LockedMemory first, second;
  ASSERT_TRUE(first.charge(3, {}));
  const PublishedAccount one(table.get(), ::getpid(), first), two(table.get(), ::getpid(), second);
  ASSERT_TRUE(second.charge(4, {}));
  second.pin(5);
  EXPECT_EQ(table->of(::getpid()).locked, 7u);
  EXPECT_EQ(table->of(::getpid()).pinned, 5u);
  EXPECT_EQ(first.pages(), 3u);
}

TEST(Accounts, AreGoneWithTheProgram) {
  const auto table = std::make_unique<AccountTable>();
  LockedMemory locked;
  {
    const PublishedAccount account(table.get(), ::getpid(), locked);
    locked.pin(5);
    EXPECT_EQ(table->of(::getpid()).pinned, 5u);
  }
  EXPECT_EQ(table->of(::getpid()).pinned, 0u);
}

TEST(Accounts, CanBeHandedOver) {
  const auto table = std::make_unique<AccountTable>();
  LockedMemory locked;
  PublishedAccount account(table.get(), ::getpid(), locked);
  locked.pin(5);
  account.hand_over(::getppid());
  EXPECT_EQ(table->of(::getpid()).pinned, 0u);
  EXPECT_EQ(table->of(::getppid()).pinned, 5u);
}

TEST(Accounts, AnEndedProcesssEntryIsTakenAgain) {
  const auto table = std::make_unique<AccountTable>();
  const pid_t child = ::fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  for (auto& entry : table->entries) entry = {child, 0, 9, 9};
  LockedMemory locked;
  const PublishedAccount account(table.get(), ::getpid(), locked);
  locked.pin(1);
  EXPECT_EQ(table->of(::getpid()).pinned, 1u);
}

TEST(Accounts, AreOnlyCountedWithoutATable) {
  LockedMemory locked;
  const PublishedAccount account(nullptr, ::getpid(), locked);
  ASSERT_TRUE(locked.charge(2, {}));
  EXPECT_EQ(locked.pages(), 2u);
}

}  // namespace
}  // namespace softiommu::launch
