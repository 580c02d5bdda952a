// SPDX-License-Identifier: BSD-3-Clause
// What programs have of an SMMUv3 with everything (machines/smmuv3-full.toml's unit) through iommufd: a guest's stage 1
// over theirs, its invalidations and events; PASIDs; dirty pages; faults that wait for an answer.
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

constexpr std::string_view kMachine = R"toml(
[[iommu]]
name = "smmu0"
model = "arm-smmu-v3"
output_bits = 48
substream_bits = 20
force_write_back = true
dirty = "dirty"
stalls = "choice"
[[device]]
address = "00:02.0"
model = "edu"
pasid_bits = 8
[[device]]
address = "00:03.0"
model = "edu"
stalls = true
)toml";

class SmmuTest : public IommufdTest {
 protected:
  static constexpr const char* kStalling = "0000:00:03.0";
  static constexpr std::uint64_t kIova = 0x4000'0000;

  void SetUp() override {
    const auto spec = parse_machine(kMachine, "smmu.toml");
    ASSERT_TRUE(spec) << spec.error().where << spec.error().what;
    start_on(*spec);
    iommufd_ = open_iommufd();
    ioas_ = alloc_ioas();
    file_ = open_cdev();
    device_ = static_cast<std::uint32_t>(bind(file_));
  }
  static std::uint64_t address(const void* of) { return reinterpret_cast<std::uint64_t>(of); }
  std::uint32_t made(std::int64_t id) {
    EXPECT_GT(id, 0);
    return static_cast<std::uint32_t>(id);
  }
  std::int64_t alloc_with(fd::HwptAlloc request) {
    const long answer = command(fd::kHwptAlloc, request);
    return answer == 0 ? request.out_hwpt_id : answer;
  }

  Pages memory_{64};
  std::uint32_t ioas_ = 0, device_ = 0;
  int file_ = -1;
};

// ---- A guest ----------------------------------------------------------------------------------------------------

// The guest's memory is at kGuest: page 0 holds its context descriptor, 1 to 4 its table, 8 and 9 data.
class SmmuGuest : public SmmuTest {
 protected:
  static constexpr std::uint64_t kGuest = 0x8000'0000, kBytes = 16 * kPageSize, kVirtualStream = 0x77;
  static constexpr std::uint64_t kStage1 = 0xb, kBypass = 0x9, kAbort = 0x1;
  // Written out from the specification: 48 bits in and out, 4 KiB granule, no TTB1, valid, AArch64, R, A.
  static constexpr std::uint64_t kDescriptor = 0x6205'c000'3510, kLeaf = 0x443, kTable = 3;
  static constexpr std::uint64_t kNhAll = 0x10, kNhAsid = 0x11, kNhVa = 0x12, kNhVaa = 0x13, kNsnhAll = 0x30,
                                 kCfgiSte = 0x03, kCfgiCd = 0x05, kCfgiCdAll = 0x06, kSync = 0x46, kAtcInv = 0x40,
                                 kVmall = 0x28;
  static constexpr std::uint64_t kAsid = std::uint64_t{9} << 48, kStreamField = kVirtualStream << 32;

  void SetUp() override {
    SmmuTest::SetUp();
    EXPECT_EQ(map_fixed(ioas_, kGuest, memory_.address(), kBytes), 0);
    parent_ = made(alloc_hwpt(device_, ioas_, fd::kHwptNestParent));
    viommu_ = made(viommu(parent_));
    word(0, 0) = kDescriptor | kAsid;
    word(0, 1) = page(1);
    for (unsigned level = 1; level < 4; ++level) word(level, level == 2 ? kIova >> 30 : 0) = page(level + 1) | kTable;
    point_to(8);
    for (const unsigned number : {8u, 9u}) *memory_.at(number * kPageSize) = number == 8 ? 'o' : 'n';
  }
  std::uint64_t page(unsigned number) const { return kGuest + number * kPageSize; }
  std::uint64_t& word(unsigned number, std::uint64_t index) {
    return reinterpret_cast<std::uint64_t*>(memory_.at(number * kPageSize))[index];
  }
  // The guest maps kIova to that page of its memory; 0: to nothing.
  void point_to(unsigned number) { word(4, 0) = number != 0 ? page(number) | kLeaf : 0; }

