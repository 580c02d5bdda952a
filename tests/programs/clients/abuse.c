/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that does to its memory whatever comes to its mind while a device uses it: unmaps, protects, discards,
 * moves, truncates, frees and maps over it, by chance. Nothing of that may end it.
 * usage: [SEED=n] [ROUNDS=n] abuse BDF
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "client.h"

#define SLOTS 8u
#define PAGES 16u
#define BYTES ((size_t)PAGES * PAGE)
#define IOVA UINT64_C(0x100000)

struct slot {
  uint8_t* memory; /* NULL: none */
  void* block;     /* of the heap, if it is from there */
  int file;        /* -1: none */
  int mapped;
};

static struct client c;
static struct slot slots[SLOTS];
static unsigned long state;
static volatile int ending;
static unsigned long transfers;

static unsigned long chance(unsigned long below) {
  state = state * 6364136223846793005ul + 1442695040888963407ul;
  return (state >> 33) % below;
}

static void* device_works(void* argument) {
  unsigned long own = 1;
  (void)argument;
  while (!ending) {
    own = own * 6364136223846793005ul + 1;
    const uint64_t at = IOVA + (own >> 33) % (SLOTS * PAGES) * PAGE + (own >> 20) % 64;
    if ((own >> 50) % 2 != 0)
      edu_transfer(&c, at, EDU_BUFFER, PAGE - 64, 0);
    else
      edu_transfer(&c, EDU_BUFFER, at, PAGE - 64, 1);
    transfers++;
  }
  return NULL;
}

static uint64_t iova_of(const struct slot* slot) { return IOVA + (uint64_t)(slot - slots) * BYTES; }

static void make(struct slot* slot) {
  *slot = (struct slot){.file = -1};
  switch (chance(3)) {
    case 0:
      slot->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      break;
    case 1:
      CHECK((slot->file = memfd_create("abuse", MFD_CLOEXEC)) >= 0 && ftruncate(slot->file, BYTES) == 0);
      slot->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, slot->file, 0);
      break;
    default:
      CHECK((slot->block = aligned_alloc(PAGE, BYTES)) != NULL);
      slot->memory = slot->block;
  }
  CHECK(slot->memory != MAP_FAILED);
  slot->mapped = map_dma(&c, slot->memory, iova_of(slot), BYTES) == 0;
}

static void forget(struct slot* slot) {
  if (slot->block != NULL)
    free(slot->block);
  else
    munmap(slot->memory, BYTES);
  if (slot->file >= 0) close(slot->file);
  slot->memory = NULL;
}

static void move(struct slot* slot) {
  void* place = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* moved = mremap(slot->memory, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place);
  if (moved == place) slot->memory = moved; /* else the place may be somebody else's by now (mremap unmaps it first) */
}

/* The heap's blocks are only freed: libc wants its memory back as it gave it. */
static void abuse(struct slot* slot) {
  const size_t first = chance(PAGES), count = 1 + chance(PAGES - first);
  uint8_t* at = slot->memory + first * PAGE;
  const size_t bytes = count * PAGE;
  static const int kAdvice[] = {MADV_DONTNEED, MADV_FREE, MADV_WILLNEED, MADV_COLD};
  const unsigned long what = chance(slot->block != NULL ? 3 : 9);
  if (what == 0 && slot->mapped) {
    slot->mapped = 0;
    unmap_dma(&c, iova_of(slot), BYTES);
  } else if (what == 1 && !slot->mapped) {
    slot->mapped = map_dma(&c, slot->memory, iova_of(slot), BYTES) == 0;
  } else if (what == 2) {
    forget(slot); /* perhaps with the mapping still there */
  } else if (what == 3) {
    munmap(at, bytes); /* and then the rest: what comes into a hole is not ours to abuse */
    if (first != 0) munmap(slot->memory, first * PAGE);
    if (first + count != PAGES) munmap(at + bytes, BYTES - (first + count) * PAGE);
    if (slot->file >= 0) close(slot->file);
    slot->memory = NULL;
  } else if (what == 4) {
    mprotect(at, bytes, (int)chance(4));
  } else if (what == 5) {
    madvise(at, bytes, kAdvice[chance(4)]);
  } else if (what == 6) {
    mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  } else if (what == 7) {
    move(slot);
  } else if (what == 8 && slot->file >= 0) {
    CHECK(ftruncate(slot->file, (off_t)chance(2 * BYTES)) == 0);
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  state = number_from("SEED", 1);
  c = open_client(argv[1]);
  pthread_t device;
  CHECK(pthread_create(&device, NULL, device_works, NULL) == 0);
  for (unsigned long round = number_from("ROUNDS", 20000); round != 0; round--) {
    struct slot* slot = &slots[chance(SLOTS)];
    if (slot->memory != NULL) {
      abuse(slot);
      continue;
    }
    if (slot->mapped) unmap_dma(&c, iova_of(slot), BYTES);
    make(slot);
  }
  ending = 1;
  CHECK(pthread_join(device, NULL) == 0);
  CHECK(transfers != 0);
  printf("abuse: %lu transfers survived\n", transfers);
  return 0;
}
