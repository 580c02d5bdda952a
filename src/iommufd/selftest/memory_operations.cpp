// SPDX-License-Identifier: BSD-3-Clause
// Mappings as the tests look at them: reserved ranges, pins, accesses, DMA-BUFs.
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <set>

#include "iommufd/selftest/access_file.h"
#include "iommufd/selftest/operation.h"
#include "iommufd/selftest/same_page.h"
#include "machine/machine.h"

namespace softiommu::iommufd::selftest {

namespace {

constexpr std::uint64_t kMostCopied = 16 * kMiB;  // in one operation

bool wraps(std::uint64_t first, std::uint64_t length) { return first + length < first; }

Result<> add_reserved(Request& request) {
  const auto [start, length] = request.command.add_reserved;
  if (length == 0) return fail(EINVAL, "the length is 0");
  if (start + (length - 1) < start) return fail(EOVERFLOW, "the range wraps");
  return request.context.locked([&, first = start, bytes = length](ObjectTable& objects) -> Result<> {
    auto* const ioas = objects.find<Ioas>(request.command.id);
    if (ioas == nullptr) return fail(ENOENT, "no IOAS has this id");
    return ioas->table().reserve(IovaRange::of(Iova{first}, bytes), nullptr);
  });
}

// ---- pins

// How often the program's page is pinned: at its own address, and at those of the context's mappings of the same file.
class PinCount {
 public:
  explicit PinCount(Request& request) : memory_(request.context.memory()), same_(request.program(), memory_) {
    request.context.locked([&](ObjectTable& objects) {
      objects.for_each<Ioas>([&](Ioas& ioas) {
        ioas.table().for_each_pages([&](Pages& pages) {
          if (pages.of_file()) files_.insert({align_down(pages.user(), kPageSize), pages.pinned_pages()});
        });
      });
      return true;
    });
  }
  Result<unsigned> operator()(std::uint64_t user) const {
    unsigned count = memory_.pins(user);
    for (const auto& [address, pages] : files_) {
      for (std::uint64_t page = 0; page < pages; ++page) {
        const std::uint64_t ours = address + (page << kPageShift);
        if (TRY(same_.compare(user, reinterpret_cast<const std::byte*>(ours)))) count += memory_.pins(ours);
      }
    }
    return count;
  }

 private:
  const Memory& memory_;
  const SamePage same_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> files_;  // where they are in this process, and how many pages
};

Result<> check_refs(Request& request) {
  const auto& check = request.command.check_refs;
  if (!is_aligned(check.length | check.uptr, kPageSize) || wraps(check.uptr, check.length))
    return fail(EINVAL, "not whole pages");
  const PinCount count(request);
  for (std::uint64_t done = 0; done < check.length; done += kPageSize) {
    std::uint64_t there = 0;
    TRY(request.program().copy_in(&there, check.uptr + done, sizeof there));
    if (TRY(count(check.uptr + done)) != check.refs) return fail(EIO, "the page is pinned more or less often");
  }
  return {};
}

// ---- accesses

// EBADFD: no descriptor of an access.
Result<std::shared_ptr<AccessFile>> find_access(Request& request) {
  const auto file = request.program().file_of(static_cast<int>(request.command.id));
  auto access = file ? std::dynamic_pointer_cast<AccessFile>(*file) : nullptr;
  if (access == nullptr) return fail(EBADFD, "the descriptor is not an access");
  return access;
}

Result<> create_access(Request& request) {
  auto& answer = request.command.create_access;
  if ((answer.flags & ~abi::kAccessNeedsPin) != 0) return fail(EOPNOTSUPP, "unknown flags");
  const auto kind = (answer.flags & abi::kAccessNeedsPin) != 0 ? Access::Kind::pins : Access::Kind::copies;
  auto file = TRY(AccessFile::create(request.context.shared_from_this(), kind, request.command.id));
  const int descriptor = TRY(request.program().install(std::move(file), O_CLOEXEC));
  answer.out_access_fd = static_cast<std::uint32_t>(descriptor);
  const auto responded = request.respond();
  if (!responded) request.program().take_back(descriptor);
  return responded;
}

Result<> access_replace_ioas(Request& request) {
  return TRY(find_access(request))->access().replace(request.command.access_replace_ioas.ioas_id);
}

Result<> access_pages(Request& request) {
  auto& ask = request.command.access_pages;
  if (ask.length > kMostCopied) return fail(ENOMEM, "too much at once");
  if ((ask.flags & ~(abi::kAccessWrite | abi::kAccessNthArea)) != 0) return fail(EOPNOTSUPP, "unknown flags");
  const auto file = TRY(find_access(request));
  if (file->access().kind() != Access::Kind::pins) return fail(EOPNOTSUPP, "the access only copies");
  if ((ask.flags & abi::kAccessNthArea) != 0) {
    const auto place = std::bit_cast<abi::NthArea>(ask.iova);
    ask.iova = file->access().nth_area(place.nth, place.offset);
  }
  const SamePage same(request.program(), request.context.memory());
  const std::uint64_t user = ask.uptr - ask.iova % kPageSize;
  const auto check = [&](const std::vector<PhysAddr>& pages) -> Result<> {
    for (std::size_t i = 0; ask.uptr != 0 && i < pages.size(); ++i)
      if (!TRY(same(user + i * kPageSize, PhysAddr{align_down(pages[i].value, kPageSize)})))
        return fail(EBADE, "another page is there");
    return {};
  };
  ask.out_access_pages_id = TRY(file->pin({ask.iova, ask.length, (ask.flags & abi::kAccessWrite) != 0}, check));
  const auto responded = request.respond();
  if (!responded) (void)file->unpin(ask.out_access_pages_id);
  return responded;
}

Result<> destroy_access_pages(Request& request) {
  return TRY(find_access(request))->unpin(request.command.destroy_access_pages.access_pages_id);
}

Result<> access_rw(Request& request) {
  auto& ask = request.command.access_rw;
  if (ask.length > kMostCopied) return fail(ENOMEM, "too much at once");
  if ((ask.flags & ~(abi::kRwWrite | abi::kRwSlow | abi::kAccessNthArea)) != 0)
    return fail(EOPNOTSUPP, "unknown flags");
  const auto file = TRY(find_access(request));
  const bool write = (ask.flags & abi::kRwWrite) != 0;
  std::vector<std::byte> data(ask.length);
  if (write) TRY(request.program().copy_in(data.data(), ask.uptr, data.size()));
  if ((ask.flags & abi::kAccessNthArea) != 0) {
    const auto place = std::bit_cast<abi::NthArea>(ask.iova);
    ask.iova = file->access().nth_area(place.nth, place.offset);
  }
  const auto path = (ask.flags & abi::kRwSlow) != 0 ? Access::Path::by_pages : Access::Path::fast;
  TRY(file->access().copy({ask.iova, ask.length, write}, data.data(), path));
  return write ? Result<>{} : request.program().copy_out(ask.uptr, data.data(), data.size());
}

// Linux limits the memory that it takes at once for lists of pages; ours go without such lists.
Result<> set_temp_memory_limit(Request& request) {
  constexpr std::uint32_t kLeast = sizeof(std::uint64_t) + sizeof(std::uint32_t);
  return request.command.memory_limit.limit < kLeast ? fail(EINVAL, "the limit is too low") : Result<>{};
}

// ---- DMA-BUFs

// Memory of nobody's device.
class TestDmaBuf final : public DmaBuf {
 public:
  static Result<std::shared_ptr<TestDmaBuf>> create(TableMemory& memory, unsigned pages) {
    auto made = std::make_shared<TestDmaBuf>(memory, pages);
    made->first_ = TRY(memory.allocate(std::bit_ceil(pages)));
    return made;
  }
  TestDmaBuf(TableMemory& memory, unsigned pages)
      : DmaBuf(std::uint64_t{pages} << kPageShift), memory_(memory), pages_(pages) {}
  ~TestDmaBuf() override {
    if (first_) memory_.free(*first_, std::bit_ceil(pages_));
  }
  PhysAddr first() const override { return *first_; }

