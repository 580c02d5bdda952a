/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kp.h and peer.h for the 7.x kernel: generic_pt (vtdss, x86_64, amdv1, riscv64) and io-pgtable (arm, v7s, dart),
 * through iommu_map and iommu_unmap. Copied to drivers/iommu/ of the private kernel source.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/io-pgtable.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "iommu-pages.h"
#include "kp.h"
#include "peer.h"
#include "pt_glue_common.h"

#define USUAL_SIZES (SZ_4K | SZ_2M | SZ_1G)

/* What is measured. */
static const struct {
  struct kp_shape shape;
  struct peer_config config;
} kinds[] = {
    {{"vtdss", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_VTDSS, 48, 52}},
    {{"x86_64", SZ_4K, 48, KP_LARGE}, {PEER_X86_64, 48, 52}},
    {{"amdv1", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_AMDV1, 48, 52, .flags = PEER_FORCE_COHERENT}},
    {{"riscv64", SZ_4K, 48, KP_LARGE}, {PEER_RISCV64, 48, 56, .page_sizes = SZ_4K | SZ_64K}},
    {{"arm_s1", SZ_4K, 48, KP_LARGE | KP_DIRTY}, {PEER_ARM_S1, 48, 48, 12, USUAL_SIZES, PEER_TRACK_DIRTY}},
    {{"arm_s2", SZ_4K, 48, KP_LARGE}, {PEER_ARM_S2, 48, 48, 12, USUAL_SIZES}},
    {{"v7s", SZ_4K, 32, 0}, {PEER_V7S, 32, 32, 12, SZ_4K | SZ_64K | SZ_1M | SZ_16M}},
    {{"dart2", SZ_16K, 36, 0}, {PEER_DART2, 36, 36, 14, SZ_16K}},
};

struct kp_table {
  /* All pt_iommu_* begin with their iommu_domain. */
  union {
    struct iommu_domain domain;
    struct pt_iommu iommu;
    struct pt_iommu_vtdss vtdss;
    struct pt_iommu_x86_64 x86_64;
    struct pt_iommu_amdv1 amdv1;
    struct pt_iommu_riscv_64 riscv64;
  };
  spinlock_t top_lock;
  struct io_pgtable_ops* ops; /* io-pgtable formats only */
  int (*read_and_clear_dirty)(struct iommu_domain* domain, unsigned long iova, size_t size, unsigned long flags,
                              struct iommu_dirty_bitmap* dirty);
  struct peer_config config;
};

static void kp_iotlb_sync(struct iommu_domain* domain, struct iommu_iotlb_gather* gather) {
  iommu_put_pages_list(&gather->freelist);
}

/* ---- generic_pt ---- */

static void kp_change_top(struct pt_iommu* iommu, phys_addr_t top, unsigned int level) {}

static spinlock_t* kp_get_top_lock(struct pt_iommu* iommu) {
  return &container_of(iommu, struct kp_table, iommu)->top_lock;
}

static const struct pt_iommu_driver_ops driver_ops = {
    .change_top = kp_change_top,
    .get_top_lock = kp_get_top_lock,
};

static const struct iommu_domain_ops vtdss_ops = {
    IOMMU_PT_DOMAIN_OPS(vtdss),
    .iotlb_sync = kp_iotlb_sync,
};
static const struct iommu_domain_ops x86_64_ops = {
    IOMMU_PT_DOMAIN_OPS(x86_64),
    .iotlb_sync = kp_iotlb_sync,
};
static const struct iommu_domain_ops amdv1_ops = {
    IOMMU_PT_DOMAIN_OPS(amdv1),
    .iotlb_sync = kp_iotlb_sync,
};
static const struct iommu_domain_ops riscv64_ops = {
    IOMMU_PT_DOMAIN_OPS(riscv_64),
    .iotlb_sync = kp_iotlb_sync,
};

/* Levels counted from 0 that cover the input bits, of tables with 2^bits entries. */
static unsigned int kp_top_level(const struct peer_config* config, unsigned int bits) {
  return DIV_ROUND_UP(config->input_bits - config->page_lg2, bits) - 1;
}

