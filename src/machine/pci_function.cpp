// SPDX-License-Identifier: BSD-3-Clause
// One PCI function: header and capabilities, BAR windows, interrupts and bus mastering.
// PCI Local Bus 3.0 chapter 6; PCI Express Base 5.0 chapters 6 and 7.
//
// Two small mutexes: `mutex` guards configuration space and the MSI-X table and is a leaf; `delivery` is held while
// the sink runs, so that set_irq_sink() knows when the old one is done. What hot paths ask (decoding, bus
// mastering, the INTx level) is mirrored in atomics.
#include "machine/pci_function.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <thread>

#include "base/futex_lock.h"
#include "hw/pci.h"
#include "machine/config_space.h"
#include "machine/msix_table.h"

namespace softiommu {
namespace {

namespace pci = hw::pci;

constexpr std::uint64_t kWritableCommand = pci::kCommand["MASTER"].mask() | pci::kCommand["PARITY"].mask() |
                                           pci::kCommand["SERR"].mask() | pci::kCommand["INTX_DISABLE"].mask();
constexpr std::uint64_t kDecoding =
    pci::kCommand["IO"].mask() | pci::kCommand["MEM"].mask() | pci::kCommand["MASTER"].mask();
constexpr std::uint64_t kClearableStatus =
    pci::kStatus.layout.named() & ~(pci::kStatus["INTX"].mask() | pci::kStatus["CAP_LIST"].mask());

// Where optional extended capabilities begin: I/OAT has words of its own before that.
constexpr unsigned kBehindModels = 0x200;

constexpr std::uint64_t ones(unsigned bytes) { return ~std::uint64_t{0} >> (64 - 8 * bytes); }

// What a write of `value` at `offset` puts into the register at `target`, in that register's bit positions.
constexpr std::uint64_t seen_at(unsigned target, unsigned offset, std::uint64_t value) {
  return offset >= target ? value << (8 * (offset - target)) : value >> (8 * (target - offset));
}

}  // namespace

struct PciFunction::Config {
  Config(unsigned bytes, const PciFunction* physical_function) : physical(physical_function), space(bytes) {}

  // Brings the mirrors up to date after configuration space changed, or whether the function is there.
  void refresh() REQUIRES(mutex);
  void refresh_virtualisation() REQUIRES(mutex);
  bool is_there() const REQUIRES(mutex);
  void power_on(DeviceTlb* tlb) REQUIRES(mutex);  // nullptr: it has none
  // Of an optional capability.
  template <std::size_t N>
  bool is_set(unsigned capability, const hw::Register<N>& row, const hw::Field& field) const REQUIRES(mutex) {
    return capability != 0 && field.is_set(space.read(capability + row.offset, row.bytes));
  }
  std::uint32_t word_of(unsigned capability, unsigned offset) const REQUIRES(mutex) {
    return capability != 0 ? space.read(capability + offset, 2) : 0;
  }
  void reset() REQUIRES(mutex);
  bool msix_enabled() const REQUIRES(mutex);
  bool msix_deliverable() const REQUIRES(mutex);
  std::uint32_t control(unsigned capability) const REQUIRES(mutex) {
    return space.read(capability + pci::msix::kControl.offset, pci::msix::kControl.bytes);
  }

  const PciFunction* const physical;  // of a virtual function
  unsigned number = 0;                // and which it is
  FutexLock mutex;
  ConfigSpace space GUARDED_BY(mutex);
  std::optional<MsixTable> msix GUARDED_BY(mutex);
  std::array<std::uint64_t, kBars> assigned GUARDED_BY(mutex){};
  // Capabilities; fixed once the function is built.
  unsigned power = 0, express = 0, msi_at = 0, msix_at = 0, ats = 0, pri = 0, pasid = 0, sriov = 0;
  bool unplugged GUARDED_BY(mutex) = false;

  std::atomic<bool> present{true};
  std::atomic<std::uint64_t> command{0};  // the command register; nothing is decoded or mastered in D3hot, or when gone
  std::atomic<unsigned> virtual_enabled{0};   // so many virtual functions are there
  std::atomic<bool> virtual_decoding{false};  // and decode memory
  std::pair<unsigned, bool> virtual_state() const { return {virtual_enabled.load(), virtual_decoding.load()}; }
  std::atomic<bool> messages{false};   // MSI or MSI-X is enabled
  std::atomic<bool> pasids{false};     // requests may carry one
  std::atomic<bool> intx{false};       // the level that the model holds
  std::atomic<bool> intx_fell{false};  // since the sink was told
  std::atomic<bool> in_dma{false};

