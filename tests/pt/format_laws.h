// SPDX-License-Identifier: BSD-3-Clause
// Laws that hold for every format in every configuration. The build makes one translation unit of them for each format
// that a header in src/pt/formats/ asserts to be one; configurations are values, so that a format is compiled once.
#pragma once

#include <string>
#include <thread>

#include "format_suite.h"

namespace softiommu::pt {

template <class F>
class FormatLaws : public FormatSuite<F> {
 public:
  using Suite = FormatSuite<F>;
  using Law = void (FormatLaws::*)();
  using Config = typename F::Config;
  struct Row {
    const char* name;
    Law law;
    bool (*concerns)(const Config&) = nullptr;  // which configurations; nullptr: all
  };
  static std::vector<Row> rows();

  FormatLaws(const Config& configuration, Law law) : Suite(configuration), law_(law) {}
  void TestBody() override { (this->*law_)(); }

 protected:
  using Suite::base, Suite::both, Suite::config, Suite::dirty, Suite::dirty_runs, Suite::entry_of, Suite::gather;
  using Suite::kPage, Suite::largest, Suite::last, Suite::leaves, Suite::map, Suite::memory, Suite::pa, Suite::phys;
  using Suite::range, Suite::rights, Suite::shadow, Suite::shape, Suite::sizes, Suite::stretch, Suite::table;
  using Suite::tables, Suite::unmap, Suite::has_large, Suite::at_start, Suite::expect_equal, Suite::expect_shadowed;
  using typename Suite::Addresses;
  using typename Suite::Entry;
  using typename Suite::Table;
  using typename Suite::X;

  // ---- words ----

  void encode_then_decode_is_identity() {
    for (const Prot prot : rights)
      for (const std::uint64_t size : sizes()) {
        const auto lg2 = static_cast<unsigned>(std::countr_zero(size));
        const unsigned level = X::level_of(lg2);
        const Entry leaf = F::leaf(*F::attributes(config, prot), PhysAddr{pa(size)}, level, lg2);
        EXPECT_NE(leaf, empty_entry<F>(level));
        EXPECT_EQ(F::prot(config, leaf, level), prot);
        EXPECT_EQ(F::page_address(leaf, level).value & ~(size - 1), pa(size));
        EXPECT_EQ(F::page_lg2(leaf, level), lg2);
        EXPECT_TRUE(level == 0 || !F::is_table(leaf, level));
        EXPECT_FALSE(shape.dirty.is_dirty(leaf));
      }
    for (unsigned level = 1; level <= std::max(shape.top_level, shape.most_top_level); ++level) {
      const Entry word = F::table(Arena::kFirst, level);
      EXPECT_NE(word, empty_entry<F>(level));
      EXPECT_TRUE(F::is_table(word, level));
      EXPECT_EQ(F::table_address(word, level), Arena::kFirst);
    }
  }

  // ---- map, unmap, look up ----

  void a_mapped_page_translates_and_its_neighbours_do_not() {
    ASSERT_EQ(map(5 * kPage, pa(kPage), kPage), 0);
    EXPECT_EQ(phys(6 * kPage - 1), pa(kPage) + kPage - 1);
    EXPECT_EQ(phys(5 * kPage - 1), std::nullopt);
    EXPECT_EQ(phys(6 * kPage), std::nullopt);
    EXPECT_EQ(unmap(5 * kPage, kPage), kPage);
    EXPECT_EQ(phys(5 * kPage), std::nullopt);
  }

  void the_first_and_the_last_page_of_the_aperture_can_be_mapped() {
    const std::uint64_t last_page = last - (kPage - 1);
    ASSERT_EQ(map(0, pa(kPage), kPage), 0);
    ASSERT_EQ(map(last_page, 2 * pa(kPage), kPage), 0);
    EXPECT_EQ(phys(0), pa(kPage));
    EXPECT_EQ(phys(last), 2 * pa(kPage) + kPage - 1);
    EXPECT_EQ(leaves().size(), 2u);
    expect_shadowed();
    EXPECT_EQ(unmap(last_page, kPage), kPage);
    EXPECT_EQ(table.unmap(Iova{0}, ~std::uint64_t{0}, gather), kPage);  // far more than the aperture
    EXPECT_TRUE(leaves().empty());
  }

