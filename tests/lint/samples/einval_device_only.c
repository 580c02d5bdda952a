// SPDX-License-Identifier: BSD-3-Clause

static int enable(struct my_master *master)
{
	if (!master->ports)
		return -EINVAL; // expect: einval-device-only
	return 0;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (!master)
		return -EINVAL; // expect: einval-device-only
	return enable(master);
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	if (!master)
		return -ENODEV;
	if (mine->dirty) {
		if (!master->can_track)
			return -EINVAL;
	}
	return 0;
}

/* The kind of the domain is domain state: a paging domain may fit where this one does not. */
static int near_identity_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (!master->can_bypass)
		return -EINVAL;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
static struct iommu_domain_ops identity_ops = { .attach_dev = near_identity_attach };