  FutexLock delivery;
  IrqSink* sink GUARDED_BY(delivery) = nullptr;
  bool told_intx GUARDED_BY(delivery) = false;  // the level that the sink knows
};

bool PciFunction::Config::is_there() const {
  if (unplugged) return false;
  return physical == nullptr || (physical->present() && number < physical->enabled_virtual_functions());
}

void PciFunction::Config::refresh() {
  std::uint64_t now = space.read(pci::kCommand.offset, pci::kCommand.bytes);
  // Virtual functions have no memory enable of their own (PCIe 5.0, 9.3.4.1.3).
  if (physical != nullptr) now = pci::kCommand["MEM"].set(now, physical->config_->virtual_decoding.load());
  if (power != 0) {
    const std::uint32_t state = space.read(power + pci::pm::kControl.offset, pci::pm::kControl.bytes);
    if (pci::pm::kControl["STATE"].get(state) != pci::pm::kD0) now &= ~kDecoding;
  }
  const bool there = is_there();
  present.store(there, std::memory_order_release);
  command.store(there ? now : 0, std::memory_order_seq_cst);
  if (sriov != 0) refresh_virtualisation();
  const bool msi = msi_at != 0 && pci::msi::kControl["ENABLE"].is_set(control(msi_at));
  messages.store(msi || msix_enabled(), std::memory_order_release);
  pasids.store(is_set(pasid, pci::pasid::kControl, pci::pasid::kControl["ENABLE"]), std::memory_order_release);
}

void PciFunction::Config::refresh_virtualisation() {
  namespace io = pci::sriov;
  const std::uint32_t control = space.read(sriov + io::kControl.offset, io::kControl.bytes);
  const std::uint32_t total = space.read(sriov + io::kTotal.offset, io::kTotal.bytes);
  const std::uint32_t wanted = space.read(sriov + io::kNumber.offset, io::kNumber.bytes);
  virtual_enabled.store(io::kControl["VFE"].is_set(control) ? std::min(wanted, total) : 0);
  virtual_decoding.store(io::kControl["MSE"].is_set(control));
}

void PciFunction::Config::power_on(DeviceTlb* tlb) {
  space.reset();
  if (msix) msix->reset();
  if (tlb != nullptr) tlb->enable(false, false);
  refresh();
}

// Everything as after power-on, but for what the operating system puts back before anybody else uses the function
// (Linux: pci_restore_state): who may translate for it, and how.
void PciFunction::Config::reset() {
  const std::uint32_t kept[] = {word_of(ats, pci::ats::kControl.offset), word_of(pri, pci::pri::kControl.offset),
                                word_of(pasid, pci::pasid::kControl.offset), word_of(sriov, pci::sriov::kNumber.offset),
                                word_of(sriov, pci::sriov::kControl.offset)};
  space.reset();
  if (ats != 0) space.set(ats + pci::ats::kControl.offset, 2, kept[0]);
  if (pri != 0) space.set(pri + pci::pri::kControl.offset, 2, kept[1]);
  if (pasid != 0) space.set(pasid + pci::pasid::kControl.offset, 2, kept[2]);
  if (sriov != 0) space.set(sriov + pci::sriov::kNumber.offset, 2, kept[3]);
  if (sriov != 0) space.set(sriov + pci::sriov::kControl.offset, 2, kept[4]);
}

bool PciFunction::Config::msix_enabled() const {
  return msix_at != 0 && pci::msix::kControl["ENABLE"].is_set(control(msix_at));
}

bool PciFunction::Config::msix_deliverable() const {
  return msix_enabled() && !pci::msix::kControl["MASK"].is_set(control(msix_at)) && msix->deliverable();
}

class PciFunction::Window final : public MmioRegion {
 public:
  Window(PciFunction& function, unsigned bar) : function_(function), bar_(bar) {}
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    return function_.window_read(bar_, offset, bytes);
  }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    function_.window_write(bar_, offset, bytes, value);
  }

 private:
  PciFunction& function_;
  unsigned bar_;
};

PciFunction::PciFunction(const Context& context, const FunctionIdentity& identity, std::span<const BarSpec> bars)
    : executor_(context.executor),
      bdf_(context.bdf),
      identity_(identity),
      physical_(context.physical),
      dma_(context.memory, context.unit, context.stream),
      can_stall_(context.services.stalls),
      config_(std::make_unique<Config>(identity.pcie ? pci::kExtendedConfigBytes : pci::kConfigBytes, physical_)) {
  dma_.set_name(bdf_.text());
  for (unsigned bar = 0; bar < kBars; ++bar) windows_[bar] = std::make_unique<Window>(*this, bar);
  if (physical_ != nullptr) {
    virtual_number_ = config_->number = static_cast<unsigned>(physical_->virtual_functions_.size());
    physical_->virtual_functions_.push_back(this);
  }
  define_bars(bars);
  define_header(context);
  if (identity.pcie) define_express(context);
  if (identity.pcie && context.acs) add_access_control();
  if (identity.pcie) add_translation_services(context);
  if (identity.pcie && context.virtual_functions != 0) add_virtualisation(context);
  if (physical_ != nullptr) define_virtual_header();
}

