// SPDX-License-Identifier: BSD-3-Clause
// Type1's calls on an iommufd. They differ from a container's as Linux's do: no VADDR, no dirty pages, no limit on the
// number of mappings, and only a type1 (not v2) program may unmap parts.
#include "vfio/iommufd_file.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "ioas/page_sizes.h"
#include "iommufd/abi.h"
#include "iommufd/selftest/abi.h"
#include "vfio/cap_chain.h"

namespace softiommu::vfio {

namespace {

constexpr Command<IommufdFile> kRows[] = {
    row<&IommufdFile::get_api_version, IommufdFile>("GET_API_VERSION", abi::kGetApiVersion, 0),
    row<&IommufdFile::check_extension, IommufdFile>("CHECK_EXTENSION", abi::kCheckExtension, 0),
    row<&IommufdFile::set_iommu, IommufdFile>("SET_IOMMU", abi::kSetIommu, 0),
    row<&IommufdFile::get_info, IommufdFile>("IOMMU_GET_INFO", abi::kIommuGetInfo, abi::kType1InfoMinimum),
    row<&IommufdFile::map_dma, IommufdFile>("IOMMU_MAP_DMA", abi::kIommuMapDma, sizeof(abi::DmaMap)),
    row<&IommufdFile::unmap_dma, IommufdFile>("IOMMU_UNMAP_DMA", abi::kIommuUnmapDma, sizeof(abi::DmaUnmap)),
};
constexpr CommandTable kCommands(kRows);

std::uint64_t page_sizes(const iommufd::IoPagetable& table) {
  std::uint64_t sizes = std::numeric_limits<std::uint64_t>::max();
  for (const Domain* domain : table.domains()) sizes &= domain->page_sizes();
  return std::max(fold_small_pages(sizes), table.alignment());
}

std::vector<std::byte> capabilities(const iommufd::IoPagetable& table) {
  CapChain chain(sizeof(abi::Type1Info));
  chain.add(abi::CapDmaAvail{{abi::kInfoCapDmaAvail, 1, 0}, std::numeric_limits<std::uint32_t>::max()});
  const auto ranges = table.usable();
  chain.add(abi::CapIovaRange{{abi::kInfoCapIovaRange, 1, 0}, static_cast<std::uint32_t>(ranges.size()), 0});
  for (const IovaRange& range : ranges) chain.extend(abi::IovaRangeEntry{range.first.value, range.last.value});
  return chain.take();
}

}  // namespace

long IommufdFile::ioctl(unsigned int command, std::uint64_t argument) {
  constexpr unsigned kNumber = 0xff;
  const bool own = (command & kNumber) >= (iommufd::abi::kDestroy & kNumber) &&
                   (command & kNumber) <= (iommufd::selftest::abi::kTestCommand & kNumber);
  if (own) return context_->ioctl(program_, command, argument);
  return kCommands.dispatch(*this, program_, "iommufd", command, argument);
}

Result<long> IommufdFile::get_api_version(Call& /*call*/) { return abi::kApiVersion; }

Result<long> IommufdFile::check_extension(Call& call) {
  switch (static_cast<abi::Extension>(call.argument())) {
    case abi::Extension::type1:
    case abi::Extension::type1_v2:
    case abi::Extension::unmap_all:
      return 1;
    case abi::Extension::dma_cc:
      return context_->with_compat_ioas([](iommufd::Ioas& ioas) -> Result<long> {
        return std::ranges::all_of(ioas.table().domains(),
                                   [](const Domain* domain) { return domain->enforces_cache_coherency(); });
      });
    default:
      return 0;
  }
}

Result<long> IommufdFile::set_iommu(Call& call) {
  const auto type = static_cast<abi::Extension>(call.argument());
  if (type != abi::Extension::type1 && type != abi::Extension::type1_v2) return fail(EINVAL, "no such kind of IOMMU");
  return context_->with_compat_ioas([&](iommufd::Ioas& ioas) -> Result<long> {
    // A type1 program may unmap any part of a mapping: then everything is mapped page by page.
    if (type == abi::Extension::type1) TRY(ioas.table().disable_large_pages());
    return 0;
  });
}

Result<long> IommufdFile::get_info(Call& call) {
  auto info = call.request<abi::Type1Info>();
  std::vector<std::byte> caps;
  TRY(context_->with_compat_ioas([&](iommufd::Ioas& ioas) -> Result<> {
    info.iova_pgsizes = page_sizes(ioas.table());
    caps = capabilities(ioas.table());
    return {};
  }));
  return answer_type1_info(call, info, caps);
}

Result<long> IommufdFile::map_dma(Call& call) {
  const auto request = call.request<abi::DmaMap>();
  if ((request.flags & ~(abi::kMapRead | abi::kMapWrite)) != 0) return fail(EINVAL, "unknown flags");
  const Prot prot{.read = (request.flags & abi::kMapRead) != 0, .write = (request.flags & abi::kMapWrite) != 0};
  return context_->with_compat_ioas([&](iommufd::Ioas& ioas) -> Result<long> {
    if (request.vaddr + request.size < request.vaddr) return fail(EOVERFLOW, "the memory wraps");
    const iommufd::Piece piece{context_->make_pages(program_, request.vaddr, prot.write), 0, request.size};
    TRY(ioas.table().map({&piece, 1}, Iova{request.iova}, prot));
    return 0;
  });
}

Result<long> IommufdFile::unmap_dma(Call& call) {
  auto request = call.request<abi::DmaUnmap>();
  if ((request.flags & ~abi::kUnmapAll) != 0) return fail(EINVAL, "unknown flags");
  const bool all = (request.flags & abi::kUnmapAll) != 0;
  if (all && (request.iova != 0 || request.size != 0)) return fail(EINVAL, "ALL takes neither an address nor a size");
  auto unmapping = iommufd::IoPagetable::Unmapping::everything();
  const auto cut = [&](iommufd::Ioas& ioas) -> Result<> {
    if (all || ioas.table().large_pages()) return {};
    TRY(ioas.table().cut_behind(request.iova + request.size - 1));
    return request.iova != 0 ? ioas.table().cut_behind(request.iova - 1) : Result<>{};
  };
  TRY(call.prove_answer(sizeof request));
  TRY(context_->with_compat_ioas(cut));
  // The answer is written back also when it failed.
  const auto unmap = [&]() -> Result<> {
    if (!all) unmapping = TRY(iommufd::IoPagetable::Unmapping::of(request.iova, request.size));
    return context_->unmap(TRY(context_->compat_ioas()), unmapping);
  };
  const Result<> done = unmap();
  request.size = unmapping.bytes;
  TRY(call.answer(request));
  if (!done) return std::unexpected(done.error());
  return 0;
}

}  // namespace softiommu::vfio