  std::int64_t viommu(std::uint32_t parent, std::uint32_t type = 1) {
    fd::ViommuAlloc request{};
    request.type = type;
    request.dev_id = device_;
    request.hwpt_id = parent;
    const long answer = command(fd::kViommuAlloc, request);
    return answer == 0 ? request.out_viommu_id : answer;
  }
  std::int64_t nested(std::uint64_t word0, std::uint64_t word1 = 0, std::uint32_t type = 2) {
    const std::uint64_t words[] = {word0, word1};
    fd::HwptAlloc request{};
    request.dev_id = device_;
    request.pt_id = viommu_;
    request.data_type = type;
    request.data_len = sizeof words;
    request.data_uptr = address(words);
    return alloc_with(request);
  }
  std::int64_t vdevice() {
    fd::VdeviceAlloc request{0, viommu_, device_, 0, kVirtualStream};
    const long answer = command(fd::kVdeviceAlloc, request);
    return answer == 0 ? request.out_vdevice_id : answer;
  }
  // On the guest's tables, with a name in the guest.
  void attach_guest() {
    made(vdevice());
    ASSERT_GT(attach_to(file_, made(nested(kStage1 | page(0)))), 0);
  }
  // The answer, and how many were done.
  std::pair<long, std::uint32_t> invalidate(std::vector<std::pair<std::uint64_t, std::uint64_t>> commands,
                                            std::uint32_t type = 1) {
    fd::HwptInvalidate request{};
    request.hwpt_id = viommu_;
    request.data_uptr = address(commands.data());
    request.data_type = type;
    request.entry_len = 16;
    request.entry_num = static_cast<std::uint32_t>(commands.size());
    const long answer = command(fd::kHwptInvalidate, request);
    return {answer, request.entry_num};
  }

  std::uint32_t parent_ = 0, viommu_ = 0;
};

TEST_F(SmmuGuest, TranslatesThroughItsTableOverTheProgramsOwn) {
  attach_guest();
  EXPECT_EQ(dma_read(kIova), 'o');
  EXPECT_TRUE(dma_write(kIova + 5, 'x'));
  EXPECT_EQ(*memory_.at(8 * kPageSize + 5), 'x');
  EXPECT_EQ(dma_read(page(8)), '-') << "that is an address behind stage 1";
}

TEST_F(SmmuGuest, IsOfferedOnlyItsOwnTypeAndOnANestParentOnly) {
  EXPECT_EQ(viommu(parent_, 2), -EOPNOTSUPP);
  EXPECT_EQ(viommu(made(alloc_hwpt(device_, ioas_))), -EINVAL);
  EXPECT_EQ(alloc_hwpt(device_, ioas_, fd::kHwptNestParent | fd::kHwptDirtyTracking), -EOPNOTSUPP);
}

TEST_F(SmmuGuest, ThatBypassesHasTheProgramsTableAndThatAbortsHasNothing) {
  ASSERT_GT(attach_to(file_, made(nested(kBypass))), 0) << "without a name in the guest";
  EXPECT_EQ(dma_read(page(8)), 'o');
  for (const std::uint64_t word0 : {kAbort, std::uint64_t{0}}) {
    ASSERT_GT(attach_to(file_, made(nested(word0))), 0);
    EXPECT_EQ(dma_read(page(8)), '-');
  }
}

TEST_F(SmmuGuest, ThatTranslatesNeedsANameForTheDevice) {
  const std::uint32_t hwpt = made(nested(kStage1 | page(0)));
  EXPECT_EQ(attach_to(file_, hwpt), -EINVAL) << "Linux: ENOENT";
  made(vdevice());
  EXPECT_GT(attach_to(file_, hwpt), 0);
}

TEST_F(SmmuGuest, MayNotSayMoreOfItsStreamThanItsStageOne) {
  EXPECT_EQ(nested(0xf | page(0)), -EIO) << "both stages";
  EXPECT_EQ(nested(0xd | page(0)), -EIO) << "stage 2";
  EXPECT_EQ(nested(kStage1 | page(0), std::uint64_t{1} << 44), -EIO) << "SHCFG";
  EXPECT_EQ(nested(kStage1 | page(0) | std::uint64_t{1} << 55), -EIO) << "a reserved bit";
  EXPECT_EQ(nested(kStage1 | page(0), std::uint64_t{2} << 28), -EIO) << "split-stage ATS";
  EXPECT_EQ(nested(kStage1 | page(0), 0, 3), -EINVAL) << "another type";
  EXPECT_GT(nested(~std::uint64_t{1}, ~std::uint64_t{0}), 0) << "what is not valid is not read";
}

