/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kp.h and peer.h for the 6.12 kernel: the Intel and AMD drivers' own tables and io-pgtable (arm, v7s), through
 * iommu_map and iommu_unmap. Copied to drivers/iommu/intel/ of the private kernel source.
 */
#include <linux/io-pgtable.h>
#include "iommu.c" /* the driver itself: its map and unmap functions are static */
#undef for_each_iommu
#undef for_each_iommu_safe
#define irte amd_irte
#define irq_remap_table amd_irq_remap_table
#include "../amd/amd_iommu_types.h"
#include "../kp.h"
#include "../peer.h"
#include "../pt_glue_common.h"

#define USUAL_SIZES (SZ_4K | SZ_2M | SZ_1G)

/* What is measured. */
static const struct {
  struct kp_shape shape;
  struct peer_config config;
} kinds[] = {
    {{"intel", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_VTDSS, 48, 52}},
    {{"amd", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_AMDV1, 39, 52}},
    {{"arm_s1", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_ARM_S1, 48, 48, 12, USUAL_SIZES, PEER_TRACK_DIRTY}},
    {{"arm_s2", SZ_4K, 48, KP_LARGE}, {PEER_ARM_S2, 48, 48, 12, USUAL_SIZES}},
    {{"v7s", SZ_4K, 32, 0}, {PEER_V7S, 32, 32, 12, SZ_4K | SZ_64K | SZ_1M | SZ_16M}},
};

struct kp_table {
  struct iommu_domain* domain;  /* &dmar.domain or &shell */
  struct dmar_domain dmar;      /* Intel */
  struct protection_domain amd; /* AMD */
  struct iommu_domain shell;    /* domain of the io-pgtable formats */
  struct io_pgtable_ops* ops;
  struct peer_config config;
};

static void kp_iotlb_sync(struct iommu_domain* domain, struct iommu_iotlb_gather* gather) {
  iommu_put_pages_list(&gather->freelist);
}

static const struct iommu_domain_ops intel_ops = {
    .map_pages = intel_iommu_map_pages,
    .unmap_pages = intel_iommu_unmap_pages,
    .iova_to_phys = intel_iommu_iova_to_phys,
    .iotlb_sync = kp_iotlb_sync,
};

/* ---- io-pgtable: the shell's cookie leads back to the table ---- */

static struct kp_table* kp_shell_table(struct iommu_domain* domain) { return (struct kp_table*)domain->iova_cookie; }

static int kp_pgtable_map(struct iommu_domain* domain, unsigned long iova, phys_addr_t pa, size_t page_size,
                          size_t count, int prot, gfp_t gfp, size_t* mapped) {
  struct kp_table* table = kp_shell_table(domain);
  struct io_pgtable_ops* ops = table->ops;

  if (table->config.format == PEER_AMDV1) /* as amd_iommu_map_pages */
    prot = (prot & IOMMU_READ ? IOMMU_PROT_IR : 0) | (prot & IOMMU_WRITE ? IOMMU_PROT_IW : 0);
  return ops->map_pages(ops, iova, pa, page_size, count, prot, gfp, mapped);
}

static size_t kp_pgtable_unmap(struct iommu_domain* domain, unsigned long iova, size_t page_size, size_t count,
                               struct iommu_iotlb_gather* gather) {
  struct kp_table* table = kp_shell_table(domain);
  struct io_pgtable_ops* ops = table->ops;
  size_t size;

  if (table->config.format != PEER_AMDV1) return ops->unmap_pages(ops, iova, page_size, count, gather);
  /* as amd_iommu_unmap_pages: the driver gathers the range itself */
  size = ops->unmap_pages(ops, iova, page_size, count, NULL);
  if (size) iommu_iotlb_gather_add_range(gather, iova, size);
  return size;
}

static phys_addr_t kp_pgtable_iova_to_phys(struct iommu_domain* domain, dma_addr_t iova) {
  struct io_pgtable_ops* ops = kp_shell_table(domain)->ops;

  return ops->iova_to_phys(ops, iova);
}

static const struct iommu_domain_ops pgtable_ops = {
    .map_pages = kp_pgtable_map,
    .unmap_pages = kp_pgtable_unmap,
    .iova_to_phys = kp_pgtable_iova_to_phys,
    .iotlb_sync = kp_iotlb_sync,
};

static void kp_tlb_add_page(struct iommu_iotlb_gather* gather, unsigned long iova, size_t granule, void* cookie) {
  struct kp_table* table = cookie;

  iommu_iotlb_gather_add_page(table->domain, gather, iova, granule);
}

static const struct iommu_flush_ops flush_ops = {
    .tlb_flush_all = kp_tlb_flush_all,
    .tlb_flush_walk = kp_tlb_flush_walk,
    .tlb_add_page = kp_tlb_add_page,
};

