/* SPDX-License-Identifier: BSD-3-Clause */
/* What the clients of tools/bench share: opening a device through its group, clocks, medians. */
#pragma once

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
enum { RUNS = 15, EDU_LIVENESS = 0x04 };

static inline void die(const char* what) {
  perror(what);
  exit(1);
}

static inline void open_device(const char* bdf, int* container, int* device) {
  char path[128], link[256];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", bdf);
  ssize_t length = readlink(path, link, sizeof link - 1);
  if (length < 0) die(path);
  link[length] = '\0';
  snprintf(path, sizeof path, "/dev/vfio/%s", strrchr(link, '/') + 1);
  *container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  int group = open(path, O_RDWR | O_CLOEXEC);
  if (*container < 0 || group < 0) die(path);
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, container) != 0) die("VFIO_GROUP_SET_CONTAINER");
  if (ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) die("VFIO_SET_IOMMU");
  *device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
  if (*device < 0) die("VFIO_GROUP_GET_DEVICE_FD");
}

static inline void map_memory(int container, const void* memory, uint64_t iova, uint64_t size) {
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = iova,
                                         .size = size};
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) die("VFIO_IOMMU_MAP_DMA");
}

/* BAR 0, with memory accesses and bus mastering switched on. */
static inline volatile uint8_t* map_bar0(int device) {
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  const uint16_t enable = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  if (pwrite(device, &enable, 2, (off_t)config.offset + PCI_COMMAND) != 2) die("the command register");
  volatile uint8_t* at = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)bar.offset);
  if (at == MAP_FAILED) die("mmap of BAR 0");
  return at;
}

static inline double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static inline void print_median(const char* name, double* runs) {
  qsort(runs, RUNS, sizeof *runs, by_value);
  printf("%s=%.1f\n", name, runs[RUNS / 2]);
}

/* Prints what one of `times` calls takes. */
static inline void measure(const char* name, void (*call)(void), unsigned times) {
  double runs[RUNS];
  for (unsigned r = 0; r < RUNS; r++) {
    const double begin = now_ns();
    for (unsigned i = 0; i < times; i++) call();
    runs[r] = (now_ns() - begin) / times;
  }
  print_median(name, runs);
}
