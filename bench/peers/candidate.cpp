// SPDX-License-Identifier: BSD-3-Clause
// softiommu's page tables as kp.h and peer.h want them: what runs beside Linux's own code.
//
// Nothing here is made for the benchmark: tables come from pt::PageTable, each call is one virtual call (as from core
// to a driver's domain) and then what drivers call, with locks, checks, and a Gather that is released after each unmap.
#include <sys/mman.h>

#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include "pt/formats/amd_v1.h"
#include "pt/formats/apple_dart.h"
#include "pt/formats/arm_lpae.h"
#include "pt/formats/arm_v7s.h"
#include "pt/formats/riscv.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

#pragma GCC visibility push(default)
#include "kp.h"
#include "peer.h"
#pragma GCC visibility pop

namespace softiommu::pt {
namespace {

// All tables' memory: reserved address space. On huge pages, as the peers' is.
class Arena : public TableMemory {
 public:
  bool reserve() {
    auto* const host = static_cast<std::byte*>(address_space(kBytes));
    auto* const records = static_cast<Record*>(address_space(records_for(kBytes) * sizeof(Record)));
    if (host == nullptr || records == nullptr) return false;
    adopt(host, kFirst, kBytes, records);
    return true;
  }
  static Arena& get() {
    static Arena arena;
    return arena;
  }

 private:
  static constexpr std::uint64_t kBytes = 3 * kGiB;
  static constexpr PhysAddr kFirst{16 * kMiB};  // all below 4 GiB, for formats with 32-bit table addresses

  static void* address_space(std::uint64_t bytes) {
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
  }
};

class Table {
 public:
  virtual ~Table() = default;
  virtual int map(Iova iova, PhysAddr pa, std::uint64_t bytes, unsigned rights) = 0;
  virtual std::uint64_t unmap(Iova iova, std::uint64_t bytes) = 0;
  virtual std::uint64_t iova_to_phys(Iova iova) const = 0;
  virtual int read_dirty(IovaRange range, std::uint64_t* bitmap) = 0;
  virtual void mark_dirty(Iova iova) = 0;
  virtual peer_root root() const = 0;
};

void set_bits(std::uint64_t* bitmap, std::uint64_t first, std::uint64_t count) {
  for (const std::uint64_t end = first + count; first < end;) {
    const std::uint64_t in_word = std::min(64 - first % 64, end - first);
    bitmap[first / 64] |= (~std::uint64_t{0} >> (64 - in_word)) << first % 64;
    first += in_word;
  }
}

// Which mappings force snooping.
enum class Coherent : std::uint8_t { none, all, asked_for };

template <class Format>
class FormatTable final : public Table {
 public:
  static Table* create(const typename Format::Config& config, Coherent coherent = Coherent::none) {
    auto table = PageTable<Format>::create(Arena::get(), config);
    return table ? new (std::nothrow) FormatTable(*std::move(table), coherent) : nullptr;
  }

  int map(Iova iova, PhysAddr pa, std::uint64_t bytes, unsigned rights) override {
    const Prot prot{
        .read = (rights & PEER_READ) != 0,
        .write = (rights & PEER_WRITE) != 0,
        .coherent = coherent_ == Coherent::all || (coherent_ == Coherent::asked_for && (rights & PEER_CACHE) != 0),
        .execute = kExecutes<Format> && (rights & PEER_NOEXEC) == 0};
    const auto done = table_.map(iova, pa, bytes, prot);
    if (done) return 0;
    return done.error().code == EEXIST ? -EADDRINUSE : -done.error().code;
  }
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override {
    Gather gather;
    const std::uint64_t unmapped = table_.unmap(iova, bytes, gather);
    gather.release(Arena::get());
    return unmapped;
  }
  std::uint64_t iova_to_phys(Iova iova) const override {
    const auto pa = table_.iova_to_phys(iova);
    return pa ? pa->value : 0;
  }
  int read_dirty(IovaRange range, std::uint64_t* bitmap) override {
    Gather gather;
    table_.read_dirty(
        range, true,
        [&](Iova first, std::uint64_t bytes) {
          set_bits(bitmap, (first - range.first) >> Format::kPageShift, bytes >> Format::kPageShift);
        },
        &gather);
    gather.release(Arena::get());
    return 0;
  }
  // Plays the device, whose walk knows nothing of ours: straight down from the root. Tables of 512 entries only.
  void mark_dirty(Iova iova) override {
    if constexpr (kMarks) {
      const DirtyRule rule = Format::shape(table_.config())->dirty;
      std::uint64_t* table = Arena::get().words(table_.root());
      for (unsigned level = table_.top_level(); level > 0; --level)
        table = Arena::get().words(Format::table_address(table[index(iova, level)], level));
      table[index(iova, 0)] ^= rule.flip;
    }
  }
  peer_root root() const override {
    peer_root root{.pa = {table_.root().value}, .count = 1, .level = table_.top_level()};
    if constexpr (kSeparateRoots) {
      const std::uint64_t each = std::uint64_t{1} << Format::kPageShift;
      root.count = static_cast<unsigned>(table_.root_bytes() / each);
      for (unsigned i = 1; i < root.count; ++i) root.pa[i] = root.pa[0] + i * each;
    }
    return root;
  }

