// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/caller.h"

namespace softiommu::launch {

constinit thread_local Program* Caller::served_ __attribute__((tls_model("initial-exec"))) = nullptr;

}  // namespace softiommu::launch
