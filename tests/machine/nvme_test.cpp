// SPDX-License-Identifier: BSD-3-Clause
#include "hw/nvme.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "base/guarded_copies.h"
#include "machine/device_bench.h"

namespace softiommu {
namespace {

namespace nvme = hw::nvme;
using nvme::Admin;
using nvme::Io;
using nvme::Status;

struct Submission {
  std::uint64_t words[nvme::kSubmissionWords] = {};
};
struct Completion {
  std::uint64_t result, word;
  Status status() const {
    return static_cast<Status>(nvme::kCompletionWord["SCT"].get(word) << 8 | nvme::kCompletionWord["SC"].get(word));
  }
  std::uint64_t id() const { return nvme::kCompletionWord["CID"].get(word); }
  bool phase() const { return nvme::kCompletionWord["P"].is_set(word); }
};

// The first lines of an NVMe driver: admin queues in pages 0 and 1, one pair of I/O queues in 2 and 3, data behind.
class Nvme : public DeviceBench {
 protected:
  static constexpr std::uint64_t kAdminSq = 0, kAdminCq = 0x1000, kIoSq = 0x2000, kIoCq = 0x3000, kData = 0x10000,
                                 kOther = 0x20000, kList = 0x30000;
  static constexpr std::uint32_t kEntries = 8;
  static constexpr std::uint64_t kBlock = 512;

  void SetUp() override {
    DeviceBench::SetUp();
    plug(nvme_device_model(), {{"size", kMiB}});
  }
  std::uint32_t status() { return bar().read32(nvme::kStatus.offset); }
  bool ready() { return nvme::kStatus["RDY"].is_set(status()); }
  void configure(std::uint64_t value) {
    bar().write32(nvme::kConfiguration.offset, static_cast<std::uint32_t>(value));
    run();
  }
  void enable_controller(std::uint64_t more = 0) {
    bar().write32(nvme::kAdminAttributes.offset, (kEntries - 1) << 16 | (kEntries - 1));
    bar().write64(nvme::kAdminSubmission.offset, dma(kAdminSq));
    bar().write64(nvme::kAdminCompletion.offset, dma(kAdminCq));
    configure(nvme::kConfiguration["EN"].put(1) | nvme::kConfiguration["IOSQES"].put(6) |
              nvme::kConfiguration["IOCQES"].put(4) | more);
    queues_[0] = queues_[1] = {};
  }
  void create_io_queues(std::uint64_t vector = 1) {
    const std::uint64_t size = (kEntries - 1) << 16 | 1;
    ASSERT_EQ(admin(Admin::create_cq, dma(kIoCq), size | (vector << 16 | 3) << 32), Status::success);
    ASSERT_EQ(admin(Admin::create_sq, dma(kIoSq), size | std::uint64_t{1 << 16 | 1} << 32), Status::success);
  }
  void start() {
    enable_controller();
    ASSERT_TRUE(ready());
    create_io_queues();
  }

