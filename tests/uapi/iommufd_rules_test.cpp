// SPDX-License-Identifier: BSD-3-Clause
// What all commands of /dev/iommu have in common, tried on each: sizes, tails, flags, reserved fields, ids, answers
// that cannot be written. Each has a row here with a call that succeeds; the rules change one thing in it.
#include <unistd.h>

#include <optional>

#include "iommufd/commands.h"
#include "mock_rig.h"

namespace softiommu::test {
namespace {

// A structure that ends where the program's memory does.
class Structure {
 public:
  explicit Structure(const std::vector<std::byte>& content, std::size_t bytes)
      : bytes_(bytes), content_(pages_.at(kPageSize - bytes)) {
    std::memset(content_, 0, bytes);
    std::memcpy(content_, content.data(), std::min(bytes, content.size()));
    put(0, bytes, sizeof(std::uint32_t));
    mprotect(pages_.at(kPageSize), kPageSize, PROT_NONE);
  }
  void put(std::size_t at, std::uint64_t value, std::size_t bytes) { std::memcpy(content_ + at, &value, bytes); }
  void protect(int prot) { mprotect(pages_.at(), kPageSize, prot); }
  std::uint64_t address() const { return pages_.address() + kPageSize - bytes_; }

 private:
  Pages pages_{2};
  std::size_t bytes_;
  char* content_;
};

struct Field {
  std::size_t at, bytes;
};
struct FlagsField {
  std::size_t at;
  std::uint32_t known;
};
// Names an object. What is answered where there is none with this id, and where it is of another kind; 0: any will do.
struct IdField {
  std::size_t at;
  int missing = ENOENT, wrong_kind = ENOENT;
  std::optional<std::pair<std::size_t, std::uint32_t>> only_with{};  // a field that makes it count
};

class Rules;

struct Row {
  std::string_view name;  // in the table of commands
  std::vector<std::byte> (*request)(Rules&);
  bool answers;  // something is written back
  std::optional<FlagsField> flags{};
  std::vector<Field> reserved{};
  std::vector<IdField> ids{};
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

template <class T>
std::vector<std::byte> bytes_of(const T& request) {
  const auto bytes = std::as_bytes(std::span(&request, 1));
  return {bytes.begin(), bytes.end()};
}

// One of everything: a mock device on an IOAS that maps four pages of a file, and a guest's things.
class Rules : public MockTest, public ::testing::WithParamInterface<Row> {
 public:
  static constexpr std::uint64_t kIova = mabi::kApertureFirst, kOther = kIova + 64 * kPageSize;
  static constexpr std::uint32_t kFixed = kBoth | fd::kMapFixedIova;

  std::uint32_t ioas() const { return ioas_; }
  std::uint64_t user() const { return pages_.address(); }
  std::uint32_t fresh_ioas() { return alloc_ioas(); }
  using IommufdTest::kBoth;
  using MockTest::address;

  MockDevice device;
  std::uint32_t parent = 0, child = 0, guest = 0, tracking = 0;
  int file = -1;
  fd::Range ranges[4] = {{kIova, kIova + kMiB}};
  std::uint64_t bitmap = 0;
  mabi::HwptInvalidate entry{0, 0};
  mabi::HwInfo info{};

 protected:
  void SetUp() override {
    MockTest::SetUp();
    file = memfd_create("rules", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file, 4 * static_cast<off_t>(kPageSize)), 0);
    device = mock_device(ioas_);
    fd::IoasMapFile map{0, kFixed, ioas_, file, 0, 4 * kPageSize, kIova};
    ASSERT_EQ(command(fd::kIoasMapFile, map), 0);
    parent = nest_parent(device);
    child = nested(device, parent);
    guest = static_cast<std::uint32_t>(viommu(device, parent));
    tracking = static_cast<std::uint32_t>(alloc_hwpt(device.id, ioas_, fd::kHwptDirtyTracking));
    row_ = *std::ranges::find(iommufd::commands(), GetParam().name, &iommufd::Command::name);
    request_ = GetParam().request(*this);
    next_id_ = lowest_free_id();
  }
  void TearDown() override {
    MockTest::TearDown();
    close(file);
  }
  long ask(const Structure& structure) { return call(iommufd_, row_.number, structure.address()); }
  long ask_with(const Field& field, std::uint64_t value,
                const std::optional<std::pair<std::size_t, std::uint32_t>>& also = {}) {
    Structure changed(request_, row_.bytes);
    if (also) changed.put(also->first, also->second, sizeof also->second);
    changed.put(field.at, value, field.bytes);
    return ask(changed);
  }
  // Objects that a refused call left would move it.
  std::uint32_t lowest_free_id() {
    const std::uint32_t id = alloc_ioas();
    EXPECT_EQ(destroy(id), 0);
    return id;
  }
  bool nothing_was_made() { return lowest_free_id() == next_id_; }

