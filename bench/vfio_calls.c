/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plain VFIO client for tools/bench: maps and unmaps pages through an edu device's container, times the calls and
 * accesses to a BAR. map_page() and unmap_page() are functions of their own so that callgrind can count inside them.
 *
 * usage: vfio_calls BDF count PAIRS [lone]   maps and unmaps a page PAIRS times, beside another mapping or alone
 *        vfio_calls BDF time                 name=value lines: nanoseconds (medians of runs) and resident KiB
 */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define IOVA 0x40000000u
#define EDU_LIVENESS 0x04
enum { RUNS = 15, PAIRS_PER_RUN = 20000, ACCESSES_PER_RUN = 2000 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void open_device(const char *bdf, int *container, int *device) {
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

__attribute__((noinline)) void map_page(int container, const void *page, uint64_t iova) {
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)page,
                                         .iova = iova,
                                         .size = PAGE};
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) die("VFIO_IOMMU_MAP_DMA");
}

__attribute__((noinline)) void unmap_page(int container, uint64_t iova) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = PAGE};
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) die("VFIO_IOMMU_UNMAP_DMA");
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_median(const char *name, double *runs) {
  qsort(runs, RUNS, sizeof *runs, by_value);
  printf("%s=%.1f\n", name, runs[RUNS / 2]);
}

static void time_pairs(int container, const uint8_t *memory) {
  double runs[RUNS];
  for (unsigned r = 0; r < RUNS; r++) {
    const double begin = now_ns();
    for (unsigned i = 0; i < PAIRS_PER_RUN; i++) {
      map_page(container, memory, IOVA);
      unmap_page(container, IOVA);
    }
    runs[r] = (now_ns() - begin) / PAIRS_PER_RUN;
  }
  print_median("pair_ns", runs);
}

static void time_registers(int device) {
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  const uint16_t enable = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  if (pwrite(device, &enable, 2, (off_t)config.offset + PCI_COMMAND) != 2) die("the command register");
  volatile uint8_t *at = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)bar.offset);
  if (at == MAP_FAILED) die("mmap of BAR 0");
  volatile uint32_t *const liveness = (volatile uint32_t *)(at + EDU_LIVENESS);
  double reads[RUNS], writes[RUNS];
  for (unsigned r = 0; r < RUNS; r++) {
    double begin = now_ns();
    for (unsigned i = 0; i < ACCESSES_PER_RUN; i++) (void)*liveness;
    reads[r] = (now_ns() - begin) / ACCESSES_PER_RUN;
    begin = now_ns();
    for (unsigned i = 0; i < ACCESSES_PER_RUN; i++) *liveness = i;
    writes[r] = (now_ns() - begin) / ACCESSES_PER_RUN;
  }
  print_median("mmio_read_ns", reads);
  print_median("mmio_write_ns", writes);
}

static long resident_kib(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1) die("/proc/self/statm");
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: vfio_calls BDF count PAIRS [lone] | vfio_calls BDF time\n");
    return 2;
  }
  int container, device;
  open_device(argv[1], &container, &device);
  const long resident = resident_kib(); /* an idle machine: opened and attached, nothing mapped */
  uint8_t *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  memset(memory, 1, 2 * PAGE);
  if (strcmp(argv[2], "time") == 0) {
    map_page(container, memory + PAGE, IOVA + PAGE);
    time_pairs(container, memory);
    time_registers(device);
    printf("resident_kib=%ld\n", resident);
    return 0;
  }
  if (argc == 4) map_page(container, memory + PAGE, IOVA + PAGE);
  const long pairs = argc > 3 ? atol(argv[3]) : 0;
  for (long i = 0; i < pairs; i++) {
    map_page(container, memory, IOVA);
    unmap_page(container, IOVA);
  }
  return 0;
}
