/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kp.h: the C interface that every page table in this benchmark exports.
 * The kernel peers, the prototype and a candidate (run.sh --candidate) all look like this.
 *
 * Units: IOVAs, physical addresses and sizes are in bytes, all times are measured by the caller.
 * Errors: functions that return int give 0 or a negative errno value; nothing may abort.
 * Threads: the benches call from one thread only; a peer takes the locks that it would take
 * in the kernel, a candidate should take the ones that it needs in its real use.
 */
#ifndef PEERS_KP_H_
#define PEERS_KP_H_

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum {
  KP_LARGE = 1, /* has 2 MiB and 1 GiB leaf entries besides the small page */
  KP_DIRTY = 2, /* has dirty bits: kp_mark_dirty and kp_read_dirty work */
};

/* What one kind of table looks like. A library may offer several kinds. */
struct kp_shape {
  const char* name;       /* column name, no spaces */
  uint64_t page;          /* smallest leaf page in bytes: 4096 or 16384 */
  unsigned int iova_bits; /* 48: the full set of tests; 36 and 32: a smaller set */
  unsigned int flags;     /* KP_LARGE | KP_DIRTY */
};

/* Called once before anything else (memory for tables, locks, CPU detection). */
int kp_init(void);

/* The shape of a kind (0, 1, 2, ...); NULL after the last one. Constant memory. */
const struct kp_shape* kp_shape_of(int kind);

/* A new empty table, or NULL. Owned by the caller until kp_destroy. */
void* kp_create(int kind);
/* Frees the table with whatever is still mapped in it. */
void kp_destroy(void* table);

/*
 * Maps [iova, iova + size) to [pa, pa + size), read and write allowed. All three are multiples
 * of the small page. Uses 2 MiB and 1 GiB leaves wherever iova, pa and the rest of the range
 * allow it (KP_LARGE). Table memory is allocated here and must be zeroed here: it counts.
 * -EINVAL: bad argument or out of range; -ENOMEM; -EADDRINUSE: a page is mapped already.
 */
int kp_map(void* table, uint64_t iova, uint64_t pa, uint64_t size);

/*
 * Unmaps the range and returns the number of bytes that were unmapped; it stops at, or skips,
 * holes. A leaf is never split: the benches unmap only what they mapped. Includes whatever the
 * implementation does to recycle table memory (the peers put their pages back in a pool after
 * their gather step; no hardware invalidation is sent).
 */
uint64_t kp_unmap(void* table, uint64_t iova, uint64_t size);

/* Physical address of iova including the offset in the page; 0 when unmapped. */
uint64_t kp_iova_to_phys(void* table, uint64_t iova);

/* Sets the dirty bit of the small page at iova (plays the device). KP_DIRTY only; not timed. */
void kp_mark_dirty(void* table, uint64_t iova);

/*
 * Reads and clears the dirty bits of a range of small pages: sets bit n of the bitmap when
 * page n of the range is dirty, changes no other bit. The bitmap comes from kp_bitmap, the
 * range is a multiple of 64 pages. -EOPNOTSUPP without KP_DIRTY.
 */
int kp_read_dirty(void* table, uint64_t iova, uint64_t size, uint64_t* bitmap);

/* Zeroed memory for a bitmap, page aligned, never freed (kernel peers pin its pages). */
uint64_t* kp_bitmap(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif /* PEERS_KP_H_ */
