// SPDX-License-Identifier: BSD-3-Clause

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	ret = pm_runtime_resume_and_get(master->dev); // expect: external-code-passed
	if (ret < 0)
		return ret;
	return somewhere_else(master); // expect: external-code-passed
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	void *old;

	old = kzalloc(16, GFP_KERNEL);
	if (!old)
		return -ENOMEM;
	return xa_insert(&master->slots, 1, old, GFP_KERNEL);
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