  iommufd::Command row_{};
  std::vector<std::byte> request_;

 private:
  Pages pages_{4};
  std::uint32_t next_id_ = 0;
};

#define AT(structure, member) offsetof(fd::structure, member)
#define FIELD(structure, member) \
  Field { AT(structure, member), sizeof(fd::structure::member) }

const Row kRows[] = {
    {.name = "DESTROY",
     .request = [](Rules& our) { return bytes_of(fd::Destroy{0, our.fresh_ioas()}); },
     .answers = false,
     .ids = {{AT(Destroy, id), ENOENT, 0}}},
    {.name = "IOAS_ALLOC",
     .request = [](Rules&) { return bytes_of(fd::IoasAlloc{}); },
     .answers = true,
     .flags = FlagsField{AT(IoasAlloc, flags), 0}},
    {.name = "IOAS_ALLOW_IOVAS",
     .request =
         [](Rules& our) { return bytes_of(fd::IoasAllowIovas{0, our.ioas(), 1, 0, Rules::address(our.ranges)}); },
     .answers = false,
     .reserved = {FIELD(IoasAllowIovas, reserved)},
     .ids = {{AT(IoasAllowIovas, ioas_id)}}},
    {.name = "IOAS_COPY",
     .request =
         [](Rules& our) {
           return bytes_of(
               fd::IoasCopy{0, Rules::kFixed, our.ioas(), our.ioas(), kPageSize, Rules::kOther, Rules::kIova});
         },
     .answers = true,
     .flags = FlagsField{AT(IoasCopy, flags), 7},
     .ids = {{AT(IoasCopy, dst_ioas_id)}, {AT(IoasCopy, src_ioas_id)}}},
    {.name = "IOAS_IOVA_RANGES",
     .request =
         [](Rules& our) { return bytes_of(fd::IoasIovaRanges{0, our.ioas(), 4, 0, Rules::address(our.ranges), 0}); },
     .answers = true,
     .reserved = {FIELD(IoasIovaRanges, reserved)},
     .ids = {{AT(IoasIovaRanges, ioas_id)}}},
    {.name = "IOAS_MAP",
     .request =
         [](Rules& our) { return bytes_of(fd::IoasMap{0, Rules::kBoth, our.ioas(), 0, our.user(), kPageSize, 0}); },
     .answers = true,
     .flags = FlagsField{AT(IoasMap, flags), 7},
     .reserved = {FIELD(IoasMap, reserved)},
     .ids = {{AT(IoasMap, ioas_id)}}},
    {.name = "IOAS_UNMAP",
     .request = [](Rules& our) { return bytes_of(fd::IoasUnmap{0, our.ioas(), 0, ~std::uint64_t{0}}); },
     .answers = true,
     .ids = {{AT(IoasUnmap, ioas_id)}}},
    {.name = "OPTION",
     .request =
         [](Rules& our) { return bytes_of(fd::Option{0, fd::kOptionHugePages, fd::kOptionGet, 0, our.ioas(), 0}); },
     .answers = true,
     .reserved = {FIELD(Option, reserved)},
     .ids = {{AT(Option, object_id)}}},
    {.name = "VFIO_IOAS",
     .request = [](Rules& our) { return bytes_of(fd::VfioIoas{0, our.ioas(), fd::kVfioIoasSet, 0}); },
     .answers = false,
     .reserved = {FIELD(VfioIoas, reserved)},
     .ids = {{AT(VfioIoas, ioas_id)}}},
    {.name = "HWPT_ALLOC",
     .request =
         [](Rules& our) {
           fd::HwptAlloc request{};
           request.dev_id = our.device.id;
           request.pt_id = our.ioas();
           return bytes_of(request);
         },
     .answers = true,
     .flags = FlagsField{AT(HwptAlloc, flags), 15},
     .reserved = {FIELD(HwptAlloc, reserved)},
     .ids = {{AT(HwptAlloc, dev_id)},
             {AT(HwptAlloc, pt_id), EINVAL, EINVAL},
             {AT(HwptAlloc, fault_id), ENOENT, ENOENT, {{AT(HwptAlloc, flags), fd::kHwptFaultIdValid}}}}},
    {.name = "GET_HW_INFO",
     .request =
         [](Rules& our) {
           fd::HwInfo request{};
           request.dev_id = our.device.id;
           request.data_len = sizeof our.info;
           request.data_uptr = Rules::address(&our.info);
           return bytes_of(request);
         },
     .answers = true,
     .flags = FlagsField{AT(HwInfo, flags), 1},
     .reserved = {FIELD(HwInfo, reserved[0]), FIELD(HwInfo, reserved[1]), FIELD(HwInfo, reserved[2])},
     .ids = {{AT(HwInfo, dev_id)}}},
    {.name = "HWPT_SET_DIRTY_TRACKING",
     .request =
         [](Rules& our) { return bytes_of(fd::HwptSetDirtyTracking{0, fd::kDirtyTrackingEnable, our.tracking, 0}); },
     .answers = false,
     .flags = FlagsField{AT(HwptSetDirtyTracking, flags), 1},
     .ids = {{AT(HwptSetDirtyTracking, hwpt_id)}}},
    {.name = "HWPT_GET_DIRTY_BITMAP",
     .request =
         [](Rules& our) {
           return bytes_of(fd::HwptGetDirtyBitmap{0, our.tracking, 0, 0, Rules::kIova, 4 * kPageSize, kPageSize,
                                                  Rules::address(&our.bitmap)});
         },
     .answers = false,
     .flags = FlagsField{AT(HwptGetDirtyBitmap, flags), 1},
     .reserved = {FIELD(HwptGetDirtyBitmap, reserved)},
     .ids = {{AT(HwptGetDirtyBitmap, hwpt_id)}}},
    {.name = "HWPT_INVALIDATE",
     .request =
         [](Rules& our) {
           return bytes_of(fd::HwptInvalidate{0, our.child, Rules::address(&our.entry), mabi::kHwptInvalidateType,
                                              sizeof our.entry, 1, 0});
         },
     .answers = true,
     .reserved = {FIELD(HwptInvalidate, reserved)},
     .ids = {{AT(HwptInvalidate, hwpt_id), ENOENT, EINVAL}}},
    {.name = "FAULT_QUEUE_ALLOC",
     .request = [](Rules&) { return bytes_of(fd::FaultQueueAlloc{}); },
     .answers = true,
     .flags = FlagsField{AT(FaultQueueAlloc, flags), 0}},
    {.name = "IOAS_MAP_FILE",
     .request =
         [](Rules& our) {
           return bytes_of(fd::IoasMapFile{0, Rules::kFixed, our.ioas(), our.file, 0, kPageSize, Rules::kOther});
         },
     .answers = true,
     .flags = FlagsField{AT(IoasMapFile, flags), 7},
     .ids = {{AT(IoasMapFile, ioas_id)}}},
    {.name = "VIOMMU_ALLOC",
     .request =
         [](Rules& our) {
           return bytes_of(fd::ViommuAlloc{0, 0, mabi::kViommuType, our.device.id, our.parent, 0, 0, 0, 0});
         },
     .answers = true,
     .flags = FlagsField{AT(ViommuAlloc, flags), 0},
     .ids = {{AT(ViommuAlloc, dev_id)}, {AT(ViommuAlloc, hwpt_id)}}},
    {.name = "VDEVICE_ALLOC",
     .request = [](Rules& our) { return bytes_of(fd::VdeviceAlloc{0, our.guest, our.device.id, 0, 7}); },
     .answers = true,
     .ids = {{AT(VdeviceAlloc, viommu_id)}, {AT(VdeviceAlloc, dev_id)}}},
    {.name = "IOAS_CHANGE_PROCESS",
     .request = [](Rules&) { return bytes_of(fd::IoasChangeProcess{}); },
     .answers = false,
     .reserved = {FIELD(IoasChangeProcess, reserved)}},
    {.name = "VEVENTQ_ALLOC",
     .request = [](Rules& our) { return bytes_of(fd::VeventqAlloc{0, 0, our.guest, mabi::kVeventqType, 1, 0, 0, 0}); },
     .answers = true,
     .flags = FlagsField{AT(VeventqAlloc, flags), 0},
     .reserved = {FIELD(VeventqAlloc, reserved)},
     .ids = {{AT(VeventqAlloc, viommu_id)}}},
    {.name = "HW_QUEUE_ALLOC",
     .request =
         [](Rules& our) {
           return bytes_of(fd::HwQueueAlloc{0, 0, our.guest, mabi::kHwQueueType, 0, 0, Rules::kIova, kPageSize});
         },
     .answers = true,
     .flags = FlagsField{AT(HwQueueAlloc, flags), 0},
     .ids = {{AT(HwQueueAlloc, viommu_id)}}},
    {.name = "TEST_CMD",
     .request =
         [](Rules&) {
           tabi::Command request{};
           request.op = tabi::Op::set_temp_memory_limit;
           request.memory_limit = {65536};
           return bytes_of(request);
         },
     .answers = false},
};

#undef AT
#undef FIELD

TEST(IommufdRules, AreTriedOnEachCommand) {
  for (const iommufd::Command& command : iommufd::commands())
    EXPECT_EQ(std::ranges::count(kRows, command.name, &Row::name), 1) << command.name;
}

TEST_P(Rules, AStructureOfItsSizeIsTaken) { EXPECT_GE(ask(Structure(request_, row_.bytes)), 0); }

TEST_P(Rules, OfAnOlderProgramTheLeastIsEnough) { EXPECT_GE(ask(Structure(request_, row_.minimum)), 0); }

TEST_P(Rules, OfANewerProgramZerosAreTaken) {
  EXPECT_GE(ask(Structure(request_, row_.bytes + 300)), 0) << "more than one piece of the check";
}

TEST_P(Rules, OfANewerProgramAnythingElseIsE2BIG) {
  constexpr std::size_t kMore = 300;
  for (const std::size_t at : {std::size_t{0}, kMore / 2, kMore - 1}) {
    Structure larger(request_, row_.bytes + kMore);
    larger.put(row_.bytes + at, 1, 1);
    EXPECT_EQ(ask(larger), -E2BIG) << at;
  }
  EXPECT_TRUE(nothing_was_made());
}

TEST_P(Rules, ASmallerStructureIsEINVAL) {
  for (const std::size_t size : {row_.minimum - 1, sizeof(std::uint32_t), std::size_t{0}}) {
    Structure smaller(request_, row_.bytes);
    smaller.put(0, size, sizeof(std::uint32_t));
    EXPECT_EQ(ask(smaller), -EINVAL) << size;
  }
  EXPECT_TRUE(nothing_was_made());
}

TEST_P(Rules, AStructureThatCannotBeReadIsEFAULT) {
  Structure structure(request_, row_.bytes);
  structure.put(0, row_.bytes + 1, sizeof(std::uint32_t));
  EXPECT_EQ(ask(structure), -EFAULT) << "its last byte is beyond the memory";
  structure.protect(PROT_NONE);
  EXPECT_EQ(ask(structure), -EFAULT);
  EXPECT_TRUE(nothing_was_made());
}

TEST_P(Rules, AnAnswerThatCannotBeWrittenIsEFAULT) {
  Structure structure(request_, row_.bytes);
  structure.protect(PROT_READ);
  if (!GetParam().answers) {
    EXPECT_GE(ask(structure), 0) << "it has no answer";
    return;
  }
  EXPECT_EQ(ask(structure), -EFAULT);
  EXPECT_TRUE(nothing_was_made());
  structure.protect(PROT_READ | PROT_WRITE);
  EXPECT_GE(ask(structure), 0) << "and it can be asked again";
}

TEST_P(Rules, FlagsThatAreNotKnownAreEOPNOTSUPP) {
  if (!GetParam().flags) return;
  const FlagsField& flags = *GetParam().flags;
  std::uint32_t asked;
  std::memcpy(&asked, &request_[flags.at], sizeof asked);
  for (unsigned bit = 0; bit < 32; ++bit) {
    if ((flags.known >> bit & 1) != 0) continue;
    EXPECT_EQ(ask_with({flags.at, sizeof asked}, asked | 1U << bit), -EOPNOTSUPP) << "bit " << bit;
  }
  EXPECT_TRUE(nothing_was_made());
}

TEST_P(Rules, ReservedFieldsAreZero) {
  for (const Field& field : GetParam().reserved) EXPECT_EQ(ask_with(field, 1), -EOPNOTSUPP) << field.at;
  EXPECT_TRUE(nothing_was_made());
}

TEST_P(Rules, IdsNameObjectsOfTheRightKind) {
  const std::uint32_t gone = fresh_ioas();
  ASSERT_EQ(destroy(gone), 0);
  // No command wants one of these.
  const auto other = static_cast<std::uint32_t>(hw_queue(guest, 0, kIova, kPageSize));
  ASSERT_EQ(other, gone) << "the id is used again";
  for (const IdField& id : GetParam().ids) {
    const Field field{id.at, sizeof(std::uint32_t)};
    for (const std::uint32_t missing : {std::uint32_t{0}, gone + 1, ~std::uint32_t{0}})
      EXPECT_EQ(ask_with(field, missing, id.only_with), -id.missing) << "id " << missing << " at " << id.at;
    if (id.wrong_kind != 0) {
      EXPECT_EQ(ask_with(field, other, id.only_with), -id.wrong_kind) << "at " << id.at;
    }
  }
  EXPECT_EQ(destroy(other), 0);
  for (const IdField& id : GetParam().ids)
    EXPECT_EQ(ask_with({id.at, sizeof(std::uint32_t)}, other, id.only_with), -id.missing) << "stale, at " << id.at;
}

INSTANTIATE_TEST_SUITE_P(, Rules, ::testing::ValuesIn(kRows),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace softiommu::test
