// SPDX-License-Identifier: BSD-3-Clause
// Any IOMMU model, which can be told to fail as hardware does:
//
//   registers  from the nth access on it does not answer: reads show what was, and what is written arrives only when
//              the failure is over. Whoever waits for it runs into his time limit
//   queue      the nth command from now on is one that the unit does not know: it stops as its manual says
//   answers    the nth request from now on is refused (virtio: each status in turn)
#pragma once

#include <optional>
#include <vector>

#include "check/failure.h"
#include "check/wrapped_unit.h"

namespace softiommu::check {

class FaultyUnit final : public WrappedUnit {
 public:
  using WrappedUnit::WrappedUnit;
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

  // Of a kind that hardware has (others do nothing).
  void arm(const Failure& failure);
  // The failure is over; late writes arrive. True: it struck.
  bool disarm();
  // The same where late writes never arrive: the unit is reset.
  bool power_cycle();

 private:
  struct Write {
    std::uint64_t offset;
    unsigned bytes;
    std::uint64_t value;
  };
  struct Read {
    std::uint64_t offset;
    unsigned bytes;
    std::uint64_t value;
  };
  bool is_silent();
  void spoil_commands(std::uint64_t offset, std::uint64_t value);
  void note_virtqueue(std::uint64_t offset, std::uint64_t value);
  void refuse_request(const Write& notify);

  Failure failure_{};
  unsigned seen_ = 0;  // accesses, commands or requests since it was armed
  bool struck_ = false;
  std::vector<Write> late_;
  std::optional<Read> polled_;  // what the last read in silence showed: nothing changes meanwhile
  // Of virtio, as the driver set it up.
  std::uint64_t queue_ = 0, descriptors_ = 0, available_ = 0, slots_ = 1;
};

// Every model in `models`, and every model of ours that none of them has the name of, each made faulty. They live as
// long as the program; a second call forgets the first one's.
std::span<const UnitModel> faulty_models(std::span<const UnitModel> models);

}  // namespace softiommu::check
