// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/access.h"

#include <new>

#include "base/guarded_copy.h"

namespace softiommu::iommufd {

// ---- the object

AccessObject::~AccessObject() {
  if (ioas_ != nullptr) leave(*ioas_);
}

void AccessObject::leave(Ioas& ioas) {
  ioas.table().remove_access(this);
  ioas.unuse();
}

Result<> AccessObject::begin_change(Ioas* to) {
  if (ioas_ != unpin_from_) return fail(EBUSY, "the access is being moved");
  if (to == ioas_) return {};
  TRY(to->table().add_access(this, alignment()));
  to->use();
  ioas_ = nullptr;
  return {};
}

void AccessObject::end_change(Ioas* to) {
  if (unpin_from_ != nullptr) leave(*unpin_from_);
  ioas_ = unpin_from_ = to;
}

// ---- what the driver holds

Result<std::unique_ptr<Access>> Access::create(std::shared_ptr<Context> context, Kind kind,
                                               std::weak_ptr<AccessUser> user) {
  return without_throwing([&]() -> Result<std::unique_ptr<Access>> {
    const auto add = [&](ObjectTable& objects) -> Result<AccessObject*> {
      AccessObject* const added = TRY(objects.add(std::make_unique<AccessObject>(kind, std::move(user))));
      added->use();
      return added;
    };
    AccessObject* const object = TRY(context->locked(add));
    std::unique_ptr<Access> made(new (std::nothrow) Access(context, *object));
    if (made != nullptr) return made;
    context->locked([&](ObjectTable& objects) {
      object->unuse();
      return objects.take(object->id()).has_value();
    });
    return fail(ENOMEM, "memory for the access");
  });
}

Access::~Access() {
  context_->locked([&](ObjectTable& objects) {
    object_.unuse();
    return objects.take(object_.id()).has_value();
  });
}

Result<> Access::attach(std::uint32_t ioas_id) {
  Ioas *from = nullptr, *to = nullptr;
  TRY(context_->locked([&](ObjectTable& objects) -> Result<> {
    from = object_.unpin_from();
    to = objects.find<Ioas>(ioas_id);
    if (to == nullptr) return fail(ENOENT, "no IOAS has this id");
    return object_.begin_change(to);
  }));
  if (from == to) return {};
  if (from != nullptr)
    if (const auto user = object_.user()) user->unmap({Iova{0}, Iova{~std::uint64_t{0}}});
  context_->locked([&](ObjectTable&) {
    object_.end_change(to);
    return true;
  });
  return {};
}

Result<> Access::replace(std::uint32_t ioas_id) {
  const bool attached = context_->locked([&](ObjectTable&) { return object_.ioas() != nullptr; });
  return attached ? attach(ioas_id) : fail(ENOENT, "the access has no IOAS");
}

Result<std::vector<PhysAddr>> Access::pin(const IoPagetable::PinRequest& request) {
  return context_->locked([&](ObjectTable&) -> Result<std::vector<PhysAddr>> {
    if (object_.ioas() == nullptr) return fail(ENOENT, "the access has no IOAS");
    return object_.ioas()->table().pin(request);
  });
}

void Access::unpin(const IoPagetable::PinRequest& request) {
  context_->locked([&](ObjectTable&) {
    if (object_.unpin_from() != nullptr) object_.unpin_from()->table().unpin(request);
    return true;
  });
}

// ---- copies

Result<> Access::copy(const IoPagetable::PinRequest& request, std::byte* data, Path path) {
  const auto pieces = TRY(context_->locked([&](ObjectTable&) -> Result<std::vector<Piece>> {
    if (object_.ioas() == nullptr) return fail(ENOENT, "the access has no IOAS");
    return object_.ioas()->table().pieces_to_copy(request);
  }));
  for (const Piece& piece : pieces) {
    const bool fast = path == Path::fast && !piece.pages->of_file();
    const auto copied = fast ? copy_by_address(piece, request.write, data) : fail(EFAULT, "not by address");
    // Pinned pages are there even when the process that they are of is gone.
    if (!copied) TRY(copy_by_pages(piece, request.write, data));
    data += piece.length;
  }
  return {};
}

Result<> Access::copy_by_address(const Piece& piece, bool write, std::byte* data) {
  Program& program = piece.pages->program();
  const std::uint64_t user = piece.pages->user() + piece.start;
  return write ? program.copy_out(user, data, piece.length) : program.copy_in(data, user, piece.length);
}

// The pages are held while they are copied, without the lock.
Result<> Access::copy_by_pages(const Piece& piece, bool write, std::byte* data) {
  std::vector<PhysRun> runs;
  TRY(context_->locked([&](ObjectTable&) { return piece.pages->hold(piece.start, piece.length); }));
  const auto note = [&](PhysRun run) -> Result<> {
    runs.push_back(run);
    return {};
  };
  const auto list = [&](ObjectTable&) {
    return without_throwing([&] { return piece.pages->for_each_run(piece.start, piece.length, note); });
  };
  const auto listed = context_->locked(list);
  bool all = listed.has_value();
  for (const PhysRun& run : runs) {
    for (std::uint64_t done = 0; done < run.bytes && all;) {
      const PhysAddr pa = run.first + done;
      std::byte* const host = context_->memory().host(pa);
      const std::uint64_t bytes = std::min(run.bytes - done, kPageSize - pa.value % kPageSize);
      all = host != nullptr && (write ? guarded_copy(host, data, bytes) : guarded_copy(data, host, bytes));
      done += bytes;
      data += bytes;
    }
  }
  context_->locked([&](ObjectTable&) {
    piece.pages->let_go(piece.start, piece.length);
    return true;
  });
  if (!listed) return listed;
  return all ? Result<>{} : fail(EFAULT, "the memory cannot be reached");
}

std::uint64_t Access::nth_area(std::uint32_t nth, std::uint32_t offset) {
  return context_->locked([&](ObjectTable&) -> std::uint64_t {
    if (object_.ioas() == nullptr) return 0;
    const auto area = object_.ioas()->table().area(nth);
    return area ? area->first.value + offset : 0;
  });
}

}  // namespace softiommu::iommufd
