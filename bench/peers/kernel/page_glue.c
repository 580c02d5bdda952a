/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel side of the page allocator in env.c: struct page helpers that need kernel headers.
 * Measures nothing itself. Copied to drivers/iommu/ of the private kernel source.
 */
#include "page_glue.h"
#include <linux/mm.h>

unsigned long env_page_to_virt(void* page) { return (unsigned long)page_to_virt((struct page*)page); }

void* env_virt_to_page(unsigned long address) { return virt_to_page((void*)address); }

unsigned long env_sizeof_page(void) { return sizeof(struct page); }

void env_init_page(void* pointer, unsigned int order) {
  struct page* page = pointer;

  memset(page, 0, sizeof(*page));
  set_page_count(page, 1);
  if (order) {
    __SetPageHead(page);
    ((struct folio*)page)->_flags_1 = order;
  }
}

unsigned int env_page_order(void* page) { return folio_order((struct folio*)page); }
