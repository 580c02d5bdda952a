// SPDX-License-Identifier: BSD-3-Clause
// The operations of a program, for one format. The build makes a source for each format that calls register_pt_program.
#pragma once

#include "../pt/format_suite.h"
#include "pt_program.h"

namespace softiommu::test {

// Reads choices; zeros follow the last byte.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }
  std::uint64_t below(std::uint64_t limit) { return byte() % limit; }
  std::uint64_t word() {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < sizeof value; ++i) value = value << 8 | byte();
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

template <class F>
class PtProgram : public pt::FormatSuite<F> {
 public:
  PtProgram(const typename F::Config& configuration, std::span<const std::uint8_t> bytes)
      : pt::FormatSuite<F>(configuration), in_(bytes), plain_(this->table.page_sizes(), this->table_spans()) {}

  void TestBody() override {
    for (unsigned step = 1; !in_.empty() && !this->HasFailure(); ++step) {
      take_step();
      if (step % 64 == 0) compare();
    }
    compare();
    if (this->HasFailure()) return;
    EXPECT_EQ(this->unmap(0, all()), plain_.unmap(0, this->last));
    compare();
  }

 private:
  using Suite = pt::FormatSuite<F>;
  using Step = void (PtProgram::*)();
  static constexpr std::uint64_t kPage = Suite::kPage;
  static constexpr std::uint64_t kMostPages = 2048;  // of the plain map, for one call

  struct Request {
    std::uint64_t iova = 0, pa = 0, bytes = 0;
  };

  void take_step() {
    static constexpr Step kSteps[] = {&PtProgram::map_run,     &PtProgram::map_run,    &PtProgram::map_run,
                                      &PtProgram::unmap_run,   &PtProgram::unmap_run,  &PtProgram::look_up,
                                      &PtProgram::write_pages, &PtProgram::read_dirty, &PtProgram::cut,
                                      &PtProgram::promote,     &PtProgram::map_words,  &PtProgram::unmap_words};
    (this->*kSteps[in_.below(std::size(kSteps))])();
  }

  // ---- places ----

  std::uint64_t all() const { return this->last == ~std::uint64_t{0} ? this->last : this->last + 1; }
  std::uint64_t size() { return sizes_[in_.below(sizes_.size())]; }
  // Around the ends of the aperture, borders of tables, and what was used before.
  std::uint64_t address(std::uint64_t unit) {
    const unsigned level = static_cast<unsigned>(in_.below(this->shape.top_level + 1));
    const std::uint64_t anchors[] = {0, previous_, previous_, std::uint64_t{1} << std::min(63u, pt::span_lg2<F>(level)),
                                     this->last - (unit - 1)};
    const std::uint64_t anchor = anchors[in_.below(std::size(anchors))];
    const std::uint64_t at = anchor + (in_.below(33) - 16) * unit;
    return previous_ = std::min(at, this->last) & ~(kPage - 1);
  }
  Request request() {
    const std::uint64_t unit = size();
    Request r{.iova = address(unit), .pa = 0, .bytes = (1 + in_.below(12)) * unit + in_.below(4) * kPage};
    if (in_.below(4) == 0) r.iova &= ~(unit - 1);
    r.bytes = std::min(r.bytes - 1, this->last - r.iova) + 1;
    const std::uint64_t outputs = pt::below(this->shape.output_bits);
    // Congruent to the IOVA, or not.
    const std::uint64_t pa = in_.word();
    r.pa = (in_.below(4) == 0 ? pa & ~(kPage - 1) : (pa & ~(unit - 1)) + r.iova % unit) & outputs;
    r.pa = std::max(r.pa, this->shape.output_first);
    if (pages_of(r) > kMostPages) r.bytes = std::min(r.bytes, 100 * kPage);
    return r;
  }
  // Pages that the plain map will make of it, or a little more than kMostPages.
  std::uint64_t pages_of(Request r) const {
    std::uint64_t pages = 0;
    for (; r.bytes >= kPage && pages <= kMostPages; ++pages) {
      std::uint64_t best = kPage;
      for (const std::uint64_t page : sizes_)
        if (page <= r.bytes && (r.iova | r.pa) % page == 0) best = page;
      r = {r.iova + best, r.pa + best, r.bytes - best};
    }
    return pages;
  }
  Prot some_rights() {
    const std::uint8_t choice = in_.byte();
    return choice < 0xf0 ? this->rights[choice % this->rights.size()] : pt::prot_of(choice % 16);
  }

  // ---- operations ----