  void addresses_outside_the_aperture_are_refused() {
    if (base + last != ~std::uint64_t{0}) {
      EXPECT_EQ(map(last + 1, pa(kPage), kPage), EINVAL);
      EXPECT_EQ(phys(last + 1), std::nullopt);
      EXPECT_EQ(unmap(last + 1, kPage), 0u);
    }
    if (base != 0) {
      EXPECT_FALSE(table.map(Iova{0}, PhysAddr{pa(kPage)}, kPage, both));
      EXPECT_EQ(table.iova_to_phys(Iova{base - 1}), std::nullopt);
    }
    EXPECT_EQ(map(last - (kPage - 1), pa(kPage), 2 * kPage), EINVAL);
    const std::uint64_t top = below(shape.output_bits);
    if (top != ~std::uint64_t{0}) {
      EXPECT_EQ(map(0, top + 1, kPage), EINVAL);
    }
    EXPECT_EQ(map(0, top - (kPage - 1), 2 * kPage), EINVAL);
    EXPECT_EQ(map(kPage, top - (kPage - 1), kPage), 0);
    EXPECT_EQ(phys(kPage), top - (kPage - 1));
    if (shape.output_first != 0) {
      EXPECT_EQ(map(0, shape.output_first - kPage, kPage), EINVAL);
    }
  }

  void parts_of_pages_and_nothing_are_refused() {
    EXPECT_EQ(map(kPage / 2, pa(kPage), kPage), EINVAL);
    EXPECT_EQ(map(0, pa(kPage) + kPage / 2, kPage), EINVAL);
    EXPECT_EQ(map(0, pa(kPage), kPage / 2), EINVAL);
    EXPECT_EQ(map(0, pa(kPage), 0), EINVAL);
    EXPECT_EQ(map(0, shape.output_first, 0), EINVAL);
    EXPECT_EQ(unmap(0, 0), 0u);
    EXPECT_EQ(tables(), at_start);
  }

  void rights_that_cannot_be_expressed_are_refused_and_others_are_kept() {
    for (unsigned i = 0; i < 16; ++i) {
      const Prot prot = prot_of(i);
      const bool expressible = F::attributes(config, prot).has_value();
      EXPECT_EQ(map(kPage, pa(kPage), kPage, prot), expressible ? 0 : EINVAL);
      if (expressible) {
        EXPECT_EQ(table.lookup(Iova{base + kPage})->prot, prot);
      }
      unmap(kPage, kPage);
    }
  }

  void each_page_size_is_used_where_it_fits() {
    for (const std::uint64_t size : sizes()) {
      if (size > last / 2) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      ASSERT_EQ(leaves().size(), 1u) << size;
      EXPECT_EQ(leaves()[0].bytes, size);
      EXPECT_EQ(phys(size), pa(size));
      EXPECT_EQ(phys(2 * size - 1), pa(size) + size - 1);
      EXPECT_EQ(phys(size - 1), std::nullopt);
      if (2 * size <= last) {
        EXPECT_EQ(phys(2 * size), std::nullopt);
      }
      expect_shadowed();
      EXPECT_EQ(unmap(size, size), size);
      EXPECT_TRUE(leaves().empty());
    }
  }

  void a_page_that_reaches_out_is_unmapped_whole() {
    for (const std::uint64_t size : sizes()) {
      if (size == kPage || size > last / 4) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      EXPECT_EQ(table.unmap(Iova{base + 2 * size - kPage}, 2 * kPage, gather), size);
      EXPECT_EQ(gather.range(), IovaRange::of(Iova{base + size}, size + kPage));
      EXPECT_EQ(phys(size), std::nullopt);
      gather.release(memory);
      ASSERT_EQ(map(size, pa(size), size), 0);
      EXPECT_EQ(unmap(size - kPage, 2 * kPage), size);
    }
  }

  void a_page_that_is_mapped_already_leaves_the_table_as_it_was() {
    const std::uint64_t at = stretch() + 7 * kPage;
    ASSERT_EQ(map(at, pa(kPage), kPage), 0);
    const std::uint64_t before = tables();
    EXPECT_EQ(map(at, pa(kPage), kPage), EEXIST);
    EXPECT_EQ(map(at - kPage, pa(kPage), 3 * kPage), EEXIST);
    EXPECT_EQ(map(0, pa(kPage), 3 * stretch()), EEXIST);
    EXPECT_EQ(map(stretch(), pa(kPage), stretch()), EEXIST);
    EXPECT_EQ(map(at, pa(kPage), 2 * stretch()), EEXIST);
    EXPECT_EQ(leaves().size(), 1u);
    EXPECT_EQ(tables(), before);
    expect_shadowed();
  }

