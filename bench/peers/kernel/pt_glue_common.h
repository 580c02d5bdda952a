/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by pt_glue_new.c and pt_glue_old.c: dirty tracking through iova_bitmap, leaf lookup.
 * Measures nothing itself. Copied to drivers/iommu/ of the private kernel source.
 */
#include <linux/iommu.h>
#include <linux/iova_bitmap.h>

#define KP_ENTRY_ADDRESS 0x000ffffffffff000ull

typedef int (*kp_dirty_fn)(void* table, unsigned long iova, size_t size, struct iommu_dirty_bitmap* dirty);

struct kp_dirty_walk {
  void* table;
  kp_dirty_fn read_and_clear;
  struct iommu_dirty_bitmap dirty;
};

static int kp_dirty_chunk(struct iova_bitmap* bitmap, unsigned long iova, size_t size, void* opaque) {
  struct kp_dirty_walk* walk = opaque;

  return walk->read_and_clear(walk->table, iova, size, &walk->dirty);
}

/* As iommufd does it: pin the bitmap in chunks and let the format's code fill them. */
static int kp_walk_dirty(void* table, kp_dirty_fn read_and_clear, u64 iova, u64 size, u64* user, unsigned long page) {
  struct kp_dirty_walk walk = {.table = table, .read_and_clear = read_and_clear};
  struct iommu_iotlb_gather gather;
  struct iova_bitmap* bitmap;
  int ret;

  bitmap = iova_bitmap_alloc(iova, size, page, (u64 __user*)user);
  if (IS_ERR(bitmap)) return PTR_ERR(bitmap);
  iommu_dirty_bitmap_init(&walk.dirty, bitmap, &gather);
  ret = iova_bitmap_for_each(bitmap, &walk, kp_dirty_chunk);
  iova_bitmap_free(bitmap);
  return ret;
}

/* Entry of the 4 KiB page at iova in a table with 9 bits per level. */
static u64* kp_leaf_entry(u64* table, int top_level, u64 iova) {
  int level;

  for (level = top_level; level > 0; level--) {
    u64 entry = table[(iova >> (12 + 9 * level)) & 511];

    table = phys_to_virt(entry & KP_ENTRY_ADDRESS);
  }
  return &table[(iova >> 12) & 511];
}

/* io-pgtable callbacks: gather like a driver does, send nothing. */
static void kp_tlb_flush_all(void* cookie) {}

static void kp_tlb_flush_walk(unsigned long iova, size_t size, size_t granule, void* cookie) {}
