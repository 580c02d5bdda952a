// SPDX-License-Identifier: BSD-3-Clause
// Builds the hardware that a MachineSpec describes, and does what firmware does: gives every BAR an address.
//
// Order of life: memory, units, executor, functions; the end comes in reverse, after the executor let go of every
// model, so that no step runs in a device that is half gone.
#include "machine/machine.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/types.h"
#include "machine/mmio_map.h"
#include "machine/topology.h"

namespace softiommu {
namespace {

// Where BARs live: 32-bit ones (and small 64-bit ones, as firmware does it) in the first GiB, where the program's
// memory never is, behind the tables that a small machine has there.
constexpr std::uint64_t kLowFirst = 0x1000'0000, kLowEnd = kGiB;
std::uint64_t low_first(const MemorySpec& memory) {
  const std::uint64_t tables_end = memory.arena_first() + memory.table_arena;
  return memory.arena_first() < kLowEnd ? std::max(kLowFirst, tables_end) : kLowFirst;
}
constexpr std::uint64_t kPortFirst = 0x1000, kPortEnd = 0x1'0000;

// One range of addresses, handed out from its start, each piece aligned to its own size.
class Window {
 public:
  Window(std::uint64_t first, std::uint64_t end) : next_(first), end_(end) {}
  std::optional<std::uint64_t> take(std::uint64_t bytes) {
    const std::uint64_t at = align_down(next_ + bytes - 1, bytes);
    if (bytes > end_ || at > end_ - bytes) return std::nullopt;
    next_ = at + bytes;
    return at;
  }

 private:
  std::uint64_t next_, end_;
};

class BarAddresses {
 public:
  BarAddresses(const MemorySpec& memory, MmioMap& map)
      : low_(low_first(memory), kLowEnd),
        high_(align_down(memory.top + kGiB - 1, kGiB), std::uint64_t{1} << 52),
        map_(map) {}

  Result<> assign(PciFunction& function) {
    for (unsigned bar = 0; bar < PciFunction::kBars; ++bar) {
      const BarSpec& spec = function.bars()[bar];
      if (spec.bytes == 0) continue;
      const std::uint64_t address = TRY(place(spec));
      function.assign_bar(bar, address);
      if (!spec.io) map_.add(PhysAddr{address}, spec.bytes, function.bar_window(bar));
      if (spec.memory64) ++bar;
    }
    return {};
  }

  Result<> assign_rom(PciFunction& function, std::vector<std::byte> image) {
    const std::uint64_t address = TRY(place({.bytes = std::bit_ceil(image.size())}));
    function.add_rom(std::move(image), address);
    return {};
  }

  // Of a physical function whose virtual ones are built: each of their BARs is an array.
  Result<> assign_virtual(PciFunction& function) {
    const auto virtuals = function.virtual_functions();
    for (unsigned bar = 0; bar < PciFunction::kBars && !virtuals.empty(); ++bar) {
      const BarSpec& spec = virtuals.front()->bars()[bar];
      if (spec.bytes == 0) continue;
      const BarSpec array{.bytes = std::bit_ceil(spec.bytes * virtuals.size()), .memory64 = spec.memory64};
      function.assign_virtual_bar(bar, TRY(place(array)));
      for (PciFunction* const one : virtuals)
        map_.add(PhysAddr{one->bar_address(bar)}, spec.bytes, one->bar_window(bar));
      if (spec.memory64) ++bar;
    }
    return {};
  }

 private:
  Result<std::uint64_t> place(const BarSpec& spec) {
    // A page of its own for each BAR: programs map whole pages.
    const std::uint64_t bytes = spec.io ? spec.bytes : std::max(spec.bytes, kPageSize);
    std::optional<std::uint64_t> at = spec.io ? ports_.take(bytes) : low_.take(bytes);
    if (!at && spec.memory64) at = high_.take(bytes);
    if (!at) return fail(ENOSPC, "the BARs of this machine's devices do not fit below 1 GiB");
    return *at;
  }

