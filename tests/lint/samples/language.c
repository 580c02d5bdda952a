// SPDX-License-Identifier: BSD-3-Clause
// What driver code looks like: guards, iterators, conditionals, ops tables in macros, function pointers, statement
// expressions. Every path must come out.

static int stage_one(struct my_domain *mine, struct my_master *master)
{
	if (mine->stages && !master->stages)
		return -EPERM; // expect: incompatible-wrong-code
	return 0;
}

static int through_pointer(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int (*stage)(struct my_domain *, struct my_master *);

	switch (mine->stage) {
	case 1:
		stage = stage_one;
		break;
	default:
		return -EINVAL;
	}
	return stage(mine, master);
}

static int with_guards(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	struct my_part *part __free(kfree) = NULL;

	guard(mutex)(&mine->lock);
	scoped_guard(spinlock_irqsave, &master->lock) {
		list_for_each_entry(part, &master->parts, entry) {
			if (mine->unit != part->unit)
				return -EXDEV; // expect: incompatible-wrong-code
		}
	}
#ifdef CONFIG_MY_FEATURE
	if (mine->feature && !master->feature)
		return -ENXIO; // expect: incompatible-wrong-code
#else
	if (mine->feature && !master->other)
		return -ENXIO; // expect: incompatible-wrong-code
#endif
	return mine->unit == master->unit ? 0 : -EPERM; // expect: incompatible-wrong-code
}

static int impl_context(struct my_domain *mine, struct my_master *master)
{
	if (mine->size > master->size)
		return -ERANGE; // expect: incompatible-wrong-code
	return 0;
}

static const struct my_impl my_impl = {
	.init_context = impl_context,
};

static int through_table(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

again:
	ret = master->unit->impl->init_context(mine, master);
	if (ret == -EAGAIN)
		goto again;
	return ret;
}

#define MY_OPS(extra)                                      \
	.default_domain_ops = &(const struct iommu_domain_ops) { \
		.attach_dev = through_pointer,                         \
	},                                                       \
	extra

static struct iommu_ops my_ops = { MY_OPS(.owner = THIS_MODULE) };
static struct iommu_domain my_domain = {
	.ops = &(const struct iommu_domain_ops) { .attach_dev = with_guards }
};
static void choose(struct my_ops *ops)
{
	ops->attach_dev = through_table;
}
