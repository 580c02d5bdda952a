/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plain VFIO client for tools/bench: maps and unmaps pages through an edu device's container, times the calls and
 * accesses to a BAR. map_page() and unmap_page() are functions of their own so that callgrind can count inside them.
 *
 * usage: vfio_calls BDF count PAIRS [lone]   maps and unmaps a page PAIRS times, beside another mapping or alone
 *        vfio_calls BDF time                 name=value lines: nanoseconds (medians of runs) and resident KiB
 */
#include "vfio_open.h"

#define IOVA 0x40000000u
enum { PAIRS_PER_RUN = 20000, ACCESSES_PER_RUN = 2000 };

__attribute__((noinline)) void map_page(int container, const void* page, uint64_t iova) {
  map_memory(container, page, iova, PAGE);
}

__attribute__((noinline)) void unmap_page(int container, uint64_t iova) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = PAGE};
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) die("VFIO_IOMMU_UNMAP_DMA");
}

static void time_pairs(int container, const uint8_t* memory) {
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
  volatile uint8_t* const at = map_bar0(device);
  volatile uint32_t* const liveness = (volatile uint32_t*)(at + EDU_LIVENESS);
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
  FILE* file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1) die("/proc/self/statm");
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: vfio_calls BDF count PAIRS [lone] | vfio_calls BDF time\n");
    return 2;
  }
  int container, device;
  open_device(argv[1], &container, &device);
  const long resident = resident_kib(); /* an idle machine: opened and attached, nothing mapped */
  uint8_t* memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
