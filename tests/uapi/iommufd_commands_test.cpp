// SPDX-License-Identifier: BSD-3-Clause
// What all commands of /dev/iommu have in common: sizes, unreadable structures, ids. And their page of documentation.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "iommufd/commands.h"
#include "mock_rig.h"

namespace softiommu::test {
namespace {

// A structure of any size: 4 bytes of size, then what the test puts there, in memory of its own.
class Structure {
 public:
  explicit Structure(std::size_t bytes) : bytes_(bytes) { set_size(bytes); }
  void set_size(std::size_t bytes) {
    const auto size = static_cast<std::uint32_t>(bytes);
    std::memcpy(bytes_.data(), &size, sizeof size);
  }
  std::byte& operator[](std::size_t at) { return bytes_[at]; }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(bytes_.data()); }

 private:
  std::vector<std::byte> bytes_;
};

class EveryCommand : public MockTest {};

TEST_F(EveryCommand, NeedsItsLeastStructure) {
  for (const iommufd::Command& row : iommufd::commands()) {
    Structure request(row.bytes);
    request.set_size(row.minimum - 1);
    EXPECT_EQ(call(iommufd_, row.number, request.address()), -EINVAL) << row.name;
    request.set_size(0);
    EXPECT_EQ(call(iommufd_, row.number, request.address()), -EINVAL) << row.name;
  }
}

TEST_F(EveryCommand, TakesALargerStructureIfTheRestIsZero) {
  constexpr std::size_t kMore = 300;  // more than one piece of the check
  for (const iommufd::Command& row : iommufd::commands()) {
    if (row.number == fd::kIoasAlloc || row.number == fd::kFaultQueueAlloc) continue;  // zeros make an object
    Structure exact(row.bytes), larger(row.bytes + kMore), unknown(row.bytes + kMore);
    const long answer = call(iommufd_, row.number, exact.address());
    EXPECT_NE(answer, -E2BIG) << row.name;
    EXPECT_EQ(call(iommufd_, row.number, larger.address()), answer) << row.name;
    unknown[row.bytes + kMore - 1] = std::byte{1};
    EXPECT_EQ(call(iommufd_, row.number, unknown.address()), -E2BIG) << row.name;
    unknown[row.bytes + kMore - 1] = std::byte{0};
    unknown[row.bytes] = std::byte{1};
    EXPECT_EQ(call(iommufd_, row.number, unknown.address()), -E2BIG) << row.name;
  }
}

TEST_F(EveryCommand, IsEFAULTWithoutAStructure) {
  for (const iommufd::Command& row : iommufd::commands())
    EXPECT_EQ(call(iommufd_, row.number, std::uint64_t{8}), -EFAULT) << row.name;
}

TEST_F(EveryCommand, HasANumberOfItsOwnWithinTheRange) {
  std::set<unsigned> numbers;
  for (const iommufd::Command& row : iommufd::commands()) {
    EXPECT_TRUE(numbers.insert(row.number).second) << row.name;
    EXPECT_TRUE((row.number >= fd::kDestroy && row.number <= fd::kLast) || row.number == tabi::kTestCommand);
    EXPECT_LE(row.minimum, row.bytes) << row.name;
  }
  for (unsigned number = fd::kDestroy; number <= fd::kLast; ++number) EXPECT_TRUE(numbers.contains(number)) << number;
}

TEST_F(EveryCommand, OfTheTestsIsOnlyThereWhenAskedFor) {
  vfio_.reset();
  vfio_ = std::make_unique<Vfio>(*system_, VfioOptions{});
  iommufd_ = open_iommufd();
  tabi::Command ask{};
  EXPECT_EQ(command(tabi::kTestCommand, ask), -ENOTTY);
}

// ---- ids: 0, one that is gone, and one of another kind of object

// A field of a command that names an object, and the rest of the structure so that nothing else is wrong.
struct IdField {
  std::string_view what;
  unsigned number;
  std::size_t bytes, field;
  std::vector<std::pair<std::size_t, std::uint32_t>> others;
  int missing = ENOENT, wrong_kind = ENOENT;
};

class Ids : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
    viommu_ = static_cast<std::uint32_t>(viommu(device_, parent_));
    gone_ = alloc_ioas();
    destroy(gone_);
  }
  long ask(const IdField& row, std::uint32_t id) {
    Structure request(row.bytes);
    const auto put = [&](std::size_t at, std::uint32_t value) { std::memcpy(&request[at], &value, sizeof value); };
    for (const auto& [at, value] : row.others) put(at, value);
    put(row.field, id);
    return call(iommufd_, row.number, request.address());
  }

  MockDevice device_;
  std::uint32_t parent_ = 0, viommu_ = 0, gone_ = 0;
};

#define FIELD(structure, member) sizeof(fd::structure), offsetof(fd::structure, member)
#define OTHER(structure, member, value) \
  std::pair<std::size_t, std::uint32_t> { offsetof(fd::structure, member), value }

