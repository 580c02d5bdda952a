/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Invalidation completes: an I/OAT channel copies without end into a row of pages, while the program takes one page
 * after the other away from it (VFIO_IOMMU_UNMAP_DMA), overwrites it, looks whether a byte of the device arrives
 * after all, and gives it back. When UNMAP_DMA has returned, no write of the device may come any more.
 *
 * A device that meets the gap stops with an error and is started again.
 * usage: [ROUNDS=n] stale BDF
 */
#include "client.h"

enum { CHANCTRL = 0x80, CHANCMD = 0x84, DMACOUNT = 0x86, CHAINADDR = 0x90, CHANCMP = 0x98, CHANERR = 0xa8 };
enum { CHANCMD_RESET = 0x20, STATE_MASK = 7, STATE_ACTIVE = 0, STATE_HALTED = 3 };
#define WRITE_COMPLETION (UINT64_C(1) << 35)
#define ERRORS_AND_ABORT 0x0c

#define TARGETS 64u
#define SOURCE_IOVA UINT64_C(0x200000)
#define RING_IOVA UINT64_C(0x300000)
#define DONE_IOVA UINT64_C(0x400000)
#define TARGET_IOVA UINT64_C(0x1000000)
#define LAP 65472u /* descriptors for one ring of the doorbell: whole laps, below 2^16 */

struct descriptor {
  uint64_t control, source, target, next, rest[4];
};

static struct client c;
static volatile uint64_t *done;
static uint16_t rung;
static unsigned long starts, laps;

static void *page_for(uint64_t iova, size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  CHECK(map_dma(&c, memory, iova, bytes) == 0);
  return memory;
}

static void make_ring(void) {
  struct descriptor *ring = page_for(RING_IOVA, PAGE);
  for (unsigned i = 0; i < TARGETS; i++) {
    ring[i].control = PAGE | (i == TARGETS - 1 ? WRITE_COMPLETION : 0);
    ring[i].source = SOURCE_IOVA;
    ring[i].target = TARGET_IOVA + i * PAGE;
    ring[i].next = RING_IOVA + (i + 1) % TARGETS * sizeof(struct descriptor);
  }
}

static void start_channel(void) {
  write32(&c, CHANERR, read32(&c, CHANERR));
  *(volatile uint8_t *)(c.bar + CHANCMD) = CHANCMD_RESET;
  while ((*(volatile uint8_t *)(c.bar + CHANCMD) & CHANCMD_RESET) != 0) {
  }
  *(volatile uint16_t *)(c.bar + CHANCTRL) = ERRORS_AND_ABORT;
  *done = STATE_ACTIVE;
  write64(&c, CHANCMP, DONE_IOVA);
  write64(&c, CHAINADDR, RING_IOVA);
  rung = LAP;
  *(volatile uint16_t *)(c.bar + DMACOUNT) = rung;
  starts++;
}

/* The channel is kept busy. */
static void tend(void) {
  const uint64_t state = *done & STATE_MASK;
  if (state == STATE_ACTIVE) return;
  if (state == STATE_HALTED) {
    start_channel();
    return;
  }
  *done = STATE_ACTIVE;
  rung = (uint16_t)(rung + LAP);
  *(volatile uint16_t *)(c.bar + DMACOUNT) = rung;
  laps++;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const unsigned long rounds = number_from("ROUNDS", 100000);
  c = open_client(argv[1]);
  memset(page_for(SOURCE_IOVA, PAGE), 0xdd, PAGE);
  done = page_for(DONE_IOVA, PAGE);
  make_ring();
  uint8_t *targets = mmap(NULL, TARGETS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(targets != MAP_FAILED);
  for (unsigned i = 0; i < TARGETS; i++) CHECK(map_dma(&c, targets + i * PAGE, TARGET_IOVA + i * PAGE, PAGE) == 0);

  static uint8_t expected[PAGE];
  unsigned long written = 0;
  const double begin = seconds();
  start_channel();
  for (unsigned long round = 0; round < rounds; round++) {
    tend();
    const unsigned page = (unsigned)(round * 7 % TARGETS);
    uint8_t *target = targets + page * PAGE;
    const uint8_t value = (uint8_t)(round % 200);
    CHECK(unmap_dma(&c, TARGET_IOVA + page * PAGE, PAGE) == 0);
    written += target[PAGE - 1] == 0xdd;
    memset(target, value, PAGE);
    memset(expected, value, PAGE);
    if (round % 16 == 0) {
      for (volatile unsigned wait = 0; wait < round % 4096; wait++) {
      }
    }
    if (memcmp(target, expected, PAGE) != 0) {
      fprintf(stderr, "stale: round %lu: the device wrote after the unmap\n", round);
      return 1;
    }
    CHECK(map_dma(&c, target, TARGET_IOVA + page * PAGE, PAGE) == 0);
  }
  printf("stale: %lu rounds in %.1f s, no stale byte; the device had written the page in %lu of them; %lu starts, %lu refills\n",
         rounds, seconds() - begin, written, starts, laps);
  CHECK(written > rounds / 1000);
  return 0;
}
