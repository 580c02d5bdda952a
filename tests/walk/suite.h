// SPDX-License-Identifier: BSD-3-Clause
// The engine and a hardware walker over the same memory: after random maps and unmaps they must say the same of every
// page. They share the layouts in hw/ and nothing else.
//
// The test of a format is one file: a class that says how the format's hardware walks,
//
//   class AmdV1Walk : public test::WalkSuite<pt::AmdV1> {
//     walk::Outcome hardware(Iova iova, Access access) override {
//       return walk::amd_v1(memory(), {.root = table().root(), ...config()...}, iova, access);
//     }
//   };
//   TEST_P(AmdV1Walk, AgreesWithTheEngine) { compare_random_sequences(); }
//   INSTANTIATE_TEST_SUITE_P(Every, AmdV1Walk, test::every_configuration<pt::AmdV1>(), test::configuration_number);
//
// and whatever else there is to say of the format, with the verbs below.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "machine/iommu/walk/walk.h"
#include "machine/memory.h"
#include "pt/page_table.h"

namespace softiommu::test {

template <class Format>
auto every_configuration() {
  return ::testing::ValuesIn(std::begin(Format::kConfigurations), std::end(Format::kConfigurations));
}
inline constexpr auto configuration_number = [](const auto& info) { return "config" + std::to_string(info.index); };

template <pt::PageTableFormat Format>
class WalkSuite : public ::testing::TestWithParam<typename Format::Config> {
 protected:
  using Table = pt::PageTable<Format>;
  using Config = typename Format::Config;

  // What the hardware that `config()` describes makes of one access.
  virtual walk::Outcome hardware(Iova iova, Access access) = 0;

  Memory& memory() { return *memory_; }
  Table& table() { return table_; }
  const Config& config() const { return this->GetParam(); }
  const pt::Shape& shape() const { return shape_; }

  // ---- verbs ----

  int map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes, Prot prot) {
    const auto done = table_.map(Iova{iova}, PhysAddr{pa}, bytes, prot);
    return done ? 0 : done.error().code;
  }
  std::uint64_t unmap(std::uint64_t iova, std::uint64_t bytes) {
    const std::uint64_t unmapped = table_.unmap(Iova{iova}, bytes, gather_);
    gather_.release(memory_->tables());
    return unmapped;
  }

  // Hardware finds `leaf`, whole, with its rights, at `iova`.
  void expect_page(const pt::Leaf& leaf, std::uint64_t iova) {
    const unsigned lg2 = static_cast<unsigned>(std::countr_zero(leaf.bytes));
    for (const Access access : {Access::read, Access::write}) {
      const bool write = access == Access::write, allowed = write ? leaf.prot.write : leaf.prot.read;
      const walk::Outcome found = hardware(Iova{iova}, access);
      if (!found && !allowed) {
        EXPECT_EQ(found.error().fault, walk::Fault::permission) << at(iova);
        continue;
      }
      ASSERT_TRUE(found) << at(iova) << failure_text(found.error());
      ASSERT_EQ(found->first, leaf.pa) << at(iova);
      ASSERT_EQ(found->lg2, lg2) << at(iova);
      ASSERT_EQ(found->read, leaf.prot.read) << at(iova);
      ASSERT_EQ(found->execute, leaf.prot.execute) << at(iova);
      // A page that hardware has not marked dirty may ask to be walked again before the first write.
      if (write || !leaf.prot.write) {
        ASSERT_EQ(found->write, leaf.prot.write) << at(iova);
      }
    }
  }
  void expect_hole(std::uint64_t iova) {
    const walk::Outcome found = hardware(Iova{iova}, Access::read);
    ASSERT_FALSE(found) << at(iova) << "a page at " << found->first.value << " of 2^" << found->lg2;
    const bool beyond_root = found.error().fault == walk::Fault::input_range && may_grow();
    ASSERT_TRUE(beyond_root || found.error().fault == walk::Fault::not_present)
        << at(iova) << failure_text(found.error());
  }
  // Whatever the engine says of `iova`, hardware says the same.
  void expect_agreement(std::uint64_t iova) {
    if (const auto leaf = table_.lookup(Iova{iova})) {
      expect_page(*leaf, iova);
    } else {
      expect_hole(iova);
    }
  }
  // All mappings, and the places next to them.
  void expect_agreement_everywhere() {
    std::vector<pt::Leaf> leaves;
    table_.walk(table_.aperture(), [&](const pt::Leaf& leaf) { leaves.push_back(leaf); });
    for (const pt::Leaf& leaf : leaves) {
      const std::uint64_t first = leaf.iova.value, last = first + (leaf.bytes - 1);
      for (const std::uint64_t iova : {first, first + leaf.bytes / 2 + 5, last}) expect_page(leaf, iova);
      if (first != aperture().first.value) expect_agreement(first - 1);
      if (last != aperture().last.value) expect_agreement(last + 1);
      if (this->HasFatalFailure()) return;
    }
    for (unsigned i = 0; i < 50 && !this->HasFatalFailure(); ++i) expect_agreement(random_iova());
  }

