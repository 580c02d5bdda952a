// SPDX-License-Identifier: BSD-3-Clause
// What tells a warning from a note where the rule is the same.

/* The device alone is at fault: the code is wrong, and with ENODEV the message may stay. */
static int faulty_device_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (master->broken) {
		dev_err(dev, "broken\n"); // expect: einval-logged note
		return -EINVAL; // expect: einval-device-only warning
	}
	return 0;
}

/* What the domain asks for decides which test of the device is made. */
static int asked_for_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);

	switch (mine->width) {
	case 57:
		if (!master->wide) {
			dev_err(dev, "not that wide\n"); // expect: einval-logged warning
			return -EINVAL;
		}
		break;
	}
	return 0;
}

/* Another domain is active on the unit, and no third one could help. */
static int occupied_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	if (master->active && master->active != domain)
		return -EBUSY; // expect: incompatible-wrong-code note
	return 0;
}

/* The domain serves another device: a second domain helps. */
static int taken_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);

	if (mine->user)
		return -EBUSY; // expect: incompatible-wrong-code error
	return 0;
}

/* What the device has was asked when the old domain came. */
static int device_checked_late_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);

	my_detach_dev(master); // expect: changed-before-check note
	if (!master->enabled)
		return -ENODEV;
	return 0;
}

static int finalise(struct my_domain *mine, struct my_unit *unit)
{
	if (unit->granule > PAGE_SIZE)
		return -EINVAL; // expect: fresh-domain-einval warning
	return 0;
}

/* The code of the set-up is looked at behind the branch. */
static int fresh_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = 0;

	if (!mine->viommu)
		ret = finalise(mine, master->unit);
	else if (mine->viommu != master->viommu)
		ret = -EINVAL;
	if (ret)
		return ret;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = faulty_device_attach };
static const struct iommu_domain_ops b = { .attach_dev = asked_for_attach };
static const struct iommu_domain_ops c = { .attach_dev = occupied_attach };
static const struct iommu_domain_ops d = { .attach_dev = taken_attach };
static const struct iommu_domain_ops e = { .attach_dev = device_checked_late_attach };
static const struct iommu_domain_ops f = { .attach_dev = fresh_attach };
