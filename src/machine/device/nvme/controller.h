// SPDX-License-Identifier: BSD-3-Clause
// An NVM Express 1.4 controller with its namespaces.
//
// A register write changes registers under the register lock and wakes the executor; everything else (queues, commands,
// storage, interrupts) is the executor's alone and happens in step(): one command after the other, round robin over
// the submission queues. When software disables the controller, step() lets go of every queue before it clears ready.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/futex_lock.h"
#include "hw/nvme.h"
#include "machine/device/nvme/data_pointer.h"
#include "machine/device/nvme/storage.h"
#include "machine/pci_function.h"

namespace softiommu::nvme {

using hw::nvme::Status;

inline constexpr unsigned kMostQueues = 129;      // of each kind, the admin queue included
inline constexpr unsigned kQueueEntries = 1024;   // MQES + 1
inline constexpr unsigned kMostAsync = 4;         // asynchronous event requests that may wait
inline constexpr unsigned kErrorEntries = 16;     // of the error log
inline constexpr unsigned kTransferPagesLg2 = 7;  // MDTS: 128 pages of the smallest size
inline constexpr unsigned kMostPageLg2 = 16;

struct Namespace {
  std::unique_ptr<Storage> storage;
  unsigned block_lg2 = 9;
  std::uint64_t blocks() const { return storage->bytes() >> block_lg2; }
};

struct Command {
  std::array<std::uint64_t, hw::nvme::kSubmissionWords> words{};
  std::uint16_t queue = 0;

  std::uint8_t opcode() const { return static_cast<std::uint8_t>(hw::nvme::kCommandWord["OPC"].get(words[0])); }
  std::uint16_t id() const { return static_cast<std::uint16_t>(hw::nvme::kCommandWord["CID"].get(words[0])); }
  std::uint32_t nsid() const { return static_cast<std::uint32_t>(hw::nvme::kCommandWord["NSID"].get(words[0])); }
  std::uint64_t prp1() const { return words[hw::nvme::kWordPrp1]; }
  std::uint64_t dw10() const { return words[hw::nvme::kWord10]; }  // and 11 above it
  std::uint32_t dw11() const { return static_cast<std::uint32_t>(words[hw::nvme::kWord10] >> 32); }
  std::uint64_t dw12() const { return words[hw::nvme::kWord12]; }
};

// What a command completes with; nothing: it waits.
struct Outcome {
  Status status = Status::success;
  std::uint32_t result = 0;
  Outcome(Status answer) : status(answer) {}  // NOLINT: a status is an outcome
  static Outcome of(std::uint32_t value) {
    Outcome outcome(Status::success);
    outcome.result = value;
    return outcome;
  }
};

class Controller final : public PciFunction {
 public:
  struct Setup {
    std::vector<Namespace> namespaces;  // of ids 1, 2, ...
    unsigned queues;                    // of each kind, besides the admin queue
  };
  Controller(const Context& context, Setup setup);

  std::string_view model() const override { return "nvme"; }
  std::uint64_t step(std::uint64_t now_ns) override;

 protected:
  std::uint64_t bar_read(unsigned bar, std::uint64_t offset, unsigned bytes) override;
  void bar_write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  void reset_registers() override;
  void forget_register_lock() override { mutex_.reset(); }

 private:
  struct Registers {
    std::uint32_t configuration = 0, status = 0, admin_attributes = 0, masked = 0;
    std::uint64_t admin_submission = 0, admin_completion = 0;
    std::uint64_t epoch = 0;  // bumped by every end of the controller's work: what a step began before it is void
    // As written, by queue; nullopt: not written since step() looked.
    std::array<std::optional<std::uint32_t>, kMostQueues> tails{}, heads{};
  };
  struct SubmissionQueue {
    std::uint64_t base = 0;
    std::uint32_t entries = 0, head = 0, tail = 0;  // entries 0: there is none
    std::uint16_t completion = 0;
  };
  struct CompletionQueue {
    std::uint64_t base = 0;
    std::uint32_t entries = 0, head = 0, tail = 0;
    std::uint16_t vector = 0;
    unsigned users = 0;  // submission queues
    bool phase = true, interrupts = false;
    bool full() const { return (tail + 1) % entries == head; }
  };
  struct ErrorEntry {
    std::uint64_t count = 0;
    Command command;
    Status status{};
  };
  struct Counters {
    std::uint64_t reads = 0, writes = 0, bytes_read = 0, bytes_written = 0, errors = 0;
  };