PciFunction::~PciFunction() {
  if (device_tlb_) dma_.unit()->remove_device_tlb(dma_.stream());
}

void PciFunction::define_header(const Context& context) {
  std::uint64_t decodes = 0;
  for (const BarSpec& bar : bars_)
    if (bar.bytes != 0) decodes |= bar.io ? pci::kCommand["IO"].mask() : pci::kCommand["MEM"].mask();
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  space.define(field_of(pci::kVendor, identity_.vendor));
  space.define(field_of(pci::kDevice, identity_.device));
  space.define(field_of(pci::kCommand, 0, kWritableCommand | decodes));
  space.define(field_of(pci::kStatus, 0, 0, kClearableStatus));
  const std::uint64_t revision_and_class = pci::kClass["REVISION"].put(identity_.revision) |
                                           std::uint64_t{identity_.class_code} << pci::kClass["INTERFACE"].lo;
  space.define(field_of(pci::kClass, revision_and_class));
  space.define(field_of(pci::kCacheLine, 0, pci::kCacheLine.layout.named()));
  space.define(field_of(pci::kHeaderType, pci::kHeaderType["MULTIFUNCTION"].put(context.multifunction)));
  space.define(field_of(pci::kSubsystemVendor, identity_.subsystem_vendor));
  space.define(field_of(pci::kSubsystem, identity_.subsystem_device));
  space.define(field_of(pci::kInterruptLine, 0, pci::kInterruptLine.layout.named()));
}

void PciFunction::define_bars(std::span<const BarSpec> bars) {
  assert(bars.size() <= kBars);
  for (unsigned bar = 0; bar < bars.size(); ++bar) {
    bars_[bar] = bars[bar];
    // Virtual functions decode whole pages of memory, and no ports (PCIe 5.0, 9.3.3.14).
    if (physical_ != nullptr && bars[bar].bytes != 0) {
      if (bars[bar].io) bars_[bar] = {};
      bars_[bar].bytes = bars[bar].io ? 0 : std::max(bars[bar].bytes, kPageSize);
    }
    assert(bars[bar].bytes == 0 || std::has_single_bit(bars[bar].bytes));
    assert(!bars[bar].memory64 || (bar + 1 < kBars && (bar + 1 == bars.size() || bars[bar + 1].bytes == 0)));
    assign_bar(bar, 0);
  }
}

void PciFunction::define_express(const Context& context) {
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  config_->power = space.add_capability(pci::capability::kPowerManagement, pci::pm::kBytes);
  space.define_at(config_->power, field_of(pci::pm::kCapabilities, pci::pm::kCapabilities.reset));
  space.define_at(config_->power,
                  field_of(pci::pm::kControl, pci::pm::kControl.reset, pci::pm::kControl["STATE"].mask()));

  namespace express = pci::express;
  const unsigned at = config_->express = space.add_capability(pci::capability::kExpress, express::kBytes);
  const bool integrated = context.bdf.bus == 0;
  const std::uint64_t type = integrated ? express::kIntegratedEndpoint : express::kEndpoint;
  space.define_at(at, field_of(express::kCapabilities,
                               express::kCapabilities["VERSION"].put(2) | express::kCapabilities["TYPE"].put(type)));
  space.define_at(at, field_of(express::kDeviceCaps, express::kDeviceCaps["EXT_TAG"].mask() |
                                                         express::kDeviceCaps["ROLE_BASED"].mask() |
                                                         express::kDeviceCaps["FLR"].mask()));
  constexpr std::uint64_t kReadOnly = express::kDeviceControl["FLR"].mask() |
                                      express::kDeviceControl["PHANTOM"].mask() |
                                      express::kDeviceControl["AUX_POWER"].mask();
  space.define_at(at, field_of(express::kDeviceControl, express::kDeviceControl.reset,
                               express::kDeviceControl.layout.named() & ~kReadOnly));
  constexpr std::uint64_t kErrors =
      express::kDeviceStatus["CORRECTABLE"].mask() | express::kDeviceStatus["NON_FATAL"].mask() |
      express::kDeviceStatus["FATAL"].mask() | express::kDeviceStatus["UNSUPPORTED"].mask();
  space.define_at(at, field_of(express::kDeviceStatus, 0, 0, kErrors));
  if (!integrated) {  // an integrated endpoint has no link
    space.define_at(
        at, field_of(express::kLinkCaps, express::kLinkCaps["SPEED"].put(3) | express::kLinkCaps["WIDTH"].put(8)));
    space.define_at(at, field_of(express::kLinkStatus,
                                 express::kLinkStatus["SPEED"].put(3) | express::kLinkStatus["WIDTH"].put(8)));
  }

  namespace aer = pci::aer;
  constexpr auto kUncorrectable = static_cast<std::uint32_t>(aer::kUncorrectableStatus.layout.named());
  constexpr auto kCorrectable = static_cast<std::uint32_t>(aer::kCorrectableStatus.layout.named());
  const unsigned errors = space.add_extended_capability(pci::extended::kAdvancedErrorReporting, 2, aer::kBytes);
  space.define_at(errors, field_of(aer::kUncorrectableStatus, 0, 0, kUncorrectable));
  space.define_at(errors, {.offset = aer::kUncorrectableMaskOffset, .bytes = 4, .writable = kUncorrectable});
  space.define_at(errors, {.offset = aer::kUncorrectableSeverityOffset,
                           .bytes = 4,
                           .value = aer::kUncorrectableSeverityReset,
                           .writable = kUncorrectable});
  space.define_at(errors, field_of(aer::kCorrectableStatus, 0, 0, kCorrectable));
  space.define_at(errors, {.offset = aer::kCorrectableMaskOffset,
                           .bytes = 4,
                           .value = aer::kCorrectableMaskReset,
                           .writable = kCorrectable});
}

