// SPDX-License-Identifier: BSD-3-Clause

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	my_detach_dev(master); // expect: changed-before-check
	if (mine->unit != master->unit)
		return -EINVAL;
	return 0;
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	if (mine->unit != master->unit)
		return -EINVAL;
	my_detach_dev(master);
	return 0;
}

/* What was taken away is given back. */
static int near_restored(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	my_detach_dev(master);
	ret = check(mine, master);
	if (ret)
		my_restore(master);
	return ret;
}

static int check(struct my_domain *mine, struct my_master *master)
{
	if (mine->unit != master->unit)
		return -EINVAL;
	return 0;
}

/* Given back on the way of a code of its own. */
static int near_restored_at_exit(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = 0;

	my_detach_dev(master);
	if (mine->unit != master->unit) {
		ret = -EINVAL;
		goto out_restore;
	}
	return 0;

out_restore:
	my_restore(master);
	return ret;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
static const struct iommu_domain_ops c = { .attach_dev = near_restored };
static const struct iommu_domain_ops d = { .attach_dev = near_restored_at_exit };
