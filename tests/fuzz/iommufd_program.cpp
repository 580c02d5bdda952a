// SPDX-License-Identifier: BSD-3-Clause
// A program for /dev/iommu: each operation is a command with a structure that is right in shape and arbitrary in
// content, a call on a device file, or a read, write or close of any file that came of it. No answer is wrong; a crash,
// a sanitizer's report and anything left behind is.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "fuzzed.h"
#include "hostile_rig.h"
#include "iommufd/abi.h"
#include "vfio/abi.h"

namespace softiommu::test {
namespace {

// Words of a structure after its size: f flags, i id of an object, 0 reserved, d descriptor (32 bits), h 16 bits,
// a address, length or number (64 bits).
struct Shape {
  unsigned number;  // from the first command
  std::string_view words;
};
constexpr Shape kShapes[] = {
    {0, "i"},               // DESTROY
    {1, "f0"},              // IOAS_ALLOC
    {2, "ii0a"},            // IOAS_ALLOW_IOVAS
    {3, "fiiaaa"},          // IOAS_COPY
    {4, "ii0aa"},           // IOAS_IOVA_RANGES
    {5, "fi0aaa"},          // IOAS_MAP
    {6, "iaa"},             // IOAS_UNMAP
    {7, "fhhia"},           // OPTION
    {8, "ihh"},             // VFIO_IOAS
    {9, "fiii0fia00"},      // HWPT_ALLOC
    {10, "fiiaf0a"},        // GET_HW_INFO
    {11, "fi0"},            // HWPT_SET_DIRTY_TRACKING
    {12, "if0aaaa"},        // HWPT_GET_DIRTY_BITMAP
    {13, "iafii0"},         // HWPT_INVALIDATE
    {14, "f00"},            // FAULT_QUEUE_ALLOC
    {15, "fidaaa"},         // IOAS_MAP_FILE
    {16, "ffii0i0a"},       // VIOMMU_ALLOC
    {17, "ii0a"},           // VDEVICE_ALLOC
    {18, "0"},              // IOAS_CHANGE_PROCESS
    {19, "fifi000"},        // VEVENTQ_ALLOC
    {20, "fifi0aa"},        // HW_QUEUE_ALLOC
    {32, "ii0iiaaafaaaa"},  // IOMMU_TEST_CMD
};

// The bytes of the program from front to back; zeros when they are used up.
class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  template <class T = std::uint8_t>
  T take() {
    T value{};
    const std::size_t bytes = std::min(sizeof value, left_.size());
    std::memcpy(&value, left_.data(), bytes);
    left_ = left_.subspan(bytes);
    return value;
  }

 private:
  std::span<const std::uint8_t> left_;
};

class IommufdProgram {
 public:
  IommufdProgram(HostileRig& rig, std::span<const std::uint8_t> bytes)
      : rig_(rig), program_(rig.program()), bytes_(bytes), block_(program_.arena().first()) {}

  void run() {
    open();
    for (unsigned operations = 0; !bytes_.empty() && operations < kMost; ++operations) step();
    program_.close_all();
  }

 private:
  static constexpr unsigned kMost = 200;
  static constexpr std::array<const char*, 2> kDevices{"0000:00:06.0", "0000:00:07.0"};

  void open();
  void step();
  void command();
  void attach();
  void detach();
  void touch_file();
  void close_file();

  // One of the program's first descriptors, open or not.
  int descriptor() { return base_ + bytes_.take() % 16; }
  std::uint32_t small(std::uint32_t limit) {
    const std::uint32_t byte = bytes_.take();
    return byte < 0xf0 ? byte % limit : bytes_.take<std::uint32_t>();
  }
  std::uint64_t number();
  std::vector<std::uint8_t> structure(const Shape& shape);
  long call(int file, unsigned number, const void* structure, std::size_t bytes) {
    const auto open = program_.get(file);
    if (open == nullptr || !program_.copy_out(block_, structure, bytes)) return -EBADF;
    return open->ioctl(number, block_);
  }