void PciFunction::add_access_control() {
  namespace acs = pci::acs;
  constexpr std::uint64_t kOffered = acs::kCapabilities["REQUEST"].mask() | acs::kCapabilities["COMPLETION"].mask() |
                                     acs::kCapabilities["DIRECT"].mask();
  const FutexGuard lock(config_->mutex);
  const unsigned at = config_->space.add_extended_capability(pci::extended::kAccessControlServices, 1, acs::kBytes);
  config_->space.define_at(at, field_of(acs::kCapabilities, kOffered));
  config_->space.define_at(
      at, {.offset = acs::kControlOffset, .bytes = 2, .writable = static_cast<std::uint32_t>(kOffered)});
}

void PciFunction::add_translation_services(const Context& context) {
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  if (context.services.ats || context.services.pasid_bits != 0) space.leave_room(kBehindModels);
  if (context.services.ats) {
    namespace ats = pci::ats;
    config_->ats = space.add_extended_capability(pci::extended::kAddressTranslationServices, 1, ats::kBytes);
    space.define_at(config_->ats, field_of(ats::kCapabilities,
                                           ats::kCapabilities["ALIGNED"].mask() | ats::kCapabilities["GLOBAL"].mask()));
    space.define_at(config_->ats, field_of(ats::kControl, 0, ats::kControl.layout.named()));
    if (context.unit != nullptr) {
      device_tlb_ = std::make_unique<DeviceTlb>([this] { wake(); });
      dma_.use_device_tlb(*device_tlb_);
      context.unit->add_device_tlb(context.stream, *device_tlb_);
    }
  }
  if (context.services.ats && context.services.pri) {
    namespace pri = pci::pri;
    constexpr std::uint32_t kOutstanding = 32;
    config_->pri = space.add_extended_capability(pci::extended::kPageRequest, 1, pri::kBytes);
    space.define_at(config_->pri, field_of(pri::kControl, 0, pri::kControl["ENABLE"].mask()));
    space.define_at(config_->pri, field_of(pri::kStatus, pri::kStatus["STOPPED"].mask() | pri::kStatus["PASID"].mask(),
                                           0, pri::kStatus["FAILURE"].mask() | pri::kStatus["UNEXPECTED"].mask()));
    space.define_at(config_->pri, field_of(pri::kCapacity, kOutstanding));
    space.define_at(config_->pri, field_of(pri::kAllocation, 0, pri::kAllocation.layout.named()));
  }
  if (context.services.pasid_bits != 0) {
    namespace pasid = pci::pasid;
    config_->pasid = space.add_extended_capability(pci::extended::kPasid, 1, pasid::kBytes);
    space.define_at(config_->pasid,
                    field_of(pasid::kCapabilities, pasid::kCapabilities["WIDTH"].put(context.services.pasid_bits)));
    space.define_at(config_->pasid, field_of(pasid::kControl, 0, pasid::kControl["ENABLE"].mask()));
  }
}

// ---- virtual functions

void PciFunction::add_virtualisation(const Context& context) {
  namespace io = pci::sriov;
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  space.leave_room(kBehindModels);
  const unsigned at = config_->sriov = space.add_extended_capability(pci::extended::kSingleRootIo, 1, io::kBytes);
  space.define_at(at, field_of(io::kCapabilities, io::kCapabilities["ARI"].mask()));
  space.define_at(at, field_of(io::kControl, 0, io::kControl["VFE"].mask() | io::kControl["MSE"].mask()));
  space.define_at(at, field_of(io::kInitial, context.virtual_functions));
  space.define_at(at, field_of(io::kTotal, context.virtual_functions));
  space.define_at(at, field_of(io::kNumber, 0, io::kNumber.layout.named()));
  space.define_at(at, field_of(io::kDependency, bdf_.requester_id() & io::kDependency.layout.named()));
  space.define_at(at, field_of(io::kOffset, io::kFirstOffset));
  space.define_at(at, field_of(io::kStride, io::kFunctionStride));
  space.define_at(at, field_of(io::kDeviceId, identity_.device));
  space.define_at(at, field_of(io::kSupportedPages, io::kSupportedPages.reset));
  space.define_at(at, field_of(io::kSystemPage, io::kSystemPage.reset, io::kSystemPage.reset));
}

