// SPDX-License-Identifier: BSD-3-Clause

static int status_to_code(struct my_unit_device *unit)
{
	switch (unit->tail->status) {
	case 0:
		return 0;
	case 1:
		return -ENOSYS; // expect: undocumented-code
	default:
		return -EIO; // expect: undocumented-code
	}
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (!master)
		return -ENOENT; // expect: undocumented-code
	return status_to_code(master->unit);
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (!master)
		return -ENODEV;
	if (master->locked)
		return -EBUSY;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