  // Seeded random maps and unmaps of all page sizes, around the places where something can go wrong.
  void compare_random_sequences(unsigned seeds = 3, unsigned steps = 150) {
    ASSERT_FALSE(rights_.empty());
    for (unsigned seed = 1; seed <= seeds && !this->HasFatalFailure(); ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      random_.seed(seed);
      for (unsigned step = 0; step < steps && !this->HasFatalFailure(); ++step) take_step();
      expect_agreement_everywhere();
      unmap_everything();
    }
  }

  // Writes by the device, and nothing else, make pages dirty. Only for configurations that track them.
  void expect_dirty_after_writes() {
    const Request page{.iova = centre_of_aperture(), .pa = 0, .bytes = smallest_page(), .prot = writable()};
    ASSERT_EQ(map(page.iova, page.pa, page.bytes, page.prot), 0);
    ASSERT_TRUE(hardware(Iova{page.iova}, Access::read));
    EXPECT_FALSE(is_dirty(page));
    ASSERT_TRUE(hardware(Iova{page.iova}, Access::write));
    EXPECT_TRUE(is_dirty(page));
    unmap_everything();
  }
  bool tracks_dirty() const { return shape_.dirty.mask != 0; }

 private:
  struct Request {
    std::uint64_t iova = 0, pa = 0, bytes = 0;
    Prot prot;
  };

  IovaRange aperture() const { return table_.aperture(); }
  bool may_grow() const { return table_.top_level() < shape_.most_top_level; }
  std::uint64_t smallest_page() const { return std::uint64_t{1} << Format::kPageShift; }
  std::uint64_t centre_of_aperture() const {
    return (aperture().first.value / 2 + aperture().last.value / 2) & ~(smallest_page() - 1);
  }
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::uint64_t random_iova() {
    const std::uint64_t span = aperture().last.value - aperture().first.value;
    return aperture().first.value + (span == ~std::uint64_t{0} ? random_() : below(span + 1));
  }
  Prot writable() const {
    const auto found = std::find_if(rights_.begin(), rights_.end(), [](Prot prot) { return prot.read && prot.write; });
    return found == rights_.end() ? rights_.front() : *found;
  }
  static std::string at(std::uint64_t iova) {
    char text[40];
    std::snprintf(text, sizeof text, "iova %#llx: ", static_cast<unsigned long long>(iova));
    return text;
  }
  static std::string failure_text(const walk::Failure& failure) {
    char text[120];
    std::snprintf(text, sizeof text, "fault %u at level %u, entry %#llx holds %#llx",
                  static_cast<unsigned>(failure.fault), failure.level,
                  static_cast<unsigned long long>(failure.entry.value), static_cast<unsigned long long>(failure.word));
    return text;
  }
  bool is_dirty(const Request& page) {
    bool any = false;
    table_.read_dirty(IovaRange::of(Iova{page.iova}, page.bytes), false, [&](Iova, std::uint64_t) { any = true; });
    return any;
  }
  void unmap_everything() {
    std::vector<IovaRange> pages;
    table_.walk(aperture(), [&](const pt::Leaf& leaf) { pages.push_back(IovaRange::of(leaf.iova, leaf.bytes)); });
    for (const IovaRange& page : pages) ASSERT_EQ(unmap(page.first.value, page.bytes()), page.bytes());
    for (const IovaRange& page : pages) ASSERT_NO_FATAL_FAILURE(expect_hole(page.first.value));
  }

  // The first byte of a place to map at: the ends of the aperture, borders of tables, anywhere.
  std::uint64_t random_place(std::uint64_t size) {
    const std::uint64_t first = aperture().first.value, last = aperture().last.value;
    const std::uint64_t near = below(4) * size;
    std::uint64_t place = 0;
    switch (below(4)) {
      case 0:
        place = near;
        break;
      case 1:
        place = last - first - std::min(last - first, near + size - 1);
        break;
      case 2: {
        const unsigned level = static_cast<unsigned>(below(shape_.top_level + 1));
        place = (std::uint64_t{1} << std::min(63u, pt::span_lg2<Format>(level))) * (1 + below(3)) - near;
        break;
      }
      default:
        place = random_iova() - first;
    }
    return first + (std::min(place, last - first) & ~(size - 1));
  }