  int expected(const Request& r, Prot prot) const {
    const std::uint64_t most = pt::below(this->shape.output_bits);
    const bool whole = r.bytes != 0 && (r.iova | r.pa | r.bytes) % kPage == 0;
    const bool in = r.iova <= this->last && r.bytes - 1 <= this->last - r.iova;
    const bool out = r.pa >= this->shape.output_first && r.pa <= most && r.bytes - 1 <= most - r.pa;
    if (!whole || !in || !out || std::ranges::find(this->rights, prot) == this->rights.end()) return EINVAL;
    return plain_.is_free(r.iova, r.iova + (r.bytes - 1)) ? 0 : EEXIST;
  }
  void map(const Request& r, Prot prot) {
    const std::uint64_t starve = in_.below(8);
    if (starve != 0) return map_and_judge(r, prot);
    const std::uint64_t tables = this->tables();
    fault::fail_nth(1 + in_.below(3));
    const int answer = this->map(r.iova, r.pa, r.bytes, prot);
    const bool struck = fault::struck();
    fault::disarm();
    if (answer == ENOMEM && struck) {
      EXPECT_EQ(this->tables(), tables);
    } else {
      EXPECT_EQ(answer, expected(r, prot));
      if (answer == 0) plain_.map(r.iova, r.pa, r.bytes, prot);
    }
  }
  void map_and_judge(const Request& r, Prot prot) {
    const int answer = expected(r, prot);
    EXPECT_EQ(this->Suite::map(r.iova, r.pa, r.bytes, prot), answer)
        << std::hex << r.iova << " " << r.pa << " " << r.bytes;
    if (answer == 0) plain_.map(r.iova, r.pa, r.bytes, prot);
  }
  using Suite::map;

  void map_run() {
    const Request r = request();
    map(r, some_rights());
  }
  // Anything at all.
  void map_words() {
    const Request r{in_.word() >> in_.below(64), in_.word() >> in_.below(64), in_.word() >> in_.below(64)};
    const Prot prot = some_rights();
    if (expected(r, prot) != 0 || pages_of(r) <= kMostPages) map_and_judge(r, prot);
  }
  void unmap_run() {
    const std::uint64_t unit = size(), iova = address(unit), bytes = (1 + in_.below(12)) * unit;
    const std::uint64_t end = iova + std::min(bytes - 1, this->last - iova);
    EXPECT_EQ(this->unmap(iova, bytes), plain_.unmap(iova, end)) << std::hex << iova << " " << bytes;
  }
  void unmap_words() {
    const std::uint64_t iova = in_.word() >> in_.below(64), bytes = in_.word() >> in_.below(64);
    const std::uint64_t first = iova + this->base, room = ~first;
    if (first < this->base) return;  // the suite's addresses count from there
    if (bytes == 0 || iova > this->last) {
      EXPECT_EQ(this->unmap(iova, bytes), 0u);
      return;
    }
    const std::uint64_t end = iova + std::min({bytes - 1, this->last - iova, room});
    EXPECT_EQ(this->unmap(iova, bytes), plain_.unmap(iova, end)) << std::hex << iova << " " << bytes;
  }
  void look_up() {
    const std::uint64_t iova = address(size()) + in_.byte();
    EXPECT_EQ(this->phys(iova), plain_.find(iova)) << std::hex << iova;
  }

  bool tracks_dirty() const { return this->shape.dirty.mask != 0; }
  void write_pages() {
    const std::uint64_t iova = address(size()), count = 1 + in_.below(8);
    for (std::uint64_t i = 0; i < count && tracks_dirty(); ++i) {
      const std::uint64_t at = iova + i * kPage;
      const auto leaf = this->table.lookup(Iova{this->base + at});
      if (at > this->last || !leaf || !leaf->prot.write) continue;
      this->dirty(at);
      plain_.make_dirty(at);
    }
  }
  void read_dirty() {
    const std::uint64_t unit = size(), iova = address(unit);
    const std::uint64_t bytes = std::min(unit * (1 + in_.below(16)) - 1, this->last - iova) + 1;
    const bool clear = in_.below(2) != 0;
    if (!tracks_dirty() || bytes == 0) return;
    EXPECT_EQ(this->dirty_runs(iova, bytes, clear), plain_.read_dirty(iova, iova + (bytes - 1), clear));
    this->gather.release(this->memory);
  }
  void cut() {
    const std::uint64_t iova = address(size()), bytes = std::min(4 * size() - 1, this->last - iova) + 1;
    const std::uint64_t end = iova + (bytes - 1), starve = in_.below(4);
    if (bytes == 0 || plain_.pieces(iova, end) > 2 * kMostPages) return;
    if (starve == 0) fault::fail_nth(1);
    const auto done = this->table.cut(this->range(iova, bytes), this->gather);
    const bool struck = starve == 0 && fault::struck();
    fault::disarm();
    this->gather.release(this->memory);
    EXPECT_EQ(done.has_value(), !struck);
    if (done) plain_.cut(iova, end);
  }
  void promote() {
    const std::uint64_t iova = address(size()), bytes = std::min(8 * size() - 1, this->last - iova) + 1;
    if (bytes == 0) return;
    this->table.promote(this->range(iova, bytes), this->gather);
    this->gather.release(this->memory);
    plain_.promote(iova, iova + (bytes - 1));
  }

  void compare() {
    if (this->HasFailure()) return;
    this->expect_equal(plain_);
    this->expect_shadowed();
  }

  Input in_;
  pt::PlainMap plain_;
  const typename Suite::Addresses sizes_ = this->sizes();
  std::uint64_t previous_ = 0;
};

// For static initialisers. Always true.
template <class F>
bool register_pt_program() {
  const auto run = [](std::span<const std::uint8_t> bytes, unsigned config) {
    PtProgram<F>(F::kConfigurations[config], bytes).TestBody();
  };
  for (unsigned config = 0; config < std::size(F::kConfigurations); ++config)
    add_pt_program_case({F::kName, config, run});
  return true;
}

}  // namespace softiommu::test
