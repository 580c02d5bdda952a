// SPDX-License-Identifier: BSD-3-Clause

static int switch_on(struct my_master *master)
{
	if (!master->clock)
		return -ENODEV;
	return 0;
}

static int breach_ignored(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	switch_on(master); // expect: error-dropped
	return 0;
}

static int breach_logged_only(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = switch_on(master); // expect: error-dropped

	if (ret)
		dev_err(dev, "failed\n");
	return 0;
}

static int breach_overwritten(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	ret = switch_on(master); // expect: error-dropped
	ret = switch_on(master->second);
	return ret;
}

static int near_checked(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret, i;

	for (i = 0; i < master->count; i++) {
		ret = switch_on(master->parts[i]);
		if (ret)
			goto undo;
	}
	return 0;
undo:
	while (i--)
		switch_off(master->parts[i]);
	return ret;
}

static int switch_off(struct my_master *master)
{
	if (!master->clock)
		return -ENODEV;
	return 0;
}

/* On the way back from a failure nobody wants a second one. */
static int near_way_back(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = switch_on(master);

	if (ret) {
		switch_off(master);
		return ret;
	}
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_ignored };
static const struct iommu_domain_ops b = { .attach_dev = breach_logged_only };
static const struct iommu_domain_ops c = { .attach_dev = breach_overwritten };
static const struct iommu_domain_ops d = { .attach_dev = near_checked };
static const struct iommu_domain_ops e = { .attach_dev = near_way_back };