 private:
  // Formats with a right to execute get it where Linux gives it: unless IOMMU_NOEXEC is asked for.
  template <class F>
  static constexpr bool kExecutes = F::attributes(typename F::Config{}, {.read = true, .execute = true}).has_value();
  // DART's base registers point to the tables of one root each.
  static constexpr bool kSeparateRoots = Format::kName.starts_with("apple_dart");
  static constexpr bool kMarks = sizeof(typename Format::Entry) == 8 && Format::kPageShift == 12;
  static constexpr std::uint64_t index(Iova iova, unsigned level) { return iova.value >> (12 + 9 * level) & 511; }

  FormatTable(PageTable<Format>&& table, Coherent coherent) : table_(std::move(table)), coherent_(coherent) {}

  PageTable<Format> table_;
  const Coherent coherent_;
};

bool has(const peer_config& config, unsigned flag) { return (config.flags & flag) != 0; }
Coherent coherent_of(const peer_config& config) {
  return has(config, PEER_FORCE_COHERENT) ? Coherent::all : Coherent::none;
}

Table* make_vtd(const peer_config& c) {
  return FormatTable<VtdSecondStage>::create({.top_level = (c.input_bits - 12) / 9 - 1,
                                              .page_sizes = c.page_sizes,
                                              .snoop_control = has(c, PEER_FORCE_COHERENT),
                                              .output_bits = c.output_bits},
                                             coherent_of(c));
}

Table* make_x86_64(const peer_config& c) {
  return FormatTable<X86_64>::create(
      {.top_level = (c.input_bits - 12) / 9 - 1, .page_sizes = c.page_sizes, .output_bits = c.output_bits});
}

Table* make_amd(const peer_config& c) {
  return FormatTable<AmdV1>::create({.top_level = (c.input_bits - 12) / 9 - 1,
                                     .page_sizes = c.page_sizes & amd_v1::kAllSizes,
                                     .output_bits = c.output_bits},
                                    coherent_of(c));
}

Table* make_riscv(const peer_config& c) {
  return FormatTable<Riscv>::create(
      {.top_level = (c.input_bits - 12) / 9 - 1, .page_sizes = c.page_sizes, .output_bits = c.output_bits});
}

template <class Format>
Table* make_arm(const peer_config& c) {
  return FormatTable<Format>::create({.stage = c.format == PEER_ARM_S1 ? 1u : 2u,
                                      .input_bits = c.input_bits,
                                      .output_bits = c.output_bits,
                                      .page_sizes = c.page_sizes,
                                      .upper_half = has(c, PEER_UPPER_HALF),
                                      .aarch32 = has(c, PEER_AARCH32),
                                      .concatenate = has(c, PEER_CONCATENATE),
                                      .dirty_tracking = has(c, PEER_TRACK_DIRTY)});
}

Table* make_arm64(const peer_config& c) {
  if (has(c, PEER_NON_SECURE)) return make_arm<ArmLpaeNs>(c);
  return c.page_lg2 == 12 ? make_arm<ArmLpae>(c) : c.page_lg2 == 14 ? make_arm<ArmLpae16K>(c) : make_arm<ArmLpae64K>(c);
}

template <class Format>
Table* make_v7s(const peer_config& c) {
  return FormatTable<Format>::create(
      {.input_bits = c.input_bits, .output_bits = c.output_bits, .page_sizes = c.page_sizes});
}

Table* make(const peer_config& config) {
  switch (config.format) {
    case PEER_VTDSS:
      return make_vtd(config);
    case PEER_X86_64:
      return make_x86_64(config);
    case PEER_AMDV1:
      return make_amd(config);
    case PEER_RISCV64:
      return make_riscv(config);
    case PEER_ARM_S1:
    case PEER_ARM_S2:
      return make_arm64(config);
    case PEER_V7S:
      return has(config, PEER_MEDIATEK) ? make_v7s<MtkV7s>(config) : make_v7s<ArmV7s>(config);
    case PEER_DART1:
      return config.page_lg2 == 12 ? FormatTable<AppleDart1With4K>::create({.input_bits = config.input_bits})
                                   : FormatTable<AppleDart1With16K>::create({.input_bits = config.input_bits});
    case PEER_DART2:
      return FormatTable<AppleDart2>::create({.input_bits = config.input_bits}, Coherent::asked_for);
  }
  return nullptr;
}

// The kinds that are measured, as the kernel peers are configured.
struct Kind {
  kp_shape shape;
  peer_config config;
};
constexpr unsigned long kUsualSizes = 4 * kKiB | 2 * kMiB | 1 * kGiB,
                        kV7sSizes = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;
constexpr Kind kKinds[] = {
    {{"vtdss", 4096, 48, KP_LARGE | KP_DIRTY}, {PEER_VTDSS, 48, 52, 12, kUsualSizes, 0}},
    {{"x86_64", 4096, 48, KP_LARGE}, {PEER_X86_64, 48, 52, 12, kUsualSizes, 0}},
    {{"amdv1", 4096, 48, KP_LARGE | KP_DIRTY}, {PEER_AMDV1, 48, 52, 12, ~0ul, PEER_FORCE_COHERENT}},
    {{"riscv64", 4096, 48, KP_LARGE}, {PEER_RISCV64, 48, 56, 12, kUsualSizes | riscv::kNapot | riscv::kLarge, 0}},
    {{"arm_s1", 4096, 48, KP_LARGE | KP_DIRTY}, {PEER_ARM_S1, 48, 48, 12, kUsualSizes, PEER_TRACK_DIRTY}},
    {{"arm_s2", 4096, 48, KP_LARGE}, {PEER_ARM_S2, 48, 48, 12, kUsualSizes, 0}},
    {{"v7s", 4096, 32, 0}, {PEER_V7S, 32, 32, 12, kV7sSizes, 0}},
    {{"dart2", 16384, 36, 0}, {PEER_DART2, 36, 36, 14, 16 * kKiB, 0}},
};

Table& table_of(void* table) { return *static_cast<Table*>(table); }

}  // namespace
}  // namespace softiommu::pt

