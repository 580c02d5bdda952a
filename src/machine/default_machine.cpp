// SPDX-License-Identifier: BSD-3-Clause
// The machine of a newcomer who has no file: also a file to start from.
#include "machine/spec.h"

namespace softiommu {

std::string_view default_machine_toml() {
  return R"toml([machine]
name = "default"

[[iommu]]
name = "dmar0"
model = "intel-vtd"

[[bridge]]
address = "0000:00:1c.0"
kind = "root-port"
bus = 1

[[device]]
address = "0000:00:04.0"
model = "ioat"
version = "3.3"

[[device]]
address = "0000:00:05.0"
model = "ioat"
version = "3.4"

[[device]]
address = "0000:00:06.0"
model = "edu"

[[device]]
address = "0000:00:08.0"
model = "nvme"
size = "64M"

[[device]]
address = "0000:01:00.0"
model = "edu"
)toml";
}

}  // namespace softiommu
