// SPDX-License-Identifier: BSD-3-Clause
// One PCI function: configuration space with hardware's write rules, BARs, interrupts out, DMA in.
//
// Whether its hardware is there may change at any time: a function can be unplugged, and a virtual function is there
// while its physical one has it enabled. What is not there answers as an empty bus does: reads are ones, writes are
// dropped, nothing is mastered. The object stays.
//
// Device models derive from it. Register accesses may come from a fault handler: a model takes only its own
// register lock (a leaf), changes state and calls wake(); DMA and interrupts happen in step(), on the executor.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "machine/device_tlb.h"
#include "machine/dma_port.h"
#include "machine/executor.h"
#include "machine/mmio.h"

namespace softiommu {

// Segment, bus, device, function. Prints as 0000:00:02.0.
struct Bdf {
  std::uint16_t segment = 0;
  std::uint8_t bus = 0, device = 0, function = 0;

  friend constexpr auto operator<=>(const Bdf&, const Bdf&) = default;
  // Device and function in one byte, as requests carry them.
  constexpr std::uint8_t devfn() const { return static_cast<std::uint8_t>(device << 3 | function); }
  // Another function of the same bus.
  constexpr Bdf with_devfn(std::uint8_t other) const {
    return {segment, bus, static_cast<std::uint8_t>(other >> 3), static_cast<std::uint8_t>(other & 7)};
  }
  constexpr std::uint16_t requester_id() const { return static_cast<std::uint16_t>(bus << 8 | devfn()); }
  std::string text() const;
  static std::optional<Bdf> parse(std::string_view text);  // "0000:00:02.0" or "00:02.0"
};

enum class IrqKind : std::uint8_t { intx, msi, msix };

// Where a function's interrupts go. Called on the executor's thread, with no lock of the model held; must not
// call set_irq_sink() or reset() of the function.
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void message(unsigned vector) = 0;  // MSI or MSI-X, whichever is enabled in configuration space
  virtual void intx(bool asserted) = 0;       // level, before the command register's INTx disable
};

struct BarSpec {
  std::uint64_t bytes = 0;  // power of two >= 16; 0: the function has no such BAR
  bool memory64 = false;    // also takes the next BAR's slot
  bool prefetchable = false;
  bool io = false;
};

struct FunctionIdentity {
  std::uint16_t vendor, device, subsystem_vendor, subsystem_device;
  std::uint32_t class_code;  // 24 bits
  std::uint8_t revision;
  bool pcie = true;  // Express capability and 4 KiB of configuration space; else 256 bytes
};

struct ConfigField;

// What a function offers of PCIe 5.0 chapter 10 and of PASIDs (7.8.8).
struct TranslationServices {
  bool ats = false;         // a TLB of its own
  bool pri = false;         // it requests pages that are not present; with ATS, in models that can wait for one
  unsigned pasid_bits = 0;  // width of its PASIDs; 0: none
  bool stalls = false;      // no such service: its faults may wait in the IOMMU, as firmware says
};

class PciFunction : public Steppable {
 public:
  static constexpr unsigned kBars = 6;
  struct Context {
    Bdf bdf;
    Memory& memory;
    IommuUnit* unit;  // nullptr: no IOMMU in front
    StreamId stream;
    Executor& executor;
    bool multifunction = false;
    bool acs = false;  // offers access control services
    TranslationServices services = {};
    unsigned virtual_functions = 0;   // it offers so many
    PciFunction* physical = nullptr;  // this is a virtual function of that one, which lives longer
  };

  PciFunction(const Context& context, const FunctionIdentity& identity, std::span<const BarSpec> bars);
  ~PciFunction() override;

  virtual std::string_view model() const = 0;  // the name in the machine file: "edu", "ioat"
  const Bdf& bdf() const { return bdf_; }
  DmaPort& dma() { return dma_; }
  bool can_stall() const { return can_stall_; }
  const FunctionIdentity& identity() const { return identity_; }
  const std::array<BarSpec, kBars>& bars() const { return bars_; }
  unsigned msi_vectors() const { return msi_vectors_; }    // 0: no MSI capability
  unsigned msix_vectors() const { return msix_vectors_; }  // 0: no MSI-X capability
  unsigned msix_bar() const { return msix_bar_; }
  std::uint32_t msix_table_offset() const { return msix_table_offset_; }
  std::uint32_t msix_pba_offset() const { return msix_pba_offset_; }
  bool has_intx() const { return has_intx_; }

  // Does its hardware answer? Any thread.
  bool present() const;
  // Surprise removal: nothing answers from here on, and its DMA has ended when this returns. With its virtual
  // functions.
  void unplug();
  // The hardware is back, as after power-on.
  void plug();
  // Of a virtual function: its physical one, and its number there.
  PciFunction* physical() const { return physical_; }
  unsigned virtual_number() const { return virtual_number_; }
  // Of a physical one: those that it can have, in order; empty without SR-IOV.
  std::span<PciFunction* const> virtual_functions() const { return virtual_functions_; }
  unsigned enabled_virtual_functions() const;  // the first so many are there
  unsigned config_bytes() const { return identity_.pcie ? 4096 : 256; }
  // Firmware's part: the address that `bar` holds now and after each reset, as Linux shows it (`resource`).
  void assign_bar(unsigned bar, std::uint64_t address);
  // The same for all virtual functions, which follow each other from `address` on.
  void assign_virtual_bar(unsigned bar, std::uint64_t address);
  // The board's expansion ROM: what is in it, and where firmware puts it. Before anybody uses the function.
  void add_rom(std::vector<std::byte> image, std::uint64_t address);
  std::span<const std::byte> rom() const { return rom_; }
  std::uint64_t rom_bytes() const;                // that its register asks for; 0: there is none
  std::uint64_t bar_address(unsigned bar) const;  // the assigned one, whatever configuration space holds now

