// SPDX-License-Identifier: BSD-3-Clause
// RISC-V Sv39, Sv48, Sv57: the engine's tables as the hardware walks them, and what the walk makes of odd ones.
#include "machine/iommu/walk/riscv.h"

#include "pt/formats/riscv.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

class RiscvWalk : public test::WalkSuite<pt::Riscv> {
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::riscv(memory(),
                       {.root = table().root(),
                        .levels = table().top_level() + 1,
                        .output_bits = config().output_bits,
                        .napot = (config().page_sizes & pt::riscv::kNapot) != 0,
                        .memory_types = config().memory_type != pt::RiscvMemoryType::platform,
                        .update_accessed = config().dirty_tracking},
                       iova, access);
  }
};
INSTANTIATE_TEST_SUITE_P(Every, RiscvWalk, test::every_configuration<pt::Riscv>(), test::configuration_number);

TEST_P(RiscvWalk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(RiscvWalk, WritesMakePagesDirty) {
  if (tracks_dirty()) expect_dirty_after_writes();
}

class RiscvByHand : public test::TablesByHand {
 protected:
  static constexpr std::uint64_t kTable = 0x01, kPage = 0xd7;  // V; D A U W R V
  static std::uint64_t at(PhysAddr address) { return address.value >> 2; }
  walk::Outcome read(std::uint64_t iova) { return walk::riscv(memory(), tables, Iova{iova}, Access::read); }
  walk::Outcome write(std::uint64_t iova) { return walk::riscv(memory(), tables, Iova{iova}, Access::write); }

  PhysAddr root = table(), middle = table(), leaves = table();
  walk::Riscv tables{.root = root, .levels = 3, .output_bits = 40};
  void SetUp() override {
    put(root, 0, at(middle) | kTable);
    put(middle, 0, at(leaves) | kTable);
  }
};

TEST_F(RiscvByHand, InputsAreSignExtended) {
  put(root, 511, kPage);
  EXPECT_EQ(read(0xffff'ffff'ffff'f000)->lg2, 30u);
  EXPECT_EQ(fault_of(read(0x40'0000'0000)), walk::Fault::input_range);
}

TEST_F(RiscvByHand, LargePagesMustBeAligned) {
  put(middle, 1, at(PhysAddr{0x20'0000}) | kPage);
  EXPECT_EQ(read(0x20'1234)->first.value, 0x20'0000u);
  put(middle, 1, at(PhysAddr{0x20'1000}) | kPage);
  EXPECT_EQ(fault_of(read(0x20'1234)), walk::Fault::reserved);
}

TEST_F(RiscvByHand, WritingWithoutReadingIsReserved) {
  put(leaves, 0, 0xd5);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

TEST_F(RiscvByHand, TablesHaveNoLeafBits) {
  for (const std::uint64_t bits : {0x10ull, 0x40ull, 0x80ull, 0x2000'0000'0000'0000ull, 0x8000'0000'0000'0000ull}) {
    put(middle, 0, at(leaves) | kTable | bits);
    EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved) << bits;
  }
}

TEST_F(RiscvByHand, TheLowestLevelHasNoTables) {
  put(leaves, 0, at(leaves) | kTable);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

TEST_F(RiscvByHand, NapotIsReservedButFor64K) {
  put(leaves, 3, 0x8000'0000'0000'2000 | kPage);
  EXPECT_EQ(read(0x3123)->lg2, 16u);
  put(leaves, 3, 0x8000'0000'0000'1000 | kPage);
  EXPECT_EQ(fault_of(read(0x3123)), walk::Fault::reserved);
  put(middle, 1, 0x8000'0000'0000'2000 | kPage);
  EXPECT_EQ(fault_of(read(0x20'0000)), walk::Fault::reserved);
  tables.napot = false;
  put(leaves, 3, 0x8000'0000'0000'2000 | kPage);
  EXPECT_EQ(fault_of(read(0x3123)), walk::Fault::reserved);
}

TEST_F(RiscvByHand, MemoryTypesNeedSvpbmt) {
  put(leaves, 0, 0x2000'0000'0000'0000 | kPage);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
  tables.memory_types = true;
  EXPECT_TRUE(read(0));
  put(leaves, 0, 0x6000'0000'0000'0000 | kPage);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

TEST_F(RiscvByHand, AccessedAndDirtyAreSetOrFault) {
  put(leaves, 0, 0x17);  // U W R V
  EXPECT_EQ(fault_of(read(0)), walk::Fault::access_flag);
  tables.update_accessed = true;
  EXPECT_FALSE(read(0)->write);  // the first write is walked again
  EXPECT_EQ(word(leaves, 0), 0x57u);
  EXPECT_TRUE(write(0)->write);
  EXPECT_EQ(word(leaves, 0), 0xd7u);
}

TEST_F(RiscvByHand, AnAccessThatIsNotAllowedMarksNothing) {
  tables.update_accessed = true;
  put(leaves, 0, 0x13);  // U R V
  EXPECT_FALSE(write(0)->write);
  EXPECT_EQ(word(leaves, 0), 0x13u);
}

TEST_F(RiscvByHand, PagesOfThePrivilegedAllowNothing) {
  put(leaves, 0, 0xc7);
  EXPECT_EQ(read(0), (walk::Page{.first = PhysAddr{0}, .lg2 = 12}));
}

TEST_F(RiscvByHand, WideAddressesFault) {
  put(leaves, 0, at(PhysAddr{std::uint64_t{1} << 40}) | kPage);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::output_range);
  put(leaves, 0, kPage | 0x0040'0000'0000'0000);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

}  // namespace softiommu
