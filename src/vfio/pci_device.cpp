// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/pci_device.h"

#include <algorithm>

#include "base/log.h"
#include "hw/pci.h"

namespace softiommu::vfio {

namespace {

namespace pci = hw::pci;

// What decodes and what masters, in the command register.
std::uint32_t enabled_command(const PciFunction& function, std::uint32_t command) {
  for (const BarSpec& bar : function.bars()) {
    if (bar.bytes == 0) continue;
    const auto field = bar.io ? pci::kCommand["IO"] : pci::kCommand["MEM"];
    command |= static_cast<std::uint32_t>(field.mask());
  }
  return command & ~static_cast<std::uint32_t>(pci::kCommand["MASTER"].mask());
}

// Words of configuration space on their way to the program: copied out together, with no lock held.
constexpr std::size_t kBounce = 256;

}  // namespace

void PciDevice::ask_to_leave() {
  if (!interrupts_.request_release())
    log::warning("vfio-pci {}: it is in use, and its user gave no way to be asked for it", device_.name());
}

Result<> PciDevice::match_token(const std::optional<Uuid>& given) {
  if (physical_ != nullptr) return physical_->token_.match_virtual(given);
  if (has_token()) return token_.match_physical(given);
  if (!given) return {};
  log::info("vfio-pci {}: a VF token was given, but the device has no virtual functions", device_.name());
  return fail(EINVAL, "the device takes no VF token");
}

Result<> PciDevice::set_token(const Uuid& token) {
  if (!has_token()) return fail(ENOTTY, "the device has no virtual functions");
  token_.set(token);
  return {};
}

Result<> PciDevice::open() {
  system_.machine().executor().start();
  const MutexLock lock(mutex_);
  if (open_count_ == 0) {
    std::vector<std::uint32_t> room;  // so that a reset needs no memory
    auto opened = without_throwing([&]() -> Result<> {
      room.reserve(config_.bytes() / 4);
      // As pci_enable_device and a function reset leave it: memory decodes, DMA is off.
      function_.reset();
      const std::uint32_t command = function_.config_read(pci::kCommand.offset, pci::kCommand.bytes);
      function_.config_write(pci::kCommand.offset, pci::kCommand.bytes, enabled_command(function_, command));
      config_.open();
      interrupts_.open();
      return {};
    });
    if (!opened) {
      switch_off_locked();
      return opened;
    }
    saved_ = std::move(room);
    if (physical_ != nullptr) physical_->token_.begin_use();
  }
  ++open_count_;
  return {};
}

void PciDevice::close() {
  {
    const MutexLock lock(mutex_);
    if (--open_count_ != 0) return;
    switch_off_locked();
    if (physical_ != nullptr) physical_->token_.end_use();
  }
  exports_.forget();
}

Result<> PciDevice::enter_low_power(EventFd wakeup) {
  {
    const MutexLock lock(mutex_);
    if (low_power_.exchange(true)) return fail(EINVAL, "the device is in low power");
    wakeup_ = std::move(wakeup);
  }
  update_exports(false);
  return {};
}

void PciDevice::leave_low_power() {
  {
    const MutexLock lock(mutex_);
    low_power_.store(false);
    wakeup_.reset();
  }
  update_exports(false);
}

// Without a way to tell the program that it did, the device goes back to sleep after the access.
void PciDevice::wake_from_low_power() {
  {
    const MutexLock lock(mutex_);
    if (!wakeup_) return;
    wakeup_.signal();
    wakeup_.reset();
    low_power_.store(false);
  }
  update_exports(false);
}

void PciDevice::switch_off_locked() {
  low_power_.store(false);
  wakeup_.reset();
  interrupts_.close();
  function_.config_write(pci::kCommand.offset, pci::kCommand.bytes, 0);  // no DMA, no decoding
  function_.reset();
}

Result<std::shared_ptr<iommufd::DmaBufFile>> PciDevice::export_bar(unsigned bar, std::span<const abi::DmaRange> parts) {
  auto file = TRY(exports_.create(function_, bar, parts));
  update_exports(false);
  return file;
}

// They are there while memory decodes; what was mapped does not survive a reset.
void PciDevice::update_exports(bool was_reset) {
  if (was_reset || !mappings_enabled()) exports_.revoke();
  if (mappings_enabled()) exports_.give_again();
}

bool PciDevice::is_open() {
  const MutexLock lock(mutex_);
  return open_count_ != 0;
}

Result<std::shared_ptr<iommufd::Binding>> PciDevice::share_binding(const std::shared_ptr<iommufd::Context>& context) {
  const MutexLock lock(binding_mutex_);
  if (auto shared = binding_.lock()) return shared;
  auto made = TRY(iommufd::Binding::create(context, device_));
  const std::uint32_t ioas = TRY(context->compat_ioas());
  TRY(made->attach(ioas));
  binding_ = made;
  return made;
}

Result<std::uint64_t> PciDevice::read_config(Program& program, std::uint64_t user, std::uint64_t offset,
                                             std::uint64_t bytes) {
  std::uint64_t done = 0;
  while (done < bytes) {
    std::array<std::byte, kBounce> bounce;
    const std::uint64_t part = std::min<std::uint64_t>(bytes - done, bounce.size());
    {
      const MutexLock lock(mutex_);
      for (std::uint64_t at = 0; at < part;) {
        const auto position = static_cast<unsigned>(offset + done + at);
        const unsigned size = config_.chunk(position, part - at);
        const std::uint32_t value = config_.read(position, size);
        std::memcpy(bounce.data() + at, &value, size);
        at += size;
      }
    }
    TRY(program.copy_out(user + done, bounce.data(), part));
    done += part;
  }
  return done;
}

// Answers whether the function was reset by it.
bool PciDevice::write_words(std::uint64_t offset, std::span<const std::byte> words) {
  const MutexLock lock(mutex_);
  was_reset_ = false;
  for (std::uint64_t at = 0; at < words.size();) {
    const auto position = static_cast<unsigned>(offset + at);
    const unsigned size = config_.chunk(position, words.size() - at);
    std::uint32_t value = 0;
    std::memcpy(&value, words.data() + at, size);
    config_.write(position, size, value, *this);
    at += size;
  }
  return was_reset_;
}

Result<std::uint64_t> PciDevice::write_config(Program& program, std::uint64_t user, std::uint64_t offset,
                                              std::uint64_t bytes) {
  std::uint64_t done = 0;
  while (done < bytes) {
    std::array<std::byte, kBounce> bounce;
    const std::uint64_t part = std::min<std::uint64_t>(bytes - done, bounce.size());
    TRY(program.copy_in(bounce.data(), user + done, part));
    const bool was_enabled = memory_enabled();
    if (write_words(offset + done, std::span(bounce).first(part)) || was_enabled != memory_enabled())
      update_exports(true);
    done += part;
  }
  return done;
}

Result<> PciDevice::set_irqs(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) {
  const MutexLock lock(mutex_);
  auto set = interrupts_.set(program, request, data);
  config_.set_msi_vectors_log2(interrupts_.msi_vectors_log2());
  return set;
}

// Who makes a device leave holds its lock in Linux, and a reset only tries that.
Result<> PciDevice::reset() {
  if (leaving()) return fail(EAGAIN, "the device is leaving");
  wake_up();
  {
    const MutexLock lock(mutex_);
    reset_locked();
  }
  update_exports(true);
  return {};
}

void PciDevice::function_reset() {
  was_reset_ = true;
  reset_locked();
}

void PciDevice::reset_locked() {
  if (open_count_ == 0) {  // another device of its bus was hot-reset
    function_.reset();
    return;
  }
  config_.save(saved_);
  function_.reset();
  config_.restore(saved_);
  interrupts_.reprogram();
}

}  // namespace softiommu::vfio
