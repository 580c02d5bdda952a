// SPDX-License-Identifier: BSD-3-Clause
// The public library: include/softiommu/softiommu.h on top of machine, core and ioas.
#include "softiommu/softiommu.h"

#include <map>

#include "base/memlock.h"
#include "core/system.h"
#include "drivers/registry.h"
#include "hw/pci.h"
#include "ioas/address_space.h"
#include "machine/describe.h"
#include "machine/machine.h"

namespace softiommu::api {

namespace {

PciFunction& function_of(void* pointer) { return *static_cast<PciFunction*>(pointer); }
PlatformDevice& platform_of(void* pointer) { return *static_cast<PlatformDevice*>(pointer); }

Failure public_failure(AttachFailure failure) {
  switch (failure) {
    case AttachFailure::incompatible:
      return Failure::incompatible;
    case AttachFailure::no_memory:
      return Failure::no_memory;
    case AttachFailure::no_space:
      return Failure::no_space;
    case AttachFailure::busy:
      return Failure::busy;
    case AttachFailure::no_device:
      break;
  }
  return Failure::no_device;
}

Refusal public_refusal(const AttachError& error) {
  return {public_failure(error.failure), error.code, error.reason.property, error.reason.domain_value,
          error.reason.device_value};
}

std::unexpected<Refusal> refuse(Failure failure, int code, const char* property) {
  return std::unexpected(Refusal{failure, code, property});
}

std::unexpected<Error> public_error(const softiommu::Error& error) {
  return std::unexpected(Error{error.code, error.why});
}

}  // namespace

// ---- Device ----

std::uint64_t Device::read(unsigned bar, std::uint64_t offset, unsigned bytes) {
  if (platform_ != nullptr) return bar == 0 ? platform_of(platform_).read(offset, bytes) : ~std::uint64_t{0};
  return function_of(function_).bar_window(bar).read(offset, bytes);
}
void Device::write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (platform_ == nullptr)
    function_of(function_).bar_window(bar).write(offset, bytes, value);
  else if (bar == 0)
    platform_of(platform_).write(offset, bytes, value);
}
std::uint32_t Device::config_read(unsigned offset, unsigned bytes) {
  if (platform_ != nullptr) return ~std::uint32_t{0};
  return function_of(function_).config_read(offset, bytes);
}
void Device::config_write(unsigned offset, unsigned bytes, std::uint32_t value) {
  if (platform_ == nullptr) function_of(function_).config_write(offset, bytes, value);
}
void Device::enable() {
  if (platform_ != nullptr) return;
  constexpr auto kOn = hw::pci::kCommand["MEM"].mask() | hw::pci::kCommand["MASTER"].mask();
  PciFunction& function = function_of(function_);
  const std::uint32_t command = function.config_read(hw::pci::kCommand.offset, 2);
  function.config_write(hw::pci::kCommand.offset, 2, command | static_cast<std::uint32_t>(kOn));
}
bool Device::dma_read(std::uint64_t iova, std::span<std::byte> to) {
  if (platform_ != nullptr) return static_cast<bool>(platform_of(platform_).dma().read(Iova{iova}, to));
  PciFunction& function = function_of(function_);
  return function.bus_master() && function.dma().read(Iova{iova}, to);
}
bool Device::dma_write(std::uint64_t iova, std::span<const std::byte> from) {
  if (platform_ != nullptr) return static_cast<bool>(platform_of(platform_).dma().write(Iova{iova}, from));
  PciFunction& function = function_of(function_);
  return function.bus_master() && function.dma().write(Iova{iova}, from);
}

// ---- AddressSpace ----

struct AddressSpace::Impl {
  explicit Impl(System& s) : system(s), space(s, locked, {}) {}
  System& system;
  LockedMemory locked;
  softiommu::AddressSpace space;
  std::map<Group*, unsigned> groups;  // devices of it that have joined

  Group* group_of(const Device& device) const {
    const softiommu::Device* const found = system.device(device.name());
    return found != nullptr ? found->group() : nullptr;
  }
};