static int kp_init_vtdss(struct kp_table* table, const struct peer_config* config) {
  struct pt_iommu_vtdss_cfg cfg = {
      .common = {.features = BIT(PT_FEAT_FLUSH_RANGE),
                 .hw_max_vasz_lg2 = config->input_bits,
                 .hw_max_oasz_lg2 = config->output_bits},
      .top_level = kp_top_level(config, 9),
  };

  if (config->flags & PEER_FORCE_COHERENT) cfg.common.features |= BIT(PT_FEAT_VTDSS_FORCE_COHERENCE);
  table->domain.ops = &vtdss_ops;
  table->read_and_clear_dirty = pt_iommu_vtdss_read_and_clear_dirty;
  return pt_iommu_vtdss_init(&table->vtdss, &cfg, GFP_KERNEL);
}

static int kp_init_x86_64(struct kp_table* table, const struct peer_config* config) {
  struct pt_iommu_x86_64_cfg cfg = {
      .common = {.features = BIT(PT_FEAT_SIGN_EXTEND) | BIT(PT_FEAT_FLUSH_RANGE),
                 .hw_max_vasz_lg2 = config->input_bits,
                 .hw_max_oasz_lg2 = config->output_bits},
      .top_level = kp_top_level(config, 9),
  };

  table->domain.ops = &x86_64_ops;
  return pt_iommu_x86_64_init(&table->x86_64, &cfg, GFP_KERNEL);
}

static int kp_init_amdv1(struct kp_table* table, const struct peer_config* config) {
  struct pt_iommu_amdv1_cfg cfg = {
      .common = {.features = BIT(PT_FEAT_DYNAMIC_TOP) | BIT(PT_FEAT_AMDV1_ENCRYPT_TABLES) | BIT(PT_FEAT_FLUSH_RANGE),
                 .hw_max_vasz_lg2 = 64,
                 .hw_max_oasz_lg2 = config->output_bits},
      .starting_level = kp_top_level(config, 9),
  };

  if (config->flags & PEER_FORCE_COHERENT) cfg.common.features |= BIT(PT_FEAT_AMDV1_FORCE_COHERENCE);
  table->domain.ops = &amdv1_ops;
  table->read_and_clear_dirty = pt_iommu_amdv1_read_and_clear_dirty;
  return pt_iommu_amdv1_init(&table->amdv1, &cfg, GFP_KERNEL);
}

static int kp_init_riscv64(struct kp_table* table, const struct peer_config* config) {
  struct pt_iommu_riscv_64_cfg cfg = {
      .common = {.features = BIT(PT_FEAT_SIGN_EXTEND) | BIT(PT_FEAT_FLUSH_RANGE) | BIT(PT_FEAT_DETAILED_GATHER),
                 .hw_max_vasz_lg2 = config->input_bits,
                 .hw_max_oasz_lg2 = config->output_bits},
  };

  if (config->page_sizes & SZ_64K) cfg.common.features |= BIT(PT_FEAT_RISCV_SVNAPOT_64K);
  table->domain.ops = &riscv64_ops;
  return pt_iommu_riscv_64_init(&table->riscv64, &cfg, GFP_KERNEL);
}

/* ---- io-pgtable: a driver shell as in arm-smmu-v3 that forwards to the io_pgtable_ops ---- */

static struct io_pgtable_ops* kp_ops(struct iommu_domain* domain) {
  return container_of(domain, struct kp_table, domain)->ops;
}

static int kp_pgtable_map(struct iommu_domain* domain, unsigned long iova, phys_addr_t pa, size_t page_size,
                          size_t count, int prot, gfp_t gfp, size_t* mapped) {
  struct io_pgtable_ops* ops = kp_ops(domain);

  if (!ops) return -ENODEV;
  return ops->map_pages(ops, iova, pa, page_size, count, prot, gfp, mapped);
}

static size_t kp_pgtable_unmap(struct iommu_domain* domain, unsigned long iova, size_t page_size, size_t count,
                               struct iommu_iotlb_gather* gather) {
  struct io_pgtable_ops* ops = kp_ops(domain);

  if (!ops) return 0;
  return ops->unmap_pages(ops, iova, page_size, count, gather);
}

static phys_addr_t kp_pgtable_iova_to_phys(struct iommu_domain* domain, dma_addr_t iova) {
  struct io_pgtable_ops* ops = kp_ops(domain);

  if (!ops) return 0;
  return ops->iova_to_phys(ops, iova);
}