  void nothing_fits_into_a_large_page() {
    for (const std::uint64_t size : sizes()) {
      if (size > last / 4) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      EXPECT_EQ(map(size, pa(size), kPage), EEXIST);
      EXPECT_EQ(map(2 * size - kPage, pa(size), 2 * kPage), EEXIST);
      EXPECT_EQ(map(size - kPage, pa(size), 2 * kPage), EEXIST);
      EXPECT_EQ(unmap(size, size), size);
    }
  }

  void unmap_skips_holes_and_counts_exactly() {
    for (const std::uint64_t iova : {kPage, 2 * kPage, 3 * kPage, 2 * stretch() - kPage, 2 * stretch()})
      ASSERT_EQ(map(iova, pa(kPage), kPage), 0);
    EXPECT_EQ(unmap(2 * kPage, kPage), kPage);
    EXPECT_EQ(unmap(2 * kPage, kPage), 0u);
    EXPECT_EQ(unmap(0, last), 4 * kPage);
    EXPECT_EQ(tables(), at_start);
    EXPECT_TRUE(leaves().empty());
  }

  void emptied_tables_are_gathered_and_kept_until_their_release() {
    ASSERT_EQ(map(5 * kPage, pa(kPage), kPage), 0);
    const std::uint64_t before = tables();
    table.unmap(Iova{base + 5 * kPage}, kPage, gather);
    EXPECT_TRUE(gather.tables_freed());
    EXPECT_EQ(gather.range(), range(5 * kPage, kPage));
    EXPECT_EQ(tables(), before);
    gather.release(memory);
    EXPECT_TRUE(gather.empty());
    EXPECT_EQ(tables(), at_start);
  }

  void a_table_with_a_neighbour_is_not_freed() {
    ASSERT_EQ(map(5 * kPage, pa(kPage), 2 * kPage), 0);
    for (unsigned again = 0; again < 2; ++again) {  // without and with a cursor
      table.unmap(Iova{base + 5 * kPage}, kPage, gather);
      EXPECT_FALSE(gather.tables_freed());
      EXPECT_EQ(gather.range(), range(5 * kPage, kPage));
      gather.release(memory);
      EXPECT_EQ(phys(6 * kPage), pa(kPage) + kPage);
      ASSERT_EQ(map(5 * kPage, pa(kPage), kPage), 0);
    }
  }

  void unmapping_nothing_gathers_nothing() {
    ASSERT_EQ(map(5 * kPage, pa(kPage), kPage), 0);
    table.unmap(Iova{base + 6 * kPage}, stretch(), gather);
    table.unmap(Iova{base + 4 * kPage}, kPage, gather);
    EXPECT_TRUE(gather.empty());
  }

