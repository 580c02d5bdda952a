// SPDX-License-Identifier: BSD-3-Clause
// A made-up IOMMU driver whose attach callbacks keep the contract. The mutation test breaks it in fifty ways.

struct quay_domain {
	struct iommu_domain domain;
	struct quay_iommu *iommu;
	struct io_pgtable_ops *pgtbl_ops;
	unsigned int width;
	unsigned int context;
	bool coherent;
};

static int quay_wait_idle(struct quay_iommu *iommu)
{
	u32 status;

	return readl_poll_timeout(iommu->base + QUAY_STATUS, status, !(status & QUAY_BUSY), 1, 100);
}

static int quay_program(struct quay_master *master, struct quay_domain *qdomain)
{
	int ret;

	ret = quay_reserve_table(master);
	if (ret)
		return ret;
	writel(qdomain->context, master->iommu->base + QUAY_CONTEXT);
	return 0;
}

static int quay_reserve_table(struct quay_master *master)
{
	master->table = kzalloc(QUAY_TABLE_SIZE, GFP_KERNEL);
	if (!master->table)
		return -ENOMEM;
	return 0;
}

static int quay_find_context(struct quay_iommu *iommu)
{
	int index;

	index = find_first_zero_bit(iommu->contexts, iommu->context_count);
	if (index >= iommu->context_count)
		return -ENOSPC;
	set_bit(index, iommu->contexts);
	return index;
}

static int quay_check(struct quay_domain *qdomain, struct quay_master *master)
{
	if (qdomain->iommu != master->iommu)
		return -EINVAL;

	if (qdomain->coherent && !master->coherent) {
		dev_dbg(master->dev, "the device does not snoop\n");
		return -EINVAL;
	}

	if (qdomain->width > master->iommu->width)
		return -EINVAL;

	return 0;
}

static int quay_set_up(struct quay_domain *qdomain, struct quay_iommu *iommu)
{
	int context;

	context = quay_find_context(iommu);
	if (context < 0)
		return context;

	qdomain->pgtbl_ops = alloc_io_pgtable_ops(QUAY_FORMAT, &iommu->cfg, qdomain);
	if (!qdomain->pgtbl_ops) {
		clear_bit(context, iommu->contexts);
		return -ENOMEM;
	}

	qdomain->context = context;
	qdomain->iommu = iommu;
	return 0;
}

static int quay_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	struct quay_domain *qdomain = to_quay_domain(domain);
	struct quay_master *master = dev_iommu_priv_get(dev);
	int ret;

	if (!master) {
		dev_err(dev, "not behind this IOMMU\n");
		return -ENODEV;
	}

	if (master->locked)
		return -EBUSY;

	mutex_lock(&qdomain->lock);
	if (!qdomain->iommu) {
		ret = quay_set_up(qdomain, master->iommu);
		if (ret)
			goto out_unlock;
	}

	ret = quay_check(qdomain, master);
	if (ret)
		goto out_unlock;

	ret = quay_program(master, qdomain);
	if (ret) {
		dev_err(dev, "out of memory\n");
		goto out_unlock;
	}

	quay_detach_old(master);
	list_add(&master->entry, &qdomain->masters);
out_unlock:
	mutex_unlock(&qdomain->lock);
	return ret;
}

static int quay_set_dev_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid)
{
	struct quay_domain *qdomain = to_quay_domain(domain);
	struct quay_master *master = dev_iommu_priv_get(dev);
	int id, ret;

	ret = quay_check(qdomain, master);
	if (ret)
		return ret;

	id = ida_alloc_range(&master->ids, 1, master->last_id, GFP_KERNEL);
	if (id < 0)
		return id;

	ret = quay_program(master, qdomain);
	if (ret) {
		ida_free(&master->ids, id);
		return ret;
	}
	return 0;
}

static int quay_identity_attach(struct iommu_domain *domain, struct device *dev)
{
	struct quay_master *master = dev_iommu_priv_get(dev);

	if (!master->iommu->can_bypass)
		return -EINVAL;
	writel(QUAY_BYPASS, master->iommu->base + QUAY_CONTEXT);
	return 0;
}

static int quay_nested_attach(struct iommu_domain *domain, struct device *dev)
{
	struct quay_nested *nested = to_quay_nested(domain);
	struct quay_master *master = dev_iommu_priv_get(dev);

	if (nested->parent->iommu != master->iommu)
		return -EINVAL;
	return quay_program(master, nested->parent);
}

static const struct iommu_ops quay_ops = {
	.default_domain_ops = &(const struct iommu_domain_ops) {
		.attach_dev = quay_attach_dev,
		.set_dev_pasid = quay_set_dev_pasid,
	}
};

static const struct iommu_domain_ops quay_identity_ops = {
	.attach_dev = quay_identity_attach,
};

static const struct iommu_domain_ops quay_nested_ops = {
	.attach_dev = quay_nested_attach,
};
