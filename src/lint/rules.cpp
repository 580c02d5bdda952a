// SPDX-License-Identifier: BSD-3-Clause
#include "lint/rules.h"

#include <algorithm>

namespace softiommu::lint {
namespace {

constexpr std::string_view kKdoc =
    "include/linux/iommu.h, struct iommu_domain_ops, attach_dev (since v6.2, commit 00208852d351)";
constexpr std::string_view kUse =
    "\"iommu: Use EINVAL for incompatible device/domain in ->attach_dev\", commit f4a147735793";
constexpr std::string_view kRegulate =
    "\"iommu: Regulate EINVAL in ->attach_dev callback functions\", commit bd7ebb771935";
constexpr std::string_view kPropagate =
    "\"iommu: Propagate return value in ->attach_dev callback functions\", commit 04cee82e04d2";
constexpr std::string_view kThread =
    "review of \"Define EINVAL as device/domain incompatibility\" v1..v7, September and October 2022";

constexpr std::array<Rule, kRuleCount> kRules = {{
    {"einval-logged", Severity::warning, "an incompatibility is logged",
     "EINVAL from an attach callback says that this domain and this device do not fit together. Callers try "
     "one domain after another (iommufd and VFIO do), so the answer is part of normal operation, and a "
     "message of level info or above fills the log with errors that are none. Debug messages are allowed. A "
     "WARN counts as a message when the condition reads the domain; a WARN on a misuse that no caller can "
     "cause is not reported. Where only the device was read the code is what is wrong (einval-device-only) "
     "and the message is a note: with ENODEV it may stay, as it did where the maintainers changed such "
     "places.",
     kKdoc},
    {"incompatible-wrong-code", Severity::error, "an incompatibility is answered with another code than EINVAL",
     "The condition reads what the domain was set up for, so another domain might fit; but every code other "
     "than EINVAL tells the caller to stop. iommufd's automatic domains give up on the first such answer "
     "although a fresh domain would have worked. EBUSY is for a device that is attached and may not change, "
     "not for a domain that is in use elsewhere. A unit that another domain occupies, where the test asks "
     "only which domain that is, is a note: no third domain could help.",
     kUse},
    {"einval-device-only", Severity::warning, "EINVAL for what depends on the device alone",
     "Nothing that was read belongs to the domain, so no other domain can help: the caller tries every "
     "domain, and then makes a fresh one, in vain. What is wrong with the device itself is ENODEV.",
     kRegulate},
    {"undocumented-code", Severity::warning, "a code outside the documented five",
     "Callbacks answer EINVAL, ENOMEM, ENOSPC, EBUSY or ENODEV. Any other code means the same as ENODEV to "
     "callers, and the documentation discourages it. Hardware that does not answer (EIO, ETIMEDOUT, EFAULT) "
     "is reported as a note, since the maintainers left those in place. So is a NULL test of what probing "
     "guarantees (driver data, firmware specification, the driver's own global state): it cannot strike, and "
     "would mean ENODEV.",
     kKdoc},
    {"error-dropped", Severity::error, "success is returned after a failure",
     "A callee that can fail was called, and the callback answers 0 although it failed or without looking. "
     "The caller believes that the device translates through the domain; DMA goes elsewhere, or nowhere.",
     kPropagate},
    {"error-overwritten", Severity::warning, "a callee's code is replaced by another",
     "The callee knows why it failed: out of memory, out of ids, or a domain that does not fit. A fixed code "
     "in its place takes the reason away from the caller, and with it the decision whether another domain is "
     "worth a try. For functions outside the IOMMU subsystem it is a note, unless the new code is EINVAL.",
     kPropagate},
    {"external-code-passed", Severity::note, "a foreign function's EINVAL or arbitrary code passes through",
     "Clocks, power management, firmware and libraries use EINVAL for reasons of their own, and callers of "
     "attach read it as an incompatibility. The maintainers decided not to rewrite such codes: a wrong EINVAL "
     "costs extra work and no more. So this is a note, for the driver's author to know.",
     kThread},
    {"not-an-errno", Severity::error, "a positive or firmware value is returned as an error",
     "Attach answers 0 or a negative errno. A firmware status, a hypervisor's condition code or a count that "
     "is handed on unchanged is read as success by callers that test for less than zero, or becomes an "
     "arbitrary errno.",
     kKdoc},
    {"changed-before-check", Severity::warning, "the device is changed before a check that can fail",
     "A failed attach leaves the device on its old domain, since the core does not attach the device that "
     "failed again. Here the old translation is taken away first, and a check that only needs to read can "
     "still fail afterwards: the device is left without translation, or with a different one. When only "
     "memory or hardware can fail after the change, or a check that reads the device alone and that the old "
     "domain has passed, it is a note.",
     "drivers/iommu/iommu.c, __iommu_group_set_domain_internal(); commit 2b33598e666d"},
    {"resource-not-enospc", Severity::warning, "a resource other than memory is used up, but the code is not ENOSPC",
     "Contexts, domain ids, ASIDs and banks are finite. When they are used up the answer is ENOSPC, so that "
     "the caller can tell it from a busy device (EBUSY), a useless one (ENODEV) and missing memory (ENOMEM).",
     kKdoc},
    {"fresh-domain-einval", Severity::warning, "EINVAL where the domain has nothing to be incompatible with",
     "The path is taken only by a domain that was never set up, so nothing about it can clash with the "
     "device. A freshly allocated domain can always be attached, but for resources: EINVAL here sends the "
     "caller to allocate one more fresh domain, with the same result. What cannot work for the device is "
     "ENODEV.",
     kThread},
}};

}  // namespace

const std::array<Rule, kRuleCount>& rules() { return kRules; }

const Rule* find_rule(std::string_view id) {
  const auto found = std::find_if(kRules.begin(), kRules.end(), [id](const Rule& rule) { return rule.id == id; });
  return found == kRules.end() ? nullptr : &*found;
}

const char* severity_name(Severity severity) {
  static constexpr std::array<const char*, 3> kNames = {"note", "warning", "error"};
  return kNames[static_cast<std::size_t>(severity)];
}

bool severity_from(std::string_view name, Severity& out) {
  for (Severity severity : {Severity::note, Severity::warning, Severity::error})
    if (name == severity_name(severity)) {
      out = severity;
      return true;
    }
  return false;
}

}  // namespace softiommu::lint
