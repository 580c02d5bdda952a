/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Userspace stand-in for the kernel around the page-table objects: a page arena on huge pages,
 * struct page array, slab, locks, stubs. Measures nothing itself. Plain userspace C.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kp.h"
#include "page_glue.h"

#define PAGE 4096ul
#define KERNEL_GFP_ZERO 0x100u
#define KERNEL_SLAB_HWCACHE_ALIGN 0x2000u
#define MAX_ORDER 11

/* ---- variables that kernel code reads; %gs is 0, so per-CPU variables are plain ones ---- */

unsigned long page_offset_base, vmemmap_base, phys_base;
unsigned long __per_cpu_offset[64], this_cpu_off;
int __preempt_count = 0x1000;
int numa_node, _numa_mem_;
char contig_page_data[65536];
void* kmalloc_caches[4096];

/* ---- arena: physical address 0 is its first byte; the "direct map" is the identity + base ---- */

static const size_t arena_size = 3ul << 30;
static size_t arena_used = 1ul << 20; /* the first pages stay unused: no table at address 0 */
static char* arena;
static void* free_pages_of[MAX_ORDER + 1];

static char* map_aligned(size_t size, size_t alignment) {
  char* start =
      mmap(NULL, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (start == MAP_FAILED) return NULL;
  start = (char*)(((uintptr_t)start + alignment - 1) & ~(alignment - 1));
  madvise(start, size, MADV_HUGEPAGE);
  return start;
}

int kp_init(void) {
  char* pages;

  arena = map_aligned(arena_size, 1ul << 30);
  pages = map_aligned(arena_size / PAGE * env_sizeof_page(), 2ul << 20);
  if (!arena || !pages) return -12; /* ENOMEM */
  page_offset_base = (unsigned long)arena;
  vmemmap_base = (unsigned long)pages;
  return 0;
}

static void* alloc_order(unsigned int order) {
  size_t size = PAGE << order;
  void* block = free_pages_of[order];

  if (block) {
    free_pages_of[order] = *(void**)block;
    return block;
  }
  arena_used = (arena_used + size - 1) & ~(size - 1);
  if (arena_used + size > arena_size) {
    fprintf(stderr, "page arena is full\n");
    abort();
  }
  block = arena + arena_used;
  arena_used += size;
  return block;
}

static void free_order(void* block, unsigned int order) {
  *(void**)block = free_pages_of[order];
  free_pages_of[order] = block;
}

static void* alloc_zeroed_page(unsigned int order) {
  void* block = alloc_order(order);
  void* page;

  memset(block, 0, PAGE << order);
  page = env_virt_to_page((unsigned long)block);
  env_init_page(page, order);
  return page;
}

uint64_t* kp_bitmap(size_t bytes) {
  unsigned int order = 0;

  while (PAGE << order < bytes) order++;
  return (uint64_t*)env_page_to_virt(alloc_zeroed_page(order));
}

/* ---- the kernel's page allocator (7.x names, then 6.12 names) ---- */

void* __folio_alloc_noprof(unsigned int gfp, unsigned int order, int nid, void* mask) {
  return alloc_zeroed_page(order);
}

void* __alloc_pages_noprof(unsigned int gfp, unsigned int order, int nid, void* mask) {
  return alloc_zeroed_page(order);
}

unsigned long get_free_pages_noprof(unsigned int gfp, unsigned int order) {
  void* block = alloc_order(order);

  env_init_page(env_virt_to_page((unsigned long)block), order);
  if (gfp & KERNEL_GFP_ZERO) memset(block, 0, PAGE << order);
  return (unsigned long)block;
}

unsigned long get_zeroed_page_noprof(unsigned int gfp) { return get_free_pages_noprof(KERNEL_GFP_ZERO, 0); }

void __folio_put(void* folio) { free_order((void*)env_page_to_virt(folio), env_page_order(folio)); }

void __put_page(void* page) { free_order((void*)env_page_to_virt(page), 0); }

void __free_pages(void* page, unsigned int order) { free_order((void*)env_page_to_virt(page), order); }

void free_pages(unsigned long address, unsigned int order) {
  if (address) free_order((void*)address, order);
}

int pin_user_pages_fast(unsigned long start, int count, unsigned int flags, void** pages) {
  for (int i = 0; i < count; i++) pages[i] = env_virt_to_page((start & ~(PAGE - 1)) + PAGE * i);
  return count;
}

void unpin_user_pages(void** pages, unsigned long count) {}

/* ---- slab ---- */

void* __kmalloc_cache_noprof(void* cache, unsigned int gfp, size_t size) { return calloc(1, size); }

void* __kmalloc_cache_node_noprof(void* cache, unsigned int gfp, int nid, size_t size) { return calloc(1, size); }

void* __kmalloc_noprof(size_t size, unsigned int gfp) { return calloc(1, size); }

void kfree(void* pointer) { free(pointer); }

/* Objects come from the arena, so that virt_to_phys works on them (v7s, dart). */
struct cache {
  size_t size;
  void* free;
  char *next, *end;
};

void* __kmem_cache_create_args(const char* name, unsigned int size, unsigned int* args, unsigned int flags) {
  struct cache* cache = calloc(1, sizeof(*cache));
  size_t alignment = args && args[0] > 8 ? args[0] : 8;

  if (flags & KERNEL_SLAB_HWCACHE_ALIGN) alignment = 64;
  cache->size = (size + alignment - 1) & ~(alignment - 1);
  return cache;
}

void* kmem_cache_alloc_noprof(void* pointer, unsigned int gfp) {
  struct cache* cache = pointer;
  void* object = cache->free;

  if (object) {
    cache->free = *(void**)object;
  } else {
    if (cache->end - cache->next < (long)cache->size) {
      cache->next = alloc_order(8);
      cache->end = cache->next + (PAGE << 8);
    }
    object = cache->next;
    cache->next += cache->size;
  }
  if (gfp & KERNEL_GFP_ZERO) memset(object, 0, cache->size);
  return object;
}

void kmem_cache_free(void* pointer, void* object) {
  struct cache* cache = pointer;

  *(void**)object = cache->free;
  cache->free = object;
}

void kmem_cache_destroy(void* cache) {}

/* ---- locks and small library functions ---- */

void _raw_spin_lock(int* lock) { while (__sync_lock_test_and_set(lock, 1)); }

void _raw_spin_unlock(int* lock) { __sync_lock_release(lock); }

unsigned long _raw_spin_lock_irqsave(int* lock) {
  _raw_spin_lock(lock);
  return 0;
}

void _raw_spin_unlock_irqrestore(int* lock, unsigned long flags) { _raw_spin_unlock(lock); }

void __bitmap_set(unsigned long* map, unsigned int start, int count) {
  for (int i = 0; i < count; i++) map[(start + i) / 64] |= 1ul << ((start + i) % 64);
}

unsigned long __sw_hweight64(unsigned long word) { return __builtin_popcountl(word); }

int _printk(const char* format, ...) {
  fprintf(stderr, "printk: %s", format);
  return 0;
}

/* ---- statistics, cache and TLB maintenance: nothing to do here ---- */

void mod_node_page_state(void* node, int item, long delta) {}

void mod_lruvec_page_state(void* page, int item, long delta) {}

void lruvec_stat_mod_folio(void* folio, int item, long delta) {}

void clflush_cache_range(void* address, unsigned int size) {}

int is_vmalloc_addr(void* address) { return 0; }

/* 6.12 Intel driver: no cache tags, so no invalidation. */
void cache_tag_flush_range(void* domain, unsigned long start, unsigned long end, unsigned long pages, int hint) {}

void cache_tag_flush_range_np(void* domain, unsigned long start, unsigned long end) {}

void cache_tag_flush_all(void* domain) {}

/* Empty xarrays. */
void* xa_find(void* array, unsigned long* index, unsigned long max, unsigned int filter) { return NULL; }

void* xa_find_after(void* array, unsigned long* index, unsigned long max, unsigned int filter) { return NULL; }

void* xa_load(void* array, unsigned long index) { return NULL; }
