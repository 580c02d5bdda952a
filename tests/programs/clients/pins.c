/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinned means pinned: whatever the program does with memory that is mapped for DMA, the device keeps the pages
 * that it was given, as on Linux. Each case is proved by the edu device, which copies a page into its buffer and on
 * into an untouched window, or writes into the page.
 *
 * usage: pins BDF
 */
#define _GNU_SOURCE
#include "client.h"

#include <malloc.h>
#include <sys/wait.h>

#define IOVA 0x1000000u
#define WINDOW_IOVA 0x100000u
#define PAGES 64u
#define BYTES (PAGES * PAGE)

static struct client c;
static uint8_t *window; /* what the device sees is shown here */

static void fill(uint8_t *memory, unsigned seed) {
  for (unsigned i = 0; i < BYTES; i++) memory[i] = (uint8_t)(seed + i / PAGE * 5 + i % 251);
}

/* Does the device see, in page `page` of the mapping, what fill(seed) put there? */
static int device_sees(unsigned page, unsigned seed) {
  edu_transfer(&c, IOVA + page * PAGE, EDU_BUFFER, PAGE, 0);
  memset(window, 0, PAGE);
  edu_transfer(&c, EDU_BUFFER, WINDOW_IOVA, PAGE, 1);
  for (unsigned i = page * PAGE; i < (page + 1) * PAGE; i++) {
    if (window[i % PAGE] != (uint8_t)(seed + i / PAGE * 5 + i % 251)) return 0;
  }
  return 1;
}

static int device_sees_all(unsigned seed) {
  for (unsigned page = 0; page < PAGES; page += 9) {
    if (!device_sees(page, seed)) return 0;
  }
  return device_sees(PAGES - 1, seed);
}

/* The device writes `value` over page `page` of the mapping. */
static void device_writes(unsigned page, uint8_t value) {
  memset(window, value, PAGE);
  edu_transfer(&c, WINDOW_IOVA, EDU_BUFFER, PAGE, 0);
  edu_transfer(&c, EDU_BUFFER, IOVA + page * PAGE, PAGE, 1);
}

static int all_bytes(const uint8_t *memory, size_t bytes, uint8_t value) {
  for (size_t i = 0; i < bytes; i++) {
    if (memory[i] != value) return 0;
  }
  return 1;
}

static uint8_t *anonymous(size_t bytes) {
  uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static uint8_t *page_of(uint8_t *block) { return (uint8_t *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1)); }

static void pin(uint8_t *memory, unsigned seed) {
  fill(memory, seed);
  CHECK(map_dma(&c, memory, IOVA, BYTES) == 0);
  CHECK(device_sees_all(seed));
}
static void unpin(void) { CHECK(unmap_dma(&c, IOVA, BYTES) == 0); }

static void test_free(void) {
  uint8_t *block = malloc(BYTES + PAGE), *memory = page_of(block);
  pin(memory, 1);
  free(block);
  /* The program may get the same memory again: it shares it with the device, as on Linux. What must not happen is
   * that the device's pages have gone. */
  device_writes(3, 0x33);
  CHECK(!device_sees(3, 1));
  CHECK(device_sees(60, 1));
  unpin();
}

static void test_realloc(void) {
  uint8_t *block = malloc(BYTES + PAGE), *memory = page_of(block);
  uint8_t *volatile fence = malloc(8 * BYTES); /* behind it: it cannot grow */
  const size_t offset = (size_t)(memory - block);
  const uintptr_t before = (uintptr_t)block;
  pin(memory, 2);
  uint8_t *moved = realloc(block, 64 * BYTES);
  CHECK(moved != NULL && (uintptr_t)moved != before);
  for (unsigned i = 0; i < BYTES; i++) CHECK(moved[offset + i] == (uint8_t)(2 + i / PAGE * 5 + i % 251));
  memset(moved, 0, 64 * BYTES);
  CHECK(device_sees(40, 2));
  unpin();
  free(moved);
  free(fence);
}

static void test_trim(void) {
  uint8_t *block = malloc(8 * BYTES), *memory = page_of(block);
  pin(memory, 3);
  free(block);
  malloc_trim(0);
  CHECK(device_sees(41, 3));
  unpin();
}

static void test_shrinking_heap(void) {
  uint8_t *start = sbrk(0);
  CHECK(sbrk(2 * BYTES) == start);
  uint8_t *memory = page_of(start);
  pin(memory, 4);
  if (sbrk(0) == start + 2 * BYTES) {
    CHECK(sbrk(-(intptr_t)(2 * BYTES)) == start + 2 * BYTES);
    CHECK(sbrk(0) == start);
    CHECK(device_sees_all(4));
    CHECK(sbrk(2 * BYTES) == start);
    CHECK(all_bytes(memory, BYTES, 0));
    memset(memory, 9, BYTES);
    CHECK(device_sees_all(4));
    CHECK(brk(start) == 0);
  }
  CHECK(device_sees_all(4));
  unpin();
}

static void test_munmap(void) {
  uint8_t *memory = anonymous(BYTES);
  pin(memory, 5);
  CHECK(munmap(memory + 8 * PAGE, 8 * PAGE) == 0);
  CHECK(device_sees_all(5));
  CHECK(munmap(memory, BYTES) == 0);
  CHECK(device_sees_all(5));
  device_writes(7, 0x44);
  CHECK(!device_sees(7, 5));
  unpin();
}

