// SPDX-License-Identifier: BSD-3-Clause

static int take_context(struct my_unit_device *unit)
{
	int bit = find_first_zero_bit(unit->used, unit->count);

	if (bit >= unit->count)
		return -EBUSY; // expect: resource-not-enospc
	return bit;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret;

	ret = take_context(master->unit);
	if (ret < 0)
		return ret;
	ret = ida_alloc(&master->ids, GFP_KERNEL); // expect: resource-not-enospc
	if (ret < 0)
		return -ENOMEM;
	return xa_alloc(&ids, &mine->id, mine, XA_LIMIT(1, 255), GFP_KERNEL); // expect: resource-not-enospc
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int bit = find_first_zero_bit(master->used, master->count);
	int ret;

	if (bit >= master->count)
		return -ENOSPC;
	ret = ida_alloc(&master->ids, GFP_KERNEL);
	if (ret < 0)
		return ret;
	return 0;
}

/* One place is asked for: EBUSY says that it is taken. */
static int near_one_place(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	u32 id = master->id;

	return xa_alloc(&table, &id, master, XA_LIMIT(id, id), GFP_KERNEL);
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
static const struct iommu_domain_ops one_place = { .attach_dev = near_one_place };