using softiommu::Iova, softiommu::IovaRange, softiommu::PhysAddr;
using softiommu::pt::Arena, softiommu::pt::kKinds, softiommu::pt::table_of;

int kp_init() { return Arena::get().reserve() ? 0 : -ENOMEM; }
const kp_shape* kp_shape_of(int kind) {
  return kind >= 0 && kind < static_cast<int>(std::size(kKinds)) ? &kKinds[kind].shape : nullptr;
}
void* kp_create(int kind) { return peer_create(&kKinds[kind].config); }
void kp_destroy(void* table) { delete &table_of(table); }
int kp_map(void* table, std::uint64_t iova, std::uint64_t pa, std::uint64_t size) {
  return peer_map(table, iova, pa, size, PEER_READ | PEER_WRITE | PEER_CACHE);
}
std::uint64_t kp_unmap(void* table, std::uint64_t iova, std::uint64_t size) {
  return table_of(table).unmap(Iova{iova}, size);
}
std::uint64_t kp_iova_to_phys(void* table, std::uint64_t iova) { return table_of(table).iova_to_phys(Iova{iova}); }
void kp_mark_dirty(void* table, std::uint64_t iova) { table_of(table).mark_dirty(Iova{iova}); }
int kp_read_dirty(void* table, std::uint64_t iova, std::uint64_t size, std::uint64_t* bitmap) {
  return table_of(table).read_dirty(IovaRange::of(Iova{iova}, size), bitmap);
}
std::uint64_t* kp_bitmap(std::size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::uint64_t*>(at);
}

void* peer_create(const peer_config* config) { return softiommu::pt::make(*config); }
int peer_map(void* table, std::uint64_t iova, std::uint64_t pa, std::uint64_t size, unsigned rights) {
  return table_of(table).map(Iova{iova}, PhysAddr{pa}, size, rights);
}
void peer_root_of(void* table, peer_root* root) { *root = table_of(table).root(); }
void* peer_words(std::uint64_t pa) { return Arena::get().words(PhysAddr{pa}); }
