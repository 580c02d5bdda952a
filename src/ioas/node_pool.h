// SPDX-License-Identifier: BSD-3-Clause
// Objects of one size that never move: taken from chunks, each larger than the one before, and recycled last in, first
// out. Large chunks ask for huge pages, because a tree's leaves are reached in no order.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <type_traits>
#include <vector>

namespace softiommu {

template <class T>
class NodePool {
 public:
  NodePool() = default;
  NodePool(const NodePool&) = delete;
  NodePool& operator=(const NodePool&) = delete;
  ~NodePool() {
    for (const Chunk& chunk : chunks_) ::operator delete(chunk.at, chunk.alignment);
  }

  // take() can be called `count` times then. Throws std::bad_alloc.
  void reserve(std::size_t count) {
    while (recycled_.size() + static_cast<std::size_t>(end_ - fresh_) < count) grow();
  }
  // After reserve(). What is in it is undefined.
  T* take() {
    if (recycled_.empty()) return reinterpret_cast<T*>(fresh_++);
    T* const taken = recycled_.back();
    recycled_.pop_back();
    return taken;
  }
  // Does not touch the object: it may be out of the caches.
  void give(T* object) { recycled_.push_back(object); }

 private:
  static constexpr std::size_t kLine = 64, kHuge = std::size_t{2} << 20, kLargest = 16 * kHuge;
  struct Chunk {
    void* at;
    std::align_val_t alignment;
  };
  struct alignas(kLine) Cell {
    std::byte bytes[sizeof(T)];
  };
  static_assert(std::is_trivially_destructible_v<T>);

  void grow() {
    std::size_t bytes = std::min(std::max(chunk_bytes_ * 2, sizeof(Cell)), kLargest);
    const bool huge = bytes >= kHuge;
    if (huge) bytes = bytes / kHuge * kHuge;
    cells_ += bytes / sizeof(Cell);
    recycled_.reserve(cells_);  // give() cannot fail
    chunks_.reserve(chunks_.size() + 1);
    const std::align_val_t alignment{huge ? kHuge : kLine};
    void* const chunk = ::operator new(bytes, alignment);
    if (huge) ::madvise(chunk, bytes, MADV_HUGEPAGE);
    for (; fresh_ != end_; ++fresh_) give(reinterpret_cast<T*>(fresh_));  // the rest of the chunk before
    chunks_.push_back({chunk, alignment});
    chunk_bytes_ = bytes;
    fresh_ = static_cast<Cell*>(chunk);
    end_ = fresh_ + bytes / sizeof(Cell);
  }

  std::vector<T*> recycled_;
  Cell *fresh_ = nullptr, *end_ = nullptr;  // never used yet
  std::size_t cells_ = 0, chunk_bytes_ = 0;
  std::vector<Chunk> chunks_;
};

}  // namespace softiommu
