// SPDX-License-Identifier: BSD-3-Clause
// Tests that cannot strike are notes; what only looks like them keeps its severity ("note" or "warning" behind the rule).

static struct my_table *table;

static struct my_master *to_master(struct device *dev)
{
	return dev_iommu_priv_get(dev);
}

static struct my_entry *entry_of(int index)
{
	if (!table || index >= MY_ENTRIES)
		return NULL;
	return &table->entries[index];
}

/* Probing gave the device its data and its firmware specification. */
static int guaranteed_attach(struct iommu_domain *domain, struct device *dev)
{
	struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(dev);
	struct my_master *master = to_master(dev);

	if (!fwspec || master == NULL)
		return -ENOENT; // expect: undocumented-code note
	return 0;
}

/* That it is another driver's device is not. */
static int foreign_attach(struct iommu_domain *domain, struct device *dev)
{
	struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(dev);

	if (!fwspec || fwspec->ops != &my_ops)
		return -ENXIO; // expect: undocumented-code warning
	return 0;
}

static int disable_entry(int index)
{
	struct my_entry *entry = entry_of(index);

	if (!entry)
		return -ENOENT; // expect: undocumented-code note
	entry->valid = 0;
	return 0;
}

static int enable_entry(int index)
{
	struct my_entry *entry;

	entry = entry_of(index);
	if (!entry)
		return -ENOENT; // expect: undocumented-code note
	entry->valid = 1;
	return 0;
}

/* The index is tested here, and the entry looked up twice. */
static int looked_up_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = to_master(dev);
	int i, ret = 0;

	for (i = 0; i < master->count; i++) {
		if (master->index[i] >= MY_ENTRIES)
			return -ENODEV;
		ret = disable_entry(master->index[i]);
		if (ret)
			break;
		ret = enable_entry(master->index[i]);
		if (ret)
			break;
	}
	return ret;
}

static int other_entry(int index)
{
	struct my_entry *entry = entry_of(index);

	if (!entry)
		return -ENOENT; // expect: undocumented-code warning
	return 0;
}

/* Another index than the one that was tested. */
static int other_index_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = to_master(dev);

	if (master->index[0] >= MY_ENTRIES)
		return -ENODEV;
	return other_entry(master->index[1]);
}

static int check_first(struct my_domain *mine, struct my_unit *unit)
{
	if (!has_tables(unit) || !has_first_stage(unit->features))
		return -EINVAL;
	return 0;
}

static int check(struct my_domain *mine, struct device *dev)
{
	struct my_master *master = to_master(dev);
	struct my_unit *unit = master->unit;
	int ret = 0;

	if (mine->first)
		ret = check_first(mine, unit);
	if (ret)
		return ret;
	return 0;
}

static int install(struct my_unit *unit, struct my_domain *mine)
{
	if (mine->first && !has_first_stage(unit->features)) {
		dev_err(unit->dev, "no first stage\n"); // expect: einval-logged note
		return -EINVAL;
	}
	if (mine->first && !has_five_levels(unit->features)) {
		dev_err(unit->dev, "no five levels\n"); // expect: einval-logged warning
		return -EINVAL;
	}
	if (!mine->first && !has_first_stage(unit->features)) {
		dev_err(unit->dev, "no stage\n"); // expect: einval-logged warning
		return -EINVAL;
	}
	return 0;
}

/* check() has asked the first of the three, in other words. */
static int twice_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = to_master(dev);
	int ret = check(mine, dev);

	if (ret)
		return ret;
	return install(master->unit, mine);
}

/* What is asked again may have changed. */
static int changed_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_unit *unit = first_unit(mine, dev);

	if (mine->unit != unit)
		return -EINVAL;
	unit = next_unit(mine, dev);
	if (mine->unit != unit)
		return -ENXIO; // expect: incompatible-wrong-code error
	return 0;
}

static int configure(struct my_master *master)
{
	if (!master->entry)
		return -ENODEV;
	set_field(master->entry, MY_SIZE, size_of(master));
	return 0;
}

static int enable(struct my_master *master)
{
	if (!get_field(master->entry, MY_SIZE))
		return -EINVAL; // expect: einval-device-only note
	if (!get_field(master->entry, MY_OTHER))
		return -EINVAL; // expect: einval-device-only warning
	return 0;
}

/* configure() has written one of the two fields. */
static int written_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = to_master(dev);
	int ret = configure(master);

	if (ret)
		return ret;
	return enable(master);
}

static int fit_levels(struct my_domain *mine, struct my_unit *unit)
{
	if (unit->broken)
		return -ENODEV;
	while (unit->levels < mine->levels)
		mine->levels--;
	return 0;
}

static int skip_levels(struct my_domain *mine, struct my_unit *unit)
{
	int level;

	for (level = mine->levels; level > unit->levels; level--)
		if (!table_present(mine, level))
			return -EINVAL;
	return level;
}

static int skip_widths(struct my_domain *mine, struct my_unit *unit)
{
	int width;

	for (width = mine->width; width > unit->width; width--)
		if (!table_present(mine, width))
			return -EINVAL;
	return width;
}

static int install_levels(struct my_domain *mine, struct my_unit *unit)
{
	int level = skip_levels(mine, unit), width;

	if (level < 0) {
		dev_err(unit->dev, "no table\n"); // expect: einval-logged note
		return -EINVAL;
	}
	width = skip_widths(mine, unit);
	if (width < 0) {
		dev_err(unit->dev, "too wide\n"); // expect: einval-logged warning
		return -EINVAL;
	}
	return 0;
}

/* Behind fit_levels() the loop over levels is never entered; the one over widths may be. */
static int fitted_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_domain *mine = to_my_domain(domain);
	struct my_master *master = to_master(dev);
	int ret = fit_levels(mine, master->unit);

	if (ret)
		return ret;
	return install_levels(mine, master->unit);
}

static const struct iommu_domain_ops a = { .attach_dev = guaranteed_attach };
static const struct iommu_domain_ops b = { .attach_dev = foreign_attach };
static const struct iommu_domain_ops c = { .attach_dev = looked_up_attach };
static const struct iommu_domain_ops d = { .attach_dev = other_index_attach };
static const struct iommu_domain_ops e = { .attach_dev = twice_attach };
static const struct iommu_domain_ops f = { .attach_dev = changed_attach };
static const struct iommu_domain_ops g = { .attach_dev = written_attach };
static const struct iommu_domain_ops h = { .attach_dev = fitted_attach };
