// SPDX-License-Identifier: BSD-3-Clause
// The laws of page tables for the mock IOMMU's format too, which is no file of src/pt/formats/: no hardware has it.
#include "drivers/mock_format.h"
#include "pt/format_laws.h"

namespace softiommu::pt {

[[maybe_unused]] static const bool registered = register_laws<mock::Format>();

}  // namespace softiommu::pt