/* What amd/io_pgtable.c needs from the rest of the AMD driver. */
void amd_iommu_update_and_flush_device_table(struct protection_domain* domain);
void amd_iommu_domain_flush_pages(struct protection_domain* domain, u64 address, size_t size);

unsigned long amd_iommu_pgsize_bitmap = ~0xfffUL & ~(7ull << 61) & ~(2ull << 38);

void amd_iommu_update_and_flush_device_table(struct protection_domain* domain) {}

void amd_iommu_domain_flush_pages(struct protection_domain* domain, u64 address, size_t size) {}

/* ---- table creation ---- */

static int kp_init_intel(struct kp_table* table) {
  const unsigned int bits = table->config.input_bits;
  struct dmar_domain* domain = &table->dmar;

  INIT_LIST_HEAD(&domain->devices);
  INIT_LIST_HEAD(&domain->cache_tags);
  spin_lock_init(&domain->lock);
  xa_init(&domain->iommu_array);
  domain->nid = NUMA_NO_NODE;
  domain->gaw = bits;
  domain->agaw = (bits - 30) / 9;
  domain->max_addr = __DOMAIN_MAX_ADDR(bits);
  domain->iommu_coherency = 1;
  domain->iommu_superpage = 2;
  domain->dirty_tracking = 1;
  domain->set_pte_snp = !!(table->config.flags & PEER_FORCE_COHERENT);
  domain->domain.pgsize_bitmap = USUAL_SIZES;
  domain->domain.type = IOMMU_DOMAIN_UNMANAGED;
  domain->domain.ops = &intel_ops;
  domain->pgd = iommu_alloc_page_node(NUMA_NO_NODE, GFP_KERNEL);
  table->domain = &domain->domain;
  return domain->pgd ? 0 : -ENOMEM;
}

static int kp_init_amd(struct kp_table* table) {
  struct io_pgtable_cfg* cfg = &table->amd.iop.pgtbl.cfg;

  cfg->amd.nid = NUMA_NO_NODE;
  table->ops = alloc_io_pgtable_ops(AMD_IOMMU_V1, cfg, &table->amd);
  table->shell.pgsize_bitmap = cfg->pgsize_bitmap;
  return table->ops ? 0 : -ENOMEM;
}

static int kp_init_arm(struct kp_table* table) {
  static const enum io_pgtable_fmt formats[] = {
      [PEER_ARM_S1] = ARM_64_LPAE_S1, [PEER_ARM_S2] = ARM_64_LPAE_S2, [PEER_V7S] = ARM_V7S};
  const struct peer_config* config = &table->config;
  struct io_pgtable_cfg cfg = {
      .pgsize_bitmap = config->page_sizes,
      .ias = config->input_bits,
      .oas = config->output_bits,
      .coherent_walk = true,
      .tlb = &flush_ops,
  };
  enum io_pgtable_fmt format = formats[config->format];

  if (config->flags & PEER_TRACK_DIRTY) cfg.quirks = IO_PGTABLE_QUIRK_ARM_HD;
  if (config->flags & PEER_AARCH32) format = config->format == PEER_ARM_S1 ? ARM_32_LPAE_S1 : ARM_32_LPAE_S2;
  if (config->flags & PEER_UPPER_HALF) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_TTBR1;
  if (config->flags & PEER_NON_SECURE) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_NS;
  if (config->flags & PEER_MEDIATEK) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_MTK_EXT | IO_PGTABLE_QUIRK_NO_PERMS;
  table->ops = alloc_io_pgtable_ops(format, &cfg, table);
  if (!table->ops) return -ENOMEM;
  table->shell.pgsize_bitmap = io_pgtable_ops_to_pgtable(table->ops)->cfg.pgsize_bitmap;
  return 0;
}

/* ---- peer.h ---- */

static int kp_init_table(struct kp_table* table) {
  switch (table->config.format) {
    case PEER_VTDSS:
      return kp_init_intel(table);
    case PEER_AMDV1:
      return kp_init_amd(table);
    case PEER_ARM_S1:
    case PEER_ARM_S2:
    case PEER_V7S:
      return kp_init_arm(table);
    default:
      return -EOPNOTSUPP;
  }
}

void* peer_create(const struct peer_config* config) {
  struct kp_table* table = kzalloc(sizeof(*table), GFP_KERNEL);

  if (!table) return NULL;
  table->config = *config;
  if (!table->config.page_lg2) table->config.page_lg2 = 12;
  table->domain = &table->shell;
  table->shell.type = IOMMU_DOMAIN_UNMANAGED;
  table->shell.ops = &pgtable_ops;
  table->shell.iova_cookie = (void*)table;
  return kp_init_table(table) ? NULL : table;
}

