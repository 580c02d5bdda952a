// SPDX-License-Identifier: BSD-3-Clause

static int set_up(struct my_domain *mine, struct my_unit_device *unit)
{
	if (!unit->formats)
		return -EINVAL; // expect: fresh-domain-einval
	mine->smmu = unit;
	return 0;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	if (!mine->smmu) {
		ret = set_up(mine, master->unit);
		if (ret)
			return ret;
	}
	return 0;
}

static int set_up_well(struct my_domain *mine, struct my_unit_device *unit)
{
	if (!unit->formats)
		return -ENODEV;
	mine->smmu = unit;
	return 0;
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	if (!mine->smmu) {
		ret = set_up_well(mine, master->unit);
		if (ret)
			return ret;
	}
	if (mine->smmu != master->unit)
		return -EINVAL;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