 private:
  TableMemory& memory_;
  const unsigned pages_;
  std::optional<PhysAddr> first_;
};

Result<> dmabuf_get(Request& request) {
  constexpr std::uint64_t kMostPages = 512;
  const auto& ask = request.command.dmabuf_get;
  const std::uint64_t pages = (std::uint64_t{ask.length} + (kPageSize - 1)) >> kPageShift;
  if (pages == 0 || pages > kMostPages) return fail(EINVAL, "the length is 0, or too large");
  auto buffer = TRY(TestDmaBuf::create(request.context.memory().tables(), static_cast<unsigned>(pages)));
  request.call.set_value(TRY(request.program().install(std::make_shared<DmaBufFile>(std::move(buffer)),
                                                       static_cast<int>(ask.open_flags) & O_CLOEXEC)));
  return {};
}

Result<> dmabuf_revoke(Request& request) {
  const auto& ask = request.command.dmabuf_revoke;
  const auto file = request.program().file_of(ask.dmabuf_fd);
  if (!file && file.error().code == EBADF) return std::unexpected(file.error());
  const auto dma_buf = file ? std::dynamic_pointer_cast<DmaBufFile>(*file) : nullptr;
  if (dma_buf == nullptr) return fail(EINVAL, "the descriptor is not a DMA-BUF");
  if (dynamic_cast<TestDmaBuf*>(dma_buf->buffer().get()) == nullptr) return fail(EOPNOTSUPP, "a device's DMA-BUF");
  if (ask.revoked != 0) {
    dma_buf->buffer()->revoke();
  } else {
    dma_buf->buffer()->give_again();
  }
  return {};
}

constexpr Operation kRows[] = {
    {abi::Op::add_reserved, "ADD_RESERVED", add_reserved},
    {abi::Op::md_check_refs, "MD_CHECK_REFS", check_refs},
    {abi::Op::create_access, "CREATE_ACCESS", create_access},
    {abi::Op::destroy_access_pages, "DESTROY_ACCESS_PAGES", destroy_access_pages},
    {abi::Op::access_pages, "ACCESS_PAGES", access_pages},
    {abi::Op::access_rw, "ACCESS_RW", access_rw},
    {abi::Op::access_replace_ioas, "ACCESS_REPLACE_IOAS", access_replace_ioas},
    {abi::Op::set_temp_memory_limit, "SET_TEMP_MEMORY_LIMIT", set_temp_memory_limit},
    {abi::Op::dmabuf_get, "DMABUF_GET", dmabuf_get},
    {abi::Op::dmabuf_revoke, "DMABUF_REVOKE", dmabuf_revoke},
};

}  // namespace

std::span<const Operation> memory_operations() { return kRows; }

}  // namespace softiommu::iommufd::selftest
