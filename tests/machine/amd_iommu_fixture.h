// SPDX-License-Identifier: BSD-3-Clause
// An AMD IOMMU driven by registers and memory alone. Offsets and bits are written out from the specification, not taken
// from hw/amd_iommu.h, so that a wrong row there cannot hide.
#pragma once

#include <optional>
#include <vector>

#include "machine/iommu/amd_iommu/model.h"
#include "machine/unit_fixture.h"

namespace softiommu::test {

namespace amd {
inline constexpr std::uint64_t kDevTab = 0x00, kCmdBase = 0x08, kEvtBase = 0x10, kControl = 0x18, kExclBase = 0x20,
                               kExclLimit = 0x28, kEfr = 0x30, kPprBase = 0x38, kEfr2 = 0x1a0, kCmdHead = 0x2000,
                               kCmdTail = 0x2008, kEvtHead = 0x2010, kEvtTail = 0x2018, kStatus = 0x2020,
                               kPprHead = 0x2030, kPprTail = 0x2038;
// Control
inline constexpr std::uint64_t kOn = 0x1, kEvents = 0x4, kEventInt = 0x8, kWaitInt = 0x10, kCommands = 0x1000,
                               kPprLog = 0x2000, kPprInt = 0x4000, kPpr = 0x8000, kGuest = 0x1'0000,
                               kSystemGcr3 = std::uint64_t{1} << 58;
// Status
inline constexpr std::uint64_t kOverflow = 0x01, kEventLogged = 0x02, kWaited = 0x04, kEventRun = 0x08,
                               kCommandRun = 0x10, kPprOverflow = 0x20, kPprLogged = 0x40, kPprRun = 0x80;
// events
inline constexpr unsigned kIllegalDte = 1, kPageFault = 2, kDevTabError = 3, kPageTabError = 4, kIllegalCommand = 5,
                          kCommandError = 6, kInvalidRequest = 8, kInvalidPpr = 9;
// and their flags, from bit 48
inline constexpr unsigned kGn = 0x001, kPr = 0x010, kRw = 0x020, kPe = 0x040, kRz = 0x080, kAbort = 0x200;
// DTE, first word
inline constexpr std::uint64_t kV = 0x1, kTv = 0x2, kAccessed = 0x80, kDirty = 0x180, kIr = std::uint64_t{1} << 61,
                               kIw = std::uint64_t{1} << 62, kRights = kIr | kIw, kGv = std::uint64_t{1} << 55,
                               kGiov = std::uint64_t{1} << 54, kMayRequest = std::uint64_t{1} << 52,
                               kGlx = std::uint64_t{1} << 56;
constexpr std::uint64_t mode(std::uint64_t levels) { return levels << 9; }
// DTE, second word
inline constexpr std::uint64_t kSe = std::uint64_t{1} << 33, kSa = std::uint64_t{1} << 34, kEx = std::uint64_t{1} << 39;
// host entries
inline constexpr std::uint64_t kPage = 0x1 | kRights;
constexpr std::uint64_t next(std::uint64_t level) { return level << 9; }
// guest entries
inline constexpr std::uint64_t kGuestPage = 0x7, kGuestReadOnly = 0x5;

inline constexpr std::uint16_t kDevice = 0x10, kDomain = 5;
inline constexpr std::uint64_t kNothingThere = 0x70'0000'0000;
}  // namespace amd

struct AmdEvent {
  unsigned code;
  std::uint16_t device, domain;
  unsigned flags;
  std::uint64_t address;
  friend bool operator==(const AmdEvent&, const AmdEvent&) = default;
  friend void PrintTo(const AmdEvent& e, std::ostream* out) {
    *out << std::hex << "event " << e.code << " device " << e.device << " domain " << e.domain << " flags " << e.flags
         << " address " << e.address;
  }
};

class AmdIommuTest : public UnitTest {
 protected:
  using Words = std::array<std::uint64_t, 2>;

  AmdIommuTest() : UnitTest(amd_iommu_unit_model(), "iommu0") {}
  void turn_on(std::uint64_t bits) { w64(amd::kControl, control_ |= bits); }
  void turn_off(std::uint64_t bits) { w64(amd::kControl, control_ &= ~bits); }
  std::uint64_t status() { return r64(amd::kStatus); }

  // A device table for 256 ids, all refused; buffers and logs of 256 entries; interrupts on.
  void start() {
    devices_ = new_table(2);
    commands_ = new_table();
    events_ = new_table();
    pprs_ = new_table();
    for (unsigned id = 0; id < 256; ++id) word(devices_, 4 * id) = amd::kV;
    w64(amd::kDevTab, devices_ | 1);
    w64(amd::kCmdBase, commands_ | std::uint64_t{8} << 56);
    w64(amd::kEvtBase, events_ | std::uint64_t{8} << 56);
    w64(amd::kPprBase, pprs_ | std::uint64_t{8} << 56);
    turn_on(amd::kEvents | amd::kEventInt | amd::kWaitInt | amd::kCommands | amd::kGuest | amd::kPpr | amd::kPprLog |
            amd::kPprInt);
    turn_on(amd::kOn);
  }
  void set_dte(std::uint64_t word0, std::uint64_t word1 = amd::kDomain, std::uint64_t word2 = 0,
               std::uint16_t id = amd::kDevice) {
    word(devices_, 4u * id + 2) = word2;
    word(devices_, 4u * id + 1) = word1;
    word(devices_, 4u * id) = word0;
    invalidate_device(id);
  }
  // The usual start: the device on an empty host table of three levels, domain 5.
  void attach_host(std::uint64_t more = 0) {
    start();
    top_ = new_table();
    set_dte(amd::kV | amd::kTv | amd::kRights | amd::mode(3) | top_ | more);
  }
  // The entry for `iova` at `level` (from 1) of a host table; tables above are made as needed.
  std::uint64_t& entry(std::uint64_t iova, unsigned level = 1, unsigned levels = 3) {
    return x86_entry(top_, levels, iova, level, [](unsigned at) { return amd::kPage | amd::next(at); });
  }
  void map(std::uint64_t iova, std::uint64_t pa, std::uint64_t rights = amd::kRights) { entry(iova) = pa | 1 | rights; }

