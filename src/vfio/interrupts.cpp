// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/interrupts.h"

#include <bit>
#include <cstring>

#include "hw/pci.h"

namespace softiommu::vfio {

namespace {

namespace pci = hw::pci;

// Where messages go; the address is only for show, nothing on the bus decodes it.
constexpr std::uint32_t kMessageAddress = 0xfee00000;
constexpr std::uint64_t kUnmaskPollNs = 50'000;

bool is(const abi::IrqSet& request, std::uint32_t flag) { return (request.flags & flag) != 0; }

std::int32_t descriptor_of(std::span<const std::byte> data) {
  std::int32_t descriptor = -1;
  std::memcpy(&descriptor, data.data(), sizeof descriptor);
  return descriptor;
}
bool flag_of(std::span<const std::byte> data, std::size_t i = 0) { return data[i] != std::byte{0}; }

}  // namespace

Interrupts::~Interrupts() { close(); }

void Interrupts::open() {
  if (!stepping_) {
    executor_.add(*this);
    stepping_ = true;
  }
  function_.set_irq_sink(this);
}

void Interrupts::close() {
  function_.set_irq_sink(nullptr);  // waits for a delivery that is under way: no lock here
  if (stepping_) executor_.remove(*this);
  stepping_ = false;
  const MutexLock lock(mutex_);
  disable_locked();
  error_.reset();
  request_.reset();
  disabled_ = false;
}

std::uint32_t Interrupts::count(std::uint32_t index) const {
  switch (index) {
    case abi::kIntxIrq:
      return function_.has_intx() ? 1 : 0;
    case abi::kMsiIrq:
      return function_.msi_vectors();
    case abi::kMsixIrq:
      return function_.msix_vectors();
    case abi::kErrIrq:
      return function_.identity().pcie ? 1 : 0;
    case abi::kReqIrq:
      return 1;
    default:
      return 0;
  }
}

Result<> Interrupts::set(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  const std::uint32_t action = request.flags & abi::kIrqSetActions;
  if (!std::has_single_bit(action)) return fail(ENOTTY, "one action must be asked");
  switch (request.index) {
    case abi::kIntxIrq:
      return set_intx(program, request, data);
    case abi::kMsiIrq:
    case abi::kMsixIrq:
      if (action != abi::kIrqSetActionTrigger) return fail(ENOTTY, "messages are not masked here");
      return set_messages(program, request, data);
    default:
      break;
  }
  if (action != abi::kIrqSetActionTrigger) return fail(ENOTTY, "this interrupt is not masked");
  if (request.start != 0 || request.count > 1) return fail(EINVAL, "there is one interrupt of this kind");
  const MutexLock lock(mutex_);
  return set_single(program, request.index == abi::kErrIrq ? error_ : request_, request, data);
}

// ERR and REQ. NONE and BOOL with a count are for trying out: they signal.
Result<> Interrupts::set_single(Program& program, EventFd& event, const abi::IrqSet& request,
                                std::span<const std::byte> data) {
  if (is(request, abi::kIrqSetDataNone)) {
    if (!event) return fail(EINVAL, "no eventfd is set");
    if (request.count != 0) {
      event.signal();
    } else {
      event.reset();
    }
    return {};
  }
  if (request.count == 0) return fail(EINVAL, "data, but a count of 0");
  if (is(request, abi::kIrqSetDataBool)) {
    if (flag_of(data)) event.signal();
    return {};
  }
  const std::int32_t descriptor = descriptor_of(data);
  if (descriptor == -1) {
    event.reset();
    return {};
  }
  if (descriptor < 0) return fail(EINVAL, "not a descriptor");
  event = TRY(EventFd::take(program, descriptor));
  return {};
}

bool Interrupts::request_release() {
  const MutexLock lock(mutex_);
  if (!request_) return false;
  request_.signal();
  return true;
}

// ---- INTx

Result<> Interrupts::set_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  const MutexLock lock(mutex_);
  if (is(request, abi::kIrqSetActionTrigger)) return trigger_intx(program, request, data);
  if (mode_ != Mode::intx || request.start != 0 || request.count != 1) return fail(EINVAL, "INTx is not in use");
  if (is(request, abi::kIrqSetActionUnmask)) return unmask_intx(program, request, data);
  if (is(request, abi::kIrqSetDataEventfd)) return fail(ENOTTY, "INTx is masked by ioctl only");
  if (is(request, abi::kIrqSetDataNone) || flag_of(data)) mask_intx_locked();
  return {};
}