// What a virtual function has not of its own reads as nothing (PCIe 5.0, 9.3.4.1): its ids are those of the physical
// function and its capability, its memory is enabled there, it has no INTx.
void PciFunction::define_virtual_header() {
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  space.define(field_of(pci::kVendor, pci::kVendor.layout.named()));
  space.define(field_of(pci::kDevice, pci::kDevice.layout.named()));
  space.define(field_of(pci::kCommand, 0, pci::kCommand["MASTER"].mask()));
  space.define(field_of(pci::kCacheLine, 0));
  space.define(field_of(pci::kInterruptLine, 0));
  config_->refresh();
}

bool PciFunction::present() const { return config_->present.load(std::memory_order_acquire); }

unsigned PciFunction::enabled_virtual_functions() const { return config_->virtual_enabled.load(); }

void PciFunction::unplug() {
  {
    const FutexGuard lock(config_->mutex);
    config_->unplugged = true;
    config_->refresh();
  }
  quiesce();
  for (PciFunction* const function : virtual_functions_) function->follow_physical();
}

void PciFunction::plug() {
  const FutexGuard lock(config_->mutex);
  config_->unplugged = false;
  config_->power_on(device_tlb_.get());
}

// The physical function, or what it enables, has changed.
void PciFunction::follow_physical() {
  {
    const FutexGuard lock(config_->mutex);
    const bool was_there = config_->present.load();
    config_->refresh();
    if (!was_there || config_->present.load()) return;
    config_->power_on(device_tlb_.get());  // whatever comes back is a new one
  }
  quiesce();
}

// ---- capabilities of models

unsigned PciFunction::add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                     std::span<const std::uint8_t> write_mask) {
  constexpr unsigned kHeader = 2;
  const FutexGuard lock(config_->mutex);
  const unsigned at = config_->space.add_capability(id, kHeader + static_cast<unsigned>(body.size()));
  assert(at != 0);
  for (unsigned i = 0; i < body.size(); ++i)
    config_->space.define({.offset = at + kHeader + i,
                           .bytes = 1,
                           .value = body[i],
                           .writable = i < write_mask.size() ? write_mask[i] : std::uint32_t{0}});
  return at;
}

unsigned PciFunction::add_extended_capability(std::uint16_t id, std::uint8_t version,
                                              std::span<const std::uint8_t> body,
                                              std::span<const std::uint8_t> write_mask) {
  constexpr unsigned kHeader = 4;
  const FutexGuard lock(config_->mutex);
  const unsigned at = config_->space.add_extended_capability(id, version, kHeader + static_cast<unsigned>(body.size()));
  assert(at != 0);
  for (unsigned i = 0; i < body.size(); ++i)
    config_->space.define({.offset = at + kHeader + i,
                           .bytes = 1,
                           .value = body[i],
                           .writable = i < write_mask.size() ? write_mask[i] : std::uint32_t{0}});
  return at;
}

void PciFunction::define_config(const ConfigField& field) {
  const FutexGuard lock(config_->mutex);
  config_->space.define(field);
}

void PciFunction::set_config_bits(unsigned offset, unsigned bytes, std::uint32_t bits) {
  const FutexGuard lock(config_->mutex);
  config_->space.set(offset, bytes, config_->space.read(offset, bytes) | bits);
}

void PciFunction::add_msi(unsigned vectors) {
  namespace msi = pci::msi;
  assert(vectors <= msi::kMaxVectors && std::has_single_bit(vectors));
  msi_vectors_ = vectors;
  const FutexGuard lock(config_->mutex);
  const unsigned at = config_->msi_at = config_->space.add_capability(pci::capability::kMsi, msi::kBytes);
  const auto wanted = static_cast<unsigned>(std::countr_zero(vectors));
  config_->space.define_at(
      at, field_of(msi::kControl, msi::kControl["CAPABLE"].put(wanted) | msi::kControl["ADDRESS_64"].mask(),
                   msi::kControl["ENABLE"].mask() | msi::kControl["MULTIPLE"].mask()));
  config_->space.define_at(at, field_of(msi::kAddressLow, 0, msi::kAddressLow.layout.named()));
  config_->space.define_at(at, field_of(msi::kAddressHigh, 0, msi::kAddressHigh.layout.named()));
  config_->space.define_at(at, field_of(msi::kData, 0, msi::kData.layout.named()));
}

