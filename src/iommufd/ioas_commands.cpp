// SPDX-License-Identifier: BSD-3-Clause
// Commands on address spaces: IOAS_*, VFIO_IOAS.
//
// An answer that cannot be written back (EFAULT) undoes what made an object, as in Linux; whether that of MAP, COPY and
// UNMAP can be written is proven first.
#include <algorithm>
#include <set>

#include "iommufd/abi.h"
#include "iommufd/access.h"
#include "iommufd/call.h"
#include "iommufd/context.h"

namespace softiommu::iommufd {

namespace {

constexpr std::uint64_t kMost = ~std::uint64_t{0};
constexpr std::uint32_t kMapFlags = abi::kMapFixedIova | abi::kMapWriteable | abi::kMapReadable;

// What MAP and COPY ask for. EOPNOTSUPP, EOVERFLOW, EINVAL: as Linux, in this order.
Result<Prot> check_map(std::uint32_t flags, std::initializer_list<std::uint64_t> numbers) {
  if ((flags & ~kMapFlags) != 0) return fail(EOPNOTSUPP, "unknown flags");
  for (const std::uint64_t number : numbers)
    if (number == kMost) return fail(EOVERFLOW, "an address or length is too large");
  const Prot prot{.read = (flags & abi::kMapReadable) != 0, .write = (flags & abi::kMapWriteable) != 0};
  if (!prot.read && !prot.write) return fail(EINVAL, "READABLE or WRITEABLE must be asked");
  return prot;
}

std::optional<Iova> fixed_iova(std::uint32_t flags, std::uint64_t iova) {
  return (flags & abi::kMapFixedIova) != 0 ? std::optional(Iova{iova}) : std::nullopt;
}

}  // namespace

Result<> Context::ioas_alloc(Call& call) {
  auto request = call.request<abi::IoasAlloc>();
  if (request.flags != 0) return fail(EOPNOTSUPP, "unknown flags");
  {
    const MutexLock lock(mutex_);
    request.out_ioas_id = TRY(objects_.add(std::make_unique<Ioas>()))->id();
  }
  const auto responded = call.respond(request);
  if (responded) return {};
  const MutexLock lock(mutex_);
  (void)remove(request.out_ioas_id);
  return responded;
}

Result<> Context::ioas_allow_iovas(Call& call) {
  const auto request = call.request<abi::IoasAllowIovas>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  {
    const MutexLock lock(mutex_);
    if (objects_.find<Ioas>(request.ioas_id) == nullptr) return fail(ENOENT, "no IOAS has this id");
  }
  std::vector<IovaRange> ranges;
  // One by one, as the program names the count: what is wrong ends it before memory is taken for the others.
  for (std::uint64_t i = 0; i < request.num_iovas; ++i) {
    abi::Range range{};
    TRY(call.program().copy_in(&range, request.allowed_iovas + i * sizeof range, sizeof range));
    if (range.start >= range.last) return fail(EINVAL, "a range is empty");
    ranges.push_back({Iova{range.start}, Iova{range.last}});
  }
  std::ranges::sort(ranges, {}, &IovaRange::first);
  if (std::ranges::adjacent_find(ranges, [](auto a, auto b) { return a.overlaps(b); }) != ranges.end())
    return fail(EINVAL, "two ranges overlap");
  const MutexLock lock(mutex_);
  auto* const ioas = objects_.find<Ioas>(request.ioas_id);
  if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
  return ioas->table().allow(std::move(ranges));
}

Result<> Context::ioas_iova_ranges(Call& call) {
  auto request = call.request<abi::IoasIovaRanges>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  std::vector<abi::Range> ranges;
  {
    const MutexLock lock(mutex_);
    auto* const ioas = objects_.find<Ioas>(request.ioas_id);
    if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
    for (const IovaRange& range : ioas->table().usable()) ranges.push_back({range.first.value, range.last.value});
    request.out_iova_alignment = ioas->table().alignment();
  }
  const std::size_t room = std::min<std::size_t>(request.num_iovas, ranges.size());
  request.num_iovas = static_cast<std::uint32_t>(ranges.size());
  if (room != 0) TRY(call.program().copy_out(request.allowed_iovas, ranges.data(), room * sizeof(abi::Range)));
  TRY(call.respond(request));
  if (room < ranges.size()) return fail(EMSGSIZE, "the array is too small");
  return {};
}

Result<> Context::ioas_map(Call& call) {
  auto request = call.request<abi::IoasMap>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  const Prot prot = TRY(check_map(request.flags, {request.iova, request.length}));
  TRY(call.prove_response());
  call.program().will_pin(request.user_va, request.length);
  {
    const MutexLock lock(mutex_);
    auto* const ioas = objects_.find<Ioas>(request.ioas_id);
    if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
    if (request.user_va + request.length < request.user_va) return fail(EOVERFLOW, "the memory wraps");
    const Piece piece{make_pages(call.program(), request.user_va, prot.write), 0, request.length};
    request.iova = TRY(ioas->table().map({&piece, 1}, fixed_iova(request.flags, request.iova), prot)).value;
  }
  return call.respond(request);
}

// A DMA-BUF, or a memory file.
Result<PagesRef> Context::pages_of_file(Program& caller, const FilePart& part) {
  const auto file = caller.file_of(part.descriptor);
  const auto dma_buf = file ? std::dynamic_pointer_cast<DmaBufFile>(*file) : nullptr;
  if (dma_buf == nullptr) return make_pages(caller, TRY(caller.map_file(part)), part.writable);
  DmaBuf& buffer = *dma_buf->buffer();
  if (part.start > buffer.bytes() || part.bytes > buffer.bytes() - part.start)
    return fail(EINVAL, "the DMA-BUF is smaller");
  if (!buffer.contiguous()) return fail(EINVAL, "the DMA-BUF is made of several parts");
  buffer.add_importer(shared_from_this());
  return make_pages(caller, DmaBufPart{dma_buf->buffer(), part.start, buffer.first() + part.start}, part.writable);
}

Result<> Context::ioas_map_file(Call& call) {
  auto request = call.request<abi::IoasMapFile>();
  const Prot prot = TRY(check_map(request.flags, {request.iova, request.length}));
  {
    const MutexLock lock(mutex_);
    if (objects_.find<Ioas>(request.ioas_id) == nullptr) return fail(ENOENT, "no IOAS has this id");
  }
  if (request.length == 0) return fail(EINVAL, "the length is 0");
  if (request.start + (request.length - 1) < request.start) return fail(EOVERFLOW, "the part of the file wraps");
  TRY(call.prove_response());
  const PagesRef pages = TRY(pages_of_file(call.program(), {request.fd, request.start, request.length, prot.write}));
  {
    const MutexLock lock(mutex_);
    auto* const ioas = objects_.find<Ioas>(request.ioas_id);
    if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
    if (pages->dma_buf() != nullptr && pages->dma_buf()->revoked()) return fail(ENODEV, "the DMA-BUF is revoked");
    const Piece piece{pages, 0, request.length};
    request.iova = TRY(ioas->table().map({&piece, 1}, fixed_iova(request.flags, request.iova), prot)).value;
  }
  return call.respond(request);
}

Result<> Context::ioas_copy(Call& call) {
  auto request = call.request<abi::IoasCopy>();
  const Prot prot = TRY(check_map(request.flags, {request.length, request.src_iova, request.dst_iova}));
  TRY(call.prove_response());
  {
    const MutexLock lock(mutex_);
    auto* const from = objects_.find<Ioas>(request.src_ioas_id);
    if (from == nullptr) return fail(ENOENT, "no source IOAS has this id");
    const std::vector<Piece> pieces = TRY(from->table().pieces(request.src_iova, request.length));
    auto* const to = objects_.find<Ioas>(request.dst_ioas_id);
    if (to == nullptr) return fail(ENOENT, "no destination IOAS has this id");
    request.dst_iova = TRY(to->table().map(pieces, fixed_iova(request.flags, request.dst_iova), prot)).value;
  }
  return call.respond(request);
}

Result<> Context::unmap(std::uint32_t ioas_id, IoPagetable::Unmapping& unmapping) {
  Ioas* asked_for = nullptr;  // in use while its accesses are asked: nothing else gets its id
  for (;;) {
    std::vector<std::shared_ptr<AccessUser>> users;
    {
      const MutexLock lock(mutex_);
      if (asked_for != nullptr) asked_for->unuse();
      auto* const ioas = objects_.find<Ioas>(ioas_id);
      if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
      TRY(ioas->table().unmap(unmapping));
      if (!unmapping.in_the_way) return {};
      objects_.for_each<AccessObject>([&](const AccessObject& access) {
        if (access.unpin_from() == ioas) users.push_back(access.user());
      });
      asked_for = ioas;
      asked_for->use();
    }
    for (const auto& user : users)
      if (user != nullptr) user->unmap(*unmapping.in_the_way);
  }
}

void Context::revoke(const DmaBuf& buffer) {
  const MutexLock lock(mutex_);
  objects_.for_each<Ioas>([&](Ioas& ioas) { ioas.table().revoke(buffer); });
}

Result<> Context::ioas_unmap(Call& call) {
  auto request = call.request<abi::IoasUnmap>();
  const bool all = request.iova == 0 && request.length == kMost;
  auto unmapping = IoPagetable::Unmapping::everything();
  const auto check = [&]() -> Result<> {
    if (!all) {
      if (request.iova == kMost || request.length == kMost) return fail(EOVERFLOW, "an address or length is too large");
      unmapping = TRY(IoPagetable::Unmapping::of(request.iova, request.length));
    }
    return call.prove_response();
  };
  if (const Result<> checked = check(); !checked) {
    const bool found = locked([&](ObjectTable& objects) { return objects.find<Ioas>(request.ioas_id) != nullptr; });
    return found ? checked : fail(ENOENT, "no IOAS has this id");
  }
  TRY(unmap(request.ioas_id, unmapping));
  request.length = unmapping.bytes;
  if (!all && request.length == 0) return fail(ENOENT, "nothing is mapped there");
  return call.respond(request);
}

// The memory is accounted to whoever calls from now on. Memory of files only: anonymous memory stayed behind with the
// old process.
Result<> Context::ioas_change_process(Call& call) {
  if (call.request<abi::IoasChangeProcess>().reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  const MutexLock lock(mutex_);
  std::set<Pages*> all;
  bool files = true;
  objects_.for_each<Ioas>([&](Ioas& ioas) {
    ioas.table().for_each_pages([&](Pages& pages) {
      files &= pages.of_file();
      all.insert(&pages);
    });
  });
  if (!files) return fail(EINVAL, "a mapping is not of a file");
  const auto caller = call.program().shared();
  std::vector<std::pair<Pages*, Account>> moved;  // with whose they were
  for (Pages* pages : all) {
    if (&pages->program() == caller.get()) continue;
    moved.reserve(moved.size() + 1);
    const Account before = pages->account();
    if (const auto done = pages->account_to(before.of(caller)); !done) {
      for (const auto& [undone, account] : moved) undone->account_again(account);
      return done;
    }
    moved.emplace_back(pages, before);
  }
  return {};
}

Result<> Context::vfio_ioas(Call& call) {
  auto request = call.request<abi::VfioIoas>();
  if (request.reserved != 0) return fail(EOPNOTSUPP, "a reserved field is set");
  if (request.op == abi::kVfioIoasGet) {
    request.ioas_id = TRY(compat_ioas());
    return call.respond(request);
  }
  const MutexLock lock(mutex_);
  if (request.op == abi::kVfioIoasClear) {
    compat_ = nullptr;
    return {};
  }
  if (request.op != abi::kVfioIoasSet) return fail(EOPNOTSUPP, "no such operation");
  auto* const ioas = objects_.find<Ioas>(request.ioas_id);
  if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
  compat_ = ioas;
  return {};
}

}  // namespace softiommu::iommufd
