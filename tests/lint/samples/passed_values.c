// SPDX-License-Identifier: BSD-3-Clause
// Constants and flags that callers pass exclude what only other values reach.

static int program(struct my_domain *mine, struct my_unit *unit, int flags)
{
	if (flags & MY_SUPERVISOR) {
		if (mine->mode > unit->mode) {
			dev_err(unit->dev, "never for a device's own requests\n");
			return -EINVAL;
		}
	}
	if ((flags & MY_FIVE_LEVELS) && mine->levels > unit->levels) {
		dev_err(unit->dev, "too deep\n"); // expect: einval-logged warning
		return -EINVAL;
	}
	return 0;
}

static int set_up(struct my_domain *mine, struct my_unit *unit, u32 pasid)
{
	int flags = 0;

	if (pasid != MY_NO_PASID)
		flags |= MY_SUPERVISOR;
	if (mine->levels == 5)
		flags |= MY_FIVE_LEVELS;
	return program(mine, unit, flags);
}

static int finalise(struct my_domain *mine, struct my_unit *unit, u32 flags)
{
	bool dirty = flags & MY_ALLOC_DIRTY;

	if (dirty && mine->stage == 2)
		return -EOPNOTSUPP;
	return 0;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = finalise(mine, master->unit, 0);

	if (ret)
		return ret;
	return set_up(mine, master->unit, MY_NO_PASID);
}

static int finalise_dirty(struct my_domain *mine, struct my_unit *unit, u32 flags)
{
	bool dirty = flags & MY_ALLOC_DIRTY;

	if (dirty && mine->stage == 2)
		return -EOPNOTSUPP; // expect: incompatible-wrong-code error
	return 0;
}

/* The same function, and a caller that passes the flag. */
static int dirty_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = finalise_dirty(mine, master->unit, 0);

	if (ret)
		return ret;
	return finalise_dirty(mine, master->unit, MY_ALLOC_DIRTY | MY_ALLOC_NEST);
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = dirty_attach };