int peer_map(void* table, u64 iova, u64 pa, u64 size, unsigned int rights) {
  BUILD_BUG_ON(PEER_READ != IOMMU_READ || PEER_WRITE != IOMMU_WRITE || PEER_CACHE != IOMMU_CACHE ||
               PEER_NOEXEC != IOMMU_NOEXEC);
  return iommu_map(((struct kp_table*)table)->domain, iova, pa, size, rights, GFP_KERNEL);
}

static void kp_arm_root(struct kp_table* table, struct peer_root* root) {
  const struct io_pgtable_cfg* cfg = &io_pgtable_ops_to_pgtable(table->ops)->cfg;
  const unsigned int page_lg2 = table->config.page_lg2;

  switch (table->config.format) {
    case PEER_ARM_S1:
      root->pa[0] = cfg->arm_lpae_s1_cfg.ttbr;
      root->level = DIV_ROUND_UP(table->config.input_bits - page_lg2, page_lg2 - 3) - 1;
      break;
    case PEER_ARM_S2:
      root->pa[0] = cfg->arm_lpae_s2_cfg.vttbr;
      root->level = cfg->arm_lpae_s2_cfg.vtcr.sl + (page_lg2 == 12 ? 1 : 0);
      break;
    default:
      root->pa[0] = cfg->arm_v7s_cfg.ttbr & ~(u64)(SZ_16K - 1);
      root->level = 1;
  }
}

void peer_root_of(void* pointer, struct peer_root* root) {
  struct kp_table* table = pointer;

  root->count = 1;
  switch (table->config.format) {
    case PEER_VTDSS:
      root->pa[0] = virt_to_phys(table->dmar.pgd);
      root->level = table->dmar.agaw + 1;
      break;
    case PEER_AMDV1:
      root->pa[0] = virt_to_phys(table->amd.iop.root);
      root->level = table->amd.iop.mode - 1;
      break;
    default:
      kp_arm_root(table, root);
  }
}

void* peer_words(u64 pa) { return phys_to_virt(pa); }

/* ---- kp.h ---- */

const struct kp_shape* kp_shape_of(int kind) {
  return kind >= 0 && kind < ARRAY_SIZE(kinds) ? &kinds[kind].shape : NULL;
}

void* kp_create(int kind) { return peer_create(&kinds[kind].config); }

void kp_destroy(void* pointer) {
  struct kp_table* table = pointer;

  if (table->config.format == PEER_VTDSS) {
    LIST_HEAD(freelist);

    domain_unmap(&table->dmar, 0, DOMAIN_MAX_PFN(table->dmar.gaw), &freelist);
    iommu_put_pages_list(&freelist);
  } else {
    free_io_pgtable_ops(table->ops);
  }
  kfree(table);
}

int kp_map(void* table, u64 iova, u64 pa, u64 size) {
  return iommu_map(((struct kp_table*)table)->domain, iova, pa, size, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
                   GFP_KERNEL);
}

u64 kp_unmap(void* table, u64 iova, u64 size) { return iommu_unmap(((struct kp_table*)table)->domain, iova, size); }

u64 kp_iova_to_phys(void* table, u64 iova) { return iommu_iova_to_phys(((struct kp_table*)table)->domain, iova); }

void kp_mark_dirty(void* table, u64 iova) {
  struct peer_root root;
  u64* entry;

  peer_root_of(table, &root);
  entry = kp_leaf_entry(phys_to_virt(root.pa[0]), root.level, iova);
  switch (((struct kp_table*)table)->config.format) {
    case PEER_VTDSS:
      *entry |= BIT_ULL(9);
      break;
    case PEER_AMDV1:
      *entry |= BIT_ULL(6);
      break;
    default:
      *entry &= ~BIT_ULL(7); /* Arm stage 1, AP[2]: clear means writable dirty */
  }
}

static int kp_read_and_clear(void* pointer, unsigned long iova, size_t size, struct iommu_dirty_bitmap* dirty) {
  struct kp_table* table = pointer;

  if (table->config.format == PEER_VTDSS)
    return intel_iommu_read_and_clear_dirty(&table->dmar.domain, iova, size, 0, dirty);
  return table->ops->read_and_clear_dirty(table->ops, iova, size, 0, dirty);
}

int kp_read_dirty(void* pointer, u64 iova, u64 size, u64* bitmap) {
  struct kp_table* table = pointer;

  if (table->config.format == PEER_ARM_S2 || table->config.format == PEER_V7S) return -EOPNOTSUPP;
  return kp_walk_dirty(table, kp_read_and_clear, iova, size, bitmap, 1ul << table->config.page_lg2);
}
