// SPDX-License-Identifier: BSD-3-Clause
// Linux's order of things: drivers/pci/iov.c, remove.c and pci-sysfs.c, and vfio_pci_core's part in them.
//
// One operation at a time, while it waits for users included, as Linux holds its rescan and remove lock; surprise
// removal asks nobody. A removal ends on the thread of the last close.
#include "vfio/pci_control.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <set>

#include "base/fault.h"
#include "base/log.h"
#include "base/mutex.h"
#include "hw/pci.h"
#include "vfio/devices.h"

namespace softiommu {

namespace {

namespace pci = hw::pci;
constexpr std::string_view kVfioPci = "vfio-pci";

// By Linux's names. Those that use DMA themselves keep a program from taking the group.
struct KnownDriver {
  std::string_view name, model;  // model empty: any
  bool uses_dma;
};
constexpr std::array kDrivers{
    KnownDriver{kVfioPci, "", false},
    KnownDriver{"pci-stub", "", false},
    KnownDriver{"ioatdma", "ioat", true},
    KnownDriver{"nvme", "nvme", true},
};

void set_virtual_functions(PciFunction& physical, unsigned number) {
  namespace io = pci::sriov;
  const unsigned at = physical.find_extended_capability(pci::extended::kSingleRootIo);
  const std::uint64_t control = number != 0 ? io::kControl["VFE"].mask() | io::kControl["MSE"].mask() : 0;
  // The number may not change while they are enabled.
  if (number != 0) physical.config_write(at + io::kNumber.offset, io::kNumber.bytes, number);
  physical.config_write(at + io::kControl.offset, io::kControl.bytes, static_cast<std::uint32_t>(control));
  if (number == 0) physical.config_write(at + io::kNumber.offset, io::kNumber.bytes, 0);
}

}  // namespace

struct PciControl::Impl : std::enable_shared_from_this<PciControl::Impl> {
  Impl(System& the_system, Vfio& vfio) : system(the_system), devices(vfio.devices()) {}

  // A device that software knows; with its PciDevice.
  struct Known {
    Device& device;
    vfio::PciDevice& pci;
    PciFunction& hardware() const { return pci.function(); }
  };
  std::optional<Known> find_any(std::string_view bdf) const;
  Result<Known> find(std::string_view bdf) const;
  Known known(const PciFunction& function) const;
  std::string_view driver_of(const Known& known) const;
  Function describe(const Known& known) const;

  Result<Removal> set_num_vfs(const Known& physical, unsigned number);
  Result<> enable(const Known& physical, unsigned number);
  Result<> bring_in(const Known& known);
  Result<Removal> disable(const Known& physical);
  Result<Removal> begin_removal(const Known& known);
  void gone(const Known& known);
  void end_disabling(PciFunction& physical);
  bool is_disabling(const PciFunction& physical) const;
  Result<Removal> release(const Known& known, std::function<void()> left);
  void let_go_of_group(const Known& known);
  Result<> bind(const KnownDriver& driver, const Known& known);
  void wait_for_users(const Known& known) const;
  void wait_for_all(const Known& known) const;
  void changed();

