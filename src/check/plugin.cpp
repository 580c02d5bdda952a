// SPDX-License-Identifier: BSD-3-Clause
#include "check/plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <string_view>

#include "check/plugin_abi.h"

namespace softiommu::check {

namespace {

constexpr const char* kSymbol = "softiommu_driver_plugin";

std::expected<void*, std::string> open_library(const std::string& path) {
  // A name without a folder means a file here, not one of the system's libraries.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  if (::access(file.c_str(), F_OK) != 0) return std::unexpected(fmt::format("{}: there is no such file", path));
  // Never closed: domains, option tables and vtables of the driver's are used until the program ends.
  if (void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  return std::unexpected(fmt::format("{}: it cannot be loaded: {}", path, ::dlerror()));
}

std::expected<const DriverPlugin*, std::string> find_plugin(void* library, const std::string& path) {
  const auto* const plugin = static_cast<const DriverPlugin*>(::dlsym(library, kSymbol));
  if (plugin == nullptr)
    return std::unexpected(fmt::format(
        "{}: it is no driver plugin: there is no symbol {} (SOFTIOMMU_DRIVER_PLUGIN makes it)", path, kSymbol));
  if (plugin->abi != kPluginAbi || std::string_view(plugin->version) != SOFTIOMMU_VERSION)
    return std::unexpected(fmt::format(
        "{}: it is built for softiommu {} (plugin interface {}), and this is softiommu {} (plugin interface {}): build "
        "it against this release",
        path, plugin->version, plugin->abi, SOFTIOMMU_VERSION, kPluginAbi));
  if (plugin->name == nullptr || plugin->make == nullptr || plugin->machines.empty())
    return std::unexpected(fmt::format("{}: the plugin says no name, makes no driver or has no machine", path));
  return plugin;
}

}  // namespace

std::expected<CheckedDriver, std::string> load_plugin(const std::string& path) {
  const auto library = open_library(path);
  if (!library) return std::unexpected(library.error());
  const auto plugin = find_plugin(*library, path);
  if (!plugin) return std::unexpected(plugin.error());
  CheckedDriver driver{.name = (*plugin)->name,
                       .make = (*plugin)->make,
                       .machines = {},
                       .unit_models = {(*plugin)->unit_models.begin(), (*plugin)->unit_models.end()}};
  for (const PluginMachine& machine : (*plugin)->machines) driver.machines.push_back({machine.name, machine.toml});
  return driver;
}

}  // namespace softiommu::check