  Window low_, ports_{kPortFirst, kPortEnd}, high_;
  MmioMap& map_;
};

// EINVAL: it cannot be read, is empty or too large.
Result<std::vector<std::byte>> read_rom(const std::string& path) {
  constexpr std::uintmax_t kMost = 16 * kMiB;
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error || bytes == 0 || bytes > kMost) return fail(EINVAL, "an expansion ROM needs a file of 1 byte to 16 MiB");
  std::vector<std::byte> image(bytes);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(image.data()), static_cast<std::streamsize>(bytes)))
    return fail(EINVAL, "the file of an expansion ROM cannot be read");
  return image;
}

template <class Model>
const Model* find_model(std::string_view name, std::span<const Model> extra, std::span<const Model> built_in) {
  for (const std::span<const Model> table : {extra, built_in})
    for (const Model& model : table)
      if (model.name == name) return &model;
  return nullptr;
}

}  // namespace

struct Machine::Impl {
  explicit Impl(const MachineSpec& machine) : spec(machine) {}
  ~Impl() {
    for (const auto& function : functions) executor->remove(*function);
    for (const auto& device : platform_devices) executor->remove(*device);
  }

  Result<> create_units(const MachineOptions& options);
  Result<> create_functions(const MachineOptions& options);
  Result<std::unique_ptr<PciFunction>> create_function(const FunctionSpec& wanted, const MachineOptions& options);
  PciFunction* function(const Bdf& bdf) const;
  Result<> create_platform_devices();
  void find_isolation_sets();
  IommuUnit* unit(std::string_view name) const;

  // Members die from the last to the first.
  MachineSpec spec;
  Topology topology{spec};
  Findings findings;
  MmioMap registers;
  std::unique_ptr<Memory> memory;
  std::vector<std::unique_ptr<IommuUnit>> units;
  std::unique_ptr<Executor> executor;
  std::vector<std::unique_ptr<PciFunction>> functions;  // in bus order, as spec.functions
  std::vector<std::unique_ptr<PlatformDevice>> platform_devices;
  std::vector<IsolationSet> isolation_sets;
};

Result<> Machine::Impl::create_units(const MachineOptions& options) {
  for (const UnitSpec& wanted : spec.units) {
    const UnitModel* model = find_model(wanted.model, options.extra_unit_models, unit_models());
    if (!model) return fail(EINVAL, "the machine names an IOMMU model that does not exist");
    if (unit(wanted.name)) return fail(EINVAL, "two IOMMUs of the machine have the same name");
    units.push_back(TRY(model->create({wanted.name, *memory, findings, options.paranoid}, wanted.options)));
  }
  return {};
}

Result<std::unique_ptr<PciFunction>> Machine::Impl::create_function(const FunctionSpec& wanted,
                                                                    const MachineOptions& options) {
  const DeviceModel* model = find_model(wanted.model, options.extra_device_models, device_models());
  if (!model) return fail(EINVAL, "the machine names a device model that does not exist");
  const std::string_view name = topology.unit_of(wanted);
  IommuUnit* behind = unit(name);
  if (!behind && !name.empty()) return fail(EINVAL, "a device names an IOMMU that the machine does not have");
  const bool multifunction = !wanted.physical && topology.multifunction(wanted.bdf);
  const PciFunction::Context context{.bdf = wanted.bdf,
                                     .memory = *memory,
                                     .unit = behind,
                                     .stream = topology.requester(wanted),
                                     .executor = *executor,
                                     .multifunction = multifunction,
                                     .acs = wanted.acs && multifunction,
                                     .services = wanted.services,
                                     .virtual_functions = wanted.vfs,
                                     .physical = wanted.physical ? function(*wanted.physical) : nullptr};
  return model->create(context, wanted.options);
}

// In bus order, so that a physical function comes before its virtual ones.
Result<> Machine::Impl::create_functions(const MachineOptions& options) {
  BarAddresses addresses(spec.memory, registers);
  functions.reserve(spec.functions.size());
  const Bdf* previous = nullptr;
  for (const FunctionSpec& wanted : spec.functions) {
    if (previous && *previous == wanted.bdf) return fail(EINVAL, "two devices of the machine have the same address");
    auto function = TRY(create_function(wanted, options));
    if (!wanted.physical) TRY(addresses.assign(*function));
    if (!wanted.rom.empty()) {
      auto image = TRY(read_rom(wanted.rom));
      TRY(addresses.assign_rom(*function, std::move(image)));
    }
    executor->add(*function);
    functions.push_back(std::move(function));
    previous = &wanted.bdf;
  }
  for (const auto& function : functions) TRY(addresses.assign_virtual(*function));
  return {};
}

