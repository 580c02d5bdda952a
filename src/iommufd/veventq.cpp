// SPDX-License-Identifier: BSD-3-Clause
#include <poll.h>

#include <limits>

#include "base/fault.h"
#include "iommufd/event_queue.h"
#include "iommufd/viommu.h"

namespace softiommu::iommufd {

Veventq::Veventq(Viommu& viommu, std::uint32_t type, std::uint32_t depth)
    : viommu_(viommu), type_(type), depth_(depth) {
  viommu_.use();
}

Veventq::~Veventq() {
  viommu_.remove_queue(*this);
  viommu_.unuse();
}

// Every event takes a number, also one that is lost. The loss is told behind what waits; an event that finds room
// again takes its place: the gap tells it.
Result<> Veventq::add(std::span<const std::byte> event) {
  Events one;
  const auto made = without_throwing([&]() -> Result<> {
    TRY(fault::pass("iommufd.vevent"));
    one.push_back({{}, {event.begin(), event.end()}});
    return {};
  });
  const MutexLock lock(mutex_);
  const std::uint32_t sequence = sequence_;
  sequence_ = (sequence_ + 1) & std::uint32_t{std::numeric_limits<std::int32_t>::max()};
  if (!made || events_.size() >= depth_) {
    lost_ = sequence;
    return made;
  }
  one.front().header.sequence = sequence;
  lost_.reset();
  events_.splice(events_.end(), one);
  return {};
}

Veventq::Events Veventq::take(std::optional<std::uint32_t>& lost) {
  Events one;
  const MutexLock lock(mutex_);
  if (!events_.empty())
    one.splice(one.end(), events_, events_.begin());
  else
    lost.swap(lost_);
  return one;
}

// A loss that was told is told again only if nothing came since.
void Veventq::put_back(Events& event, std::optional<std::uint32_t> lost) {
  const MutexLock lock(mutex_);
  if (lost && events_.empty() && !lost_) lost_ = lost;
  events_.splice(events_.begin(), event);
}

ssize_t Veventq::read(Program& program, std::uint64_t user, std::size_t bytes) {
  constexpr std::size_t kHeader = sizeof(abi::VeventHeader);
  if (bytes < kHeader) return -EINVAL;
  std::size_t done = 0;
  for (;;) {
    std::optional<std::uint32_t> lost;
    Events event = take(lost);
    if (event.empty() && !lost) return static_cast<ssize_t>(done);
    const abi::VeventHeader header = lost ? abi::VeventHeader{abi::kVeventLostEvents, *lost} : event.front().header;
    const std::span<const std::byte> data = lost ? std::span<const std::byte>{} : std::span(event.front().data);
    Result<> copied;
    if (kHeader + data.size() > bytes - done)
      copied = fail(EINVAL, "the next event does not fit");
    else if (copied = program.copy_out(user + done, &header, kHeader); copied)
      copied = program.copy_out(user + done + kHeader, data.data(), data.size());
    if (!copied) {
      put_back(event, lost);
      return done != 0 ? static_cast<ssize_t>(done) : -copied.error().code;
    }
    done += kHeader + data.size();
  }
}

short Veventq::poll() const {
  const MutexLock lock(mutex_);
  return static_cast<short>(events_.empty() && !lost_ ? 0 : POLLIN | POLLRDNORM);
}

}  // namespace softiommu::iommufd