AddressSpace::AddressSpace(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AddressSpace::~AddressSpace() {
  impl_->space.unmap_all();
  for (const auto& [group, devices] : impl_->groups) {
    impl_->space.detach(*group);
    group->release_dma_owner();
  }
}

std::expected<void, Refusal> AddressSpace::attach(const Device& device) {
  Group* const group = impl_->group_of(device);
  if (group == nullptr) return refuse(Failure::no_device, ENODEV, "there is no IOMMU in front of the device");
  if (const auto joined = impl_->groups.find(group); joined != impl_->groups.end()) {
    ++joined->second;
    return {};
  }
  if (const auto owned = group->claim_dma_owner(impl_.get()); !owned) {
    const Failure failure = owned.error().code == ENOMEM ? Failure::no_memory : Failure::busy;
    return refuse(failure, failure == Failure::busy ? EBUSY : ENOMEM, owned.error().why);
  }
  auto reserved = group->reserved_regions();
  if (!reserved) {
    group->release_dma_owner();
    return refuse(Failure::no_memory, ENOMEM, reserved.error().why);
  }
  if (const auto attached = impl_->space.attach(*group, *std::move(reserved)); !attached) {
    group->release_dma_owner();
    return std::unexpected(public_refusal(attached.error()));
  }
  impl_->groups.emplace(group, 1);
  return {};
}

void AddressSpace::detach(const Device& device) {
  const auto joined = impl_->groups.find(impl_->group_of(device));
  if (joined == impl_->groups.end() || --joined->second > 0) return;
  impl_->space.detach(*joined->first);
  joined->first->release_dma_owner();
  impl_->groups.erase(joined);
}

std::expected<void, Error> AddressSpace::map(std::uint64_t iova, void* memory, std::uint64_t bytes, bool writable) {
  const auto user = reinterpret_cast<std::uintptr_t>(memory);
  if (bytes == 0 || ((iova | user | bytes) & (kPageSize - 1)) != 0 || iova + (bytes - 1) < iova)
    return std::unexpected(Error{EINVAL, "a mapping is made of whole pages"});
  const auto mapped = impl_->space.map(IovaRange::of(Iova{iova}, bytes), user, Prot{.read = true, .write = writable});
  if (!mapped) return public_error(mapped.error());
  return {};
}

std::expected<void, Error> AddressSpace::unmap(std::uint64_t iova) {
  const auto position = impl_->space.areas().seek(Iova{iova});
  const Area* const area = impl_->space.areas().at(position);
  if (area == nullptr || area->range.first != Iova{iova})
    return std::unexpected(Error{ENOENT, "nothing was mapped there"});
  impl_->space.unmap(position);
  return {};
}

std::size_t AddressSpace::domains() const { return impl_->space.domains().size(); }

// ---- Computer ----

struct Computer::Impl {
  std::unique_ptr<Machine> machine;
  std::unique_ptr<System> system;
  std::vector<Device> devices;

  static std::expected<std::unique_ptr<Computer>, Error> make(const std::expected<MachineSpec, SpecError>& spec);
};

Computer::Computer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  for (const auto& function : impl_->machine->functions())
    if (function->present()) impl_->devices.push_back(Device(function->bdf().text(), function.get(), nullptr));
  for (const auto& device : impl_->machine->platform_devices())
    impl_->devices.push_back(Device(device->name(), nullptr, device.get()));
}
Computer::~Computer() = default;

// The hardware, and the subsystem that drives it.
std::expected<std::unique_ptr<Computer>, Error> Computer::Impl::make(
    const std::expected<MachineSpec, SpecError>& spec) {
  if (!spec) return std::unexpected(Error{EINVAL, spec.error().where + ": " + spec.error().what});
  auto machine = Machine::create(*spec, {.time = Executor::Time::virtual_time});
  if (!machine) return public_error(machine.error());
  auto system = System::create(**machine, all_drivers(), {});
  if (!system) return public_error(system.error());
  auto impl = std::make_unique<Impl>();
  impl->machine = *std::move(machine);
  impl->system = *std::move(system);
  return std::unique_ptr<Computer>(new Computer(std::move(impl)));
}

std::expected<std::unique_ptr<Computer>, Error> Computer::load(const std::string& path) {
  return Impl::make(load_machine(path));
}

std::expected<std::unique_ptr<Computer>, Error> Computer::parse(std::string_view toml) {
  return Impl::make(parse_machine(toml, "machine"));
}

std::expected<std::unique_ptr<Computer>, Error> Computer::built_in() { return parse(default_machine_toml()); }

std::vector<std::string> Computer::device_names() const {
  std::vector<std::string> names;
  for (const Device& device : impl_->devices) names.push_back(device.name());
  return names;
}

Device* Computer::device(std::string_view name) {
  for (Device& device : impl_->devices)
    if (device.name() == name) return &device;
  return nullptr;
}

std::unique_ptr<AddressSpace> Computer::make_address_space() {
  return std::unique_ptr<AddressSpace>(new AddressSpace(std::make_unique<AddressSpace::Impl>(*impl_->system)));
}

void Computer::run() { impl_->machine->executor().run(); }

std::vector<Decision> Computer::decisions() const {
  std::vector<Decision> decisions;
  for (const AttachRecord& record : impl_->system->journal().all()) {
    if (record.kind == AttachRecord::Kind::detach) continue;
    decisions.push_back({std::string(record.devices), record.domain, record.fresh, std::nullopt});
    if (record.error) decisions.back().refusal = public_refusal(*record.error);
  }
  return decisions;
}

std::vector<std::string> Computer::findings() const { return impl_->machine->findings().all(); }

std::string Computer::describe() const { return softiommu::describe(*impl_->machine); }

}  // namespace softiommu::api
