// SPDX-License-Identifier: BSD-3-Clause
#include "launch/bus/pci_bus.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "launch/control/control_abi.h"
#include "launch/run_options.h"
#include "launch/view/tree.h"

namespace softiommu::launch {
namespace {

using Function = PciControl::Function;
constexpr std::string_view kVfio = "vfio-pci";

// kstrtoul(text, 0): "0x" and "0" say the base; nothing before it, nothing behind it.
std::optional<std::uint64_t> number_of(std::string_view text) {
  int base = 10;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.size() > 1 && text[0] == '0') {
    base = text[1] == 'x' || text[1] == 'X' ? 16 : 8;
    text.remove_prefix(base == 16 ? 2 : 1);
  }
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

// kstrtobool
std::optional<bool> flag_of(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (std::string_view("yYtT1").contains(text[0]) || text.starts_with("on") || text.starts_with("ON")) return true;
  if (std::string_view("nNfF0").contains(text[0]) || text.starts_with("of") || text.starts_with("OF")) return false;
  return std::nullopt;
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }
std::string_view before_last_part(std::string_view path) { return path.substr(0, path.rfind('/')); }

}  // namespace

bool PciBus::DynamicId::parse(std::string_view value) {
  constexpr int kNeeded = 2;
  return std::sscanf(std::string(value).c_str(), "%x %x %x %x %x %x", &vendor, &device, &subvendor, &subdevice,
                     &class_code, &class_mask) >= kNeeded;
}

bool PciBus::DynamicId::matches(const FunctionIdentity& id) const {
  return vendor == id.vendor && device == id.device && (subvendor == kAny || subvendor == id.subsystem_vendor) &&
         (subdevice == kAny || subdevice == id.subsystem_device) && ((class_code ^ id.class_code) & class_mask) == 0;
}

// --- the files -----------------------------------------------------------------------------------------------

constexpr PciBus::Row PciBus::kRows[] = {
    {Scope::driver, "bind", &PciBus::bind},
    {Scope::driver, "unbind", &PciBus::unbind},
    {Scope::driver, "new_id", &PciBus::new_id},
    {Scope::driver, "remove_id", &PciBus::remove_id},
    {Scope::bus, "drivers_probe", &PciBus::drivers_probe},
    {Scope::bus, "drivers_autoprobe", &PciBus::drivers_autoprobe},
    {Scope::bus, "rescan", &PciBus::rescan},
    {Scope::device, "driver_override", &PciBus::driver_override},
    {Scope::device, "remove", &PciBus::remove},
    {Scope::device, "rescan", &PciBus::rescan},
    {Scope::device, "reset", &PciBus::reset},
    {Scope::device, "sriov_numvfs", &PciBus::sriov_numvfs},
    {Scope::device, "sriov_drivers_autoprobe", &PciBus::sriov_drivers_autoprobe},
    {Scope::device, "enable", &PciBus::enable},
    {Scope::device, "numa_node", &PciBus::numa_node},
    {Scope::device, "msi_bus", &PciBus::flag},
    {Scope::device, "broken_parity_status", &PciBus::flag},
    {Scope::device, "uevent", &PciBus::uevent},
    {Scope::parameter, "enable_sriov", &PciBus::enable_sriov},
};

const PciBus::Row* PciBus::locate(std::string_view file, Place& place) {
  constexpr std::string_view kBus = "/sys/bus/pci", kDrivers = "/sys/bus/pci/drivers", kDevices = "/sys/devices/pci",
                             kParameters = "/sys/module/vfio_pci/parameters";
  const std::string_view folder = before_last_part(file), name = last_part(file);
  Scope scope;
  if (folder == kBus) {
    scope = Scope::bus;
  } else if (folder == kParameters) {
    scope = Scope::parameter;
  } else if (before_last_part(folder) == kDrivers) {
    scope = Scope::driver;
    place.driver = last_part(folder);
  } else if (folder.starts_with(kDevices)) {
    scope = Scope::device;
    place.bdf = last_part(folder);
  } else {
    return nullptr;
  }
  place.file = file;
  const auto row = std::ranges::find_if(
      kRows, [&](const Row& candidate) { return candidate.scope == scope && candidate.name == name; });
  return row == std::end(kRows) ? nullptr : row;
}

Result<PciBus::Changes> PciBus::store(std::string_view file, std::string_view data) {
  Place place;
  const Row* const row = locate(file, place);
  if (row == nullptr) return fail(EIO, "the file takes no writes");
  if (row->scope == Scope::device && !find(place.bdf)) return fail(ENODEV, "the device has left the bus");
  if (data.ends_with('\n')) data.remove_suffix(1);
  return finish((this->*row->store)(place, data));
}

Result<PciBus::Changes> PciBus::unplug(const std::string& bdf) {
  return finish(make({.kind = Change::Kind::unplug, .bdf = bdf}));
}

Result<PciBus::Changes> PciBus::plug(const std::string& bdf) {
  auto plugged = make({.kind = Change::Kind::plug, .bdf = bdf});
  if (plugged) plugged = rescan({}, "1");
  return finish(plugged);
}

Result<PciBus::Changes> PciBus::apply(const Change& change) { return finish(make(change)); }

// What was done is told and shown also if a later part of it failed.
Result<PciBus::Changes> PciBus::finish(const Result<>& result) {
  Changes made = std::exchange(made_, {});
  if (const auto shown = show(); !shown) log::error("softiommu: {}", shown.error().why);
  if (!result && made.empty()) return std::unexpected(result.error());
  return made;
}

// --- the bus -------------------------------------------------------------------------------------------------

PciBus::PciBus(System& system, PciControl& control, const std::string& view_root)
    : view_root_(view_root), control_(control), view_(view_root, system, texts_) {
  learn_texts();
  for (const Function& function : control_.functions()) {
    if (function.driver == kVfio) known(function.bdf).driver_override = kVfio;
  }
}

// What write_view() made files show that no store has written since.
void PciBus::learn_texts() {
  for (const std::string& folder : folders()) {
    for (const Row& row : kRows) {
      const std::string place = fmt::format("{}/{}", folder, row.name);
      if (::access(place.c_str(), F_OK) == 0)  // one that cannot be read shows nothing
        texts_.insert_or_assign(place.substr(view_root_.size() + 1), read_text(place).value_or(""));
    }
  }
}

PciBus::Known& PciBus::known(std::string_view bdf) {
  const auto at = known_.find(bdf);
  return at != known_.end() ? at->second : known_[std::string(bdf)];
}

std::optional<Function> PciBus::find(std::string_view bdf) const {
  for (Function& function : control_.functions()) {
    if (function.bdf == bdf) return std::move(function);
  }
  return std::nullopt;
}

Result<> PciBus::show() {
  DeviceView::Functions shown;
  for (Function& function : control_.functions()) {
    const Known& beside = known(function.bdf);
    const std::string override = beside.driver_override.empty() ? "(null)" : beside.driver_override;
    const std::string bdf = function.bdf;
    shown.emplace(bdf, ShownFunction{std::move(function), override, beside.vf_autoprobe});
  }
  std::erase_if(known_, [&](const auto& entry) { return !shown.contains(entry.first); });
  return view_.show(std::move(shown));
}

Result<> PciBus::make(Change change) {
  TRY(change.apply(control_));
  made_.push_back(std::move(change));
  return {};
}

// As pci_match_device: driver_override alone decides if it is set; then dynamic ids, then the driver's own. A driver of
// Linux for one of our models knows its own ids: it refuses at bind.
bool PciBus::matches(std::string_view driver, const Function& function) const {
  const auto beside = known_.find(function.bdf);
  const std::string_view override = beside == known_.end() ? "" : std::string_view(beside->second.driver_override);
  if (!override.empty()) return override == driver;
  const auto ids = dynamic_ids_.find(driver);
  const bool dynamic = ids != dynamic_ids_.end() && std::ranges::any_of(ids->second, [&](const DynamicId& id) {
                         return id.matches(function.hardware->identity());
                       });
  return dynamic || PciControl::has_ids(driver);
}

// device_attach: the first driver that matches and probes. That none does is no error.
Result<> PciBus::probe(const std::string& bdf) {
  for (const std::string_view driver : PciControl::drivers()) {
    const auto function = find(bdf);
    if (!function) return fail(ENODEV, "no such device");
    if (!function->driver.empty()) break;
    if (matches(driver, *function)) (void)make({.kind = Change::Kind::bind, .bdf = bdf, .driver = std::string(driver)});
  }
  return {};
}

// --- writes that were not asked for --------------------------------------------------------------------------

std::set<std::string> PciBus::folders() const {
  std::set<std::string> all = {view_root_ + "/sys/bus/pci", view_root_ + "/sys/module/vfio_pci/parameters"};
  for (const std::string_view driver : PciControl::drivers())
    all.insert(fmt::format("{}/sys/bus/pci/drivers/{}", view_root_, driver));
  for (std::string& folder : view_.device_folders()) all.insert(view_root_ + "/" + folder);
  return all;
}

std::optional<PciBus::Written> PciBus::take_written(const std::string& place) {
  constexpr mode_t kPermissions = 07777;
  Place known_place;
  const std::string file = place.substr(view_root_.size());
  struct stat status{};
  if (locate(file, known_place) == nullptr || ::stat(place.c_str(), &status) != 0) return std::nullopt;
  const mode_t mode = status.st_mode & kPermissions;
  ::chmod(place.c_str(), mode | S_IRUSR);
  const std::string text = read_text(place).value_or("");
  ::chmod(place.c_str(), mode);
  const std::string& shown = texts_[file.substr(1)];
  if (text.empty() || text == shown) return std::nullopt;
  Tree tree(view_root_);
  tree.file(file.substr(1), shown, mode);
  return Written{file, text.substr(0, text.find('\n'))};
}

// --- drivers -------------------------------------------------------------------------------------------------

Result<> PciBus::bind(const Place& place, std::string_view value) {
  const auto function = find(value);
  if (!function || !matches(place.driver, *function)) return fail(ENODEV, "the driver does not take the device");
  if (!function->driver.empty()) return fail(EBUSY, "the device has a driver");
  return make({.kind = Change::Kind::bind, .bdf = function->bdf, .driver = place.driver});
}

Result<> PciBus::unbind(const Place& place, std::string_view value) {
  const auto function = find(value);
  if (!function || function->driver != place.driver) return fail(ENODEV, "the driver does not have the device");
  return make({.kind = Change::Kind::unbind, .bdf = function->bdf, .driver = place.driver});
}

Result<> PciBus::new_id(const Place& place, std::string_view value) {
  DynamicId id;
  if (!id.parse(value)) return fail(EINVAL, "vendor and device, in hexadecimal");
  auto& ids = dynamic_ids_[place.driver];
  const FunctionIdentity like{.vendor = static_cast<std::uint16_t>(id.vendor),
                              .device = static_cast<std::uint16_t>(id.device),
                              .subsystem_vendor = static_cast<std::uint16_t>(id.subvendor),
                              .subsystem_device = static_cast<std::uint16_t>(id.subdevice),
                              .class_code = id.class_code,
                              .revision = 0};
  if (std::ranges::any_of(ids, [&](const DynamicId& known) { return known.matches(like); }))
    return fail(EEXIST, "the driver has the id");
  ids.push_back(id);
  for (const Function& function : control_.functions()) {
    if (function.driver.empty() && id.matches(function.hardware->identity()) && matches(place.driver, function))
      (void)make({.kind = Change::Kind::bind, .bdf = function.bdf, .driver = place.driver});
  }
  return {};
}

Result<> PciBus::remove_id(const Place& place, std::string_view value) {
  DynamicId id;
  if (!id.parse(value)) return fail(EINVAL, "vendor and device, in hexadecimal");
  const auto same = [&](const DynamicId& known) {
    return known.vendor == id.vendor && known.device == id.device &&
           (id.subvendor == DynamicId::kAny || known.subvendor == id.subvendor) &&
           (id.subdevice == DynamicId::kAny || known.subdevice == id.subdevice) &&
           ((known.class_code ^ id.class_code) & id.class_mask) == 0;
  };
  auto& ids = dynamic_ids_[place.driver];
  const auto at = std::ranges::find_if(ids, same);
  if (at == ids.end()) return fail(ENODEV, "the driver has no such id");
  ids.erase(at);
  return {};
}

Result<> PciBus::drivers_probe(const Place& /*place*/, std::string_view value) { return probe(std::string(value)); }

Result<> PciBus::drivers_autoprobe(const Place& place, std::string_view value) {
  autoprobe_ = !value.starts_with('0');
  return put_text(place, autoprobe_ ? "1\n" : "0\n");
}

// --- devices -------------------------------------------------------------------------------------------------

Result<> PciBus::driver_override(const Place& place, std::string_view value) {
  if (value.size() >= kMostStored - 1) return fail(EINVAL, "the name is too long");
  known(place.bdf).driver_override = value.substr(0, value.find('\n'));
  return {};
}

// What is found is given to vfio-pci, as what was there at the start.
Result<> PciBus::rescan(const Place& /*place*/, std::string_view value) {
  const auto number = number_of(value);
  if (!number) return fail(EINVAL, "no number");
  if (*number == 0) return {};
  const auto before = control_.functions();
  TRY(make({.kind = Change::Kind::rescan}));
  for (const Function& function : control_.functions()) {
    const bool fresh = std::ranges::find(before, function.bdf, &Function::bdf) == before.end();
    if (!fresh || function.driver.empty()) continue;
    known(function.bdf).driver_override = function.driver;
    if (!autoprobe_)
      TRY(make({.kind = Change::Kind::unbind, .bdf = function.bdf, .driver = std::string(function.driver)}));
  }
  return {};
}

Result<> PciBus::remove(const Place& place, std::string_view value) {
  const auto number = number_of(value);
  if (!number) return fail(EINVAL, "no number");
  return *number == 0 ? Result<>{} : make({.kind = Change::Kind::remove, .bdf = place.bdf});
}

Result<> PciBus::reset(const Place& place, std::string_view value) {
  if (number_of(value) != 1) return fail(EINVAL, "it takes 1");
  return make({.kind = Change::Kind::reset, .bdf = place.bdf});
}

// The order of sriov_numvfs_store.
Result<> PciBus::sriov_numvfs(const Place& place, std::string_view value) {
  constexpr std::uint64_t kMost = 0xffff;
  const auto number = number_of(value);
  if (!number || *number > kMost) return fail(EINVAL, "no number of functions");
  const Function function = *find(place.bdf);
  if (*number > function.total_vfs) return fail(ERANGE, "the device has not so many virtual functions");
  if (*number == function.num_vfs) return {};
  if (function.driver.empty()) return fail(ENOENT, "the device has no driver");
  if (function.driver == kVfio && !sriov_enabled_) return fail(ENOENT, "vfio-pci may not: enable_sriov is N");
  if (*number != 0 && function.num_vfs != 0) return fail(EBUSY, "some virtual functions are enabled");
  return enable_vfs(function, static_cast<unsigned>(*number));
}

// vfio-pci captures the virtual functions of its devices: their driver_override is set for them, which
// sriov_drivers_autoprobe does not hold up.
Result<> PciBus::enable_vfs(const Function& function, unsigned number) {
  TRY(make({.kind = Change::Kind::num_vfs, .bdf = function.bdf, .number = number}));
  const auto physical = find(function.bdf);
  for (const std::string& name : physical ? physical->virtfns : std::vector<std::string>{}) {
    const auto made = find(name);
    if (!made || made->driver.empty()) continue;
    if (function.driver == kVfio) {
      known(name).driver_override = kVfio;
    } else if (!autoprobe_ || !known(function.bdf).vf_autoprobe) {
      TRY(make({.kind = Change::Kind::unbind, .bdf = name, .driver = std::string(made->driver)}));
    }
  }
  return {};
}

Result<> PciBus::sriov_drivers_autoprobe(const Place& place, std::string_view value) {
  const auto on = flag_of(value);
  if (!on) return fail(EINVAL, "neither yes nor no");
  known(place.bdf).vf_autoprobe = *on;
  return {};
}

Result<> PciBus::enable(const Place& place, std::string_view value) {
  const auto number = number_of(value);
  if (!number) return fail(EINVAL, "no number");
  if (!find(place.bdf)->driver.empty()) return fail(EBUSY, "the device has a driver");
  unsigned& enabled = known(place.bdf).enabled;
  if (*number == 0 && enabled == 0) return fail(EIO, "it is not enabled");
  enabled = *number != 0 ? enabled + 1 : enabled - 1;
  return put_text(place, fmt::format("{}\n", enabled));
}

// The machine has one node.
Result<> PciBus::numa_node(const Place& place, std::string_view value) {
  if (value != "-1" && number_of(value) != 0) return fail(EINVAL, "no such node");
  return put_text(place, fmt::format("{}\n", value));
}

Result<> PciBus::flag(const Place& place, std::string_view value) {
  const auto number = number_of(value);
  if (!number) return fail(EINVAL, "no number");
  return put_text(place, *number != 0 ? "1\n" : "0\n");
}

// A synthetic event: nobody in a run hears it.
Result<> PciBus::uevent(const Place& /*place*/, std::string_view value) {
  constexpr std::array<std::string_view, 8> kActions{"add",    "remove",  "change", "move",
                                                     "online", "offline", "bind",   "unbind"};
  const std::string_view action = value.substr(0, value.find_first_of(" \n"));
  if (std::ranges::find(kActions, action) == kActions.end()) return fail(EINVAL, "no action of a uevent");
  return {};
}

Result<> PciBus::enable_sriov(const Place& place, std::string_view value) {
  const auto on = flag_of(value);
  if (!on) return fail(EINVAL, "neither yes nor no");
  sriov_enabled_ = *on;
  return put_text(place, *on ? "Y\n" : "N\n");
}

Result<> PciBus::put_text(const Place& place, std::string_view text) {
  constexpr mode_t kReadWrite = 0644;
  Tree tree(view_root_, texts_);
  tree.attribute(place.file.substr(1), text, kReadWrite);
  return tree.result();
}

}  // namespace softiommu::launch
