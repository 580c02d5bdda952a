/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interface between env.c (userspace) and page_glue.c (kernel objects): struct page helpers.
 * Measures nothing itself.
 */
#ifndef PEERS_PAGE_GLUE_H_
#define PEERS_PAGE_GLUE_H_

unsigned long env_page_to_virt(void* page);
void* env_virt_to_page(unsigned long address);
unsigned long env_sizeof_page(void);
void env_init_page(void* page, unsigned int order);
unsigned int env_page_order(void* page);

#endif
