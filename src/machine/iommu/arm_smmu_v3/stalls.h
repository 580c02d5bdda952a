// SPDX-License-Identifier: BSD-3-Clause
// Stalled transactions (IHI0070 3.12.2): each waits on its own thread under a tag, until software says what becomes of
// it. Waiting holds no lock of the unit, and the caller has paused its copy.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/types.h"

namespace softiommu::smmuv3 {

class Stalls {
 public:
  static constexpr unsigned kMost = 16;  // IDR5.STALL_MAX
  using Tag = std::uint16_t;

  // A tag for a transaction of the stream; waits while all are used. nullopt: nothing may stall any more.
  std::optional<Tag> begin(StreamId stream);
  // Waits for the answer and gives the tag back. True: try again.
  bool wait(Tag tag);
  // The event could not be told: nobody would answer.
  void cancel(Tag tag);

  // A tag that is no stalled transaction of the stream is ignored (4.6.1).
  void resume(StreamId stream, Tag tag, bool retry);
  void terminate(StreamId stream);
  // Ends what is stalled; from now on transactions may stall, or not.
  void open();
  void close();

 private:
  struct Stalled {
    enum class State : std::uint8_t { free, waiting, retry, terminate };
    State state = State::free;
    StreamId stream = 0;
  };
  void free_locked(Tag tag);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Stalled, kMost> stalled_;
  bool open_ = false;
};

}  // namespace softiommu::smmuv3