TEST_F(Ids, AreCheckedByEveryCommandThatTakesOne) {
  const std::uint32_t type = mabi::kViommuType, queue = mabi::kVeventqType;
  const IdField rows[] = {
      {"DESTROY", fd::kDestroy, FIELD(Destroy, id), {}, ENOENT, 0},
      {"HWPT_ALLOC dev_id", fd::kHwptAlloc, FIELD(HwptAlloc, dev_id), {OTHER(HwptAlloc, pt_id, ioas_)}},
      {"HWPT_ALLOC pt_id",
       fd::kHwptAlloc,
       FIELD(HwptAlloc, pt_id),
       {OTHER(HwptAlloc, dev_id, device_.id)},
       EINVAL,
       EINVAL},
      {"HWPT_ALLOC fault_id",
       fd::kHwptAlloc,
       FIELD(HwptAlloc, fault_id),
       {OTHER(HwptAlloc, dev_id, device_.id), OTHER(HwptAlloc, pt_id, ioas_),
        OTHER(HwptAlloc, flags, fd::kHwptFaultIdValid)}},
      {"GET_HW_INFO", fd::kGetHwInfo, FIELD(HwInfo, dev_id), {}},
      {"HWPT_SET_DIRTY_TRACKING", fd::kHwptSetDirtyTracking, FIELD(HwptSetDirtyTracking, hwpt_id), {}},
      {"HWPT_GET_DIRTY_BITMAP", fd::kHwptGetDirtyBitmap, FIELD(HwptGetDirtyBitmap, hwpt_id), {}},
      {"HWPT_INVALIDATE", fd::kHwptInvalidate, FIELD(HwptInvalidate, hwpt_id), {}, ENOENT, EINVAL},
      {"VIOMMU_ALLOC dev_id",
       fd::kViommuAlloc,
       FIELD(ViommuAlloc, dev_id),
       {OTHER(ViommuAlloc, type, type), OTHER(ViommuAlloc, hwpt_id, parent_)}},
      {"VIOMMU_ALLOC hwpt_id",
       fd::kViommuAlloc,
       FIELD(ViommuAlloc, hwpt_id),
       {OTHER(ViommuAlloc, type, type), OTHER(ViommuAlloc, dev_id, device_.id)}},
      {"VDEVICE_ALLOC viommu_id",
       fd::kVdeviceAlloc,
       FIELD(VdeviceAlloc, viommu_id),
       {OTHER(VdeviceAlloc, dev_id, device_.id)}},
      {"VDEVICE_ALLOC dev_id",
       fd::kVdeviceAlloc,
       FIELD(VdeviceAlloc, dev_id),
       {OTHER(VdeviceAlloc, viommu_id, viommu_)}},
      {"VEVENTQ_ALLOC",
       fd::kVeventqAlloc,
       FIELD(VeventqAlloc, viommu_id),
       {OTHER(VeventqAlloc, type, queue), OTHER(VeventqAlloc, veventq_depth, 1)}},
      {"HW_QUEUE_ALLOC",
       fd::kHwQueueAlloc,
       FIELD(HwQueueAlloc, viommu_id),
       {OTHER(HwQueueAlloc, type, mabi::kHwQueueType), OTHER(HwQueueAlloc, length, 4096)}},
  };
  // An object that none of the commands wants: made last, so that a command that takes it shows.
  const std::uint32_t other = static_cast<std::uint32_t>(vdevice(viommu_, device_, 7));
  for (const IdField& row : rows) {
    EXPECT_EQ(ask(row, 0), -row.missing) << row.what;
    EXPECT_EQ(ask(row, gone_ + 1000), -row.missing) << row.what;
    if (row.wrong_kind == 0) continue;
    EXPECT_EQ(ask(row, other), -row.wrong_kind) << row.what;
  }
}

#undef FIELD
#undef OTHER

// ---- flags and reserved fields

TEST_F(Ids, FlagsThatAreNotKnownAreEOPNOTSUPP) {
  fd::FaultQueueAlloc fault{0, 1, 0, 0};
  EXPECT_EQ(command(fd::kFaultQueueAlloc, fault), -EOPNOTSUPP);
  fd::ViommuAlloc viommu{0, 1, mabi::kViommuType, device_.id, parent_, 0, 0, 0, 0};
  EXPECT_EQ(command(fd::kViommuAlloc, viommu), -EOPNOTSUPP);
  fd::VeventqAlloc events{0, 1, viommu_, mabi::kVeventqType, 1, 0, 0, 0};
  EXPECT_EQ(command(fd::kVeventqAlloc, events), -EOPNOTSUPP);
  events = {0, 0, viommu_, mabi::kVeventqType, 1, 0, 0, 1};
  EXPECT_EQ(command(fd::kVeventqAlloc, events), -EOPNOTSUPP) << "a reserved field";
  fd::HwQueueAlloc queue{0, 1, viommu_, mabi::kHwQueueType, 0, 0, 0x1000, 0x1000};
  EXPECT_EQ(command(fd::kHwQueueAlloc, queue), -EOPNOTSUPP);
  fd::HwptInvalidate invalidate{0, viommu_, 0, 0, 0, 5, 1};
  EXPECT_EQ(command(fd::kHwptInvalidate, invalidate), -EOPNOTSUPP) << "a reserved field";
  EXPECT_EQ(invalidate.entry_num, 0u) << "nothing was done";
}

// ---- docs/iommufd.md

std::string documentation() {
  std::string page =
      "# Commands of /dev/iommu\n\n"
      "Made from the table in `src/iommufd/commands.cpp` (`UPDATE_DOCS=1` and the uapi tests rewrite it). Numbers are "
      "the\n"
      "low byte of `_IO(';', n)`. A structure begins with its size: smaller than \"least\" is EINVAL, larger than "
      "\"size\"\n"
      "with anything but zeros in the rest E2BIG.\n\n"
      "| command | number | size | least | what it does |\n|---|---|---|---|---|\n";
  for (const iommufd::Command& row : iommufd::commands())
    page += fmt::format("| `{}` | {:#x} | {} | {} | {} |\n", row.name, row.number & 0xff, row.bytes, row.minimum,
                        row.summary);
  return page;
}

TEST(IommufdDocs, AreWhatTheTableSays) {
  const std::string path = std::string(SOFTIOMMU_SOURCE_DIR) + "/docs/iommufd.md";
  if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << documentation();
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), documentation()) << "run this test once with UPDATE_DOCS=1";
}

}  // namespace
}  // namespace softiommu::test
