// SPDX-License-Identifier: BSD-3-Clause
// The keys of a machine file that are not a model's own: one table per section. The parser and the reference in
// docs/machine-file.md read the same rows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/types.h"
#include "machine/options.h"
#include "machine/spec.h"

namespace softiommu::spec_keys {

using Kind = Option::Kind;
inline constexpr MemorySpec kMemoryDefaults{};
inline constexpr std::uint64_t kNone = 0;

inline constexpr Option kMachine[] = {
    {"name", Kind::text, kNone, 0, 0, "machine", "what `softiommu show` calls it"},
    {"isolated_msi", Kind::flag, 1, 0, 1, "",
     "interrupts of a device cannot be forged by its DMA; `false`: VFIO refuses to attach (EPERM) unless unsafe "
     "interrupts are allowed"},
    {"cache_coherent", Kind::flag, 1, 0, 1, "", "DMA snoops the CPU caches; `false`: iommufd refuses to bind (EINVAL)"},
    {"device_latency_us", Kind::integer, 100, 0, 1'000'000, "",
     "microseconds from a doorbell to the start of the work"},
};

inline constexpr Option kMemory[] = {
    {"top", Kind::size, kMemoryDefaults.top, 2 * kGiB, std::uint64_t{1} << 52, "",
     "physical addresses are below this; keep it within the address width of the narrowest IOMMU"},
    {"table_arena", Kind::size, kMemoryDefaults.table_arena, 16 * kMiB, 64 * kGiB, "",
     "the part of it that page tables may use (reserved address space, not used memory)"},
    {"fragmented", Kind::flag, 0, 0, 1, "",
     "hand out physical pages that are not contiguous, so that nothing large can be mapped large"},
};

inline constexpr Option kIommu[] = {
    {"name", Kind::text, kNone, 0, 0, "", "how devices and messages refer to it; unique, not `none`", true},
    {"model", Kind::text, kNone, 0, 0, "", "the hardware; each model has keys of its own (below)", true},
};

// Order of `choices` is the order of BridgeSpec::Kind.
inline constexpr Option kBridge[] = {
    {"address", Kind::text, kNone, 0, 0, "",
     "segment:bus:device.function (the segment may be left out), e.g. `0000:00:1c.0`", true},
    {"kind", Kind::choice, 0, 0, 3, "root-port|switch-upstream|switch-downstream|pcie-to-pci", "what it is", true},
    {"bus", Kind::integer, 0, 1, 255, "", "number of the bus that it makes; higher than its own", true},
    {"acs", Kind::flag, 1, 0, 1, "",
     "access control services: what is below it cannot reach other devices behind the IOMMU's back; not for "
     "`pcie-to-pci`, which has none"},
    {"iommu", Kind::text, kNone, 0, 0, "",
     "the IOMMU of what is below it, by name, or `none`; default: that of the bridge above, else the first "
     "`[[iommu]]`"},
};

inline constexpr Option kPlatformDevice[] = {
    {"name", Kind::text, kNone, 0, 0, "", "as Linux names it, e.g. `ff900000.vop`; unique", true},
    {"iommu", Kind::text, kNone, 0, 0, "",
     "the IOMMU in front of it, by name, or `none`; default: the first `[[iommu]]`"},
    {"streams", Kind::list, 1, 0, 63, "",
     "ids of its requests, one for each port in this order. Devices with an id in common behind one IOMMU are one "
     "group"},
    {"stalls", Kind::flag, 0, 0, 1, "",
     "its faults may wait until software has answered, where its IOMMU can stall (firmware says `dma-can-stall`)"},
};

inline constexpr Option kDevice[] = {
    {"address", Kind::text, kNone, 0, 0, "",
     "segment:bus:device.function (the segment may be left out), e.g. `0000:00:04.0`", true},
    {"model", Kind::text, kNone, 0, 0, "", "the device; each model has keys of its own (below)", true},
    {"iommu", Kind::text, kNone, 0, 0, "",
     "the IOMMU in front of it, by name, or `none`; default: that of the bridge above, else the first `[[iommu]]`"},
    {"acs", Kind::flag, 1, 0, 1, "",
     "for a function of a multifunction device: the device keeps it apart from its other functions"},
    {"ats", Kind::flag, 0, 0, 1, "",
     "it has a TLB of its own, which asks the IOMMU for translations and keeps them (PCIe ATS)"},
    {"pri", Kind::flag, 0, 0, 1, "",
     "it asks for pages that are not present and waits for them (PCIe PRI); needs `ats`, and model `edu`"},
    {"pasid_bits", Kind::integer, 0, 0, 20, "", "width of the PASIDs that it can send; 0: none"},
    {"stalls", Kind::flag, 0, 0, 1, "",
     "its faults may wait until software has answered, where its IOMMU can stall (firmware says `dma-can-stall`)"},
    {"rom", Kind::text, kNone, 0, 0, "",
     "a file with the image of its expansion ROM, of at most 16M; a path is taken from where the program runs"},
    {"vfs", Kind::integer, 0, 0, 64, "",
     "SR-IOV: virtual functions of the same model that it can have, with requester ids from its own + 0x80 on; they "
     "are there once software enables them; not for `nvme`"},
    {"dma_aliases", Kind::texts, kNone, 0, 0, "",
     "it may also send under these addresses, as `[\"05.1\", \"05.2\"]`: device.function on its own bus"},
};

}  // namespace softiommu::spec_keys