Result<> Machine::Impl::create_platform_devices() {
  for (const PlatformSpec& wanted : spec.platform_devices) {
    const std::string_view name = topology.unit_of(wanted);
    IommuUnit* behind = unit(name);
    if (!behind && !name.empty()) return fail(EINVAL, "a device names an IOMMU that the machine does not have");
    if (wanted.streams.empty()) return fail(EINVAL, "a platform device needs a stream id for its port");
    platform_devices.push_back(std::make_unique<PlatformDevice>(
        PlatformDevice::Context{wanted.name, *memory, behind, wanted.streams, *executor, wanted.stalls}));
    executor->add(*platform_devices.back());
  }
  return {};
}

void Machine::Impl::find_isolation_sets() {
  for (IsolationGroup& group : topology.isolation_groups()) {
    IsolationSet set{{}, std::move(group.bridges), std::move(group.reason)};
    for (const std::size_t position : group.functions) set.functions.push_back(functions[position].get());
    isolation_sets.push_back(std::move(set));
  }
}

PciFunction* Machine::Impl::function(const Bdf& bdf) const {
  for (const auto& function : functions)
    if (function->bdf() == bdf) return function.get();
  return nullptr;
}

IommuUnit* Machine::Impl::unit(std::string_view name) const {
  for (const auto& unit : units)
    if (unit->name() == name) return unit.get();
  return nullptr;
}

Result<std::unique_ptr<Machine>> Machine::create(const MachineSpec& spec, const MachineOptions& options) {
  return without_throwing([&]() -> Result<std::unique_ptr<Machine>> {
    auto impl = std::make_unique<Impl>(spec);
    for (const FunctionSpec& physical : spec.functions)
      std::ranges::move(virtual_functions_of(physical), std::back_inserter(impl->spec.functions));
    std::ranges::sort(impl->spec.functions, {}, &FunctionSpec::bdf);
    impl->memory = TRY(Memory::create(spec.memory));
    impl->memory->set_findings(&impl->findings);
    impl->memory->set_registers(&impl->registers);
    TRY(impl->create_units(options));
    impl->executor = TRY(Executor::create(options.time));
    impl->executor->set_latency(spec.device_latency_ns);
    TRY(impl->create_functions(options));
    TRY(impl->create_platform_devices());
    impl->find_isolation_sets();
    return std::unique_ptr<Machine>(new Machine(std::move(impl)));
  });
}

Machine::Machine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Machine::~Machine() = default;

const MachineSpec& Machine::spec() const { return impl_->spec; }
Memory& Machine::memory() { return *impl_->memory; }
Executor& Machine::executor() { return *impl_->executor; }
Findings& Machine::findings() { return impl_->findings; }
std::span<const std::unique_ptr<IommuUnit>> Machine::units() const { return impl_->units; }
std::span<const std::unique_ptr<PciFunction>> Machine::functions() const { return impl_->functions; }
IommuUnit* Machine::unit(std::string_view name) const { return impl_->unit(name); }
const std::vector<IsolationSet>& Machine::isolation_sets() const { return impl_->isolation_sets; }

std::span<const std::unique_ptr<PlatformDevice>> Machine::platform_devices() const { return impl_->platform_devices; }

PlatformDevice* Machine::platform_device(std::string_view name) const {
  for (const auto& device : impl_->platform_devices)
    if (device->name() == name) return device.get();
  return nullptr;
}

PciFunction* Machine::function(const Bdf& bdf) const { return impl_->function(bdf); }

std::vector<StreamId> Machine::stream_ids(const PciFunction& function) const {
  for (const FunctionSpec& wanted : impl_->spec.functions)
    if (wanted.bdf == function.bdf()) return impl_->topology.stream_ids(wanted);
  return {};
}

}  // namespace softiommu
