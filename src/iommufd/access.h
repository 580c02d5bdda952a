// SPDX-License-Identifier: BSD-3-Clause
// An access: a driver that uses a program's memory itself instead of by DMA (mdev devices do), through an IOAS.
//
// It pins pages, or copies. When the program unmaps what is pinned the driver is asked to let go of it first.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "iommufd/context.h"

namespace softiommu::iommufd {

// The driver's side.
class AccessUser {
 public:
  virtual ~AccessUser() = default;
  // Unpins what it has pinned of the range before it returns. Called without a lock of ours, on the program's thread
  // that unmaps.
  virtual void unmap(IovaRange range) = 0;
};

// What the context knows of it. Used by its driver, so that DESTROY answers EBUSY.
class AccessObject final : public Object {
 public:
  enum class Kind : std::uint8_t { copies, pins };
  AccessObject(Kind kind, std::weak_ptr<AccessUser> user) : kind_(kind), user_(std::move(user)) {}
  ~AccessObject() override;

  Kind kind() const { return kind_; }
  // Its areas' alignment: only whole pages can be pinned.
  std::uint64_t alignment() const { return kind_ == Kind::pins ? kPageSize : 1; }
  std::shared_ptr<AccessUser> user() const { return user_.lock(); }

  // Where it pins and copies; nullptr: nowhere, or it is being changed.
  Ioas* ioas() const { return ioas_; }
  // Where it unpins: the same, but while that is being changed the old one.
  Ioas* unpin_from() const { return unpin_from_; }
  // To where it is already: nothing changes. EBUSY: it is being changed; EADDRINUSE: mappings are not aligned as it
  // needs; ENOMEM.
  Result<> begin_change(Ioas* to);
  void end_change(Ioas* to);

 private:
  void leave(Ioas& ioas);
  const Kind kind_;
  const std::weak_ptr<AccessUser> user_;
  Ioas *ioas_ = nullptr, *unpin_from_ = nullptr;
};

// What the driver holds.
class Access {
 public:
  using Kind = AccessObject::Kind;
  static Result<std::unique_ptr<Access>> create(std::shared_ptr<Context> context, Kind kind,
                                                std::weak_ptr<AccessUser> user);
  ~Access();  // nothing is pinned any more
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  Kind kind() const { return object_.kind(); }
  // Moves it to that IOAS; what is pinned in the old one is let go of. ENOENT: no such IOAS; EBUSY, EADDRINUSE, ENOMEM.
  Result<> attach(std::uint32_t ioas_id);
  // The same, if it has one. ENOENT: it has none.
  Result<> replace(std::uint32_t ioas_id);

  // Where the pages of the range are. Errors: IoPagetable::pin; ENOENT: it has no IOAS.
  Result<std::vector<PhysAddr>> pin(const IoPagetable::PinRequest& request);
  void unpin(const IoPagetable::PinRequest& request);

  // How a copy reaches the memory: by the addresses of the program that mapped it, or by its pages, as for memory of
  // another process that is gone.
  enum class Path : std::uint8_t { fast, by_pages };
  // Copies between `data` and the range (which must allow it). Errors: IoPagetable::pieces_to_copy; EFAULT, ENOMEM.
  Result<> copy(const IoPagetable::PinRequest& request, std::byte* data, Path path);

  // The IOVA that is `offset` into the area with that number; 0: none.
  std::uint64_t nth_area(std::uint32_t nth, std::uint32_t offset);

 private:
  Access(std::shared_ptr<Context> context, AccessObject& object) : context_(std::move(context)), object_(object) {}
  static Result<> copy_by_address(const Piece& piece, bool write, std::byte* data);
  Result<> copy_by_pages(const Piece& piece, bool write, std::byte* data);

  std::shared_ptr<Context> context_;
  AccessObject& object_;
};

}  // namespace softiommu::iommufd