Result<> Interrupts::trigger_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  if (mode_ == Mode::intx && request.count == 0 && is(request, abi::kIrqSetDataNone)) {
    disable_locked();
    return {};
  }
  if ((mode_ != Mode::intx && mode_ != Mode::none) || request.start != 0 || request.count != 1) {
    return fail(EINVAL, "another kind of interrupt is in use, or not one INTx");
  }
  if (is(request, abi::kIrqSetDataEventfd)) {
    const std::int32_t descriptor = descriptor_of(data);
    intx_ = descriptor >= 0 ? TRY(EventFd::take(program, descriptor)) : EventFd{};
    if (mode_ == Mode::intx) return {};
    mode_ = Mode::intx;
    masked_ = disabled_;
    if (line()) fire_intx_locked();
    return {};
  }
  if (mode_ != Mode::intx) return fail(EINVAL, "INTx is not in use");
  if (is(request, abi::kIrqSetDataNone) || flag_of(data)) intx_.signal();
  return {};
}

Result<> Interrupts::unmask_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  if (is(request, abi::kIrqSetDataEventfd)) {
    const std::int32_t descriptor = descriptor_of(data);
    if (descriptor < 0) {
      unmask_.reset();
      return {};
    }
    if (unmask_ && unmask_.is_held_by(program)) return fail(EBUSY, "an unmask eventfd is set");
    unmask_ = TRY(EventFd::take(program, descriptor));
    if (masked_) executor_.wake(*this);
    return {};
  }
  if (is(request, abi::kIrqSetDataNone) || flag_of(data)) unmask_intx_locked();
  return {};
}

// As the function's status register shows it: what software wrote to make the line fall has taken effect there.
bool Interrupts::line() const {
  return pci::kStatus["INTX"].is_set(function_.config_read(pci::kStatus.offset, pci::kStatus.bytes));
}

void Interrupts::mask_intx_locked() {
  if (masked_) return;
  masked_ = true;
  if (unmask_) executor_.wake(*this);
}

void Interrupts::unmask_intx_locked() {
  if (!masked_ || disabled_) return;
  if (line()) {  // still pending: it would fire at once, so it is signalled again and stays masked
    intx_.signal();
    return;
  }
  masked_ = false;
}

void Interrupts::fire_intx_locked() {
  if (mode_ != Mode::intx || masked_) return;
  mask_intx_locked();
  intx_.signal();
}

void Interrupts::disable_intx(bool disabled) {
  const MutexLock lock(mutex_);
  disabled_ = disabled;
  if (mode_ != Mode::intx) return;
  if (disabled) {
    mask_intx_locked();
  } else {
    unmask_intx_locked();
  }
}

void Interrupts::intx(bool asserted) {
  const MutexLock lock(mutex_);
  if (asserted) fire_intx_locked();
}

std::uint64_t Interrupts::step(std::uint64_t now_ns) {
  const MutexLock lock(mutex_);
  if (mode_ != Mode::intx || !unmask_) return kIdle;
  if (unmask_.consume()) unmask_intx_locked();
  return masked_ ? now_ns + kUnmaskPollNs : kIdle;
}

// ---- MSI and MSI-X

bool Interrupts::msi_in_use() const {
  const MutexLock lock(mutex_);
  return mode_ == Mode::msi;
}

unsigned Interrupts::msi_vectors_log2() const {
  const MutexLock lock(mutex_);
  return mode_ == Mode::msi && !vectors_.empty() ? static_cast<unsigned>(std::bit_width(vectors_.size() - 1)) : 0;
}

Result<> Interrupts::set_messages(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  const MutexLock lock(mutex_);
  const Mode wanted = request.index == abi::kMsiIrq ? Mode::msi : Mode::msix;
  if (mode_ == wanted && request.count == 0 && is(request, abi::kIrqSetDataNone)) {
    disable_locked();
    return {};
  }
  if (mode_ != wanted && mode_ != Mode::none) return fail(EINVAL, "another kind of interrupt is in use");
  if (is(request, abi::kIrqSetDataEventfd)) return set_vectors(program, wanted, request, data);
  if (mode_ != wanted) return fail(EINVAL, "these interrupts are not in use");
  for (std::uint32_t i = 0; i < request.count; ++i) {
    const std::size_t vector = std::size_t{request.start} + i;
    if (vector < vectors_.size() && (is(request, abi::kIrqSetDataNone) || flag_of(data, i))) vectors_[vector].signal();
  }
  return {};
}

