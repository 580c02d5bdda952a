/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a supervised program pays for its calls, for tools/bench: statically linked, so that the shim cannot enter it.
 * Prints name=value lines: nanoseconds, medians of runs. Without a device the lines are of calls that are not ours, to
 * be compared with those of a run outside.
 *
 * usage: supervised_calls [BDF]
 */
#include <sys/syscall.h>

#include "vfio_open.h"

enum { MANY = 20000, FEW = 500 };

static int container, device;
static uint64_t config_offset;
static volatile uint32_t* liveness;
static uint8_t memory[PAGE] __attribute__((aligned(4096)));

static void unrelated(void) { (void)syscall(SYS_getppid); }
static void read_nothing(void) { (void)syscall(SYS_read, STDIN_FILENO, memory, 0); }
static void stat_elsewhere(void) {
  struct stat status;
  (void)stat("/", &status);
}
static void handle_ioctl(void) {
  if (ioctl(container, VFIO_GET_API_VERSION) != VFIO_API_VERSION) die("VFIO_GET_API_VERSION");
}
static void handle_pread(void) {
  uint16_t vendor;
  if (pread(device, &vendor, 2, (off_t)config_offset) != 2) die("pread");
}
static void register_read(void) { (void)*liveness; }
static void map_and_unmap(void) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = 0x100000, .size = PAGE};
  map_memory(container, memory, unmap.iova, unmap.size);
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) die("VFIO_IOMMU_UNMAP_DMA");
}

int main(int argc, char** argv) {
  measure("unrelated_ns", unrelated, MANY);
  measure("read_ns", read_nothing, MANY);
  measure("stat_ns", stat_elsewhere, FEW);
  if (argc != 2) return 0;
  open_device(argv[1], &container, &device);
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  config_offset = config.offset;
  liveness = (volatile uint32_t*)(map_bar0(device) + EDU_LIVENESS);
  measure("ioctl_ns", handle_ioctl, FEW);
  measure("pread_ns", handle_pread, FEW);
  measure("mmio_read_ns", register_read, FEW);
  measure("pair_ns", map_and_unmap, FEW);
  return 0;
}
