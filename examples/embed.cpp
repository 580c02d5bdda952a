// SPDX-License-Identifier: BSD-3-Clause
// The library alone: two IOMMUs that differ, one address space, a device's DMA, and why an attach was refused.
#include <softiommu/softiommu.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace api = softiommu::api;

namespace {

constexpr const char* kMachine = R"(
[machine]
name = "two units"
[[iommu]]
name = "wide"
model = "intel-vtd"
address_widths = [39, 48]
[[iommu]]
name = "narrow"
model = "intel-vtd"
address_widths = [39]
[[device]]
address = "0000:00:02.0"
model = "edu"
iommu = "wide"
[[device]]
address = "0000:00:03.0"
model = "edu"
iommu = "narrow"
)";

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "embed: %s\n", what);
  std::exit(1);
}

}  // namespace

int main() {
  auto computer = api::Computer::parse(kMachine);
  if (!computer) fail(computer.error().why.c_str());
  api::Device* const first = (*computer)->device("0000:00:02.0");
  api::Device* const second = (*computer)->device("0000:00:03.0");
  if (first == nullptr || second == nullptr) fail("a device is missing");

  const auto space = (*computer)->make_address_space();
  if (const auto attached = space->attach(*first); !attached) fail(attached.error().property.c_str());

  constexpr std::size_t kPage = 4096;
  auto* const memory = static_cast<char*>(std::aligned_alloc(kPage, kPage));
  std::memset(memory, 0, kPage);
  if (const auto mapped = space->map(0x10000, memory, kPage); !mapped) fail(mapped.error().why.c_str());

  // The second unit cannot walk the first one's tables: the search makes a second domain and fills it.
  if (const auto attached = space->attach(*second); !attached) fail(attached.error().property.c_str());

  const char message[] = "written by a device";
  for (api::Device* device : {first, second}) {
    device->enable();
    std::memset(memory, 0, kPage);
    if (!device->dma_write(0x10000, std::as_bytes(std::span(message)))) fail("the IOMMU refused the DMA");
    std::printf("%s: \"%s\"\n", device->name().c_str(), memory);
    if (device->dma_write(0x20000, std::as_bytes(std::span(message)))) fail("DMA to nowhere got through");
  }
  std::printf("domains: %zu\n", space->domains());

  for (const api::Decision& decision : (*computer)->decisions()) {
    if (!decision.refusal) continue;
    std::printf("%s refused domain %llu: %s (domain %llu, device %llu), errno %d\n", decision.devices.c_str(),
                static_cast<unsigned long long>(decision.domain), decision.refusal->property.c_str(),
                static_cast<unsigned long long>(decision.refusal->domain_value),
                static_cast<unsigned long long>(decision.refusal->device_value), decision.refusal->code);
  }
  if (!space->unmap(0x10000)) fail("unmap");
  if (first->dma_write(0x10000, std::as_bytes(std::span(message)))) fail("DMA after unmap got through");
  std::free(memory);
}
