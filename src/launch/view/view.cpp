// SPDX-License-Identifier: BSD-3-Clause
#include "launch/view/view.h"

#include "launch/run_options.h"
#include "launch/view/parts.h"

namespace softiommu::launch {
namespace {

void add_modules(Tree& tree, const ViewOptions& options) {
  const struct {
    const char *path, *text;
  } files[] = {
      {"vfio/parameters/enable_unsafe_noiommu_mode", "N\n"},
      {"vfio/initstate", "live\n"},
      {"vfio_pci/initstate", "live\n"},
      {"vfio_pci/parameters/disable_idle_d3", "N\n"},
      {"vfio_pci/parameters/disable_denylist", "N\n"},
      {"vfio_pci/parameters/nointxmask", "N\n"},
      {"vfio_pci_core/initstate", "live\n"},
      {"iommufd/initstate", "live\n"},
      {"iommufd/parameters/allow_unsafe_interrupts", options.allow_unsafe_interrupts ? "Y\n" : "N\n"},
      {"vfio_iommu_type1/initstate", "live\n"},
      {"vfio_iommu_type1/parameters/allow_unsafe_interrupts", options.allow_unsafe_interrupts ? "Y\n" : "N\n"},
      {"vfio_iommu_type1/parameters/disable_hugepages", "N\n"},
      {"vfio_iommu_type1/parameters/dma_entry_limit", "65535\n"},
  };
  for (const auto& file : files) tree.attribute("sys/module/" + std::string(file.path), file.text);
  tree.attribute("sys/module/vfio_pci/parameters/enable_sriov", "Y\n", 0644);
}

// The knobs of the kernel's fault injection that programs set before they use fail-nth: filters which ours has not
// (every allocation and copy is a point) and how much is logged (nothing).
void add_fault_knobs(Tree& tree) {
  for (const char* path :
       {"failslab/ignore-gfp-wait", "fail_page_alloc/ignore-gfp-wait", "fail_page_alloc/ignore-gfp-highmem"})
    tree.file("sys/kernel/debug/" + std::string(path), "N\n");
  for (const char* path : {"failslab/verbose", "fail_page_alloc/verbose", "fail_usercopy/verbose"})
    tree.file("sys/kernel/debug/" + std::string(path), "0\n");
}

}  // namespace

Result<> write_view(const std::string& root, System& system, const ViewOptions& options) {
  Tree tree(root);
  add_modules(tree, options);
  if (options.fault_injection) add_fault_knobs(tree);
  for (const char* folder :
       {"sys/bus/pci/slots", "sys/bus/pci/devices", "sys/class/iommu", "sys/class/vfio", "sys/class/vfio-dev"}) {
    tree.folder(folder);
  }
  add_bus(tree, system);
  add_iommus(tree, system);
  add_device_nodes(tree);
  return tree.result();
}

}  // namespace softiommu::launch