  // Puts a command into a queue and rings; its id counts up.
  std::uint16_t submit(unsigned queue, Submission command) {
    Queue& q = queues_[queue];
    const std::uint16_t id = ++last_id_;
    command.words[0] |= nvme::kCommandWord["CID"].put(id);
    at<Submission>((queue == 0 ? kAdminSq : kIoSq) + q.tail * sizeof command) = command;
    q.tail = (q.tail + 1) % kEntries;
    bar().write32(nvme::kDoorbells + 8 * queue, q.tail);
    run();
    return id;
  }
  // The next completion of a queue, if there is one.
  std::optional<Completion> reap(unsigned queue) {
    Queue& q = queues_[queue];
    const auto entry = at<Completion>((queue == 0 ? kAdminCq : kIoCq) + q.head * sizeof(Completion));
    if (entry.phase() != q.phase) return std::nullopt;
    q.head = (q.head + 1) % kEntries;
    if (q.head == 0) q.phase = !q.phase;
    bar().write32(nvme::kDoorbells + 8 * queue + 4, q.head);
    run();
    return entry;
  }
  Status execute(unsigned queue, const Submission& command) {
    const std::uint16_t id = submit(queue, command);
    const auto done = reap(queue);
    if (!done) return Status{0xffff};
    EXPECT_EQ(done->id(), id);
    result_ = static_cast<std::uint32_t>(done->result);
    return done->status();
  }
  static Submission make(std::uint64_t opcode, std::uint32_t nsid, std::uint64_t prp1, std::uint64_t dw10) {
    Submission command;
    command.words[0] = nvme::kCommandWord["OPC"].put(opcode) | nvme::kCommandWord["NSID"].put(nsid);
    command.words[nvme::kWordPrp1] = prp1;
    command.words[nvme::kWord10] = dw10;
    return command;
  }
  Status admin(Admin opcode, std::uint64_t prp1, std::uint64_t dw10, std::uint32_t nsid = 0) {
    return execute(0, make(static_cast<std::uint64_t>(opcode), nsid, prp1, dw10));
  }
  Submission blocks(Io opcode, std::uint64_t first, std::uint64_t count, std::uint64_t data = kData) {
    Submission command = make(static_cast<std::uint64_t>(opcode), 1, dma(data), first);
    command.words[nvme::kWordPrp2] = dma(data + kPageSize);
    command.words[nvme::kWord12] = count - 1;
    return command;
  }
  Status io(Io opcode, std::uint64_t first, std::uint64_t count, std::uint64_t data = kData) {
    return execute(1, blocks(opcode, first, count, data));
  }
  void fill(std::uint64_t offset, std::uint64_t bytes, char value) { std::memset(&at<char>(offset), value, bytes); }
  bool holds(std::uint64_t offset, std::uint64_t bytes, char value) {
    return text(offset, bytes) == std::string(bytes, value);
  }

