// SPDX-License-Identifier: BSD-3-Clause
// The domains of a driver that exist once and have no mappings.
#pragma once

#include "core/domain.h"

namespace softiommu {

class StaticDomain final : public Domain {
 public:
  StaticDomain(Driver& owner, DomainType type) : Domain(owner, type) {}
};

}  // namespace softiommu