  void a_large_page_can_follow_small_ones() {
    for (const std::uint64_t size : sizes()) {
      if (size > last / 4 || size / kPage > 100'000) continue;
      ASSERT_EQ(map(size, pa(kPage) + (size == kPage ? 0 : 2 * kPage), size), 0);
      ASSERT_EQ(unmap(size, size), size);
      ASSERT_EQ(map(size, pa(size), size), 0);
      EXPECT_EQ(leaves().size(), 1u);
      ASSERT_EQ(unmap(0, last), size);
    }
  }

  void addresses_of_a_long_run_are_exact() {
    // Up to where scattered address bits carry into each other, at both ends of the physical range.
    const std::uint64_t bytes = std::min(3 * stretch(), 4096 * kPage), top = below(shape.output_bits);
    for (const std::uint64_t from : {shape.output_first, top / 2 + 1 - 3 * kPage, top - (bytes - 1)}) {
      const std::uint64_t start = from & ~(kPage - 1);
      if (start < shape.output_first || bytes - 1 > top - start) continue;
      ASSERT_EQ(map(kPage, start, bytes), 0);
      for (std::uint64_t at = 0; at < bytes; at += kPage) ASSERT_EQ(phys(kPage + at), start + at);
      ASSERT_EQ(unmap(kPage, bytes), bytes);
    }
  }

  void recycled_tables_show_nothing_old() {
    const std::uint64_t bytes = 3 * stretch();
    ASSERT_EQ(map(0, pa(kPage), bytes), 0);
    ASSERT_EQ(unmap(0, bytes), bytes);
    for (std::uint64_t iova = 0; iova < bytes; iova += stretch()) ASSERT_EQ(map(iova, pa(kPage), kPage), 0);
    EXPECT_EQ(leaves().size(), 3u);
    expect_shadowed();
  }

  void a_walk_shows_pages_in_order_within_the_range() {
    for (unsigned page = 3; page < 6; ++page) ASSERT_EQ(map(page * kPage, 3 * kPage * page, kPage), 0);
    Addresses seen;
    table.walk({Iova{base + 5 * kPage - 1}, Iova{base + 5 * kPage}},
               [&](const Leaf& leaf) { seen.push_back(leaf.iova.value - base); });
    EXPECT_EQ(seen, (Addresses{4 * kPage, 5 * kPage}));
  }

  // ---- memory ----

  void a_failed_allocation_leaves_no_trace() {
    ASSERT_EQ(map(kPage, pa(kPage), kPage), 0);
    const std::uint64_t before = tables(), from = stretch() - kPage, bytes = 2 * stretch() + 2 * kPage;
    const unsigned failures = fail_each([&] { return map(from, pa(kPage) + 2 * kPage, bytes); },
                                        [&] {
                                          EXPECT_EQ(tables(), before);
                                          EXPECT_EQ(leaves().size(), 1u);
                                          expect_shadowed();
                                        });
    EXPECT_GE(failures, shape.top_level == 0 ? 0u : 1u);
    EXPECT_EQ(phys(from + bytes - 1), pa(kPage) + 2 * kPage + bytes - 1);
    if (last - (kPage - 1) > 4 * stretch()) {
      const std::uint64_t high = last - (kPage - 1), with_both = tables();
      fail_each([&] { return map(high, pa(kPage), kPage); }, [&] { EXPECT_EQ(tables(), with_both); });
      EXPECT_EQ(phys(high), pa(kPage));
      EXPECT_EQ(phys(kPage), pa(kPage));
    }
  }

  void a_full_arena_is_no_memory_and_nothing_is_kept() {
    Arena small(32 * kMiB);
    auto other = Table::create(small, config);
    ASSERT_TRUE(other);
    ASSERT_TRUE(other->map(Iova{base}, PhysAddr{pa(kPage)}, kPage, both));
    const std::uint64_t with_a_page = small.allocated_bytes();
    std::vector<PhysAddr> taken;
    while (const auto got = small.allocate(X::table_size(0))) taken.push_back(*got);
    const Iova in_the_next_table{base + X::span_bytes(1)};
    const auto refused = other->map(in_the_next_table, PhysAddr{pa(kPage)}, kPage, both);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ENOMEM);
    EXPECT_EQ(other->iova_to_phys(in_the_next_table), std::nullopt);
    for (const PhysAddr each : taken) small.free(each, X::table_size(0));
    EXPECT_EQ(small.allocated_bytes(), with_a_page);
    EXPECT_TRUE(other->map(in_the_next_table, PhysAddr{pa(kPage)}, kPage, both));
  }

  void create_without_memory_fails() {
    fault::fail_nth(1);
    const auto other = Table::create(memory, config);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, ENOMEM);
    EXPECT_EQ(tables(), at_start);
  }

  void destruction_frees_everything() {
    {
      auto other = Table::create(memory, config);
      ASSERT_TRUE(other->map(Iova{base + kPage}, PhysAddr{pa(kPage)}, 2 * stretch(), both));
      ASSERT_TRUE(other->map(Iova{base + (last - (kPage - 1))}, PhysAddr{pa(kPage)}, kPage, both));
      auto moved = std::move(*other);
      EXPECT_EQ(moved.iova_to_phys(Iova{base + kPage}), PhysAddr{pa(kPage)});
    }
    EXPECT_EQ(tables(), at_start);
  }

