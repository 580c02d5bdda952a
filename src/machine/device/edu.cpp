// SPDX-License-Identifier: BSD-3-Clause
// The educational device 1234:11e8, register-compatible with QEMU's (docs/specs/edu.rst).
//
// Differences on purpose: it is a PCI Express function (so it can be reset), a transfer that leaves the buffer
// moves nothing, and a reset clears its registers. One register more chooses the PASID of DMA.
#include <algorithm>
#include <array>

#include "base/futex_lock.h"
#include "base/log.h"
#include "hw/edu.h"
#include "machine/registry.h"

namespace softiommu {
namespace {

namespace edu = hw::edu;

constexpr FunctionIdentity kIdentity{.vendor = edu::kVendorId,
                                     .device = edu::kDeviceId,
                                     .subsystem_vendor = edu::kSubsystemVendorId,
                                     .subsystem_device = edu::kSubsystemId,
                                     .class_code = edu::kClassCode,
                                     .revision = edu::kRevision};
constexpr BarSpec kBarSpecs[] = {{.bytes = edu::kBarBytes}};

constexpr Option kOptions[] = {
    {.key = "dma_mask",
     .kind = Option::Kind::integer,
     .fallback = 64,
     .min = 12,
     .max = 64,
     .choices = {},
     .doc = "bits of a DMA address that the device drives; QEMU's device has 28, which few programs respect"},
};

// n! modulo 2^32. From 34! on the product has 32 factors of two.
std::uint32_t factorial(std::uint32_t n) {
  constexpr std::uint32_t kAlwaysZero = 34;
  if (n >= kAlwaysZero) return 0;
  std::uint32_t product = 1;
  for (; n > 0; --n) product *= n;
  return product;
}

class Edu final : public PciFunction {
 public:
  Edu(const Context& context, const Options& options)
      : PciFunction(context, kIdentity, kBarSpecs), dma_mask_(~std::uint64_t{0} >> (64 - options["dma_mask"])) {
    add_intx_pin(1);
    add_msi(1);
  }

  std::string_view model() const override { return "edu"; }
  std::uint64_t step(std::uint64_t now_ns) override;

 protected:
  std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned bytes) override;
  void bar_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  void reset_registers() override;
  void forget_register_lock() override { mutex_.reset(); }

 private:
  struct Registers {
    std::uint32_t liveness = 0, factorial = 0, status = 0, interrupts = 0;
    std::uint64_t source = 0, destination = 0, count = 0, command = 0, pasid = 0;
    unsigned messages = 0;    // MSIs that are still to be sent
    std::uint64_t epoch = 0;  // bumped by reset: what a step began before it is void
  };

  std::uint64_t read_locked(std::uint64_t offset) const REQUIRES(mutex_);
  void write_locked(std::uint64_t offset, std::uint64_t value) REQUIRES(mutex_);
  void write_dma_locked(std::uint64_t offset, std::uint64_t value) REQUIRES(mutex_);
  void raise_locked(std::uint64_t bits) REQUIRES(mutex_);
  void update_intx();
  void compute();
  void transfer();
  bool move(const Registers& job);
  std::uint64_t clamped(std::uint64_t address) const;
  void deliver();