  HostileRig& rig_;
  HostileProgram& program_;
  Bytes bytes_;
  const std::uint64_t block_;
  int base_ = 0;  // the first descriptor of this program
};

// An iommufd with two device files bound to it.
void IommufdProgram::open() {
  base_ = *program_.install(rig_.vfio().open_iommufd(program_).value(), 0);
  for (const char* name : kDevices) {
    const unsigned number = rig_.system().device(name)->number();
    const int device = *program_.install(rig_.vfio().open_device(program_, number).value(), 0);
    vfio::abi::BindIommufd bind{};
    bind.argsz = vfio::abi::kBindIommufdMinimum;
    bind.iommufd = base_;
    EXPECT_EQ(call(device, vfio::abi::kDeviceBindIommufd, &bind, sizeof bind), 0) << name;
  }
}

// What addresses, lengths and numbers look like where something is to come of them, and anything else.
std::uint64_t IommufdProgram::number() {
  constexpr std::uint64_t kMockAperture = 1 << 24, kLargePage = std::uint64_t{2} << 20;
  switch (bytes_.take() % 8) {
    case 0:
      return 0;
    case 1:
      return bytes_.take();
    case 2:
      return bytes_.take() * kPageSize;
    case 3:
      return program_.arena().first() + std::uint64_t{bytes_.take<std::uint16_t>()} * 256;
    case 4:
      return kMockAperture + bytes_.take() * kPageSize / 2;
    case 5:
      return ~std::uint64_t{0} - bytes_.take();
    case 6:
      return bytes_.take() * kLargePage;
    default:
      return bytes_.take<std::uint64_t>();
  }
}

std::vector<std::uint8_t> IommufdProgram::structure(const Shape& shape) {
  std::vector<std::uint8_t> bytes(sizeof(std::uint32_t));
  const auto put = [&](auto value) {
    bytes.resize(bytes.size() + sizeof value);
    std::memcpy(&bytes[bytes.size() - sizeof value], &value, sizeof value);
  };
  for (const char word : shape.words) {
    switch (word) {
      case 'f':
        put(small(16));
        break;
      case 'i':
        put(small(12));
        break;
      case '0':
        put(std::uint32_t{bytes_.take() == 0xff});
        break;
      case 'd':
        put(descriptor());
        break;
      case 'h':
        put(static_cast<std::uint16_t>(small(3)));
        break;
      default:
        put(number());
    }
  }
  const std::uint8_t surplus = bytes_.take();
  auto size = static_cast<std::uint32_t>(bytes.size());
  if (surplus >= 0xf0) size += surplus - 0xf8;
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes;
}

void IommufdProgram::command() {
  const Shape& shape = kShapes[bytes_.take() % std::size(kShapes)];
  const auto bytes = structure(shape);
  std::ignore = call(base_, iommufd::abi::command(shape.number), bytes.data(), bytes.size());
}

void IommufdProgram::attach() {
  vfio::abi::AttachIommufdPt request{sizeof request, small(2), small(12), small(4)};
  std::ignore = call(base_ + 1 + bytes_.take() % 2, vfio::abi::kDeviceAttachIommufdPt, &request, sizeof request);
}

void IommufdProgram::detach() {
  vfio::abi::DetachIommufdPt request{sizeof request, small(2), small(4)};
  std::ignore = call(base_ + 1 + bytes_.take() % 2, vfio::abi::kDeviceDetachIommufdPt, &request, sizeof request);
}

// Event queues and accesses are files, too.
void IommufdProgram::touch_file() {
  const auto file = program_.get(descriptor());
  if (file == nullptr) return;
  const std::uint64_t user = block_ + bytes_.take() * 8, length = bytes_.take();
  std::ignore = file->poll();
  std::ignore = bytes_.take() % 2 == 0 ? file->pread(user, length, 0) : file->pwrite(user, length, 0);
}

// The iommufd and its devices stay, so that later operations find something; anything else goes.
void IommufdProgram::close_file() {
  const int chosen = descriptor();
  if (chosen > base_ + static_cast<int>(kDevices.size())) program_.close(chosen);
}

void IommufdProgram::step() {
  switch (bytes_.take() % 8) {
    case 0:
      return attach();
    case 1:
      return detach();
    case 2:
      return touch_file();
    case 3:
      return close_file();
    default:
      return command();
  }
}

}  // namespace

void run_program(std::span<const std::uint8_t> bytes) {
  static HostileRig rig(false);
  IommufdProgram(rig, bytes).run();
  rig.expect_as_before();
}
unsigned program_cases() { return 1; }

}  // namespace softiommu::test