void PciFunction::add_msix(unsigned vectors, unsigned bar, std::uint32_t table_offset, std::uint32_t pba_offset) {
  namespace msix = pci::msix;
  assert(vectors > 0 && vectors <= msix::kMaxVectors && bar < kBars);
  msix_vectors_ = vectors;
  msix_bar_ = bar;
  msix_table_offset_ = table_offset;
  msix_pba_offset_ = pba_offset;
  const FutexGuard lock(config_->mutex);
  config_->msix.emplace(vectors);
  assert(table_offset + config_->msix->table_bytes() <= bars_[bar].bytes);
  assert(pba_offset + config_->msix->pba_bytes() <= bars_[bar].bytes);
  const unsigned at = config_->msix_at = config_->space.add_capability(pci::capability::kMsix, msix::kBytes);
  config_->space.define_at(at, field_of(msix::kControl, msix::kControl["SIZE"].put(vectors - 1),
                                        msix::kControl["MASK"].mask() | msix::kControl["ENABLE"].mask()));
  config_->space.define_at(at, field_of(msix::kTable, msix::kTable["BAR"].put(bar) | table_offset));
  config_->space.define_at(at, field_of(msix::kPba, msix::kPba["BAR"].put(bar) | pba_offset));
}

void PciFunction::add_intx_pin(unsigned pin) {
  if (physical_ != nullptr) return;
  has_intx_ = true;
  define_config(field_of(pci::kInterruptPin, pin));
}

// ---- BARs

// The registers of one BAR, the first of them at `at`.
static void define_bar(ConfigSpace& space, unsigned at, const BarSpec& spec, std::uint64_t address) {
  constexpr unsigned kHigh = 32;
  const std::uint64_t sizes = ~(spec.bytes - 1);
  std::uint64_t kind = pci::kIoBar0["IO"].mask();
  if (!spec.io)
    kind = pci::kBar0["TYPE"].put(spec.memory64 ? pci::kBarType64 : 0) | pci::kBar0["PREFETCH"].put(spec.prefetchable);
  const std::uint64_t value = (address & sizes) | kind;
  space.define({.offset = at,
                .bytes = pci::kBarBytes,
                .value = static_cast<std::uint32_t>(value),
                .writable = static_cast<std::uint32_t>(sizes)});
  if (spec.memory64)
    space.define({.offset = at + pci::kBarBytes,
                  .bytes = pci::kBarBytes,
                  .value = static_cast<std::uint32_t>(value >> kHigh),
                  .writable = static_cast<std::uint32_t>(sizes >> kHigh)});
}

void PciFunction::assign_bar(unsigned bar, std::uint64_t address) {
  const BarSpec& spec = bars_[bar];
  if (spec.bytes == 0) return;
  const FutexGuard lock(config_->mutex);
  config_->assigned[bar] = address & ~(spec.bytes - 1);
  if (physical_ != nullptr) return;  // its physical function's capability says where it is
  define_bar(config_->space, pci::kBar0.offset + bar * pci::kBarBytes, spec, address);
}

void PciFunction::assign_virtual_bar(unsigned bar, std::uint64_t address) {
  if (virtual_functions_.empty()) return;
  const BarSpec& spec = virtual_functions_.front()->bars_[bar];
  if (spec.bytes == 0) return;
  for (PciFunction* const function : virtual_functions_)
    function->assign_bar(bar, address + function->virtual_number_ * spec.bytes);
  const FutexGuard lock(config_->mutex);
  define_bar(config_->space, config_->sriov + pci::sriov::kBar0Offset + bar * pci::kBarBytes, spec, address);
}

std::uint64_t PciFunction::rom_bytes() const {
  return rom_.empty() ? 0 : std::max<std::uint64_t>(std::bit_ceil(rom_.size()), pci::kLeastRomBytes);
}

void PciFunction::add_rom(std::vector<std::byte> image, std::uint64_t address) {
  rom_ = std::move(image);
  const std::uint64_t sizes = ~(rom_bytes() - 1) & pci::kRom["ADDRESS"].mask();
  const FutexGuard lock(config_->mutex);
  config_->space.define(field_of(pci::kRom, address & sizes, sizes | pci::kRom["ENABLE"].mask()));
}

std::uint64_t PciFunction::bar_address(unsigned bar) const {
  const FutexGuard lock(config_->mutex);
  return config_->assigned[bar];
}

MmioRegion& PciFunction::bar_window(unsigned bar) { return *windows_[bar]; }

// Does [offset, offset + bytes) lie in the piece at `first`?
static bool lies_in(std::uint64_t offset, unsigned bytes, std::uint64_t first, std::uint64_t size) {
  return offset >= first && offset - first < size && size - (offset - first) >= bytes;
}