// All eventfds are taken before any is put to use: on failure every vector is what it was.
Result<> Interrupts::set_vectors(Program& program, Mode wanted, const abi::IrqSet& request,
                                 std::span<const std::byte> data) {
  const std::size_t end = std::size_t{request.start} + request.count;
  if (end == 0 && mode_ == Mode::none) return fail(ERANGE, "no vector to enable");
  std::vector<EventFd> events(request.count);
  for (std::size_t i = 0; i < events.size(); ++i) {
    const std::int32_t descriptor = descriptor_of(data.subspan(i * sizeof descriptor));
    if (mode_ == wanted && request.start + i >= vectors_.size())
      return fail(EINVAL, "MSI was enabled with fewer vectors");
    if (descriptor >= 0) events[i] = TRY(EventFd::take(program, descriptor));
  }
  if (mode_ == Mode::none) {
    // MSI-X vectors can be added later, MSI has as many as it was enabled with.
    vectors_.resize(wanted == Mode::msix ? function_.msix_vectors() : end);
    mode_ = wanted;
    enable_messages_locked();
  }
  for (std::size_t i = 0; i < events.size(); ++i) {
    const auto vector = static_cast<unsigned>(request.start + i);
    program_vector(vector, false);
    vectors_[vector] = std::move(events[i]);
    if (vectors_[vector]) program_vector(vector, true);
  }
  return {};
}

void Interrupts::enable_messages_locked() {
  if (mode_ == Mode::msi) {
    namespace msi = pci::msi;
    const unsigned at = function_.find_capability(pci::capability::kMsi);
    const auto log2 = static_cast<std::uint64_t>(std::bit_width(vectors_.size() - 1));
    std::uint64_t control = function_.config_read(at + msi::kControl.offset, msi::kControl.bytes);
    function_.config_write(at + msi::kAddressLow.offset, msi::kAddressLow.bytes, kMessageAddress);
    control = msi::kControl["MULTIPLE"].set(control, log2);
    control = msi::kControl["ENABLE"].set(control, 1);
    function_.config_write(at + msi::kControl.offset, msi::kControl.bytes, static_cast<std::uint32_t>(control));
  } else if (mode_ == Mode::msix) {
    namespace msix = pci::msix;
    const unsigned at = function_.find_capability(pci::capability::kMsix);
    std::uint64_t control = function_.config_read(at + msix::kControl.offset, msix::kControl.bytes);
    control = msix::kControl["MASK"].set(control, 0);
    control = msix::kControl["ENABLE"].set(control, 1);
    function_.config_write(at + msix::kControl.offset, msix::kControl.bytes, static_cast<std::uint32_t>(control));
  }
}

// The table is memory of the device: it must decode for the write, whatever the program has switched off.
void Interrupts::program_vector(unsigned vector, bool in_use) {
  if (mode_ != Mode::msix) return;
  namespace msix = pci::msix;
  const std::uint32_t command = function_.config_read(pci::kCommand.offset, pci::kCommand.bytes);
  const auto decoding = static_cast<std::uint32_t>(pci::kCommand["MEM"].set(command, 1));
  if (decoding != command) function_.config_write(pci::kCommand.offset, pci::kCommand.bytes, decoding);
  MmioRegion& window = function_.bar_window(function_.msix_bar());
  const std::uint64_t entry = function_.msix_table_offset() + std::uint64_t{vector} * msix::kEntryBytes;
  window.write64(entry, kMessageAddress);
  window.write64(entry + sizeof(std::uint64_t),
                 msix::kEntryDataControl["DATA"].put(vector) | msix::kEntryDataControl["MASK"].put(in_use ? 0 : 1));
  if (decoding != command) function_.config_write(pci::kCommand.offset, pci::kCommand.bytes, command);
}

void Interrupts::disable_locked() {
  switch (mode_) {
    case Mode::none:
      return;
    case Mode::intx:
      intx_.reset();
      unmask_.reset();
      masked_ = false;
      break;
    case Mode::msi: {
      const unsigned at = function_.find_capability(pci::capability::kMsi) + pci::msi::kControl.offset;
      const std::uint64_t control = function_.config_read(at, pci::msi::kControl.bytes);
      function_.config_write(at, pci::msi::kControl.bytes,
                             static_cast<std::uint32_t>(pci::msi::kControl["ENABLE"].set(control, 0)));
      break;
    }
    case Mode::msix: {
      for (unsigned vector = 0; vector < vectors_.size(); ++vector) {
        if (vectors_[vector]) program_vector(vector, false);
      }
      const unsigned at = function_.find_capability(pci::capability::kMsix) + pci::msix::kControl.offset;
      const std::uint64_t control = function_.config_read(at, pci::msix::kControl.bytes);
      function_.config_write(at, pci::msix::kControl.bytes,
                             static_cast<std::uint32_t>(pci::msix::kControl["ENABLE"].set(control, 0)));
      break;
    }
  }
  vectors_.clear();
  mode_ = Mode::none;
}

void Interrupts::reprogram() {
  const MutexLock lock(mutex_);
  enable_messages_locked();
  for (unsigned vector = 0; vector < vectors_.size(); ++vector) {
    if (vectors_[vector]) program_vector(vector, true);
  }
}

void Interrupts::message(unsigned vector) {
  const MutexLock lock(mutex_);
  if ((mode_ == Mode::msi || mode_ == Mode::msix) && vector < vectors_.size()) vectors_[vector].signal();
}

}  // namespace softiommu::vfio