  // Configuration space, as hardware: read-only bits stay, BARs answer their size mask, w1c status bits clear.
  // 1, 2 or 4 bytes, naturally aligned; others read as ones and write nothing.
  std::uint32_t config_read(unsigned offset, unsigned bytes);
  void config_write(unsigned offset, unsigned bytes, std::uint32_t value);
  // Offset of a capability (extended: from 0x100), 0 if there is none.
  unsigned find_capability(std::uint8_t id) const;
  unsigned find_extended_capability(std::uint16_t id) const;

  // The window of one BAR, for a driver or a program: decodes only while the command register's memory (I/O)
  // enable is set: otherwise reads are all ones and writes are dropped. Accesses to the MSI-X table and PBA
  // are served here, everything else by bar_read/bar_write of the model.
  MmioRegion& bar_window(unsigned bar);
  bool memory_enabled() const;
  bool bus_master() const;  // without it the model's DMA is refused

  // nullptr: interrupts are dropped. Returns when the old sink is no longer used, so the caller holds no lock that
  // the sink takes.
  void set_irq_sink(IrqSink* sink);
  // Function-level (or secondary bus) reset: registers and configuration space as after power-on. Waits until the
  // access that the model's DMA is in has ended, at most 100 ms (PCIe 5.0, 6.6.2).
  void reset();
  // After fork in the child: the executor's thread is gone and holds no lock any more.
  void forget_thread();

 protected:
  virtual std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned bytes) = 0;
  virtual void bar_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) = 0;
  virtual void reset_registers() = 0;     // called with no lock held; the model takes its own
  virtual void forget_register_lock() {}  // see forget_thread()

  // For constructors of models.
  // Capabilities without their header; masks shorter than the body are read-only from there on.
  unsigned add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                          std::span<const std::uint8_t> write_mask);
  unsigned add_extended_capability(std::uint16_t id, std::uint8_t version, std::span<const std::uint8_t> body,
                                   std::span<const std::uint8_t> write_mask);
  // A device-specific word of configuration space outside all capabilities.
  void define_config(const ConfigField& field);
  // Hardware sets bits of configuration space (error status). Any thread.
  void set_config_bits(unsigned offset, unsigned bytes, std::uint32_t bits);
  void add_msi(unsigned vectors);
  void add_msix(unsigned vectors, unsigned bar, std::uint32_t table_offset, std::uint32_t pba_offset);
  void add_intx_pin(unsigned pin);  // 1 = INTA#

  // For step(): sends vector `vector` by MSI-X or MSI if enabled (masked vectors set their pending bit), else
  // does nothing. INTx is a level that the model holds: set_intx may be called on any thread (configuration space
  // shows the level at once), the sink hears of it at the next flush_interrupts().
  void send_message(unsigned vector);
  void set_intx(bool asserted);
  // For step(), first thing: tells the sink the INTx level and sends pending vectors that were unmasked.
  void flush_interrupts();
  bool message_enabled() const;  // MSI or MSI-X is enabled: INTx is not used
  // For register writes: ask for a step.
  void wake() { executor_.wake(*this); }
  // DMA carries the PASID from now on, if software lets the function use PASIDs; 0: none. For step().
  void use_pasid(Pasid pasid);
  // DMA that respects bus mastering and D3hot. For step(). A copy may overlap itself.
  DmaResult dma_read(Iova from, std::span<std::byte> to);
  DmaResult dma_write(Iova to, std::span<const std::byte> from);
  DmaResult dma_copy(Iova to, Iova from, std::uint64_t bytes);

  Executor& executor_;

 private:
  class Window;
  struct Config;
  void define_virtual_header();
  void add_virtualisation(const Context& context);
  void quiesce();
  void follow_physical();
  void define_header(const Context& context);
  void define_bars(std::span<const BarSpec> bars);
  void define_express(const Context& context);
  void add_access_control();
  void add_translation_services(const Context& context);
  bool decodes(unsigned bar) const;
  template <typename Transfer>
  DmaResult master(Transfer&& transfer);
  std::uint64_t window_read(unsigned bar, std::uint64_t offset, unsigned bytes);
  void window_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value);
  void settle_dma() const;

  Bdf bdf_;
  FunctionIdentity identity_;
  std::array<BarSpec, kBars> bars_{};
  unsigned msi_vectors_ = 0, msix_vectors_ = 0, msix_bar_ = 0;
  std::uint32_t msix_table_offset_ = 0, msix_pba_offset_ = 0;
  bool has_intx_ = false;
  std::vector<std::byte> rom_;
  PciFunction* const physical_;
  unsigned virtual_number_ = 0;
  std::vector<PciFunction*> virtual_functions_;  // complete before anybody asks
  DmaPort dma_;
  const bool can_stall_;
  std::unique_ptr<DeviceTlb> device_tlb_;  // nullptr: none
  std::unique_ptr<Config> config_;
  std::array<std::unique_ptr<Window>, kBars> windows_;
};

}  // namespace softiommu
