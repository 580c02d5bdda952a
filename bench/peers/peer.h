/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the differential test needs beyond kp.h: tables of any configuration, rights, and the words themselves.
 * Linux's side (kernel/pt_glue_*.c) and ours (candidate.cpp) both answer it; kp_unmap, kp_iova_to_phys, kp_read_dirty
 * and kp_destroy work on what peer_create gives.
 */
#ifndef PEERS_PEER_H_
#define PEERS_PEER_H_

#include "kp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum peer_format {
  PEER_VTDSS,   /* VT-d second stage */
  PEER_X86_64,  /* VT-d first stage, AMD v2; lower half */
  PEER_AMDV1,   /* its root grows */
  PEER_RISCV64, /* lower half */
  PEER_ARM_S1,
  PEER_ARM_S2,
  PEER_V7S,
  PEER_DART1,
  PEER_DART2,
};

enum {
  PEER_TRACK_DIRTY = 1,    /* leaves are born clean, where a configuration decides that */
  PEER_FORCE_COHERENT = 2, /* PEER_CACHE forces snooping, where entries can */
  PEER_CONCATENATE = 4,    /* stage 2: concatenated root tables wherever they save a level */
  PEER_UPPER_HALF = 8,     /* stage 1: TTBR1, IOVAs begin with ones */
  PEER_NON_SECURE = 16,    /* stage 1, v7s: NS bits are set */
  PEER_AARCH32 = 32,       /* long descriptors as ARMv7 has them */
  PEER_MEDIATEK = 64,      /* v7s with longer addresses */
};

struct peer_config {
  enum peer_format format;
  unsigned int input_bits; /* says how many levels there are (the whole width, for x86-64 and RISC-V) */
  unsigned int output_bits;
  unsigned int page_lg2;
  unsigned long page_sizes; /* bit n: 2^n bytes */
  unsigned int flags;
};

enum { PEER_READ = 1, PEER_WRITE = 2, PEER_CACHE = 4, PEER_NOEXEC = 8 };

/* NULL: this library has no such tables. */
void* peer_create(const struct peer_config* config);
/* As kp_map, with rights. */
int peer_map(void* table, uint64_t iova, uint64_t pa, uint64_t size, unsigned int rights);

/* The tables that hardware would be given, and their level counted from the leaves (0). Tables next to each other are
 * one root, as with Arm's concatenated ones. */
struct peer_root {
  uint64_t pa[4];
  unsigned int count, level;
};
void peer_root_of(void* table, struct peer_root* root);
/* Where table memory is. */
void* peer_words(uint64_t pa);

#ifdef __cplusplus
}
#endif
#endif /* PEERS_PEER_H_ */