  const std::uint64_t dma_mask_;
  FutexLock mutex_;
  Registers registers_ GUARDED_BY(mutex_);
  std::array<std::byte, edu::kBufferBytes> buffer_{};  // the executor's alone
};

bool width_allowed(std::uint64_t offset, unsigned bytes) {
  return bytes == sizeof(std::uint32_t) || (bytes == sizeof(std::uint64_t) && offset >= edu::kWideRegisters);
}

std::uint64_t Edu::bar_read(unsigned, std::uint64_t offset, unsigned bytes) {
  if (!width_allowed(offset, bytes)) return ~std::uint64_t{0};
  const FutexGuard lock(mutex_);
  return read_locked(offset);
}

std::uint64_t Edu::read_locked(std::uint64_t offset) const {
  const Registers& r = registers_;
  switch (offset) {
    case edu::kIdentification.offset:
      return edu::kIdentification.reset;
    case edu::kLiveness.offset:
      return r.liveness;
    case edu::kFactorial.offset:
      return r.factorial;
    case edu::kStatus.offset:
      return r.status;
    case edu::kInterruptStatus.offset:
      return r.interrupts;
    case edu::kDmaSource.offset:
      return r.source;
    case edu::kDmaDestination.offset:
      return r.destination;
    case edu::kDmaCount.offset:
      return r.count;
    case edu::kDmaCommand.offset:
      return r.command;
    case edu::kDmaPasid.offset:
      return r.pasid;
    default:
      return ~std::uint64_t{0};
  }
}

void Edu::bar_write(unsigned, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (!width_allowed(offset, bytes)) return;
  {
    const FutexGuard lock(mutex_);
    write_locked(offset, value);
  }
  update_intx();
  wake();
}

void Edu::write_locked(std::uint64_t offset, std::uint64_t value) {
  Registers& r = registers_;
  const auto word = static_cast<std::uint32_t>(value);
  switch (offset) {
    case edu::kLiveness.offset:
      r.liveness = ~word;
      break;
    case edu::kFactorial.offset:
      if (edu::kStatus["COMPUTING"].is_set(r.status)) break;
      r.factorial = word;
      r.status = static_cast<std::uint32_t>(edu::kStatus["COMPUTING"].set(r.status, 1));
      break;
    case edu::kStatus.offset:
      r.status = static_cast<std::uint32_t>(edu::kStatus["IRQ"].set(r.status, edu::kStatus["IRQ"].get(word)));
      break;
    case edu::kRaise.offset:
      raise_locked(word);
      break;
    case edu::kAcknowledge.offset:
      r.interrupts &= ~word;
      break;
    default:
      write_dma_locked(offset, value);
  }
}

void Edu::write_dma_locked(std::uint64_t offset, std::uint64_t value) {
  Registers& r = registers_;
  if (edu::kDmaCommand["START"].is_set(r.command)) return;  // read-only while a transfer runs
  switch (offset) {
    case edu::kDmaSource.offset:
      r.source = value;
      break;
    case edu::kDmaDestination.offset:
      r.destination = value;
      break;
    case edu::kDmaCount.offset:
      r.count = value;
      break;
    case edu::kDmaPasid.offset:
      r.pasid = edu::kDmaPasid["PASID"].get(value);
      break;
    case edu::kDmaCommand.offset:
      if (edu::kDmaCommand["START"].is_set(value)) r.command = value;
      break;
    default:
      break;
  }
}

void Edu::raise_locked(std::uint64_t bits) {
  registers_.interrupts |= static_cast<std::uint32_t>(bits);
  if (registers_.interrupts != 0) ++registers_.messages;
}

// The line is up while a status bit is set, but a function that uses messages does not touch its line.
void Edu::update_intx() {
  const FutexGuard lock(mutex_);
  set_intx(registers_.interrupts != 0 && !message_enabled());
}

std::uint64_t Edu::step(std::uint64_t) {
  compute();
  transfer();
  deliver();
  return kIdle;
}

void Edu::compute() {
  const FutexGuard lock(mutex_);
  Registers& r = registers_;
  if (!edu::kStatus["COMPUTING"].is_set(r.status)) return;
  r.factorial = factorial(r.factorial);
  r.status = static_cast<std::uint32_t>(edu::kStatus["COMPUTING"].set(r.status, 0));
  if (edu::kStatus["IRQ"].is_set(r.status)) raise_locked(edu::kInterruptStatus["FACTORIAL"].mask());
}

void Edu::transfer() {
  Registers job;
  {
    const FutexGuard lock(mutex_);
    if (!edu::kDmaCommand["START"].is_set(registers_.command)) return;
    job = registers_;
  }
  if (!move(job)) return;
  const FutexGuard lock(mutex_);
  if (registers_.epoch != job.epoch) return;
  registers_.command = edu::kDmaCommand["START"].set(registers_.command, 0);
  if (edu::kDmaCommand["IRQ"].is_set(job.command)) raise_locked(edu::kInterruptStatus["DMA"].mask());
}

// A refused transfer ends like any other: the device has no error bit. False: it has asked for a page, and begins anew
// when the answer wakes it.
bool Edu::move(const Registers& job) {
  const bool to_memory = edu::kDmaCommand["TO_MEMORY"].is_set(job.command);
  const std::uint64_t inside = (to_memory ? job.source : job.destination) - edu::kBuffer;
  if (inside > edu::kBufferBytes || job.count > edu::kBufferBytes - inside) {
    log::warning("edu {}: a transfer of {} bytes at {:#x} leaves the buffer", bdf().text(), job.count,
                 inside + edu::kBuffer);
    return true;
  }
  const std::span<std::byte> piece = std::span(buffer_).subspan(inside, job.count);
  use_pasid(static_cast<Pasid>(job.pasid));
  const DmaResult result =
      to_memory ? dma_write(Iova{clamped(job.destination)}, piece) : dma_read(Iova{clamped(job.source)}, piece);
  return result.status != DmaResult::Status::requested;
}

std::uint64_t Edu::clamped(std::uint64_t address) const {
  if ((address & ~dma_mask_) != 0)
    log::warning("edu {}: DMA address {:#x} is cut to {:#x}", bdf().text(), address, address & dma_mask_);
  return address & dma_mask_;
}

void Edu::deliver() {
  unsigned messages = 0;
  {
    const FutexGuard lock(mutex_);
    messages = std::exchange(registers_.messages, 0);
  }
  update_intx();
  flush_interrupts();
  if (!message_enabled()) return;
  for (; messages > 0; --messages) send_message(0);
}

void Edu::reset_registers() {
  const FutexGuard lock(mutex_);
  registers_ = {.epoch = registers_.epoch + 1};
}

}  // namespace

DeviceModel edu_device_model() {
  return {.name = "edu",
          .doc = "the educational PCI device 1234:11e8 of QEMU: factorials, interrupts, DMA with a 4 KiB buffer",
          .options = kOptions,
          .create = [](const PciFunction::Context& context,
                       const Options& options) -> Result<std::unique_ptr<PciFunction>> {
            return without_throwing(
                [&]() -> Result<std::unique_ptr<PciFunction>> { return std::make_unique<Edu>(context, options); });
          },
          .virtual_functions = true};
}

}  // namespace softiommu