  // The device on guest tables: a GCR3 table of one level with its first table for PASID 0; domain 5.
  void attach_guest(std::uint64_t more = amd::kGiov, std::uint64_t word2 = 0) {
    start();
    gcr3_ = new_table();
    guest_ = new_table();
    word(gcr3_) = guest_ | 1;
    set_dte(guest_word0(gcr3_) | more, guest_word1(gcr3_), word2);
  }
  static std::uint64_t guest_word0(std::uint64_t gcr3) {
    return amd::kV | amd::kTv | amd::kRights | amd::kGv | (gcr3 >> 12 & 7) << 58;
  }
  static std::uint64_t guest_word1(std::uint64_t gcr3) {
    return amd::kDomain | (gcr3 >> 15 & 0xffff) << 16 | (gcr3 >> 31) << 43;
  }
  std::uint64_t& guest_entry(std::uint64_t root, std::uint64_t iova, unsigned level = 1, unsigned levels = 4) {
    return x86_entry(root, levels, iova, level, [](unsigned) { return amd::kGuestPage; });
  }
  void map_guest(std::uint64_t iova, std::uint64_t pa) { guest_entry(guest_, iova) = pa | amd::kGuestPage; }

  // ---- commands
  void submit(std::uint64_t low, std::uint64_t high = 0) {
    const std::uint64_t tail = r64(amd::kCmdTail);
    word(commands_, tail / 8) = low;
    word(commands_, tail / 8 + 1) = high;
    w64(amd::kCmdTail, (tail + 16) % 4096);
  }
  static constexpr std::uint64_t op(std::uint64_t code) { return code << 60; }
  void invalidate_device(std::uint16_t id = amd::kDevice) { submit(op(2) | id); }
  void invalidate(std::uint64_t address, std::uint64_t flags = 0, std::uint64_t domain = amd::kDomain,
                  std::uint64_t pasid = 0) {
    submit(op(3) | domain << 32 | pasid, address | flags);
  }
  void restart_commands() {
    turn_off(amd::kCommands);
    w64(amd::kCmdBase, commands_ | std::uint64_t{8} << 56);
    turn_on(amd::kCommands);
  }

  // ---- DMA
  std::optional<Translation> dma(std::uint64_t iova, Access access = Access::read, Pasid pasid = 0,
                                 std::uint16_t id = amd::kDevice) {
    return unit_->translate({.stream = id, .pasid = pasid, .iova = Iova{iova}, .access = access});
  }
  // Where an access ends; nullopt: refused.
  std::optional<std::uint64_t> where(std::uint64_t iova, Access access = Access::read, Pasid pasid = 0,
                                     std::uint16_t id = amd::kDevice) {
    return end_of(dma(iova, access, pasid, id), iova);
  }

  // ---- events: those that were not read yet
  std::vector<AmdEvent> events() {
    std::vector<AmdEvent> all;
    std::uint64_t head = r64(amd::kEvtHead);
    for (const std::uint64_t tail = r64(amd::kEvtTail); head != tail; head = (head + 16) % 4096) {
      const std::uint64_t low = word(events_, head / 8), high = word(events_, head / 8 + 1);
      all.push_back({static_cast<unsigned>(low >> 60), static_cast<std::uint16_t>(low),
                     static_cast<std::uint16_t>(low >> 32), static_cast<unsigned>(low >> 48 & 0xfff), high});
    }
    w64(amd::kEvtHead, head);
    w64(amd::kStatus, amd::kEventLogged);
    return all;
  }
  AmdEvent event_of_read(std::uint64_t iova, Pasid pasid = 0) {
    EXPECT_FALSE(where(iova, Access::read, pasid));
    const auto all = events();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? AmdEvent{} : all.front();
  }
  static AmdEvent page_fault(std::uint64_t iova, unsigned flags = 0) {
    return {amd::kPageFault, amd::kDevice, amd::kDomain, flags, iova};
  }
  // Of the entry that the device has now.
  static AmdEvent illegal(unsigned flags) { return {amd::kIllegalDte, amd::kDevice, amd::kDomain, flags, 0x1000}; }

  amd_iommu::AmdIommu& model() { return dynamic_cast<amd_iommu::AmdIommu&>(*unit_); }

  std::uint64_t devices_ = 0, commands_ = 0, events_ = 0, pprs_ = 0, top_ = 0, gcr3_ = 0, guest_ = 0;
};

}  // namespace softiommu::test