std::uint64_t PciFunction::window_read(unsigned bar, std::uint64_t offset, unsigned bytes) {
  if (!decodes(bar) || !lies_in(offset, bytes, 0, bars_[bar].bytes)) return ones(bytes);
  if (msix_vectors_ != 0 && bar == msix_bar_) {
    const FutexGuard lock(config_->mutex);
    const MsixTable& msix = *config_->msix;
    if (lies_in(offset, bytes, msix_table_offset_, msix.table_bytes()))
      return msix.read_table(offset - msix_table_offset_, bytes);
    if (lies_in(offset, bytes, msix_pba_offset_, msix.pba_bytes()))
      return msix.read_pba(offset - msix_pba_offset_, bytes);
  }
  return bar_read(bar, offset, bytes) & ones(bytes);
}

void PciFunction::window_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (!decodes(bar) || !lies_in(offset, bytes, 0, bars_[bar].bytes)) return;
  dma_.tell();
  if (msix_vectors_ != 0 && bar == msix_bar_) {
    bool in_table = false, deliver = false;
    {
      const FutexGuard lock(config_->mutex);
      MsixTable& msix = *config_->msix;
      if (lies_in(offset, bytes, msix_pba_offset_, msix.pba_bytes())) return;  // read-only
      in_table = lies_in(offset, bytes, msix_table_offset_, msix.table_bytes());
      if (in_table) msix.write_table(offset - msix_table_offset_, bytes, value);
      deliver = in_table && config_->msix_deliverable();
    }
    if (deliver) wake();
    if (in_table) return;
  }
  bar_write(bar, offset, bytes, value & ones(bytes));
}

// ---- configuration accesses

std::uint32_t PciFunction::config_read(unsigned offset, unsigned bytes) {
  const FutexGuard lock(config_->mutex);
  ConfigSpace& space = config_->space;
  if (!space.is_access(offset, bytes)) return ~std::uint32_t{0};
  if (!present()) return static_cast<std::uint32_t>(ones(bytes));
  constexpr hw::Field kIntx = pci::kStatus["INTX"];
  const std::uint32_t status = space.read(pci::kStatus.offset, pci::kStatus.bytes);
  space.set(pci::kStatus.offset, pci::kStatus.bytes,
            static_cast<std::uint32_t>(kIntx.set(status, config_->intx.load())));
  return space.read(offset, bytes);
}

void PciFunction::config_write(unsigned offset, unsigned bytes, std::uint32_t value) {
  bool start_reset = false, deliver = false, virtual_changed = false;
  {
    const FutexGuard lock(config_->mutex);
    const auto before = config_->virtual_state();
    if (!config_->space.is_access(offset, bytes) || !present()) return;
    if (config_->express != 0) {
      const unsigned control = config_->express + pci::express::kDeviceControl.offset;
      const bool near = offset + bytes > control && offset < control + pci::express::kDeviceControl.bytes;
      start_reset = near && pci::express::kDeviceControl["FLR"].is_set(seen_at(control, offset, value & ones(bytes)));
    }
    config_->space.write(offset, bytes, value);
    config_->refresh();
    deliver = config_->msix_deliverable();
    virtual_changed = config_->virtual_state() != before;
    if (device_tlb_)
      device_tlb_->enable(config_->is_set(config_->ats, pci::ats::kControl, pci::ats::kControl["ENABLE"]),
                          config_->is_set(config_->pri, pci::pri::kControl, pci::pri::kControl["ENABLE"]));
  }
  if (virtual_changed)
    for (PciFunction* const function : virtual_functions_) function->follow_physical();
  if (start_reset)
    reset();
  else if (deliver)
    wake();
}

unsigned PciFunction::find_capability(std::uint8_t id) const {
  const FutexGuard lock(config_->mutex);
  return config_->space.find_capability(id);
}

unsigned PciFunction::find_extended_capability(std::uint16_t id) const {
  const FutexGuard lock(config_->mutex);
  return config_->space.find_extended_capability(id);
}

bool PciFunction::decodes(unsigned bar) const {
  const std::uint64_t command = config_->command.load(std::memory_order_relaxed);
  return bars_[bar].io ? pci::kCommand["IO"].is_set(command) : pci::kCommand["MEM"].is_set(command);
}

bool PciFunction::memory_enabled() const {
  return pci::kCommand["MEM"].is_set(config_->command.load(std::memory_order_acquire));
}

bool PciFunction::bus_master() const {
  return pci::kCommand["MASTER"].is_set(config_->command.load(std::memory_order_seq_cst));
}

// ---- reset

void PciFunction::reset() {
  {
    const FutexGuard lock(config_->mutex);
    config_->reset();
    if (config_->msix) config_->msix->reset();
    config_->refresh();  // bus mastering is off from here on
  }
  quiesce();
  for (PciFunction* const function : virtual_functions_)  // a reset of the physical function is theirs too
    if (function->present()) function->reset();
}

