// SPDX-License-Identifier: BSD-3-Clause

static int ask_firmware(struct my_master *master, bool enable)
{
	struct arm_smccc_res res;
	int ret;

	arm_smccc_smc(MY_CALL, master->port, enable, 0, 0, 0, 0, 0, &res);
	ret = res.a0; // expect: not-an-errno
	if (ret)
		return ret;
	return 0;
}

static int breach_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	int ret = ask_firmware(master, true);

	if (ret)
		return ret;
	if (master->count > 4)
		return 2; // expect: not-an-errno
	return qcom_scm_restore_sec_cfg(master->sec_id, 0); // expect: not-an-errno
}

static int near_attach(struct iommu_domain *domain, struct device *dev)
{
	struct my_master *master = dev_iommu_priv_get(dev);
	struct arm_smccc_res res;

	arm_smccc_smc(MY_CALL, master->port, 1, 0, 0, 0, 0, 0, &res);
	if (res.a0)
		return -ENODEV;
	return 0;
}

static const struct iommu_domain_ops a = { .attach_dev = breach_attach };
static const struct iommu_domain_ops b = { .attach_dev = near_attach };