static int kp_pgtable_dirty(struct iommu_domain* domain, unsigned long iova, size_t size, unsigned long flags,
                            struct iommu_dirty_bitmap* dirty) {
  struct io_pgtable_ops* ops = kp_ops(domain);

  return ops->read_and_clear_dirty(ops, iova, size, flags, dirty);
}

static const struct iommu_domain_ops pgtable_ops = {
    .map_pages = kp_pgtable_map,
    .unmap_pages = kp_pgtable_unmap,
    .iova_to_phys = kp_pgtable_iova_to_phys,
};

static void kp_tlb_add_page(struct iommu_iotlb_gather* gather, unsigned long iova, size_t granule, void* cookie) {
  struct kp_table* table = cookie;

  iommu_iotlb_gather_add_page(&table->domain, gather, iova, granule);
}

static const struct iommu_flush_ops flush_ops = {
    .tlb_flush_all = kp_tlb_flush_all,
    .tlb_flush_walk = kp_tlb_flush_walk,
    .tlb_add_page = kp_tlb_add_page,
};

static int kp_init_pgtable(struct kp_table* table, const struct peer_config* config) {
  static const enum io_pgtable_fmt formats[] = {
      [PEER_ARM_S1] = ARM_64_LPAE_S1, [PEER_ARM_S2] = ARM_64_LPAE_S2, [PEER_V7S] = ARM_V7S,
      [PEER_DART1] = APPLE_DART,      [PEER_DART2] = APPLE_DART2,
  };
  struct io_pgtable_cfg cfg = {
      .pgsize_bitmap = config->page_sizes,
      .ias = config->input_bits,
      .oas = config->output_bits,
      .coherent_walk = true,
      .tlb = &flush_ops,
  };
  enum io_pgtable_fmt format = formats[config->format];

  if (config->format == PEER_ARM_S1 || config->format == PEER_ARM_S2) cfg.quirks = IO_PGTABLE_QUIRK_NO_WARN;
  if (config->flags & PEER_TRACK_DIRTY) {
    cfg.quirks |= IO_PGTABLE_QUIRK_ARM_HD;
    table->read_and_clear_dirty = kp_pgtable_dirty;
  }
  if (config->flags & PEER_AARCH32) format = config->format == PEER_ARM_S1 ? ARM_32_LPAE_S1 : ARM_32_LPAE_S2;
  if (config->flags & PEER_UPPER_HALF) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_TTBR1;
  if (config->flags & PEER_NON_SECURE) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_NS;
  if (config->flags & PEER_MEDIATEK) cfg.quirks |= IO_PGTABLE_QUIRK_ARM_MTK_EXT | IO_PGTABLE_QUIRK_NO_PERMS;
  table->domain.ops = &pgtable_ops;
  table->domain.type = __IOMMU_DOMAIN_PAGING;
  table->ops = alloc_io_pgtable_ops(format, &cfg, table);
  if (!table->ops) return -ENOMEM;
  table->domain.pgsize_bitmap = io_pgtable_ops_to_pgtable(table->ops)->cfg.pgsize_bitmap;
  return 0;
}

/* ---- peer.h ---- */

static int kp_init_table(struct kp_table* table, const struct peer_config* config) {
  switch (config->format) {
    case PEER_VTDSS:
      return kp_init_vtdss(table, config);
    case PEER_X86_64:
      return kp_init_x86_64(table, config);
    case PEER_AMDV1:
      return kp_init_amdv1(table, config);
    case PEER_RISCV64:
      return kp_init_riscv64(table, config);
    default:
      return kp_init_pgtable(table, config);
  }
}

void* peer_create(const struct peer_config* config) {
  struct kp_table* table = kzalloc(sizeof(*table), GFP_KERNEL);

  if (!table) return NULL;
  table->config = *config;
  if (!table->config.page_lg2) table->config.page_lg2 = 12;
  table->iommu.nid = NUMA_NO_NODE;
  table->iommu.driver_ops = &driver_ops;
  spin_lock_init(&table->top_lock);
  return kp_init_table(table, &table->config) ? NULL : table;
}

