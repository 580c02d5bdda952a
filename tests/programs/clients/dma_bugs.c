/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs with one bug each, of the kind that corrupts memory on real hardware: the device still uses what the program
 * has taken back.
 * usage: dma_bugs BUG BDF [BDF]
 */
#define _GNU_SOURCE
#include "client.h"

#define IOVA UINT64_C(0x100000)
#define BYTES (4 * PAGE)

static struct client c;

static uint8_t* memory_for(int prot, size_t bytes) {
  uint8_t* memory = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

/* The names of these functions are looked for in reports. */
static __attribute__((noinline)) void map_buffer(const void* memory) { CHECK(map_dma(&c, memory, IOVA, BYTES) == 0); }
static __attribute__((noinline)) void unmap_buffer(void) { CHECK(unmap_dma(&c, IOVA, BYTES) == 0); }
static __attribute__((noinline)) void release_buffer(void* memory) { CHECK(munmap(memory, BYTES) == 0); }
static void device_writes(uint64_t iova, uint64_t bytes) { edu_transfer(&c, EDU_BUFFER, iova, bytes, 1); }

static void use_after_unmap(void) {
  map_buffer(memory_for(PROT_READ | PROT_WRITE, BYTES));
  device_writes(IOVA, PAGE);
  unmap_buffer();
  for (int i = 0; i < 3; i++) device_writes(IOVA + PAGE, 64);
}

static void never_mapped(void) {
  map_buffer(memory_for(PROT_READ | PROT_WRITE, BYTES));
  device_writes(IOVA + BYTES + 16, 64);
}

static void read_only(void) {
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ,
                                         .vaddr = (uintptr_t)memory_for(PROT_READ | PROT_WRITE, BYTES),
                                         .iova = IOVA,
                                         .size = BYTES};
  CHECK(ioctl(c.container, VFIO_IOMMU_MAP_DMA, &map) == 0);
  device_writes(IOVA, 64);
}

static void after_munmap(void) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  device_writes(IOVA, PAGE);
  release_buffer(memory);
  device_writes(IOVA + PAGE, PAGE);
}

static void after_madvise(void) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  CHECK(madvise(memory + PAGE, PAGE, MADV_FREE) == 0);
  device_writes(IOVA, PAGE); /* is still in use */
  device_writes(IOVA + PAGE, PAGE);
}

static void after_free(void) {
  uint8_t* block = aligned_alloc(PAGE, BYTES);
  CHECK(block != NULL);
  map_buffer(block);
  device_writes(IOVA, PAGE);
  free(block);
  device_writes(IOVA + PAGE, 64);
  CHECK(unmap_dma(&c, IOVA, BYTES) == 0);
  for (int i = 0; i < 8; i++) free(malloc(64)); /* the block goes back to the heap */
}

static void after_move(void) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  uint8_t* place = memory_for(PROT_NONE, BYTES);
  CHECK(mremap(memory, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
  device_writes(IOVA, PAGE); /* the pages went along */
  CHECK(munmap(place, BYTES) == 0);
  device_writes(IOVA, PAGE);
}

static void protected_memory(void) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  CHECK(mprotect(memory, PAGE, PROT_NONE) == 0);
  device_writes(IOVA, 64);
}

static void truncated_file(void) {
  int file = memfd_create("buffer", MFD_CLOEXEC);
  CHECK(file >= 0 && ftruncate(file, BYTES) == 0);
  uint8_t* memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  CHECK(memory != MAP_FAILED);
  map_buffer(memory);
  CHECK(ftruncate(file, PAGE) == 0);
  device_writes(IOVA, 64);
  device_writes(IOVA + PAGE, 64);
}

/* Both devices get their work before one of them has ended. Which comes first is chance: several rounds. */
static void overlap(struct client* other) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  CHECK(map_dma(other, memory, IOVA, BYTES) == 0);
  struct client* const both[] = {&c, other};
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < 2; i++) {
      write64(both[i], EDU_DMA_SOURCE, EDU_BUFFER);
      write64(both[i], EDU_DMA_TARGET, IOVA + (unsigned)i * 16);
      write64(both[i], EDU_DMA_COUNT, 64);
    }
    for (int i = 0; i < 2; i++) write64(both[i], EDU_DMA_COMMAND, EDU_DMA_START | EDU_DMA_TO_MEMORY);
    for (int i = 0; i < 2; i++)
      while ((read64(both[i], EDU_DMA_COMMAND) & EDU_DMA_START) != 0) usleep(20);
  }
}

/* One after the other, and side by side: no bug. */
static void in_turn(struct client* other) {
  uint8_t* memory = memory_for(PROT_READ | PROT_WRITE, BYTES);
  map_buffer(memory);
  CHECK(map_dma(other, memory, IOVA, BYTES) == 0);
  for (int round = 0; round < 20; round++) {
    edu_transfer(&c, EDU_BUFFER, IOVA, PAGE, 1);
    edu_transfer(other, EDU_BUFFER, IOVA, PAGE, 1);
    edu_transfer(&c, IOVA, EDU_BUFFER, PAGE, 0);
  }
  unmap_buffer();
  CHECK(unmap_dma(other, IOVA, BYTES) == 0);
  void* block = aligned_alloc(PAGE, BYTES);
  map_buffer(block);
  device_writes(IOVA, BYTES / 4);
  unmap_buffer();
  free(block);
  release_buffer(memory);
}

/* 0: there is no such bug. */
static int run_bug(const char* name) {
  static const struct {
    const char* name;
    void (*run)(void);
  } bugs[] = {
      {"use-after-unmap", use_after_unmap}, {"never-mapped", never_mapped},   {"read-only", read_only},
      {"after-munmap", after_munmap},       {"after-madvise", after_madvise}, {"after-free", after_free},
      {"after-move", after_move},           {"protected", protected_memory},  {"truncated", truncated_file},
  };
  for (unsigned i = 0; i < sizeof bugs / sizeof *bugs; i++) {
    if (strcmp(name, bugs[i].name) != 0) continue;
    bugs[i].run();
    return 1;
  }
  return 0;
}

static int run_pair(const char* name, const char* bdf) {
  static const struct {
    const char* name;
    void (*run)(struct client*);
  } pairs[] = {{"overlap", overlap}, {"in-turn", in_turn}};
  for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    if (strcmp(name, pairs[i].name) != 0) continue;
    struct client other = open_client(bdf);
    pairs[i].run(&other);
    return 1;
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  c = open_client(argv[2]);
  if (!(argc == 4 ? run_pair(argv[1], argv[3]) : run_bug(argv[1]))) return 2;
  puts("dma_bugs: ended");
  return 0;
}