  System& system;
  vfio::Devices& devices;
  std::atomic<std::uint64_t> generation{0};
  std::function<void()> told;
  Mutex operation;  // one at a time
  mutable Mutex mutex;
  std::map<const Device*, const KnownDriver*> others GUARDED_BY(mutex);  // drivers but vfio-pci
  std::set<const PciFunction*> disabling GUARDED_BY(mutex);              // their virtual functions go
};

namespace {

// The turn of an operation. Who cannot wait for the others does not get it.
class SOFTIOMMU_TS(scoped_lockable) Turn {
 public:
  Turn(Mutex& mutex, PciControl::Wait wait) SOFTIOMMU_TS(acquire_capability(mutex))
      SOFTIOMMU_TS(no_thread_safety_analysis)
      : mutex_(mutex), has_(wait == PciControl::Wait::not_at_all ? mutex.try_lock() : true) {
    if (wait == PciControl::Wait::for_users) mutex.lock();
  }
  ~Turn() SOFTIOMMU_TS(release_capability()) SOFTIOMMU_TS(no_thread_safety_analysis) {
    if (has_) mutex_.unlock();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  Result<> check() const {
    if (!has_) return fail(EAGAIN, "another change waits for users");
    return {};
  }

 private:
  Mutex& mutex_;
  const bool has_;
};

}  // namespace

// ---- who is there

std::optional<PciControl::Impl::Known> PciControl::Impl::find_any(std::string_view bdf) const {
  for (const auto& device : devices.all())
    if (device != nullptr && device->device().name() == bdf)
      return Known{*system.devices()[device->device().number()], *device};
  return std::nullopt;
}

Result<PciControl::Impl::Known> PciControl::Impl::find(std::string_view bdf) const {
  const auto known = find_any(bdf);
  if (!known || !known->device.present()) return fail(ENODEV, "no such device");
  return *known;
}

PciControl::Impl::Known PciControl::Impl::known(const PciFunction& function) const {
  vfio::PciDevice& device = *devices.find(function);
  return {*system.devices()[device.device().number()], device};
}

std::string_view PciControl::Impl::driver_of(const Known& known) const {
  if (known.pci.registration().state() != vfio::Registration::State::none) return kVfioPci;
  const MutexLock lock(mutex);
  const auto other = others.find(&known.device);
  return other != others.end() ? other->second->name : std::string_view{};
}

PciControl::Function PciControl::Impl::describe(const Known& known) const {
  const PciFunction& hardware = known.hardware();
  Function function{.bdf = known.device.name(), .hardware = &known.hardware(), .device = &known.device};
  if (known.device.group() != nullptr) function.group = known.device.group()->id();
  function.driver = driver_of(known);
  if (known.pci.registration().registered()) function.vfio_number = known.device.number();
  if (hardware.physical() != nullptr) function.physfn = hardware.physical()->bdf().text();
  function.total_vfs = static_cast<unsigned>(hardware.virtual_functions().size());
  if (function.total_vfs == 0) return function;
  function.num_vfs = hardware.enabled_virtual_functions();
  function.vf_offset = pci::sriov::kFirstOffset;
  function.vf_stride = pci::sriov::kFunctionStride;
  for (const PciFunction* const one : hardware.virtual_functions())
    function.virtfns.push_back(this->known(*one).device.present() ? one->bdf().text() : "");
  function.virtfns.resize(function.num_vfs);
  return function;
}

void PciControl::Impl::changed() {
  generation.fetch_add(1, std::memory_order_acq_rel);
  if (told) told();
}

// ---- coming

// The device is known, and vfio-pci binds to it, as driver_override or the ids that it was given have it do.
Result<> PciControl::Impl::bring_in(const Known& known) {
  wait_for_users(known);  // a last close may have taken it out and be about to end
  TRY(system.bring_in(known.device));
  if (known.device.group() == nullptr) return {};
  if (const auto added = devices.add(known.pci); !added && added.error().code != EINVAL) {
    const fault::Paused must_succeed;
    TRY(system.take_out(known.device));
    return added;
  }
  return {};
}

Result<> PciControl::Impl::enable(const Known& physical, unsigned number) {
  TRY(fault::pass("pci.virtual_functions"));
  set_virtual_functions(physical.hardware(), number);
  Result<> done;
  for (unsigned i = 0; i < number && done; ++i) done = bring_in(known(*physical.hardware().virtual_functions()[i]));
  if (done && !physical.hardware().present()) done = fail(ENODEV, "the function was unplugged meanwhile");
  if (!done) {
    const fault::Paused must_succeed;
    std::ignore = disable(physical);
    return done;
  }
  changed();
  return {};
}

// ---- going

void PciControl::Impl::wait_for_users(const Known& known) const {
  constexpr std::chrono::seconds kAskAgain{10};
  while (!known.pci.registration().wait(kAskAgain)) known.pci.ask_to_leave();
}

void PciControl::Impl::wait_for_all(const Known& known) const {
  for (const PciFunction* const one : known.hardware().virtual_functions()) wait_for_users(this->known(*one));
  wait_for_users(known);
}

// Whatever driver has it lets go; `left` runs then. It is told when no driver has it any more.
Result<PciControl::Removal> PciControl::Impl::release(const Known& known, std::function<void()> left) {
  if (known.pci.registration().state() == vfio::Registration::State::none) {
    let_go_of_group(known);
    left();
    changed();
    return Removal::done;
  }
  TRY(devices.remove(known.pci, std::move(left), [self = shared_from_this()] { self->changed(); }));
  if (!known.pci.leaving()) return Removal::done;
  changed();  // nobody new gets in
  return Removal::pending;
}

void PciControl::Impl::let_go_of_group(const Known& known) {
  const MutexLock lock(mutex);
  const auto other = others.find(&known.device);
  if (other == others.end()) return;
  Group* const group = known.device.group();
  if (other->second->uses_dma && group != nullptr) group->unuse_default_domain();
  others.erase(other);
}

Result<PciControl::Removal> PciControl::Impl::begin_removal(const Known& known) {
  return release(known, [self = shared_from_this(), known] { self->gone(known); });
}

void PciControl::Impl::gone(const Known& known) {
  const fault::Paused must_succeed;
  if (const auto out = system.take_out(known.device); !out)
    log::error("pci {}: it cannot be taken out: {}", known.device.name(), out.error().why);
  if (PciFunction* const physical = known.hardware().physical()) end_disabling(*physical);
}

// With the last of its virtual functions the physical one disables them.
void PciControl::Impl::end_disabling(PciFunction& physical) {
  const auto left = [this](const PciFunction* one) { return known(*one).device.present(); };
  const MutexLock lock(mutex);
  if (!disabling.contains(&physical) || std::ranges::any_of(physical.virtual_functions(), left)) return;
  disabling.erase(&physical);
  set_virtual_functions(physical, 0);
}

bool PciControl::Impl::is_disabling(const PciFunction& physical) const {
  const MutexLock lock(mutex);
  return disabling.contains(&physical);
}

// It cannot fail in Linux: where some were gone and others not, nobody could go on.
Result<PciControl::Removal> PciControl::Impl::disable(const Known& physical) {
  if (physical.hardware().enabled_virtual_functions() == 0) return Removal::done;
  const fault::Paused must_succeed;
  {
    const MutexLock lock(mutex);
    disabling.insert(&physical.hardware());
  }
  Removal all = Removal::done;
  for (const PciFunction* const one : physical.hardware().virtual_functions()) {
    const Known virtual_function = known(*one);
    if (!virtual_function.device.present()) continue;
    const auto removal = begin_removal(virtual_function);
    if (!removal && removal.error().code != ENODEV) return removal;
    if (!removal || *removal == Removal::pending) all = Removal::pending;  // ENODEV: it is leaving already
  }
  end_disabling(physical.hardware());
  return all;
}

Result<PciControl::Removal> PciControl::Impl::set_num_vfs(const Known& physical, unsigned number) {
  PciFunction& hardware = physical.hardware();
  if (hardware.virtual_functions().empty()) return fail(ENOENT, "the function has no SR-IOV");
  if (number > hardware.virtual_functions().size()) return fail(ERANGE, "more than there are");
  const unsigned enabled = hardware.enabled_virtual_functions();
  if (number != 0 && is_disabling(hardware))
    return fail(EAGAIN, "users of the functions that were there are waited for");
  if (number == enabled) return Removal::done;
  if (driver_of(physical) != kVfioPci) return fail(ENOENT, "no driver that configures SR-IOV has the function");
  if (number == 0) return disable(physical);
  if (enabled != 0) return fail(EBUSY, "some are enabled: disable them first");
  TRY(enable(physical, number));
  return Removal::done;
}

// ---- operations

PciControl::PciControl(System& system, Vfio& vfio) : impl_(std::make_shared<Impl>(system, vfio)) {}
PciControl::~PciControl() = default;

Result<PciControl::Removal> PciControl::set_num_vfs(std::string_view pf, unsigned number, Wait wait) {
  return without_throwing([&]() -> Result<Removal> {
    const fault::Call fallible;
    const Turn turn(impl_->operation, wait);
    TRY(turn.check());
    const auto physical = TRY(impl_->find(pf));
    const Removal removal = TRY(impl_->set_num_vfs(physical, number));
    if (wait == Wait::not_at_all || removal == Removal::done) return removal;
    for (const PciFunction* const one : physical.hardware().virtual_functions())
      impl_->wait_for_users(impl_->known(*one));
    return Removal::done;
  });
}

Result<PciControl::Removal> PciControl::remove(std::string_view bdf, Wait wait) {
  return without_throwing([&]() -> Result<Removal> {
    const fault::Call fallible;
    const Turn turn(impl_->operation, wait);
    TRY(turn.check());
    const auto known = TRY(impl_->find(bdf));
    if (known.pci.leaving()) return fail(ENODEV, "the device is leaving");
    Removal removal = TRY(impl_->disable(known));
    removal = std::max(removal, TRY(impl_->begin_removal(known)));
    if (wait == Wait::not_at_all) return removal;
    impl_->wait_for_all(known);
    return Removal::done;
  });
}

Result<> PciControl::rescan() {
  return without_throwing([&]() -> Result<> {
    const fault::Call fallible;
    const Turn turn(impl_->operation, Wait::for_users);
    bool found = false;
    Result<> all;  // one that cannot be brought in keeps none of the others out
    for (const auto& device : impl_->devices.all()) {
      // Virtual functions have no ids that a scan could find.
      if (device == nullptr || device->device().present() || !device->function().present()) continue;
      if (device->function().physical() != nullptr) continue;
      const auto brought = without_throwing([&] { return impl_->bring_in(impl_->known(device->function())); });
      if (!brought && all) all = brought;
      found = found || brought.has_value();
    }
    if (found) impl_->changed();
    return all;
  });
}

Result<PciControl::Removal> PciControl::unplug(std::string_view bdf) {
  return without_throwing([&]() -> Result<Removal> {
    const fault::Call fallible;
    const auto known = impl_->find_any(bdf);
    if (!known || !known->hardware().present()) return fail(ENODEV, "no such device");
    if (known->hardware().physical() != nullptr) return fail(EINVAL, "a virtual function goes with its physical one");
    known->hardware().unplug();
    const Removal all = TRY(impl_->disable(*known));
    if (known->pci.leaving()) return Removal::pending;
    if (!known->device.present()) return all;
    return std::max(all, TRY(impl_->begin_removal(*known)));
  });
}

Result<> PciControl::plug(std::string_view bdf) {
  const auto known = impl_->find_any(bdf);
  if (!known) return fail(ENODEV, "no such device");
  if (known->hardware().physical() != nullptr) return fail(EINVAL, "a virtual function comes with its physical one");
  if (known->hardware().present()) return fail(EEXIST, "it is not unplugged");
  if (known->device.present()) return fail(EBUSY, "users of what was there have not let go");
  known->hardware().plug();
  return {};
}

Result<> PciControl::reset(std::string_view bdf) {
  return without_throwing([&]() -> Result<> {
    const fault::Call fallible;
    const auto known = TRY(impl_->find(bdf));
    if (known.pci.leaving()) return fail(EAGAIN, "the device is leaving");
    if (!known.hardware().identity().pcie) return fail(ENOTTY, "the function has no reset of its own");
    return known.pci.reset();
  });
}

Result<> PciControl::Impl::bind(const KnownDriver& driver, const Known& known) {
  if (!driver_of(known).empty()) return fail(EBUSY, "it has a driver");
  if (driver.name == kVfioPci) return devices.add(known.pci);
  if (!driver.model.empty() && driver.model != known.hardware().model())
    return fail(ENODEV, "the driver does not take this device");
  Group* const group = known.device.group();
  const bool takes_group = driver.uses_dma && group != nullptr;
  const MutexLock lock(mutex);
  const auto place = others.try_emplace(&known.device, &driver).first;
  const auto taken = takes_group ? group->use_default_domain() : Result<>{};
  if (!taken) others.erase(place);
  return taken;
}

Result<> PciControl::bind(std::string_view driver, std::string_view bdf) {
  return without_throwing([&]() -> Result<> {
    const fault::Call fallible;
    const Turn turn(impl_->operation, Wait::for_users);
    const auto* const known_driver = std::ranges::find(kDrivers, driver, &KnownDriver::name);
    if (known_driver == kDrivers.end()) return fail(ENODEV, "no such driver");
    const auto known = TRY(impl_->find(bdf));
    TRY(impl_->bind(*known_driver, known));
    impl_->changed();
    return {};
  });
}

Result<PciControl::Removal> PciControl::unbind(std::string_view driver, std::string_view bdf, Wait wait) {
  return without_throwing([&]() -> Result<Removal> {
    const fault::Call fallible;
    const Turn turn(impl_->operation, wait);
    TRY(turn.check());
    const auto known = TRY(impl_->find(bdf));
    if (driver.empty() || impl_->driver_of(known) != driver || known.pci.leaving())
      return fail(ENODEV, "the driver does not have the device, or it is leaving");
    Removal removal = TRY(impl_->disable(known));
    removal = std::max(removal, TRY(impl_->release(known, [] {})));
    if (wait == Wait::not_at_all) return removal;
    impl_->wait_for_all(known);
    return Removal::done;
  });
}

Result<> PciControl::set_token(std::string_view pf, std::string_view uuid) {
  const auto known = TRY(impl_->find(pf));
  if (!known.pci.has_token()) return fail(ENOTTY, "the device has no virtual functions");
  const auto token = vfio::parse_uuid(uuid);
  if (!token) return fail(EINVAL, "no UUID");
  known.pci.token().follow(*token);
  return {};
}

void PciControl::on_token(const std::function<void(const std::string& pf, const std::string& uuid)>& told) {
  for (const auto& device : impl_->devices.all()) {
    if (device == nullptr || !device->has_token()) continue;
    device->token().on_set(
        [told, name = device->device().name()](const vfio::Uuid& token) { told(name, vfio::text_of(token)); });
  }
}

void PciControl::ask_again() {
  for (const auto& device : impl_->devices.all()) {
    if (device != nullptr && device->leaving()) device->ask_to_leave();
  }
}

std::vector<std::string_view> PciControl::drivers() {
  std::vector<std::string_view> names;
  for (const KnownDriver& driver : kDrivers) names.push_back(driver.name);
  return names;
}

bool PciControl::has_ids(std::string_view driver) {
  const auto* const row = std::ranges::find(kDrivers, driver, &KnownDriver::name);
  return row != kDrivers.end() && !row->model.empty();
}

std::vector<PciControl::Function> PciControl::functions() const {
  std::vector<Function> all;
  for (const auto& device : impl_->devices.all())
    if (device != nullptr && device->device().present())
      all.push_back(impl_->describe(impl_->known(device->function())));
  return all;
}

std::uint64_t PciControl::generation() const { return impl_->generation.load(std::memory_order_acquire); }
void PciControl::on_change(std::function<void()> told) { impl_->told = std::move(told); }

}  // namespace softiommu