// Nothing is mastered any more: the model begins anew.
void PciFunction::quiesce() {
  settle_dma();
  if (device_tlb_) device_tlb_->forget();
  reset_registers();
  set_intx(false);
  wake();
}

void PciFunction::settle_dma() const {
  using Clock = std::chrono::steady_clock;
  constexpr auto kLongest = std::chrono::milliseconds(100);
  const Clock::time_point give_up = Clock::now() + kLongest;
  while (config_->in_dma.load(std::memory_order_seq_cst) && Clock::now() < give_up) std::this_thread::yield();
}

void PciFunction::forget_thread() {
  config_->mutex.reset();
  config_->delivery.reset();
  config_->in_dma.store(false);
  dma_.forget_thread();
  if (device_tlb_) device_tlb_->forget_thread();
  forget_register_lock();
}

// ---- interrupts

void PciFunction::set_irq_sink(IrqSink* sink) {
  {
    const FutexGuard delivery(config_->delivery);
    config_->sink = sink;
    config_->told_intx = false;
  }
  if (sink && config_->intx.load()) wake();
}

void PciFunction::set_intx(bool asserted) {
  config_->intx.store(asserted, std::memory_order_seq_cst);
  if (!asserted) config_->intx_fell.store(true, std::memory_order_seq_cst);
}

bool PciFunction::message_enabled() const { return config_->messages.load(std::memory_order_acquire); }

void PciFunction::flush_interrupts() {
  const FutexGuard delivery(config_->delivery);
  // A line that fell and rose again meanwhile is told twice: who saw it low waits for it to rise.
  const bool fell = config_->intx_fell.exchange(false, std::memory_order_seq_cst);
  const bool level = config_->intx.load(std::memory_order_seq_cst);
  if (config_->sink) {
    if (level && fell && config_->told_intx) config_->sink->intx(false);
    if ((level && fell) || level != config_->told_intx) config_->sink->intx(level);
    config_->told_intx = level;
  }
  while (bus_master()) {
    std::optional<unsigned> vector;
    {
      const FutexGuard lock(config_->mutex);
      if (config_->msix_deliverable()) vector = config_->msix->take_deliverable();
    }
    if (!vector) return;
    if (config_->sink) config_->sink->message(*vector);
  }
}

void PciFunction::send_message(unsigned vector) {
  const FutexGuard delivery(config_->delivery);
  if (!bus_master()) return;  // a message is a memory write
  {
    const FutexGuard lock(config_->mutex);
    if (config_->msix_enabled()) {
      if (vector >= msix_vectors_) return;
      if (pci::msix::kControl["MASK"].is_set(config_->control(config_->msix_at)) || config_->msix->masked(vector))
        return config_->msix->set_pending(vector);
    } else {
      if (config_->msi_at == 0) return;
      const std::uint32_t control = config_->control(config_->msi_at);
      if (!pci::msi::kControl["ENABLE"].is_set(control)) return;
      vector &= (1u << pci::msi::kControl["MULTIPLE"].get(control)) - 1;  // the vectors that software granted
    }
  }
  if (config_->sink) config_->sink->message(vector);
}

// ---- bus mastering

template <typename Transfer>
DmaResult PciFunction::master(Transfer&& transfer) {
  // Announce first, then ask: reset() does it the other way round, so one of the two sees the other.
  config_->in_dma.store(true, std::memory_order_seq_cst);
  const DmaResult result = bus_master() ? transfer() : DmaResult{.status = DmaResult::Status::refused};
  config_->in_dma.store(false, std::memory_order_release);
  return result;
}

void PciFunction::use_pasid(Pasid pasid) {
  dma_.use_pasid(config_->pasids.load(std::memory_order_acquire) ? pasid : 0);
}

DmaResult PciFunction::dma_read(Iova from, std::span<std::byte> to) {
  return master([&] { return dma_.read(from, to); });
}

DmaResult PciFunction::dma_write(Iova to, std::span<const std::byte> from) {
  return master([&] {
    DmaResult result = dma_.write(to, from);
    result.side = Access::write;
    return result;
  });
}

DmaResult PciFunction::dma_copy(Iova to, Iova from, std::uint64_t bytes) {
  const bool overlap = to - from < bytes || from - to < bytes;
  if (!overlap) return master([&] { return dma_.copy(to, from, bytes); });
  // As hardware with a small buffer does it: read some, write some, upwards.
  std::array<std::byte, 256> buffer;
  for (std::uint64_t done = 0; done < bytes;) {
    const std::span piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - done));
    DmaResult result = dma_read(from + done, piece);
    if (result) result = dma_write(to + done, piece);
    if (!result) return {.status = result.status, .done = done + result.done, .side = result.side};
    done += piece.size();
  }
  return {.done = bytes};
}

}  // namespace softiommu
