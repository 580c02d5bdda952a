// SPDX-License-Identifier: BSD-3-Clause

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = -ENXIO; // expect: incompatible-wrong-code

	if (mine->unit != master->unit)
		goto out;
	if (mine->dev)
		return -EBUSY; // expect: incompatible-wrong-code
	if (mine->snoop && !master->snoop)
		return -EOPNOTSUPP; // expect: incompatible-wrong-code
	if (mine->end > 1ull << master->width)
		return -EFAULT; // expect: incompatible-wrong-code
	ret = 0;
out:
	return ret;
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	struct iommu_domain *present = iommu_get_domain_for_dev(dev);

	if (mine->unit != master->unit)
		return -EINVAL;
	if (present && master->locked)
		return -EBUSY;
	if (!master->unit)
		return -ENODEV;
	mine->table = kzalloc(8, GFP_KERNEL);
	if (!mine->table)
		return -ENOMEM;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