  struct Queue {
    std::uint32_t tail = 0, head = 0;
    bool phase = true;
  };
  Queue queues_[2];
  std::uint16_t last_id_ = 0;
  std::uint32_t result_ = 0;
};

// ---- life

TEST_F(Nvme, IsReadyOnceEnabledAndNoLongerWhenDisabled) {
  EXPECT_FALSE(ready());
  enable_controller();
  EXPECT_TRUE(ready());
  configure(0);
  EXPECT_EQ(status(), 0u);
  EXPECT_EQ(bar().read32(nvme::kVersion.offset), 0x10400u);
}

TEST_F(Nvme, AnotherCommandSetIsFatalUntilItIsDisabled) {
  enable_controller(nvme::kConfiguration["CSS"].put(1));
  EXPECT_EQ(status(), nvme::kStatus["CFS"].mask());
  configure(0);
  enable_controller();
  EXPECT_TRUE(ready());
}

TEST_F(Nvme, AQueueOutOfReachIsFatal) {
  enable_controller();
  refuse(kAdminSq, Access::read);
  submit(0, make(static_cast<std::uint64_t>(Admin::identify), 0, dma(kData), 1));
  EXPECT_TRUE(nvme::kStatus["CFS"].is_set(status()));
  EXPECT_FALSE(reap(0));
}

TEST_F(Nvme, ShutdownCompletes) {
  start();
  configure(nvme::kConfiguration["EN"].put(1) | nvme::kConfiguration["SHN"].put(1));
  EXPECT_EQ(nvme::kStatus["SHST"].get(status()), nvme::kShutdownComplete);
}

TEST_F(Nvme, AFunctionResetForgetsQueues) {
  start();
  device_->reset();
  enable();
  EXPECT_EQ(status(), 0u);
  enable_controller();
  EXPECT_EQ(admin(Admin::delete_sq, 0, 1), Status::invalid_queue_id);
}

TEST_F(Nvme, DisablingForgetsQueuesHoweverShortItIs) {
  start();
  bar().write32(nvme::kConfiguration.offset, 0);
  enable_controller();
  EXPECT_TRUE(ready());
  EXPECT_EQ(admin(Admin::delete_cq, 0, 1), Status::invalid_queue_id);
}

// ---- identify, logs, features

TEST_F(Nvme, SaysWhatItIs) {
  enable_controller();
  ASSERT_EQ(admin(Admin::identify, dma(kData), 1), Status::success);
  EXPECT_EQ(at<std::uint16_t>(kData + nvme::controller::kVendor), nvme::kVendorId);
  EXPECT_EQ(text(kData + nvme::controller::kModel, 9), "softiommu");
  EXPECT_EQ(at<std::uint32_t>(kData + nvme::controller::kNamespaces), 1u);
  EXPECT_EQ(at<std::uint8_t>(kData + nvme::controller::kSqEntry), 0x66u);
}

TEST_F(Nvme, SaysWhatANamespaceIs) {
  enable_controller();
  ASSERT_EQ(admin(Admin::identify, dma(kData), 0, 1), Status::success);
  EXPECT_EQ(at(kData + nvme::name_space::kSize), kMiB / kBlock);
  EXPECT_EQ(at<std::uint32_t>(kData + nvme::name_space::kFormat0) >> nvme::name_space::kFormatDataShift, 9u);
  EXPECT_EQ(admin(Admin::identify, dma(kData), 0, 2), Status::invalid_namespace);
}

TEST_F(Nvme, ListsNamespacesAboveAnId) {
  enable_controller();
  ASSERT_EQ(admin(Admin::identify, dma(kData), 2, 0), Status::success);
  EXPECT_EQ(at(kData), 1u);
  ASSERT_EQ(admin(Admin::identify, dma(kData), 2, 1), Status::success);
  EXPECT_EQ(at(kData), 0u);
}

TEST_F(Nvme, UnknownCommandsStructuresAndPagesAreNamed) {
  enable_controller();
  EXPECT_EQ(admin(Admin{0x7f}, dma(kData), 0), Status::invalid_opcode);
  EXPECT_EQ(admin(Admin::identify, dma(kData), 0x55), Status::invalid_field);
  EXPECT_EQ(admin(Admin::get_log_page, dma(kData), 0x7f), Status::invalid_log_page);
  EXPECT_EQ(admin(Admin::get_features, 0, 0x7f), Status::invalid_field);
}

TEST_F(Nvme, TheErrorLogNamesTheLastFailure) {
  enable_controller();
  admin(Admin{0x7f}, 0, 0, 9);
  ASSERT_EQ(admin(Admin::get_log_page, dma(kData), 1 | 15 << 16), Status::success);
  EXPECT_EQ(at(kData + nvme::error_entry::kCount), 1u);
  EXPECT_EQ(at<std::uint16_t>(kData + nvme::error_entry::kCommand), 1u);
  EXPECT_EQ(at<std::uint16_t>(kData + nvme::error_entry::kStatus) >> 1 & 0xff, 1u);
  EXPECT_EQ(at<std::uint32_t>(kData + nvme::error_entry::kNamespace), 9u);
}

TEST_F(Nvme, TheHealthLogCountsCommands) {
  start();
  io(Io::write, 0, 1);
  io(Io::read, 0, 1);
  io(Io::read, 0, 1);
  ASSERT_EQ(admin(Admin::get_log_page, dma(kData), 2 | 127 << 16), Status::success);
  EXPECT_EQ(at(kData + nvme::health::kReads), 2u);
  EXPECT_EQ(at(kData + nvme::health::kWrites), 1u);
}

TEST_F(Nvme, FeaturesKeepWhatIsSetUntilTheNextReset) {
  enable_controller();
  const auto arbitration = static_cast<std::uint64_t>(nvme::Feature::arbitration);
  EXPECT_EQ(admin(Admin::set_features, 0, arbitration | std::uint64_t{0x12} << 32), Status::success);
  EXPECT_EQ(admin(Admin::get_features, 0, arbitration), Status::success);
  EXPECT_EQ(result_, 0x12u);
  configure(0);
  enable_controller();
  EXPECT_EQ(admin(Admin::get_features, 0, arbitration), Status::success);
  EXPECT_EQ(result_, 7u);
}

TEST_F(Nvme, TheNumberOfQueuesIsTheDevicesAndFixedOnceOneExists) {
  enable_controller();
  const auto queues = static_cast<std::uint64_t>(nvme::Feature::queues);
  EXPECT_EQ(admin(Admin::set_features, 0, queues | std::uint64_t{0x3'0003} << 32), Status::success);
  EXPECT_EQ(result_, 0xf'000fu);
  create_io_queues();
  EXPECT_EQ(admin(Admin::set_features, 0, queues | std::uint64_t{0x3'0003} << 32), Status::sequence_error);
}

// ---- queues

TEST_F(Nvme, QueuesAreCheckedWhenTheyAreMade) {
  enable_controller();
  const std::uint64_t size = (kEntries - 1) << 16, contiguous = std::uint64_t{1} << 32;
  EXPECT_EQ(admin(Admin::create_cq, dma(kIoCq), size | contiguous), Status::invalid_queue_id);
  EXPECT_EQ(admin(Admin::create_cq, dma(kIoCq), 1 | contiguous), Status::invalid_queue_size);
  EXPECT_EQ(admin(Admin::create_cq, dma(kIoCq), size | 1), Status::invalid_field);
  EXPECT_EQ(admin(Admin::create_cq, dma(kIoCq) + 8, size | 1 | contiguous), Status::invalid_prp_offset);
  EXPECT_EQ(admin(Admin::create_cq, dma(kIoCq), size | 1 | contiguous | std::uint64_t{77} << 48),
            Status::invalid_vector);
  EXPECT_EQ(admin(Admin::create_sq, dma(kIoSq), size | 1 | contiguous | std::uint64_t{1} << 48),
            Status::invalid_completion_queue);
}

TEST_F(Nvme, ACompletionQueueInUseStays) {
  start();
  EXPECT_EQ(admin(Admin::delete_cq, 0, 1), Status::invalid_queue_deletion);
  EXPECT_EQ(admin(Admin::delete_sq, 0, 1), Status::success);
  EXPECT_EQ(admin(Admin::delete_cq, 0, 1), Status::success);
}

TEST_F(Nvme, AFullCompletionQueueStopsCommandsUntilThereIsRoom) {
  start();
  for (unsigned i = 0; i + 1 < kEntries; ++i) submit(1, blocks(Io::read, 0, 1));
  fill(kData, kBlock, 'x');
  submit(1, blocks(Io::write, 5, 1));
  fill(kOther, kBlock, 'o');
  for (unsigned i = 0; i < kEntries; ++i) EXPECT_TRUE(reap(1)) << i;
  EXPECT_EQ(io(Io::read, 5, 1, kOther), Status::success);
  EXPECT_TRUE(holds(kOther, kBlock, 'x'));
}

TEST_F(Nvme, EntriesGoRoundWithTheirPhase) {
  start();
  for (unsigned i = 0; i < 3 * kEntries; ++i) ASSERT_EQ(io(Io::flush, 0, 1), Status::success) << i;
}

TEST_F(Nvme, AnInvalidDoorbellIsAnAsynchronousEventToldOnce) {
  enable_controller();
  const std::uint16_t waits = submit(0, make(static_cast<std::uint64_t>(Admin::async_event), 0, 0, 0));
  EXPECT_FALSE(reap(0));
  bar().write32(nvme::kDoorbells + 8 * 3, 1);
  bar().write32(nvme::kDoorbells + 8 * 4, 1);
  run();
  const auto event = reap(0);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->id(), waits);
  EXPECT_EQ(nvme::kAsyncResult["LID"].get(event->result), 1u);
  submit(0, make(static_cast<std::uint64_t>(Admin::async_event), 0, 0, 0));
  EXPECT_FALSE(reap(0)) << "the error log was not read yet";
}

TEST_F(Nvme, AnEventRequestCanBeAborted) {
  enable_controller();
  const std::uint16_t waits = submit(0, make(static_cast<std::uint64_t>(Admin::async_event), 0, 0, 0));
  submit(0, make(static_cast<std::uint64_t>(Admin::abort), 0, 0, std::uint64_t{waits} << 16));
  const auto first = reap(0), second = reap(0);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->status(), Status::aborted);
  EXPECT_EQ(second->result, 0u);
  admin(Admin::abort, 0, std::uint64_t{0x999} << 16);
  EXPECT_EQ(result_, 1u);
}

// ---- interrupts

TEST_F(Nvme, CompletionsSendTheirQueuesVector) {
  enable_msix();
  mask_vector(1, false);
  start();
  irqs_.messages.clear();
  io(Io::flush, 0, 1);
  EXPECT_EQ(irqs_.messages, std::vector<unsigned>{1});
}

TEST_F(Nvme, WithoutMessagesTheLineIsUpUntilTheEntryIsTaken) {
  enable_controller();
  irqs_.levels.clear();
  submit(0, make(static_cast<std::uint64_t>(Admin::identify), 0, dma(kData), 1));
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
  EXPECT_TRUE(reap(0));
  EXPECT_EQ(irqs_.levels, (std::vector<bool>{true, false}));
}

TEST_F(Nvme, ADoorbellThatTakesTheLastEntryDropsTheLineAtOnce) {
  enable_controller();
  submit(0, make(static_cast<std::uint64_t>(Admin::identify), 0, dma(kData), 1));
  const auto up = [&] { return hw::pci::kStatus["INTX"].is_set(device_->config_read(hw::pci::kStatus.offset, 2)); };
  EXPECT_TRUE(up());
  bar().write32(nvme::kDoorbells + 4, 1);
  EXPECT_FALSE(up()) << "before the controller's next step";
}

TEST_F(Nvme, AMaskedLineStaysDown) {
  enable_controller();
  bar().write32(nvme::kMaskSet.offset, 1);
  irqs_.levels.clear();
  submit(0, make(static_cast<std::uint64_t>(Admin::identify), 0, dma(kData), 1));
  EXPECT_TRUE(irqs_.levels.empty());
  bar().write32(nvme::kMaskClear.offset, 1);
  run();
  EXPECT_EQ(irqs_.levels, std::vector<bool>{true});
}

// ---- blocks

TEST_F(Nvme, WhatIsWrittenIsRead) {
  start();
  fill(kData, 8 * kBlock, 'w');
  EXPECT_EQ(io(Io::write, 3, 8), Status::success);
  EXPECT_EQ(io(Io::read, 3, 8, kOther), Status::success);
  EXPECT_TRUE(holds(kOther, 8 * kBlock, 'w'));
  EXPECT_EQ(io(Io::read, 2, 1, kOther), Status::success);
  EXPECT_TRUE(holds(kOther, kBlock, '\0'));
}

TEST_F(Nvme, BlocksBehindTheEndAreRefused) {
  start();
  EXPECT_EQ(io(Io::read, kMiB / kBlock, 1), Status::lba_out_of_range);
  EXPECT_EQ(io(Io::write, kMiB / kBlock - 1, 2), Status::lba_out_of_range);
  EXPECT_EQ(io(Io::read, ~std::uint64_t{0}, 1), Status::lba_out_of_range);
}

TEST_F(Nvme, CompareSeesADifference) {
  start();
  fill(kData, kBlock, 'c');
  io(Io::write, 0, 1);
  EXPECT_EQ(io(Io::compare, 0, 1), Status::success);
  at<char>(kData + 100) = 'd';
  EXPECT_EQ(io(Io::compare, 0, 1), Status::compare_failure);
}

TEST_F(Nvme, ZeroedAndDeallocatedBlocksReadAsZeros) {
  start();
  fill(kData, 8 * kBlock, 'z');
  io(Io::write, 0, 8);
  io(Io::write, 8, 8);
  EXPECT_EQ(io(Io::write_zeroes, 1, 2), Status::success);
  at(kList) = std::uint64_t{8} << 32;  // 8 blocks from block 8
  at(kList + 8) = 8;
  Submission deallocate = make(static_cast<std::uint64_t>(Io::dsm), 1, dma(kList), std::uint64_t{1} << 34);
  EXPECT_EQ(execute(1, deallocate), Status::success);
  io(Io::read, 0, 8, kOther);
  EXPECT_TRUE(holds(kOther, kBlock, 'z') && holds(kOther + kBlock, 2 * kBlock, '\0') &&
              holds(kOther + 3 * kBlock, 5 * kBlock, 'z'));
  io(Io::read, 8, 8, kOther);
  EXPECT_TRUE(holds(kOther, 8 * kBlock, '\0'));
}

TEST_F(Nvme, AWrongNamespaceIsNamed) {
  start();
  Submission command = blocks(Io::read, 0, 1);
  command.words[0] += std::uint64_t{1} << 32;
  EXPECT_EQ(execute(1, command), Status::invalid_namespace);
}

TEST_F(Nvme, DataThatCannotBeReachedFailTheCommandAlone) {
  start();
  refuse(kData, Access::write);
  EXPECT_EQ(io(Io::read, 0, 1), Status::data_transfer_error);
  EXPECT_EQ(io(Io::read, 0, 1, kOther), Status::success);
}

// ---- data pointers

TEST_F(Nvme, APrpListNamesPagesInAnyOrder) {
  start();
  fill(kData, 3 * kPageSize, 'p');
  fill(kOther, kPageSize, 'q');
  at(kList) = dma(kOther);
  at(kList + 8) = dma(kData + kPageSize);
  Submission command = blocks(Io::write, 0, 24);
  command.words[nvme::kWordPrp2] = dma(kList);
  EXPECT_EQ(execute(1, command), Status::success);
  io(Io::read, 8, 8, 0x40000);
  EXPECT_TRUE(holds(0x40000, kPageSize, 'q'));
  io(Io::read, 16, 8, 0x40000);
  EXPECT_TRUE(holds(0x40000, kPageSize, 'p'));
}

TEST_F(Nvme, APrpListGoesOnInTheNextListPage) {
  start();
  fill(kData, 3 * kPageSize, 'l');
  const std::uint64_t last = kList + kPageSize - 8;
  at(last) = dma(kOther);  // the address of the next list, as two entries are wanted
  at(kOther) = dma(kData);
  at(kOther + 8) = dma(kData + kPageSize);
  Submission command = blocks(Io::write, 0, 24);
  command.words[nvme::kWordPrp2] = dma(last);
  EXPECT_EQ(execute(1, command), Status::success);
  io(Io::read, 16, 8, 0x40000);
  EXPECT_TRUE(holds(0x40000, kPageSize, 'l'));
}

TEST_F(Nvme, MisalignedPrpsAreRefused) {
  start();
  Submission command = blocks(Io::write, 0, 16);
  command.words[nvme::kWordPrp2] += 8;
  EXPECT_EQ(execute(1, command), Status::invalid_prp_offset);
}

TEST_F(Nvme, AnSglScattersABlock) {
  start();
  fill(kOther, kBlock, 's');
  io(Io::write, 0, 1, kOther);
  const auto put = [&](std::uint64_t offset, std::uint64_t address, std::uint64_t bytes, nvme::Sgl type) {
    at(offset) = address;
    at(offset + 8) = nvme::kSglWord["LENGTH"].put(bytes) | nvme::kSglWord["TYPE"].put(static_cast<std::uint64_t>(type));
  };
  put(kList, dma(kData), 100, nvme::Sgl::data);
  put(kList + 16, 0, 300, nvme::Sgl::bit_bucket);
  put(kList + 32, dma(kData + kPageSize), 112, nvme::Sgl::data);
  Submission command = blocks(Io::read, 0, 1);
  command.words[0] |= nvme::kCommandWord["PSDT"].put(1);
  command.words[nvme::kWordPrp1] = dma(kList);
  command.words[nvme::kWordPrp2] = nvme::kSglWord["LENGTH"].put(48) |
                                   nvme::kSglWord["TYPE"].put(static_cast<std::uint64_t>(nvme::Sgl::last_segment));
  EXPECT_EQ(execute(1, command), Status::success);
  EXPECT_TRUE(holds(kData, 100, 's') && holds(kData + 100, 200, '\0') && holds(kData + kPageSize, 112, 's'));
}

TEST_F(Nvme, AnSglThatIsTooShortOrLoopsIsRefused) {
  start();
  Submission command = blocks(Io::read, 0, 1);
  command.words[0] |= nvme::kCommandWord["PSDT"].put(1);
  command.words[nvme::kWordPrp2] = 100;
  EXPECT_EQ(execute(1, command), Status::sgl_length_invalid);
  const auto segment =
      nvme::kSglWord["LENGTH"].put(16) | nvme::kSglWord["TYPE"].put(static_cast<std::uint64_t>(nvme::Sgl::segment));
  at(kList) = dma(kList);
  at(kList + 8) = segment;
  command.words[nvme::kWordPrp1] = dma(kList);
  command.words[nvme::kWordPrp2] = segment;
  EXPECT_EQ(execute(1, command), Status::invalid_sgl_count);
}

// ---- files

class NvmeFile : public Nvme {
 protected:
  void SetUp() override {
    DeviceBench::SetUp();
    std::remove(path_.c_str());
    plug_image();
  }
  void TearDown() override {
    DeviceBench::TearDown();
    std::remove(path_.c_str());
  }
  void plug_image() {
    const DeviceModel model = nvme_device_model();
    Options values(model.options);
    values.set("size", kMiB);
    values.set_text("image", path_);
    plug(take(model.create(context(), values)));
  }
  const test::GuardedCopies guarded_;
  const std::string path_ = testing::TempDir() + "softiommu-nvme-" + std::to_string(getpid());
};

TEST_F(NvmeFile, WhatWasFlushedIsInTheFile) {
  start();
  fill(kData, kBlock, 'f');
  io(Io::write, 7, 1);
  ASSERT_EQ(io(Io::flush, 0, 1), Status::success);
  std::ifstream file(path_, std::ios::binary);
  std::string bytes(kBlock, '\0');
  file.seekg(7 * kBlock).read(bytes.data(), kBlock);
  EXPECT_EQ(bytes, std::string(kBlock, 'f'));
}

TEST_F(NvmeFile, AnotherControllerFindsWhatWasWritten) {
  start();
  fill(kData, kBlock, 'g');
  io(Io::write, 1, 1);
  executor_->remove(*device_);
  device_.reset();
  plug_image();
  start();
  EXPECT_EQ(io(Io::read, 1, 1, kOther), Status::success);
  EXPECT_TRUE(holds(kOther, kBlock, 'g'));
}

TEST_F(NvmeFile, AFileThatWasCutShortIsAnErrorOfItsBlocks) {
  start();
  ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(kPageSize)), 0);
  EXPECT_EQ(io(Io::read, 0, 1), Status::success);
  EXPECT_EQ(io(Io::read, 1000, 1), Status::read_error);
  EXPECT_EQ(io(Io::write, 1000, 1), Status::write_fault);
}

}  // namespace
}  // namespace softiommu