  void tables_beyond_what_entries_can_point_to_are_refused() {
    struct HighArena : Arena {
      explicit HighArena(std::uint64_t first) : Arena(16 * kMiB, PhysAddr{first}) {}
    } high(below(shape.table_bits) + 1 - 8 * kMiB);
    const auto other = Table::create(high, config);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, ENOMEM);
  }

  // ---- what hardware sees ----

  void a_new_table_is_written_before_the_entry_that_links_it() {
    shadow.recording = true;
    ASSERT_EQ(map(last - (kPage - 1), pa(kPage), kPage), 0);
    PhysAddr at = table.root();
    std::uint64_t entries = this->root_entries();
    for (unsigned level = table.top_level(); level > 0; --level, entries = X::entries(level)) {
      const std::uint64_t i = block(last, X::span(level)) % entries;
      const Entry word = Words<F>::load(memory.template as<Entry>(at)[i]);
      const PhysAddr entry = at + i * sizeof(Entry), child = F::table_address(word, level);
      EXPECT_LT(nth_write(child, X::table_size(level - 1).bytes()), nth_write(entry, sizeof(Entry))) << level;
      at = child;
    }
    shadow.writes.clear();
    ASSERT_EQ(unmap(last - (kPage - 1), kPage), kPage);
    EXPECT_FALSE(shadow.writes.empty());
    expect_shadowed();
  }

  // ---- dirty state ----

  void fresh_mappings_are_clean() {
    ASSERT_EQ(map(0, pa(kPage), 2 * stretch()), 0);
    EXPECT_TRUE(dirty_runs(0, last, true).empty());
    EXPECT_TRUE(gather.empty());
  }

  void reading_leaves_pages_dirty_and_clearing_makes_them_clean() {
    for (unsigned page = 2; page < 7; ++page) ASSERT_EQ(map(page * kPage, 3 * kPage * page, kPage), 0);
    const Prot before = table.lookup(Iova{base + 3 * kPage})->prot;
    dirty(3 * kPage);
    dirty(4 * kPage);
    EXPECT_EQ(table.lookup(Iova{base + 3 * kPage})->prot, before);
    const PlainMap::Runs two{{3 * kPage, 5 * kPage - 1}};
    EXPECT_EQ(dirty_runs(0, stretch(), false), two);
    EXPECT_EQ(dirty_runs(0, stretch(), true), two);
    EXPECT_EQ(gather.range(), range(3 * kPage, 2 * kPage));
    EXPECT_TRUE(dirty_runs(0, stretch(), true).empty());
    EXPECT_EQ(table.lookup(Iova{base + 3 * kPage})->prot, before);
    EXPECT_EQ(phys(3 * kPage), 9 * kPage);
    expect_shadowed();
  }

  void a_page_is_dirty_as_a_whole_and_stays_so_when_read_in_part() {
    for (const std::uint64_t size : sizes()) {
      if (size == kPage || size > last / 4) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      dirty(2 * size - 1);
      const PlainMap::Runs part{{size + kPage, size + 2 * kPage - 1}}, whole{{size, 2 * size - 1}};
      EXPECT_EQ(dirty_runs(size + kPage, kPage, true), part);
      EXPECT_EQ(dirty_runs(0, 3 * size, true), whole);
      EXPECT_TRUE(dirty_runs(0, 3 * size, true).empty());
      ASSERT_EQ(unmap(size, size), size);
    }
  }

  // ---- cut and promote ----

  void a_page_that_is_cut_translates_as_before_and_can_be_unmapped_in_parts() {
    for (const std::uint64_t size : sizes()) {
      if (size == kPage || size > last / 4 || size / kPage > 70'000) continue;
      for (const Prot prot : rights) {
        ASSERT_EQ(map(size, pa(size), size, prot), 0);
        ASSERT_TRUE(table.cut(range(2 * size - kPage, kPage), gather));
        EXPECT_EQ(gather.range(), range(size, size));
        EXPECT_EQ(leaves().size(), size / kPage);
        for (const std::uint64_t at : {size, size + size / 2 + 5, 2 * size - 1})
          EXPECT_EQ(phys(at), pa(size) + (at - size));
        EXPECT_EQ(table.lookup(Iova{base + size})->prot, prot);
        expect_shadowed();
        EXPECT_EQ(unmap(2 * size - kPage, kPage), kPage);
        EXPECT_EQ(unmap(0, last), size - kPage);
      }
    }
  }

  void a_dirty_page_is_cut_into_dirty_ones() {
    for (const std::uint64_t size : sizes()) {
      if (size == kPage || size > last / 4 || size / kPage > 70'000) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      dirty(size + kPage);
      ASSERT_TRUE(table.cut(range(size, size), gather));
      EXPECT_EQ(dirty_runs(0, last, true), (PlainMap::Runs{{size, 2 * size - 1}}));
      dirty(size + kPage);
      EXPECT_EQ(dirty_runs(0, last, true), (PlainMap::Runs{{size + kPage, size + 2 * kPage - 1}}));
      EXPECT_EQ(unmap(0, last), size);
    }
  }

  void a_cut_without_memory_changes_nothing() {
    for (const std::uint64_t size : sizes()) {
      if (X::level_of(static_cast<unsigned>(std::countr_zero(size))) == 0 || size > last / 4 || size / kPage > 1000)
        continue;
      ASSERT_EQ(map(size, pa(size), 2 * size), 0);
      const std::uint64_t before = tables(), pages = leaves().size();
      EXPECT_GE(fail_each(
                    [&] {
                      const auto done = table.cut(range(size, 2 * size), gather);
                      return done ? 0 : done.error().code;
                    },
                    [&] {
                      EXPECT_EQ(tables(), before);
                      EXPECT_EQ(leaves().size(), pages);
                    }),
                1u);
      EXPECT_EQ(unmap(0, last), 2 * size);
    }
  }

  void what_was_cut_can_be_promoted() {
    for (const std::uint64_t size : this->table_spans()) {
      if ((table.page_sizes() & size) == 0 || size > last / 4 || size / kPage > 70'000) continue;
      ASSERT_EQ(map(size, pa(size), size), 0);
      const std::uint64_t before = tables();
      ASSERT_TRUE(table.cut(range(size, size), gather));
      EXPECT_GT(tables(), before);
      EXPECT_GE(table.promote(range(0, last), gather), 1u);
      EXPECT_TRUE(gather.tables_freed());
      gather.release(memory);
      EXPECT_EQ(tables(), before);
      ASSERT_EQ(leaves().size(), 1u);
      EXPECT_EQ(phys(2 * size - 1), pa(size) + size - 1);
      expect_shadowed();
      EXPECT_EQ(unmap(0, last), size);
    }
  }

  // ---- all at random ----

  void random_operations_behave_like_a_plain_map_of_pages() {
    for (std::uint64_t seed = 1; seed <= 2 && !this->HasFatalFailure(); ++seed) {
      SCOPED_TRACE(seed);
      run_random(seed);
    }
  }

  // ---- threads ----

  // Each IOVA only ever translates to itself (plus a page): an answer from a recycled table would be something else.
  void a_reader_without_locks_sees_the_right_address_or_none() {
    const std::uint64_t span = stretch() / 2, places = 4;
    const auto expected = [&](std::uint64_t iova) { return iova + pa(kPage); };
    std::atomic<bool> stop{false};
    std::atomic<unsigned> wrong{0};
    std::thread reader([&] {
      for (std::uint64_t at = 0; !stop.load(std::memory_order_relaxed); at = (at + 13 * kPage) % (places * span)) {
        const auto found = phys(at);
        if (found && *found != expected(at)) wrong.fetch_add(1, std::memory_order_relaxed);
      }
    });
    for (unsigned round = 0; round < 100; ++round) {
      const std::uint64_t iova = round % places * span + round % 3 * kPage, bytes = span - 3 * kPage;
      EXPECT_EQ(map(iova, expected(iova), bytes), 0);
      EXPECT_EQ(unmap(iova, bytes), bytes);
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0u);
  }

  void writers_of_different_pages_do_not_disturb_each_other() {
    const auto work = [&](std::uint64_t first, std::uint64_t stride) {
      Table& shared = *unwatched_;
      for (unsigned round = 0; round < 300; ++round) {
        Gather own;
        const Iova iova{base + first + round % 4 * stride};
        EXPECT_TRUE(shared.map(iova, PhysAddr{pa(kPage)}, kPage, both));
        EXPECT_EQ(shared.unmap(iova, kPage, own), kPage);
        own.release(memory);
      }
    };
    auto unwatched = Table::create(memory, config);
    unwatched_ = &*unwatched;
    std::thread other(work, kPage, kPage * 8);          // in the same leaf table as we are
    std::thread third(work, 2 * stretch(), kPage * 8);  // in another one
    work(2 * kPage, kPage * 8);
    other.join();
    third.join();
    EXPECT_EQ(memory.allocated_bytes(), 2 * at_start);
    unwatched_ = nullptr;
  }

 private:
  // What Row::concerns is made of.
  static bool has_lower_tables(const Config& config) { return F::shape(config)->top_level != 0; }
  static bool points_to_low_tables_only(const Config& config) { return F::shape(config)->table_bits < 64; }
  static bool keeps_dirty_state(const Config& config) { return F::shape(config)->dirty.mask != 0; }
  // The same code runs in all of them.
  static bool is_the_first(const Config& config) { return &config == std::begin(F::kConfigurations); }

  // Runs `action` with its first, second, ... allocation failing until it needs no more; `unchanged` checks after each
  // failure. Returns the number of failures.
  template <class Action, class Unchanged>
  unsigned fail_each(Action&& action, Unchanged&& unchanged) {
    for (unsigned failures = 0;; ++failures) {
      fault::fail_nth(failures + 1);
      const int error = action();
      const bool struck = fault::struck();
      fault::disarm();
      if (!struck) {
        EXPECT_EQ(error, 0);
        return failures;
      }
      EXPECT_EQ(error, ENOMEM);
      unchanged();
    }
  }

  // Which of the recorded writes was the last to cover this and nothing more. 0: none.
  std::size_t nth_write(PhysAddr first, std::uint64_t bytes) const {
    for (std::size_t n = shadow.writes.size(); n > 0; --n)
      if (shadow.writes[n - 1].first == first && shadow.writes[n - 1].bytes == bytes) return n;
    ADD_FAILURE() << "no write at " << first.value;
    return 0;
  }

  struct Request {
    std::uint64_t iova, pa, bytes;
  };
  std::uint64_t below_random(std::uint64_t limit) { return random_() % limit; }
  template <class Values>
  auto any_of(const Values& values) {
    return values[below_random(std::size(values))];
  }

  // Around places where something can go wrong: the ends of the aperture, and boundaries of tables of each level. Few
  // pages, as the oracle holds them one by one.
  Request request() {
    const std::uint64_t unit = any_of(sizes());
    std::uint64_t bytes = (1 + below_random(9)) * unit + below_random(3) * kPage;
    if (bytes / 2 >= last / 4 || bytes < unit) bytes = kPage;
    Addresses centres{0, last};
    for (const std::uint64_t span : this->table_spans())
      if (span < last) centres.push_back(span);
    const std::uint64_t centre = any_of(centres), reach = 12 * std::min(unit, last / 32);
    std::uint64_t iova = (centre > reach ? centre - reach : 0) + below_random(24) * std::min(unit, last / 32);
    if (below_random(3) == 0) iova += below_random(5) * kPage;
    iova = std::min(iova, last - (bytes - 1)) & ~(kPage - 1);
    const std::uint64_t room = below(shape.output_bits) - shape.output_first;
    bytes = std::min(bytes, (room / 2 + 1) & ~(kPage - 1));
    // Alike modulo all sizes, so that large pages are possible; or not, if the pages are not too many.
    std::uint64_t to = iova % std::bit_floor(room - (bytes - 1));
    if (bytes / kPage < 2000 && below_random(4) == 0) to = below_random((room - (bytes - 1)) / kPage) * kPage;
    return {iova, shape.output_first + to, bytes};
  }

  void run_random(std::uint64_t seed) {
    random_.seed(seed);
    PlainMap plain(table.page_sizes(), this->table_spans());
    for (unsigned step = 0; step < 300; ++step) {
      SCOPED_TRACE(step);
      const Request r = request();
      const std::uint64_t end = r.iova + (r.bytes - 1);
      const std::uint64_t reach = below_random(8) == 0 ? end + std::min((last - end) / 64, r.bytes) * 64 : end;
      switch (below_random(12)) {
        case 0:
          gather.release(memory);
          if (plain.pieces(r.iova, end) > 3000) break;
          ASSERT_TRUE(table.cut(range(r.iova, r.bytes), gather));
          plain.cut(r.iova, end);
          break;
        case 1:
          table.promote(range(r.iova & ~(stretch() - 1), reach - (r.iova & ~(stretch() - 1)) + 1), gather);
          gather.release(memory);
          plain.promote(r.iova & ~(stretch() - 1), reach);
          break;
        case 2:
        case 3:
          if (shape.dirty.mask != 0) check_dirty(plain, r.iova, reach);
          break;
        case 4:
        case 5:
        case 6:
          ASSERT_EQ(unmap(r.iova, reach - r.iova + 1), plain.unmap(r.iova, reach));
          break;
        default: {
          const Prot prot = any_of(rights);
          const bool mapped = plain.map(r.iova, r.pa, r.bytes, prot);
          ASSERT_EQ(map(r.iova, r.pa, r.bytes, prot), mapped ? 0 : EEXIST);
        }
      }
      for (const std::uint64_t at : {r.iova, end, r.iova + below_random(r.bytes)}) ASSERT_EQ(phys(at), plain.find(at));
      if (step % 50 == 0) {
        expect_equal(plain);
        expect_shadowed();
      }
      if (this->HasFatalFailure()) return;
    }
    gather.release(memory);
    expect_equal(plain);
    expect_shadowed();
    unmap(0, last);
    unmap(last, 1);
    EXPECT_EQ(tables(), table.root_bytes());
  }

  void check_dirty(PlainMap& plain, std::uint64_t first, std::uint64_t end) {
    const std::uint64_t bytes = end - first + 1;
    for (unsigned n = 0; n < 6; ++n) {
      const std::uint64_t at = first + below_random(bytes);
      const auto leaf = table.lookup(Iova{base + at});
      if (!leaf || !leaf->prot.write) continue;
      plain.make_dirty(at);
      dirty(at);
    }
    ASSERT_EQ(dirty_runs(first, bytes, false), plain.read_dirty(first, end, false));
    const bool clear = below_random(2) == 0;
    ASSERT_EQ(dirty_runs(first, bytes, clear), plain.read_dirty(first, end, clear));
    ASSERT_EQ(dirty_runs(0, last, false), plain.read_dirty(0, last - 1, false));
    gather.release(memory);
  }

  Law law_;
  std::mt19937_64 random_;
  Table* unwatched_ = nullptr;
};

#define LAW(name, ...) {#name, &FormatLaws<F>::name __VA_OPT__(, ) __VA_ARGS__}
template <class F>
std::vector<typename FormatLaws<F>::Row> FormatLaws<F>::rows() {
  return {
      LAW(encode_then_decode_is_identity),
      LAW(a_mapped_page_translates_and_its_neighbours_do_not),
      LAW(the_first_and_the_last_page_of_the_aperture_can_be_mapped),
      LAW(addresses_outside_the_aperture_are_refused),
      LAW(parts_of_pages_and_nothing_are_refused),
      LAW(rights_that_cannot_be_expressed_are_refused_and_others_are_kept),
      LAW(each_page_size_is_used_where_it_fits),
      LAW(a_page_that_reaches_out_is_unmapped_whole),
      LAW(a_page_that_is_mapped_already_leaves_the_table_as_it_was),
      LAW(nothing_fits_into_a_large_page),
      LAW(unmap_skips_holes_and_counts_exactly),
      LAW(emptied_tables_are_gathered_and_kept_until_their_release, has_lower_tables),
      LAW(a_table_with_a_neighbour_is_not_freed),
      LAW(unmapping_nothing_gathers_nothing),
      LAW(a_large_page_can_follow_small_ones),
      LAW(addresses_of_a_long_run_are_exact),
      LAW(recycled_tables_show_nothing_old),
      LAW(a_walk_shows_pages_in_order_within_the_range),
      LAW(a_failed_allocation_leaves_no_trace),
      LAW(a_full_arena_is_no_memory_and_nothing_is_kept, has_lower_tables),
      LAW(create_without_memory_fails),
      LAW(destruction_frees_everything),
      LAW(tables_beyond_what_entries_can_point_to_are_refused, points_to_low_tables_only),
      LAW(a_new_table_is_written_before_the_entry_that_links_it),
      LAW(fresh_mappings_are_clean),
      LAW(reading_leaves_pages_dirty_and_clearing_makes_them_clean, keeps_dirty_state),
      LAW(a_page_is_dirty_as_a_whole_and_stays_so_when_read_in_part, keeps_dirty_state),
      LAW(a_page_that_is_cut_translates_as_before_and_can_be_unmapped_in_parts),
      LAW(a_dirty_page_is_cut_into_dirty_ones, keeps_dirty_state),
      LAW(a_cut_without_memory_changes_nothing),
      LAW(what_was_cut_can_be_promoted),
      LAW(random_operations_behave_like_a_plain_map_of_pages),
      LAW(a_reader_without_locks_sees_the_right_address_or_none, is_the_first),
      LAW(writers_of_different_pages_do_not_disturb_each_other, is_the_first),
  };
}
#undef LAW

// One test for each law and configuration that it concerns, named format_configuration.law.
template <class F>
bool register_laws() {
  unsigned number = 0;
  for (const auto& config : F::kConfigurations) {
    const std::string suite = std::string(F::kName) + "_" + std::to_string(number++);
    for (const auto& row : FormatLaws<F>::rows()) {
      if (row.concerns != nullptr && !row.concerns(config)) continue;
      ::testing::RegisterTest(suite.c_str(), row.name, nullptr, nullptr, __FILE__, __LINE__,
                              [&config, row]() -> FormatSuite<F>* { return new FormatLaws<F>(config, row.law); });
    }
  }
  return true;
}

}  // namespace softiommu::pt