  // ---- controller.cpp: registers, queues, completions
  std::uint64_t read_locked(std::uint64_t offset) const REQUIRES(mutex_);
  void write_locked(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);
  void doorbell_locked(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);
  bool follow_registers();
  bool start(const Registers& registers);
  void stop();
  void flush_all();
  void take_doorbells();
  void ring(SubmissionQueue& queue, std::uint32_t tail);
  void ring(CompletionQueue& queue, std::uint32_t head);
  bool serve(std::uint16_t id);
  std::optional<Outcome> execute(const Command& command);
  void complete(const Command& command, const Outcome& outcome);
  void die();
  void update_line();
  void update_line_locked() REQUIRES(mutex_);

  // ---- admin.cpp
  std::optional<Outcome> admin(const Command& command);
  Outcome identify(const Command& command);
  Outcome get_log_page(const Command& command);
  Outcome get_features(const Command& command);
  Outcome set_features(const Command& command);
  Outcome create_completion_queue(const Command& command);
  Outcome create_submission_queue(const Command& command);
  Outcome delete_completion_queue(const Command& command);
  Outcome delete_submission_queue(const Command& command);
  Outcome abort(const Command& command);
  std::optional<Outcome> async_event(const Command& command);
  void tell(hw::nvme::AsyncError error);
  std::optional<std::uint32_t> feature(const Command& command) const;
  void reset_features();
  std::vector<std::byte> controller_structure() const;
  std::vector<std::byte> namespace_structure(const Namespace& ns) const;
  std::vector<std::byte> health_log() const;
  std::vector<std::byte> error_log() const;

  // ---- io.cpp
  Outcome io(const Command& command);
  Outcome transfer(const Command& command, Namespace& ns);
  Outcome write_zeroes(const Command& command, Namespace& ns);
  Outcome manage_dataset(const Command& command, Namespace& ns);
  Outcome flush(const Command& command);
  // The first byte and how many, of the blocks that the command names.
  struct Range {
    std::uint64_t offset, bytes;
  };
  std::optional<Range> blocks_of(const Command& command, const Namespace& ns) const;
  Namespace* find_namespace(std::uint32_t id);
  // Moves data between memory and the device.
  Status receive(const Command& command, std::span<std::byte> to);
  Status send(const Command& command, std::span<const std::byte> from);
  template <class Move>
  Status move_data(const Command& command, Access access, std::uint64_t bytes, Move&& move);
  std::uint64_t page_bytes() const { return std::uint64_t{1} << page_lg2_; }

  std::vector<Namespace> namespaces_;
  const unsigned queues_;

  FutexLock mutex_;
  Registers registers_ GUARDED_BY(mutex_);
  // completion_ when step() last looked at the line; without messages only.
  std::vector<CompletionQueue> told_ GUARDED_BY(mutex_);

  // The executor's.
  std::uint64_t epoch_ = 0;
  bool running_ = false;
  unsigned page_lg2_ = 12;
  std::vector<SubmissionQueue> submission_;
  std::vector<CompletionQueue> completion_;
  std::uint16_t next_queue_ = 0;
  std::array<std::uint32_t, 16> features_{};
  std::vector<std::uint32_t> vector_features_;
  std::vector<Command> waiting_;      // asynchronous event requests
  std::deque<std::uint32_t> events_;  // that nobody was told yet
  std::uint64_t announced_ = 0;       // log pages that must be read before their events are told again
  std::deque<ErrorEntry> errors_;     // newest first
  Counters counters_;
};

}  // namespace softiommu::nvme
