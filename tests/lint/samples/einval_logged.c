// SPDX-License-Identifier: BSD-3-Clause
// einval-logged. Each line that has to be reported says so.

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	if (mine->unit != master->unit) {
		dev_err(dev, "other unit\n"); // expect: einval-logged
		return -EINVAL;
	}
	if (mine->width > master->width) {
		dev_info_ratelimited(dev, "too narrow\n"); // expect: einval-logged
		return -EINVAL;
	}
	if (WARN_ON(mine->start > master->end)) // expect: einval-logged
		return -EINVAL;
	return 0;
}

static int helper(struct my_domain *mine, struct my_master *master)
{
	if (mine->unit != master->unit)
		return -EINVAL;
	return 0;
}

static int breach_through_callee(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	int ret = helper(mine, dev_iommu_priv_get(dev));

	if (ret)
		dev_warn(dev, "failed: %d\n", ret); // expect: einval-logged
	return ret;
}

static int near_debug(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	if (mine->unit != master->unit) {
		dev_dbg(dev, "other unit\n");
		return -EINVAL;
	}
	if (master->broken) {
		dev_err(dev, "broken\n");
		return -ENODEV;
	}
	if (master->quirk)
		dev_info(dev, "a quirk is on\n");
	if (mine->width > master->width)
		return -EINVAL;
	if (WARN_ON(!mine->prepared))
		return -EINVAL;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = breach_through_callee };
static const struct iommu_domain_ops c = { .attach_dev = near_debug };
