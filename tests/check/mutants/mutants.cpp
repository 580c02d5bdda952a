// SPDX-License-Identifier: BSD-3-Clause
#include "check/mutants/mutants.h"

#include <algorithm>

namespace softiommu::testing {

namespace {

using check::Law;

constexpr Mutant kMutants[] = {
    {"busy_for_incompatible", "intel", make_busy_for_incompatible, Law::code,
     "EBUSY where domain and device do not fit together: a search over domains ends there",
     "omap until 6.2, for a domain that serves another client"},
    {"einval_of_runtime_power", "rockchip", make_einval_of_runtime_power, Law::code,
     "the EINVAL of runtime power goes out as it is, and reads as incompatible",
     "arm_smmu and mtk hand on what runtime power management says"},
    {"einval_for_enomem", "virtio_iommu", make_einval_for_enomem, Law::code,
     "a failed allocation is EINVAL: the search goes on and allocates even more",
     "mtk until 6.2, when the table of a first attach could not be made"},
    {"line_beside_einval", "arm_smmu", make_line_beside_einval, Law::silent,
     "each incompatible domain of a search writes a line", "arm_smmu, arm_smmu_v3, virtio, ipmmu and more until 6.2"},
    {"raw_timeout", "rockchip", make_raw_timeout, Law::code, "the hardware's timeout goes out as ETIMEDOUT",
     "rockchip, when stall, reset or paging time out"},
    {"einval_after_the_check", "omap", make_einval_after_the_check, Law::driver,
     "EINVAL when domain and device were found to fit and the hardware has been touched",
     "s390 in 6.1 compared ranges after it had registered the table"},
    {"grudge", "rockchip", make_grudge, Law::again, "a device that one domain did not fit is refused for ever",
     "dart in 5.15-rc: a stale entry kept devices from ever being attached again"},
    {"domain_of_the_bus", "arm_smmu_v3", make_domain_of_the_bus, Law::fresh,
     "domains are made for a bus, so a device may get one that does not fit it", "iommu_domain_alloc() until 2024"},
    {"wrong_group", "omap", make_wrong_group, Law::isolation,
     "devices that one table serves are in groups of their own",
     "arm_smmu, before groups followed shared stream entries"},
    {"detach_before_check", "intel", make_detach_before_check, Law::old_domain,
     "the old domain is left before the new one is looked at", "intel in 7.2: EINVAL leaves the device blocked"},
    {"no_way_back", "rockchip", make_no_way_back, Law::old_domain,
     "devices of a group before the one that fails stay on the new domain",
     "the core, before a failed attach of a group was taken back"},
    {"leaked_id", "virtio_iommu", make_leaked_id, Law::leak, "a failed attach keeps its ASID",
     "msm keeps the contexts that it took before a later one fails"},
    {"forgotten_invalidation", "rockchip", make_forgotten_invalidation, Law::stale,
     "a change of domain leaves the old one's translations in the TLB",
     "arm_smmu_v3, before a detach emptied the TLB of the device"},
    {"success_of_refusal", "virtio_iommu", make_success_of_refusal, Law::success,
     "success although the hardware refused", "sun50i: what enabling the hardware says is dropped"},
    {"half_an_alias", "amd", make_half_an_alias, Law::success,
     "requests under a device's second alias are not translated", "amd until 5.5 knew one alias of a device"},
    {"ignored_result", "arm_smmu", make_ignored_result, Law::success,
     "the reservation for the second device of a group fails unheard",
     "msm ignores what msm_iommu_domain_config() says"},
};

}  // namespace

std::span<const Mutant> mutants() { return kMutants; }

check::CheckedDriver checked(const Mutant& mutant) {
  auto drivers = check::own_drivers();
  check::CheckedDriver driver = std::move(*std::ranges::find(drivers, mutant.breaks, &check::CheckedDriver::name));
  driver.machines.resize(1);
  driver.name = mutant.name;
  driver.make = mutant.make;
  return driver;
}

void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.name; }

}  // namespace softiommu::testing