static void test_map_fixed(void) {
  uint8_t *memory = anonymous(BYTES);
  pin(memory, 6);
  CHECK(mmap(memory, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
  CHECK(all_bytes(memory, BYTES, 0));
  CHECK(device_sees_all(6));
  memset(memory, 1, BYTES);
  CHECK(device_sees_all(6));
  device_writes(5, 0x55);
  CHECK(all_bytes(memory, BYTES, 1));
  unpin();
  munmap(memory, BYTES);
}

static void test_dontneed(void) {
  uint8_t *memory = anonymous(BYTES);
  pin(memory, 7);
  CHECK(madvise(memory, BYTES, MADV_DONTNEED) == 0);
  CHECK(all_bytes(memory, BYTES, 0));
  CHECK(device_sees_all(7));
  memset(memory, 2, BYTES);
  CHECK(device_sees_all(7));
  unpin();
  munmap(memory, BYTES);
}

/* The device and the program share the pages at their new place. */
static void shares(uint8_t *memory, unsigned seed) {
  for (unsigned i = 0; i < BYTES; i++) CHECK(memory[i] == (uint8_t)(seed + i / PAGE * 5 + i % 251));
  CHECK(device_sees_all(seed));
  fill(memory, seed + 100);
  CHECK(device_sees_all(seed + 100));
  device_writes(PAGES - 1, 0x66);
  CHECK(all_bytes(memory + (PAGES - 1) * PAGE, PAGE, 0x66));
  fill(memory, seed);
}

static void test_mremap(void) {
  uint8_t *memory = anonymous(BYTES + PAGE), *fence = memory + BYTES; /* it cannot grow where it is */
  uint8_t *place = anonymous(BYTES);
  CHECK(mprotect(fence, PAGE, PROT_NONE) == 0);
  pin(memory, 8);
  CHECK_FAILS(mremap(memory, BYTES, 4 * BYTES, 0), ENOMEM);
  uint8_t *moved = mremap(memory, BYTES, 4 * BYTES, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED && moved != memory);
  shares(moved, 8);

  /* To a place of the program's choice, and back to the first one. */
  CHECK(mremap(moved, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
  shares(place, 8);
  CHECK(mremap(place, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, memory) == memory);
  shares(memory, 8);
  CHECK(mremap(memory, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);

  /* New memory at the old place is another page to the device; the moved pages are the same ones under a second IOVA. */
  CHECK(mmap(memory, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
  CHECK(map_dma(&c, memory, IOVA + BYTES, BYTES) == 0);
  memset(memory, 3, BYTES);
  CHECK(device_sees_all(8));
  CHECK(map_dma(&c, place, IOVA + 2 * BYTES, BYTES) == 0);
  unpin();
  CHECK(munmap(place, BYTES) == 0);
  edu_transfer(&c, IOVA + 2 * BYTES, EDU_BUFFER, PAGE, 0);
  edu_transfer(&c, EDU_BUFFER, WINDOW_IOVA, PAGE, 1);
  CHECK(window[1] == 9);
  CHECK(unmap_dma(&c, IOVA + BYTES, 2 * BYTES) == 0);
  munmap(memory, BYTES + PAGE);
}

static void test_mremap_over_pinned(void) {
  uint8_t *memory = anonymous(BYTES), *other = anonymous(BYTES);
  memset(other, 7, BYTES);
  pin(memory, 9);
  CHECK(mremap(other, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, memory) == memory);
  CHECK(all_bytes(memory, BYTES, 7));
  CHECK(device_sees_all(9));
  unpin();
  munmap(memory, BYTES);
}

/* After fork the device sees what the parent writes; the child has copies. */
static void test_fork(void) {
  uint8_t *memory = anonymous(BYTES);
  int to_child[2], to_parent[2];
  char token = 0;
  pin(memory, 10);
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    fill(memory, 50);
    CHECK(write(to_parent[1], &token, 1) == 1 && read(to_child[0], &token, 1) == 1);
    for (unsigned i = 0; i < BYTES; i++) CHECK(memory[i] == (uint8_t)(50 + i / PAGE * 5 + i % 251));
    _exit(0);
  }
  CHECK(read(to_parent[0], &token, 1) == 1);
  CHECK(device_sees_all(10));
  fill(memory, 11);
  CHECK(device_sees_all(11));
  device_writes(0, 0x77);
  CHECK(all_bytes(memory, PAGE, 0x77));
  CHECK(write(to_child[1], &token, 1) == 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  unpin();
  munmap(memory, BYTES);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  c = open_client(argv[1]);
  window = anonymous(PAGE);
  CHECK(map_dma(&c, window, WINDOW_IOVA, PAGE) == 0);
  static const struct {
    const char *name;
    void (*run)(void);
  } tests[] = {
      {"free", test_free},         {"realloc", test_realloc},     {"malloc_trim", test_trim},
      {"sbrk", test_shrinking_heap}, {"munmap", test_munmap},     {"MAP_FIXED", test_map_fixed},
      {"MADV_DONTNEED", test_dontneed}, {"mremap", test_mremap},  {"mremap over", test_mremap_over_pinned},
      {"fork", test_fork},
  };
  for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++) {
    tests[i].run();
    printf("pins: %s ok\n", tests[i].name);
    fflush(stdout);
  }
  return 0;
}