  // A run of pages of one size, perhaps with smaller ones before and behind it.
  Request random_request() {
    const std::uint64_t size = sizes_[below(sizes_.size())], smallest = smallest_page();
    const std::uint64_t base = random_place(size), last = aperture().last.value;
    const std::uint64_t room = last - base;  // less one
    std::uint64_t bytes = std::min(size * (1 + below(size > kGiB ? 2 : 5)) - 1, room) + 1;
    if (bytes == 0) bytes = size;  // the whole of 2^64 is more than fits
    Request request{.iova = base, .pa = 0, .bytes = bytes, .prot = rights_[below(rights_.size())]};
    if (below(3) == 0) request.bytes = std::min(bytes - 1 + below(3) * smallest, room) + 1;
    if (below(3) == 0 && base - aperture().first.value >= 4 * smallest) {
      const std::uint64_t head = below(4) * smallest;
      request.iova -= head;
      request.bytes += head;
    }
    const std::uint64_t outputs = bits_below(shape_.output_bits);
    const bool scattered = request.bytes <= 64 * smallest && below(4) == 0;
    const std::uint64_t pa = scattered ? random_() & ~(smallest - 1) : (random_() & ~(size - 1)) + request.iova % size;
    request.pa = pa & outputs;
    if (request.bytes - 1 > outputs - request.pa) request.pa = request.iova & (size - 1);
    request.pa = std::max(request.pa, shape_.output_first);
    request.bytes = std::min(request.bytes - 1, outputs - request.pa) + 1;
    return request;
  }
  static std::uint64_t bits_below(unsigned count) { return count >= 64 ? ~std::uint64_t{0} : pt::below(count); }

  void take_step() {
    const Request request = random_request();
    SCOPED_TRACE(at(request.iova) + std::to_string(request.bytes / smallest_page()) + " pages");
    if (below(5) < 3) {
      const int answer = map(request.iova, request.pa, request.bytes, request.prot);
      ASSERT_TRUE(answer == 0 || answer == EEXIST) << answer;
      if (answer == 0) expect_mapping(request);
    } else {
      unmap(request.iova, request.bytes);
      expect_hole(request.iova);
      expect_hole(request.iova + (request.bytes - 1));
    }
    expect_agreement(request.iova);
    expect_agreement(random_iova());
  }

  // What was asked for, not only what the engine says of it.
  void expect_mapping(const Request& request) {
    const std::uint64_t last = request.bytes - 1;
    for (const std::uint64_t offset : {std::uint64_t{0}, last / 2, last}) {
      const Access access = request.prot.read ? Access::read : Access::write;
      const walk::Outcome found = hardware(Iova{request.iova + offset}, access);
      ASSERT_TRUE(found) << at(request.iova + offset) << failure_text(found.error());
      const std::uint64_t within = (request.iova + offset) & bits_below(found->lg2);
      ASSERT_EQ(found->first.value + within, request.pa + offset) << at(request.iova + offset);
      ASSERT_EQ(found->read, request.prot.read);
      ASSERT_TRUE(found->write <= request.prot.write && found->execute == request.prot.execute);
    }
  }

  // Page sizes that fit into both address spaces.
  static std::vector<std::uint64_t> sizes_of(const Table& table, const pt::Shape& shape) {
    std::vector<std::uint64_t> sizes;
    const std::uint64_t span = table.aperture().last.value - table.aperture().first.value;
    for (std::uint64_t left = table.page_sizes(); left != 0; left &= left - 1) {
      const std::uint64_t size = left & ~(left - 1);
      if (size - 1 <= span && size - 1 <= bits_below(shape.output_bits)) sizes.push_back(size);
    }
    return sizes;
  }
  static std::vector<Prot> rights_of(const Config& config) {
    std::vector<Prot> rights;
    for (unsigned i = 0; i < 16; ++i) {
      const Prot prot{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
      if (Format::attributes(config, prot)) rights.push_back(prot);
    }
    return rights;
  }

  // Tables lie below 2^28, where every format can point to.
  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({.table_arena = 256 * kMiB}));
  pt::Shape shape_ = *Format::shape(this->GetParam());
  Table table_ = *Table::create(memory_->tables(), this->GetParam());
  pt::Gather gather_;
  std::vector<std::uint64_t> sizes_ = sizes_of(table_, shape_);
  std::vector<Prot> rights_ = rights_of(this->GetParam());
  std::mt19937_64 random_{1};
};

}  // namespace softiommu::test
