// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/arm_smmu_v3/stalls.h"

#include <algorithm>

namespace softiommu::smmuv3 {

std::optional<Stalls::Tag> Stalls::begin(StreamId stream) {
  std::unique_lock lock(mutex_);
  const auto find_free = [&] { return std::ranges::find(stalled_, Stalled::State::free, &Stalled::state); };
  changed_.wait(lock, [&] { return !open_ || find_free() != stalled_.end(); });
  if (!open_) return std::nullopt;
  const auto found = find_free();
  *found = {Stalled::State::waiting, stream};
  return static_cast<Tag>(found - stalled_.begin());
}

bool Stalls::wait(Tag tag) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stalled_[tag].state != Stalled::State::waiting; });
  const bool retry = stalled_[tag].state == Stalled::State::retry;
  free_locked(tag);
  return retry;
}

void Stalls::cancel(Tag tag) {
  const std::scoped_lock lock(mutex_);
  free_locked(tag);
}

void Stalls::free_locked(Tag tag) {
  stalled_[tag].state = Stalled::State::free;
  changed_.notify_all();
}

void Stalls::resume(StreamId stream, Tag tag, bool retry) {
  const std::scoped_lock lock(mutex_);
  if (tag >= kMost || stalled_[tag].state != Stalled::State::waiting || stalled_[tag].stream != stream) return;
  stalled_[tag].state = retry ? Stalled::State::retry : Stalled::State::terminate;
  changed_.notify_all();
}

void Stalls::terminate(StreamId stream) {
  const std::scoped_lock lock(mutex_);
  for (Stalled& each : stalled_)
    if (each.state == Stalled::State::waiting && each.stream == stream) each.state = Stalled::State::terminate;
  changed_.notify_all();
}

void Stalls::open() {
  const std::scoped_lock lock(mutex_);
  open_ = true;
}

void Stalls::close() {
  const std::scoped_lock lock(mutex_);
  open_ = false;
  for (Stalled& each : stalled_)
    if (each.state == Stalled::State::waiting) each.state = Stalled::State::terminate;
  changed_.notify_all();
}

}  // namespace softiommu::smmuv3