TEST_F(SmmuGuest, InvalidatesWhatItChanged) {
  attach_guest();
  const std::pair<std::uint64_t, std::uint64_t> each[] = {
      {kNhVa | kAsid, kIova}, {kNhVaa, kIova}, {kNhAsid | kAsid, 0}, {kNhAll, 0}, {kNsnhAll, 0}};
  unsigned now = 8;
  for (const auto& command : each) {
    EXPECT_EQ(dma_read(kIova), now == 8 ? 'o' : 'n');
    now = now == 8 ? 9 : 8;
    point_to(now);
    EXPECT_EQ(dma_read(kIova), now == 8 ? 'n' : 'o') << "it is still cached";
    EXPECT_EQ(invalidate({command}), std::pair(0l, 1u));
    EXPECT_EQ(dma_read(kIova), now == 8 ? 'o' : 'n') << command.first;
  }
}

TEST_F(SmmuGuest, InvalidatesItsDescriptors) {
  attach_guest();
  for (const std::uint64_t opcode : {kCfgiCd, kCfgiCdAll}) {
    EXPECT_EQ(dma_read(kIova), 'o');
    word(0, 0) &= ~std::uint64_t{0x8000'0000};
    EXPECT_EQ(dma_read(kIova), 'o') << "it is still cached";
    EXPECT_EQ(invalidate({{opcode | kStreamField, 0}}).first, 0);
    EXPECT_EQ(dma_read(kIova), '-');
    word(0, 0) |= 0x8000'0000;
    EXPECT_EQ(invalidate({{opcode | kStreamField, 0}}).first, 0);
  }
}

TEST_F(SmmuGuest, MayGiveNoOtherCommands) {
  attach_guest();
  for (const std::uint64_t opcode : {kCfgiSte, kSync, kVmall, kAtcInv, std::uint64_t{0xff}})
    EXPECT_EQ(invalidate({{kNhAll, 0}, {opcode | kStreamField, 0}, {kNhAll, 0}}), std::pair(long{-EIO}, 1u)) << opcode;
  EXPECT_EQ(invalidate({{kCfgiCd | std::uint64_t{0x78} << 32, 0}}), std::pair(long{-EIO}, 0u)) << "no such stream";
  EXPECT_EQ(invalidate({{kNhAll, 0}}, 0), std::pair(long{-EINVAL}, 0u)) << "another type";
  EXPECT_EQ(invalidate({}).first, 0);
}

TEST_F(SmmuGuest, LosesWhatTheProgramUnmaps) {
  attach_guest();
  EXPECT_EQ(dma_read(kIova), 'o');
  EXPECT_EQ(unmap_range(ioas_, kGuest, kBytes), static_cast<std::int64_t>(kBytes));
  EXPECT_EQ(dma_read(kIova), '-') << "stage 1 over the old stage 2 was cached, too";
}

TEST_F(SmmuGuest, IsToldItsEventsUnderItsOwnName) {
  fd::VeventqAlloc queue{0, 0, viommu_, 1, 16, 0, 0, 0};
  ASSERT_EQ(command(fd::kVeventqAlloc, queue), 0);
  attach_guest();
  point_to(0);
  EXPECT_EQ(dma_read(kIova + 0x123), '-');
  struct {
    fd::VeventHeader header;
    std::uint64_t words[4];
  } told{};
  ASSERT_EQ(program_[static_cast<int>(queue.out_veventq_fd)].pread(address(&told), sizeof told, 0),
            static_cast<ssize_t>(sizeof told));
  EXPECT_EQ(told.words[0], kStreamField | 0x10) << "F_TRANSLATION";
  EXPECT_EQ(told.words[2], kIova + 0x123);
}

TEST_F(SmmuGuest, KnowsTheHardwaresIdentification) {
  std::uint32_t info[10] = {};
  fd::HwInfo request{};
  request.dev_id = device_;
  request.data_len = sizeof info;
  request.data_uptr = address(info);
  ASSERT_EQ(command(fd::kGetHwInfo, request), 0);
  EXPECT_EQ(request.data_type, 2u);
  EXPECT_EQ(request.out_max_pasid_log2, 8u);
  EXPECT_EQ(info[2], machine_->unit("smmu0")->read32(0)) << "IDR0";
}

// ---- PASIDs -----------------------------------------------------------------------------------------------------

TEST_F(SmmuTest, APasidHasAPageTableOfItsOwn) {
  constexpr std::uint32_t kPasid = 5;
  const std::uint32_t other = alloc_ioas();
  *memory_.at(0) = 'a';
  *memory_.at(kPageSize) = 'b';
  EXPECT_EQ(map_fixed(ioas_, kIova, memory_.address(), kPageSize), 0);
  EXPECT_EQ(map_fixed(other, kIova, memory_.address() + kPageSize, kPageSize), 0);
  ASSERT_GT(attach_to(file_, made(alloc_hwpt(device_, ioas_, fd::kHwptPasid))), 0);
  abi::AttachIommufdPt attach{sizeof attach, abi::kAttachPasid, made(alloc_hwpt(device_, other, fd::kHwptPasid)),
                              kPasid};
  ASSERT_EQ(call(file_, abi::kDeviceAttachIommufdPt, &attach), 0);
  DmaPort& port = system_->device(kName)->function()->dma();
  EXPECT_EQ(dma_read(kIova), 'a');
  port.use_pasid(kPasid);
  EXPECT_EQ(dma_read(kIova), 'b');
  abi::DetachIommufdPt detach{sizeof detach, abi::kDetachPasid, kPasid};
  EXPECT_EQ(call(file_, abi::kDeviceDetachIommufdPt, &detach), 0);
  EXPECT_EQ(dma_read(kIova), '-');
  port.use_pasid(0);
  EXPECT_EQ(dma_read(kIova), 'a');
}

// ---- Dirty pages ------------------------------------------------------------------------------------------------

TEST_F(SmmuTest, HardwareSaysWhichPagesWereWritten) {
  const std::uint32_t hwpt = made(alloc_hwpt(device_, ioas_, fd::kHwptDirtyTracking));
  EXPECT_EQ(map_fixed(ioas_, kIova, memory_.address(), 8 * kPageSize), 0);
  ASSERT_GT(attach_to(file_, hwpt), 0);
  fd::HwptSetDirtyTracking on{0, 1, hwpt, 0};
  ASSERT_EQ(command(fd::kHwptSetDirtyTracking, on), 0);
  EXPECT_TRUE(dma_write(kIova + 3 * kPageSize, 'w'));
  EXPECT_EQ(dma_read(kIova + 4 * kPageSize), '\0');
  std::uint64_t bitmap = 0;
  fd::HwptGetDirtyBitmap get{0, hwpt, 0, 0, kIova, 8 * kPageSize, kPageSize, address(&bitmap)};
  ASSERT_EQ(command(fd::kHwptGetDirtyBitmap, get), 0);
  EXPECT_EQ(bitmap, 1u << 3);
}

// ---- Faults -----------------------------------------------------------------------------------------------------

class SmmuFaults : public SmmuTest {
 protected:
  void SetUp() override {
    SmmuTest::SetUp();
    file_ = open_cdev(kStalling);
    device_ = made(bind(file_));
    fd::FaultQueueAlloc queue{};
    EXPECT_EQ(command(fd::kFaultQueueAlloc, queue), 0);
    queue_ = static_cast<int>(queue.out_fault_fd);
    fd::HwptAlloc request{};
    request.flags = fd::kHwptFaultIdValid;
    request.dev_id = device_;
    request.pt_id = ioas_;
    request.fault_id = queue.out_fault_id;
    ASSERT_GT(attach_to(file_, made(alloc_with(request))), 0);
  }
  // A write of the device, and what is answered to its fault.
  template <class Answer>
  bool write_beside(const Answer& answer) {
    std::atomic<bool> written{false};
    std::thread device([&] { written = dma_write(kIova, 'w', kStalling); });
    fd::PageFault fault{};
    while (program_[queue_].pread(address(&fault), sizeof fault, 0) == 0) std::this_thread::yield();
    EXPECT_EQ(fault.addr, kIova);
    EXPECT_EQ(fault.perm, 2u);
    answer(fault);
    device.join();
    return written;
  }
  void respond(const fd::PageFault& fault, std::uint32_t code) {
    const fd::PageResponse response{fault.cookie, code};
    EXPECT_EQ(program_[queue_].pwrite(address(&response), sizeof response, 0), static_cast<ssize_t>(sizeof response));
  }
  int queue_ = -1;
};

TEST_F(SmmuFaults, AStalledWriteGoesOnOnceThePageIsMapped) {
  EXPECT_TRUE(write_beside([&](const fd::PageFault& fault) {
    EXPECT_EQ(map_fixed(ioas_, kIova, memory_.address(), kPageSize), 0);
    respond(fault, 0);
  }));
  EXPECT_EQ(*memory_.at(0), 'w');
}

TEST_F(SmmuFaults, AStalledWriteEndsWhenItIsRefused) {
  EXPECT_FALSE(write_beside([&](const fd::PageFault& fault) { respond(fault, 1); }));
}

TEST_F(SmmuFaults, AStalledWriteEndsWithTheAttach) {
  EXPECT_FALSE(write_beside([&](const fd::PageFault&) { EXPECT_EQ(detach(file_), 0); }));
}

}  // namespace
}  // namespace softiommu::test
