// SPDX-License-Identifier: BSD-3-Clause
#include "base/table_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "pt/arena.h"

namespace softiommu {

class TableMemoryTest : public ::testing::Test {
 protected:
  static constexpr TableSize k1K{10}, k2K{11}, k4K{12}, k16K{14}, k4M{22};

  PhysAddr take(TableSize size) { return *memory.allocate(size); }
  // All that the arena has of a size.
  std::vector<PhysAddr> take_all(TableSize size) {
    std::vector<PhysAddr> tables;
    while (auto table = memory.allocate(size, TableContents::undefined)) tables.push_back(*table);
    return tables;
  }
  void give_back(const std::vector<PhysAddr>& tables, TableSize size) {
    for (const PhysAddr table : tables) memory.free(table, size);
  }

  pt::Arena memory{64 * kKiB};
};

TEST_F(TableMemoryTest, TablesAreAlignedToTheirSizeAndDoNotOverlap) {
  const PhysAddr a = take(k1K), b = take(k16K), c = take(k1K), d = take(k2K), e = take(k4K);
  EXPECT_TRUE(is_aligned(b.value, 16 * kKiB));
  EXPECT_TRUE(is_aligned(d.value, 2 * kKiB));
  memory.words(a)[127] = memory.words(c)[127] = memory.words(d)[255] = memory.words(e)[511] = 1;
  EXPECT_EQ(memory.words(b)[0] | memory.words(b)[2047] | memory.words(c)[0] | memory.words(e)[0], 0u);
}

TEST_F(TableMemoryTest, EveryByteIsCountedOnce) {
  const PhysAddr a = take(k1K), b = take(k16K);
  EXPECT_EQ(memory.allocated_bytes(), 17 * kKiB);
  memory.free(a, k1K);
  EXPECT_EQ(memory.allocated_bytes(), 16 * kKiB);
  memory.free(b, k16K);
  EXPECT_EQ(memory.allocated_bytes(), 0u);
}

TEST_F(TableMemoryTest, WhatAlignmentSkipsIsUsedForSmallerTables) {
  take(k16K);
  EXPECT_EQ(take_all(k4K).size(), 15u - 4);  // all but the page that means "none"
}

TEST_F(TableMemoryTest, FreePiecesAreJoinedWhenNothingElseIsLeft) {
  give_back(take_all(k1K), k1K);
  const auto large = take_all(k16K);
  EXPECT_EQ(large.size(), 3u);
  for (const PhysAddr table : large)
    for (unsigned word = 0; word < 2048; ++word) memory.words(table)[word] = word;
  give_back(large, k16K);
  EXPECT_EQ(take_all(k2K).size(), 30u);
}

TEST_F(TableMemoryTest, RecycledTablesAreZeroedAgain) {
  for (const TableSize size : {k1K, k4K, k16K}) {
    const PhysAddr table = take(size);
    memory.words(table)[size.bytes() / 8 - 1] = 77;
    memory.free(table, size);
    for (const PhysAddr again : {take(size), take(size)}) {
      EXPECT_EQ(memory.words(again)[size.bytes() / 8 - 1], 0u);
    }
  }
}

TEST_F(TableMemoryTest, AFullArenaIsNoMemory) {
  const auto failed = memory.allocate(k4M);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ENOMEM);
  EXPECT_FALSE(memory.allocate_chain(16, k4K));
  EXPECT_EQ(memory.allocated_bytes(), 0u);
}

}  // namespace softiommu
