// SPDX-License-Identifier: BSD-3-Clause

static int finalise(struct my_domain *mine)
{
	mine->table = kzalloc(8, GFP_KERNEL);
	if (!mine->table)
		return -ENOMEM;
	return 0;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	int ret;

	ret = finalise(mine); // expect: error-overwritten
	if (ret) {
		ret = -ENODEV;
		goto out;
	}
out:
	return ret;
}

static void *make(struct my_domain *mine)
{
	void *table = kzalloc(8, GFP_KERNEL);

	if (!table)
		return ERR_PTR(-ENOMEM);
	return table;
}

static int breach_pointer(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	void *table = make(mine); // expect: error-overwritten

	if (IS_ERR(table))
		return -EBUSY;
	return 0;
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	void *table = make(mine);

	if (IS_ERR(table))
		return PTR_ERR(table);
	return finalise(mine);
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = breach_pointer };
static const struct iommu_domain_ops c = { .attach_dev = near_attach };