int peer_map(void* table, u64 iova, u64 pa, u64 size, unsigned int rights) {
  BUILD_BUG_ON(PEER_READ != IOMMU_READ || PEER_WRITE != IOMMU_WRITE || PEER_CACHE != IOMMU_CACHE ||
               PEER_NOEXEC != IOMMU_NOEXEC);
  return iommu_map(&((struct kp_table*)table)->domain, iova, pa, size, rights, GFP_KERNEL);
}

static void kp_pgtable_root(struct kp_table* table, struct peer_root* root) {
  const struct io_pgtable_cfg* cfg = &io_pgtable_ops_to_pgtable(table->ops)->cfg;
  const unsigned int page_lg2 = table->config.page_lg2;

  switch (table->config.format) {
    case PEER_ARM_S1:
      root->pa[0] = cfg->arm_lpae_s1_cfg.ttbr;
      root->level = kp_top_level(&table->config, page_lg2 - 3);
      break;
    case PEER_ARM_S2:
      root->pa[0] = cfg->arm_lpae_s2_cfg.vttbr;
      root->level = cfg->arm_lpae_s2_cfg.vtcr.sl + (page_lg2 == 12 ? 1 : 0);
      break;
    case PEER_V7S:
      root->pa[0] = cfg->arm_v7s_cfg.ttbr & ~(u64)(SZ_16K - 1);
      root->level = 1;
      break;
    default:
      root->count = cfg->apple_dart_cfg.n_ttbrs;
      root->level = cfg->apple_dart_cfg.n_levels - 2; /* the registers count as one */
      memcpy(root->pa, cfg->apple_dart_cfg.ttbr, sizeof(root->pa));
  }
}

void peer_root_of(void* pointer, struct peer_root* root) {
  struct kp_table* table = pointer;
  struct pt_iommu_vtdss_hw_info vtdss;
  struct pt_iommu_x86_64_hw_info x86_64;
  struct pt_iommu_amdv1_hw_info amdv1;
  struct pt_iommu_riscv_64_hw_info riscv64;

  root->count = 1;
  switch (table->config.format) {
    case PEER_VTDSS:
      pt_iommu_vtdss_hw_info(&table->vtdss, &vtdss);
      root->pa[0] = vtdss.ssptptr;
      root->level = vtdss.aw + 1;
      break;
    case PEER_X86_64:
      pt_iommu_x86_64_hw_info(&table->x86_64, &x86_64);
      root->pa[0] = x86_64.gcr3_pt;
      root->level = x86_64.levels - 1;
      break;
    case PEER_AMDV1:
      pt_iommu_amdv1_hw_info(&table->amdv1, &amdv1);
      root->pa[0] = amdv1.host_pt_root;
      root->level = amdv1.mode - 1;
      break;
    case PEER_RISCV64:
      pt_iommu_riscv_64_hw_info(&table->riscv64, &riscv64);
      root->pa[0] = riscv64.ppn << 12;
      root->level = riscv64.fsc_iosatp_mode - 6;
      break;
    default:
      kp_pgtable_root(table, root);
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

  if (table->ops)
    free_io_pgtable_ops(table->ops);
  else
    pt_iommu_deinit(&table->iommu);
  kfree(table);
}

int kp_map(void* table, u64 iova, u64 pa, u64 size) {
  return iommu_map(&((struct kp_table*)table)->domain, iova, pa, size, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
                   GFP_KERNEL);
}

u64 kp_unmap(void* table, u64 iova, u64 size) { return iommu_unmap(&((struct kp_table*)table)->domain, iova, size); }

u64 kp_iova_to_phys(void* table, u64 iova) { return iommu_iova_to_phys(&((struct kp_table*)table)->domain, iova); }

void kp_mark_dirty(void* table, u64 iova) {
  struct peer_root root;
  u64* entry;

  peer_root_of(table, &root);
  entry = kp_leaf_entry(phys_to_virt(root.pa[0] & KP_ENTRY_ADDRESS), root.level, iova);
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

  return table->read_and_clear_dirty(&table->domain, iova, size, 0, dirty);
}

int kp_read_dirty(void* table, u64 iova, u64 size, u64* bitmap) {
  if (!((struct kp_table*)table)->read_and_clear_dirty) return -EOPNOTSUPP;
  return kp_walk_dirty(table, kp_read_and_clear, iova, size, bitmap, 1ul << ((struct kp_table*)table)->config.page_lg2);
}
