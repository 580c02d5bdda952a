// SPDX-License-Identifier: BSD-3-Clause
// Four threads do to VFIO what no sane program does, while the devices do DMA: every answer is allowed, but no crash,
// no deadlock, and nothing is left of them in the end.
//
// An action is a row of kActions. Half of the choices are sensible, so that the other half meets a machine at work.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fuzz_run.h"
#include "hostile_mock.h"
#include "hostile_rig.h"
#include "hw/edu.h"
#include "hw/ioat.h"
#include "hw/pci.h"
#include "iommufd/abi.h"
#include "machine/mmio.h"
#include "vfio/abi.h"

namespace softiommu::test {
namespace {

namespace abi = vfio::abi;
namespace edu = hw::edu;
namespace ioat = hw::ioat;
using namespace std::chrono_literals;

constexpr unsigned kThreads = 4;
constexpr std::string_view kContainer = "/dev/vfio/vfio", kGroup = "/dev/vfio/", kDevice = "anon_inode:[vfio-device]",
                           kIommufd = "/dev/iommu", kDeviceFile = "/dev/vfio/devices/";
constexpr auto kPatience = 30s;

class Client {
 public:
  Client(HostileRig& rig, std::uint64_t seed, unsigned number)
      : rig_(rig),
        program_(rig.program()),
        choice_(seed + number),
        block_(program_.arena().first() + (std::uint64_t{number} << 16)),
        mock_(program_, choice_, block_ + 2 * kPageSize) {}

  void run(std::chrono::steady_clock::time_point end);

  // For the watchdog.
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }
  bool done() const { return done_.load(std::memory_order_relaxed); }
  const char* doing() const { return doing_.load(std::memory_order_relaxed); }
  // After run(): how many calls of this number did not fail.
  std::uint64_t served(unsigned command) const { return served_[command - abi::command(0)]; }
  std::uint64_t mock_served() const { return mock_served_; }

 private:
  struct Action {
    const char* name;
    unsigned weight;
    void (Client::*run)();
  };
  static const Action kActions[];

  // Files.
  void open_container();
  void open_group();
  void open_device();
  void join_container();
  void close_any();
  void assemble();  // all of the above in the right order
  // Containers.
  void map();
  void unmap();
  void ask_container();
  void track_dirty();
  void replace_pages();
  // An iommufd.
  void open_iommufd();
  void open_device_file();
  void assemble_iommufd();  // both, in the right order
  void change_spaces();
  void map_space();
  void unmap_space();
  void ask_space();
  void make_page_table();
  void move_device();
  void use_mock() { mock_served_ += mock_.step(); }
  // Devices.
  void ask_device();
  void set_irqs();
  void signal_eventfd();
  void reset();
  void hot_reset();
  void enable_device();
  void write_config();
  void access_regions();
  void access_mapping();
  void run_edu();
  void run_ioat();
  // Anything.
  void any_call();

  // The threads' request blocks are in memory that devices write to, too.
  void put(const void* from, std::size_t bytes, std::uint64_t offset = 0) {
    std::ignore = program_.copy_out(block_ + offset, from, bytes);
  }
  template <typename T>
  long call(int descriptor, unsigned command, const T& request) {
    put(&request, sizeof request);
    return call_at(descriptor, command, choice_.one_in(50) ? hostile() : block_);
  }
  long call_at(int descriptor, unsigned command, std::uint64_t argument) {
    const auto file = program_.get(descriptor);
    const long answer = file ? file->ioctl(command, argument) : -EBADF;
    if (answer >= 0) ++served_[(command - abi::command(0)) % served_.size()];
    return answer;
  }
  std::uint64_t hostile() { return program_.arena().hostile_address(choice_); }
  std::uint64_t iova();
  std::uint64_t length();
  std::uint32_t argsz(std::size_t right) {
    return choice_.one_in(10) ? static_cast<std::uint32_t>(choice_.number()) : static_cast<std::uint32_t>(right);
  }
  std::uint32_t flags(std::uint32_t known) {
    const auto any = static_cast<std::uint32_t>(choice_.any());
    return choice_.one_in(10) ? any : any & known;
  }
  int some_descriptor();
  int some_device() { return program_.pick(choice_, choice_.one_in(3) ? kDeviceFile : kDevice); }
  // Ids count from 1, so that the first few are often there.
  std::uint32_t object() {
    return static_cast<std::uint32_t>(choice_.one_in(12) ? choice_.number() : 1 + choice_.below(5));
  }
  // The registers of BAR 0 through a mapping, as the launcher serves it; nothing while the device does not decode.
  void write_register(int device, std::uint64_t offset, unsigned bytes, std::uint64_t value);
  std::uint64_t write_chain();

  HostileRig& rig_;
  HostileProgram& program_;
  Choice choice_;
  std::uint64_t block_;
  HostileMock mock_;
  std::uint64_t mock_served_ = 0;
  std::array<std::uint64_t, 64> served_{};  // by number: VFIO's and iommufd's are neighbours
  std::atomic<std::uint64_t> progress_{0};
  std::atomic<bool> done_{false};
  std::atomic<const char*> doing_{"nothing"};
};

constexpr Client::Action Client::kActions[] = {
    {"open container", 4, &Client::open_container},
    {"open group", 4, &Client::open_group},
    {"open device", 6, &Client::open_device},
    {"join container", 4, &Client::join_container},
    {"close", 5, &Client::close_any},
    {"assemble", 6, &Client::assemble},
    {"map", 40, &Client::map},
    {"unmap", 20, &Client::unmap},
    {"ask container", 8, &Client::ask_container},
    {"track dirty pages", 8, &Client::track_dirty},
    {"replace pages", 3, &Client::replace_pages},
    {"open iommufd", 3, &Client::open_iommufd},
    {"open device file", 4, &Client::open_device_file},
    {"assemble iommufd", 6, &Client::assemble_iommufd},
    {"change spaces", 8, &Client::change_spaces},
    {"map space", 30, &Client::map_space},
    {"unmap space", 15, &Client::unmap_space},
    {"ask space", 8, &Client::ask_space},
    {"make page table", 8, &Client::make_page_table},
    {"move device", 12, &Client::move_device},
    {"use mock", 40, &Client::use_mock},
    {"ask device", 8, &Client::ask_device},
    {"set irqs", 20, &Client::set_irqs},
    {"signal eventfd", 5, &Client::signal_eventfd},
    {"reset", 2, &Client::reset},
    {"hot reset", 2, &Client::hot_reset},
    {"enable device", 20, &Client::enable_device},
    {"write config", 8, &Client::write_config},
    {"access regions", 15, &Client::access_regions},
    {"access mapping", 15, &Client::access_mapping},
    {"run edu", 20, &Client::run_edu},
    {"run ioat", 20, &Client::run_ioat},
    {"any call", 20, &Client::any_call},
};

void Client::run(std::chrono::steady_clock::time_point end) {
  std::vector<const Action*> wheel;
  for (const Action& action : kActions) wheel.insert(wheel.end(), action.weight, &action);
  while (std::chrono::steady_clock::now() < end) {
    const Action& action = *wheel[choice_.below(wheel.size())];
    doing_.store(action.name, std::memory_order_relaxed);
    (this->*action.run)();
    progress_.fetch_add(1, std::memory_order_relaxed);
  }
  done_.store(true, std::memory_order_relaxed);
}

// Few enough that areas meet, at the edges of what IOMMUs have, or the arena's own addresses.
std::uint64_t Client::iova() {
  constexpr std::array<std::uint64_t, 8> kEdges{0,
                                                0xfee0'0000,
                                                0x800'0000,
                                                (std::uint64_t{1} << 39) - kPageSize,
                                                (std::uint64_t{1} << 48) - kPageSize,
                                                ~std::uint64_t{0},
                                                ~std::uint64_t{0} - (kPageSize - 1),
                                                std::uint64_t{1} << 63};
  constexpr std::uint64_t kWindow = std::uint64_t{1} << 30;
  switch (choice_.below(12)) {
    case 0:
      return choice_.of(kEdges);
    case 1:
      return choice_.any();
    case 2:
      return kWindow + choice_.below(Arena::kBytes);
    case 3:
      return program_.arena().first() + choice_.below(Arena::kBytes) / kPageSize * kPageSize;
    default:
      return kWindow + choice_.below(Arena::kBytes) / kPageSize * kPageSize;
  }
}

std::uint64_t Client::length() {
  switch (choice_.below(8)) {
    case 0:
      return choice_.number();
    case 1:
      return std::uint64_t{2} << 20;
    default:
      return (1 + choice_.below(64)) * kPageSize;
  }
}

int Client::some_descriptor() {
  switch (choice_.below(4)) {
    case 0:
      return static_cast<int>(choice_.number());
    case 1:
      return -1;
    case 2:
      return program_.pick(choice_);
    default:
      return choice_.of(program_.eventfds());
  }
}

// ---- files

void Client::open_container() {
  if (const auto file = rig_.vfio().open_container(program_)) std::ignore = program_.install(*file, 0);
}

void Client::open_group() {
  const auto groups = static_cast<unsigned>(rig_.system().groups().size());
  const auto file = rig_.vfio().open_group(program_, static_cast<unsigned>(choice_.below(groups + 1)));
  if (file) std::ignore = program_.install(*file, 0);
}

void Client::open_device() {
  const int group = program_.pick(choice_, kGroup);
  const auto devices = rig_.system().devices();
  std::string name(devices[choice_.below(devices.size())]->name());
  if (choice_.one_in(10)) name += " vf_token=nonsense";
  if (choice_.one_in(10)) name[choice_.below(name.size())] = static_cast<char>(choice_.any());
  char text[256] = {};
  name.copy(text, sizeof text - 1);
  put(text, sizeof text);
  call_at(group, abi::kGroupGetDeviceFd, choice_.one_in(10) ? hostile() : block_);
}

void Client::join_container() {
  const int group = program_.pick(choice_, kGroup);
  if (choice_.one_in(4)) {
    call_at(group, abi::kGroupUnsetContainer, 0);
    return;
  }
  const int container = program_.pick(choice_, kContainer);
  call(group, abi::kGroupSetContainer, choice_.one_in(8) ? some_descriptor() : container);
  call_at(container, abi::kSetIommu, choice_.one_in(2) ? choice_.below(5) : 3);
}

void Client::close_any() { program_.close(program_.pick(choice_)); }

void Client::assemble() {
  constexpr std::size_t kEnough = 30;
  if (program_.open_count() > kEnough) {
    program_.close(program_.pick(choice_));
    return;
  }
  const auto devices = rig_.system().devices();
  const Device& device = *devices[choice_.below(devices.size())];
  const auto group = rig_.vfio().open_group(program_, device.group()->id());
  const auto container = rig_.vfio().open_container(program_);
  if (!group || !container) return;
  const auto descriptor = program_.install(*container, 0);
  if (!descriptor || !program_.install(*group, 0)) return;
  put(&*descriptor, sizeof *descriptor);
  (*group)->ioctl(abi::kGroupSetContainer, block_);
  (*container)
      ->ioctl(abi::kSetIommu,
              static_cast<std::uint64_t>(choice_.one_in(3) ? abi::Extension::type1 : abi::Extension::type1_v2));
  char name[64] = {};
  device.name().copy(name, sizeof name - 1);
  put(name, sizeof name);
  (*group)->ioctl(abi::kGroupGetDeviceFd, block_);
  enable_device();
}

// ---- an iommufd

void Client::open_iommufd() {
  if (const auto file = rig_.vfio().open_iommufd(program_)) std::ignore = program_.install(*file, 0);
}

void Client::open_device_file() {
  const auto devices = static_cast<unsigned>(rig_.system().devices().size());
  const auto file = rig_.vfio().open_device(program_, static_cast<unsigned>(choice_.below(devices + 1)));
  if (file) std::ignore = program_.install(*file, 0);
}

void Client::assemble_iommufd() {
  constexpr std::size_t kEnough = 30;
  if (program_.open_count() > kEnough) {
    program_.close(program_.pick(choice_));
    return;
  }
  const auto devices = static_cast<unsigned>(rig_.system().devices().size());
  const auto device = rig_.vfio().open_device(program_, static_cast<unsigned>(choice_.below(devices)));
  const auto context = rig_.vfio().open_iommufd(program_);
  if (!device || !context) return;
  const auto descriptor = program_.install(*context, 0);
  if (!descriptor || !program_.install(*device, 0)) return;
  const iommufd::abi::IoasAlloc space{sizeof space, 0, 0};
  put(&space, sizeof space);
  (*context)->ioctl(iommufd::abi::kIoasAlloc, block_);
  const abi::BindIommufd bind{sizeof bind, 0, *descriptor, 0, 0};
  put(&bind, sizeof bind);
  (*device)->ioctl(abi::kDeviceBindIommufd, block_);
  const abi::AttachIommufdPt attach{sizeof attach, 0, 1, 0};
  put(&attach, sizeof attach);
  (*device)->ioctl(abi::kDeviceAttachIommufdPt, block_);
  enable_device();
}

void Client::change_spaces() {
  const int context = program_.pick(choice_, kIommufd);
  if (choice_.one_in(2)) {
    call(context, iommufd::abi::kIoasAlloc, iommufd::abi::IoasAlloc{argsz(12), choice_.one_in(10), 0});
  } else if (choice_.one_in(2)) {
    call(context, iommufd::abi::kDestroy, iommufd::abi::Destroy{argsz(8), object()});
  } else if (choice_.one_in(2)) {
    const auto op = static_cast<std::uint16_t>(choice_.below(4));
    call(context, iommufd::abi::kVfioIoas, iommufd::abi::VfioIoas{argsz(12), object(), op, 0});
  } else {
    call(context, iommufd::abi::kOption,
         iommufd::abi::Option{argsz(24), static_cast<std::uint32_t>(choice_.below(3)),
                              static_cast<std::uint16_t>(choice_.below(3)), 0, object(), choice_.below(3)});
  }
}

void Client::map_space() {
  const int context = program_.pick(choice_, kIommufd);
  const std::uint64_t user =
      choice_.one_in(10) ? hostile() : program_.arena().first() + choice_.below(Arena::kBytes) / kPageSize * kPageSize;
  const std::uint32_t rights = choice_.one_in(4) ? flags(7) : 6 | (choice_.one_in(3) ? 0 : iommufd::abi::kMapFixedIova);
  if (choice_.one_in(5)) {
    call(context, iommufd::abi::kIoasCopy,
         iommufd::abi::IoasCopy{argsz(40), rights, object(), object(), length(), iova(), iova()});
    return;
  }
  call(context, iommufd::abi::kIoasMap, iommufd::abi::IoasMap{argsz(40), rights, object(), 0, user, length(), iova()});
}

void Client::unmap_space() {
  const bool all = choice_.one_in(4);
  call(program_.pick(choice_, kIommufd), iommufd::abi::kIoasUnmap,
       iommufd::abi::IoasUnmap{argsz(24), object(), all ? 0 : iova(),
                               all ? ~std::uint64_t{0} : length() * choice_.below(9)});
}

void Client::ask_space() {
  const int context = program_.pick(choice_, kIommufd);
  const std::uint64_t array = choice_.one_in(4) ? hostile() : block_ + kPageSize;
  const auto count = static_cast<std::uint32_t>(choice_.one_in(8) ? choice_.number() : choice_.below(20));
  if (choice_.one_in(2)) {
    call(context, iommufd::abi::kIoasIovaRanges,
         iommufd::abi::IoasIovaRanges{argsz(32), object(), count, choice_.one_in(20), array, 0});
  } else if (choice_.one_in(2)) {
    const iommufd::abi::Range range{iova(), iova()};
    put(&range, sizeof range, kPageSize);
    call(context, iommufd::abi::kIoasAllowIovas,
         iommufd::abi::IoasAllowIovas{argsz(24), object(), static_cast<std::uint32_t>(choice_.below(3)), 0, array});
  } else {
    iommufd::abi::HwInfo info{};
    info.size = argsz(sizeof info);
    info.dev_id = object();
    info.data_len = count;
    info.data_uptr = array;
    call(context, iommufd::abi::kGetHwInfo, info);
  }
}

void Client::make_page_table() {
  const int context = program_.pick(choice_, kIommufd);
  if (choice_.one_in(2)) {
    iommufd::abi::HwptAlloc request{};
    request.size = argsz(sizeof request);
    request.flags = choice_.one_in(3) ? flags(15) : 0;
    request.dev_id = object();
    request.pt_id = object();
    call(context, iommufd::abi::kHwptAlloc, request);
  } else if (choice_.one_in(2)) {
    call(context, iommufd::abi::kHwptSetDirtyTracking,
         iommufd::abi::HwptSetDirtyTracking{argsz(16), choice_.one_in(2), object(), 0});
  } else {
    call(context, iommufd::abi::kHwptGetDirtyBitmap,
         iommufd::abi::HwptGetDirtyBitmap{argsz(48), object(), choice_.one_in(2), 0, iova(), length(),
                                          choice_.one_in(6) ? choice_.number() : kPageSize,
                                          choice_.one_in(4) ? hostile() : block_ + kPageSize});
  }
}

void Client::move_device() {
  const int device = program_.pick(choice_, kDeviceFile);
  if (choice_.one_in(4)) {
    const int context = choice_.one_in(8) ? some_descriptor() : program_.pick(choice_, kIommufd);
    call(device, abi::kDeviceBindIommufd, abi::BindIommufd{argsz(24), choice_.one_in(10), context, 0, hostile()});
  } else if (choice_.one_in(4)) {
    call(device, abi::kDeviceDetachIommufdPt, abi::DetachIommufdPt{argsz(12), choice_.one_in(10), 0});
  } else if (choice_.one_in(8)) {
    call(program_.pick(choice_, kGroup), abi::kGroupSetContainer, program_.pick(choice_, kIommufd));
  } else {
    call(device, abi::kDeviceAttachIommufdPt, abi::AttachIommufdPt{argsz(16), choice_.one_in(10), object(), 0});
  }
}

// ---- containers

void Client::map() {
  const std::uint64_t first = program_.arena().first();
  const std::uint64_t user =
      choice_.one_in(10) ? hostile() : first + choice_.below(Arena::kBytes) / kPageSize * kPageSize;
  abi::DmaMap request{argsz(sizeof request), flags(abi::kMapRead | abi::kMapWrite), user, iova(), length()};
  if (choice_.one_in(2)) request.flags = abi::kMapRead | abi::kMapWrite;
  if (choice_.one_in(10)) request.flags = abi::kMapVaddr;
  if (choice_.one_in(6)) {  // large pages
    constexpr std::uint64_t kLarge = std::uint64_t{2} << 20;
    request.vaddr = request.vaddr / kLarge * kLarge;
    request.iova = request.iova / kLarge * kLarge;
    request.size = kLarge * (1 + choice_.below(4));
  }
  call(program_.pick(choice_, kContainer), abi::kIommuMapDma, request);
}

void Client::unmap() {
  struct {
    abi::DmaUnmap head;
    abi::Bitmap bitmap;
  } request{};
  request.head = {argsz(sizeof request), 0, iova(), length() * (1 + choice_.below(8))};
  request.bitmap = {choice_.one_in(8) ? choice_.number() : kPageSize, choice_.one_in(8) ? choice_.any() : 4096,
                    choice_.one_in(4) ? hostile() : block_ + kPageSize};
  if (choice_.one_in(3)) {
    request.head.flags = flags(abi::kUnmapAll | abi::kUnmapGetDirtyBitmap | abi::kUnmapVaddr);
    if (choice_.one_in(2)) request.head.iova = request.head.size = 0;
  }
  call(program_.pick(choice_, kContainer), abi::kIommuUnmapDma, request);
}

void Client::ask_container() {
  const int container = program_.pick(choice_, kContainer);
  abi::Type1Info info{};
  info.argsz = choice_.one_in(2) ? 4096 : argsz(sizeof info);
  call(container, abi::kIommuGetInfo, info);
  call_at(container, abi::kCheckExtension, choice_.number());
  call_at(container, abi::kGetApiVersion, choice_.any());
}

void Client::track_dirty() {
  struct {
    abi::DirtyPages head;
    abi::DirtyRange range;
  } request{};
  request.head = {argsz(sizeof request), choice_.one_in(10) ? flags(7) : 1U << choice_.below(3)};
  request.range = {iova(),
                   length(),
                   {choice_.one_in(8) ? choice_.number() : kPageSize, choice_.one_in(8) ? choice_.any() : 4096,
                    choice_.one_in(4) ? hostile() : block_ + kPageSize}};
  call(program_.pick(choice_, kContainer), abi::kIommuDirtyPages, request);
}

void Client::replace_pages() {
  const std::uint64_t offset = choice_.below(Arena::kReadOnly) / kPageSize * kPageSize;
  const std::uint64_t bytes = std::min((1 + choice_.below(32)) * kPageSize, Arena::kReadOnly - offset);
  program_.arena().replace(rig_.machine().memory(), offset, bytes);
}

// ---- devices

void Client::ask_device() {
  const int device = some_device();
  const auto index = static_cast<std::uint32_t>(choice_.one_in(10) ? choice_.any() : choice_.below(10));
  call(device, abi::kDeviceGetInfo, abi::DeviceInfo{.argsz = argsz(sizeof(abi::DeviceInfo))});
  call(device, abi::kDeviceGetRegionInfo, abi::RegionInfo{.argsz = argsz(64), .index = index});
  call(device, abi::kDeviceGetIrqInfo, abi::IrqInfo{.argsz = argsz(sizeof(abi::IrqInfo)), .index = index});
  call(device, abi::kDeviceGetPciHotResetInfo, abi::HotResetInfo{.argsz = argsz(4096)});
  call(device, abi::kDeviceFeature, abi::Feature{argsz(64), flags(~0U)});
}

void Client::set_irqs() {
  struct {
    abi::IrqSet head;
    std::int32_t data[16];
  } request{};
  const std::uint32_t type = 1U << choice_.below(3), action = abi::kIrqSetActionMask << choice_.below(3);
  request.head = {argsz(sizeof request), choice_.one_in(10) ? flags(0x3f) : type | action,
                  static_cast<std::uint32_t>(choice_.below(6)), static_cast<std::uint32_t>(choice_.below(3)),
                  static_cast<std::uint32_t>(choice_.one_in(20) ? choice_.any() : choice_.below(5))};
  if (choice_.one_in(2)) request.head.start = 0;
  for (std::int32_t& event : request.data) {
    event = choice_.one_in(4) ? some_descriptor() : choice_.of(program_.eventfds());
  }
  call(some_device(), abi::kDeviceSetIrqs, request);
}

void Client::signal_eventfd() {
  const int event = choice_.of(program_.eventfds());
  std::uint64_t count = choice_.one_in(4) ? ~std::uint64_t{1} : 1;  // full, too
  if (choice_.one_in(2)) {
    std::ignore = write(event, &count, sizeof count);
  } else {
    std::ignore = read(event, &count, sizeof count);
  }
}

void Client::reset() { call_at(some_device(), abi::kDeviceReset, choice_.any()); }

void Client::hot_reset() {
  struct {
    abi::HotReset head;
    std::int32_t groups[4];
  } request{};
  request.head = {argsz(sizeof request), choice_.one_in(10) ? flags(3) : 0,
                  static_cast<std::uint32_t>(choice_.one_in(10) ? choice_.any() : 1 + choice_.below(2))};
  for (std::int32_t& group : request.groups)
    group = choice_.one_in(4) ? some_descriptor() : program_.pick(choice_, kGroup);
  call(some_device(), abi::kDevicePciHotReset, request);
}

void Client::enable_device() {
  const auto file = program_.get(some_device());
  if (!file) return;
  const auto& command = hw::pci::kCommand;
  const auto value = static_cast<std::uint16_t>(command["MEM"].put(1) | command["MASTER"].put(1));
  put(&value, sizeof value);
  file->pwrite(block_, sizeof value, static_cast<off_t>(abi::region_offset(abi::kConfigRegion) + command.offset));
}

void Client::write_config() {
  const auto file = program_.get(some_device());
  if (!file) return;
  const std::uint64_t value = choice_.any(), at = choice_.below(choice_.one_in(2) ? 4100 : 256);
  put(&value, sizeof value);
  const std::uint64_t offset = abi::region_offset(abi::kConfigRegion) + at;
  file->pwrite(choice_.one_in(20) ? hostile() : block_, choice_.below(9), static_cast<off_t>(offset));
}

void Client::access_regions() {
  const auto file = program_.get(program_.pick(choice_, {}));
  if (!file) return;
  const std::uint64_t at = choice_.one_in(10) ? choice_.any() : choice_.below(choice_.one_in(2) ? 0x200 : 0x4000);
  const std::uint64_t offset = abi::region_offset(static_cast<std::uint32_t>(choice_.below(11))) + at;
  const std::uint64_t user = choice_.one_in(8) ? hostile() : block_ + choice_.below(9);
  const std::size_t bytes = choice_.one_in(20) ? choice_.any() : choice_.below(choice_.one_in(4) ? 0x1000 : 17);
  if (choice_.one_in(2)) {
    file->pread(user, bytes, static_cast<off_t>(offset));
  } else {
    file->pwrite(user, bytes, static_cast<off_t>(offset));
  }
}

void Client::access_mapping() {
  const auto file = program_.get(program_.pick(choice_, choice_.one_in(8) ? std::string_view{} : kDevice));
  if (!file) return;
  const auto region = static_cast<std::uint32_t>(choice_.one_in(2) ? 0 : choice_.below(10));
  const std::uint64_t start = choice_.one_in(2) ? 0 : choice_.number() * kPageSize;
  const std::uint64_t bytes = choice_.one_in(4) ? choice_.number() * kPageSize : 4 * kPageSize;
  MmapPlan plan;
  if (file->mmap(abi::region_offset(region) + start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, plan) != 0) return;
  plan.keeps_alive = file;
  if (choice_.one_in(4)) program_.close(some_device());
  for (std::uint64_t count = choice_.below(8); count != 0; --count) {
    if (plan.enabled != nullptr && !plan.enabled(plan.enabled_context)) return;
    const unsigned width = 1U << choice_.below(4);
    const std::uint64_t at = plan.offset + choice_.below(std::min<std::uint64_t>(bytes, 0x4000)) / width * width;
    if (choice_.one_in(2)) {
      plan.registers->read(at, width);
    } else {
      plan.registers->write(at, width, choice_.number());
    }
  }
}

void Client::write_register(int device, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  const auto file = program_.get(device);
  MmapPlan plan;
  if (!file || file->mmap(0, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, plan) != 0) return;
  if (plan.enabled(plan.enabled_context)) plan.registers->write(offset, bytes, value);
}

void Client::run_edu() {
  const int device = some_device();
  const bool to_memory = choice_.one_in(2);
  const std::uint64_t own = edu::kBuffer + (choice_.one_in(4) ? choice_.number() : 0);
  const std::uint64_t bytes = choice_.one_in(8) ? choice_.number() : 1 + choice_.below(edu::kBufferBytes);
  write_register(device, edu::kDmaSource.offset, 8, to_memory ? own : iova());
  write_register(device, edu::kDmaDestination.offset, 8, to_memory ? iova() : own);
  write_register(device, edu::kDmaCount.offset, 8, bytes);
  const auto& command = edu::kDmaCommand;
  write_register(device, command.offset, 8,
                 command["START"].put(1) | command["TO_MEMORY"].put(to_memory) | command["IRQ"].put(choice_.below(2)));
}

// A few descriptors in the arena; where a device finds the first one, if somebody maps it there.
std::uint64_t Client::write_chain() {
  const std::uint64_t at = iova() / ioat::kDescriptorBytes * ioat::kDescriptorBytes;
  const std::uint64_t offset = choice_.below(Arena::kReadOnly / ioat::kDescriptorBytes - 16) * ioat::kDescriptorBytes;
  for (unsigned i = 0; i < 8; ++i) {
    std::uint64_t words[ioat::kDescriptorWords] = {};
    const auto& control = ioat::kControlWord;
    words[ioat::kWordControl] = control["SIZE"].put(choice_.one_in(8) ? choice_.any() >> 32 : choice_.below(5000)) |
                                control["COMPLETION"].put(choice_.below(2)) | control["INT"].put(choice_.below(2)) |
                                control["OP"].put(choice_.one_in(10) ? choice_.below(256) : choice_.below(2));
    words[ioat::kWordSource] = iova();
    words[ioat::kWordDestination] = iova();
    words[ioat::kWordNext] = choice_.one_in(8) ? choice_.any() : at + (i + 1) % 8 * sizeof words;
    std::ignore = program_.copy_out(program_.arena().first() + offset + i * sizeof words, words, sizeof words);
  }
  const std::uint64_t page = kPageSize - 1;
  abi::DmaMap request{sizeof request, abi::kMapRead | abi::kMapWrite, program_.arena().first() + (offset & ~page),
                      at & ~page, 2 * kPageSize};
  call(program_.pick(choice_, kContainer), abi::kIommuMapDma, request);
  return (at & ~page) | (offset & page);
}

void Client::run_ioat() {
  const int device = some_device();
  const auto& command = ioat::kChannelCommand;
  if (choice_.one_in(4)) write_register(device, command.offset, 1, command["RESET"].put(1));
  if (choice_.one_in(10)) write_register(device, command.offset, 1, choice_.any());
  write_register(device, ioat::kChannelControl.offset, 2, choice_.any());
  write_register(device, ioat::kChannelError.offset, 4, ~0U);
  write_register(device, ioat::kCompletionAddress.offset, 8, iova() & ~std::uint64_t{7});
  if (!choice_.one_in(4)) write_register(device, ioat::kChainAddress.offset, 8, write_chain());
  write_register(device, ioat::kDmaCount.offset, 2, choice_.number());
}

// ---- anything

void Client::any_call() {
  std::array<std::uint64_t, 12> words;
  for (std::uint64_t& word : words) word = choice_.one_in(3) ? iova() : choice_.number();
  put(words.data(), sizeof words);
  const auto size = argsz(16 + choice_.below(64));
  put(&size, sizeof size);
  const auto number =
      choice_.one_in(8) ? static_cast<unsigned>(choice_.any()) : abi::command(static_cast<unsigned>(choice_.below(24)));
  const int descriptor = program_.pick(choice_);
  call_at(descriptor, number, choice_.one_in(4) ? hostile() : block_);
  if (const auto file = program_.get(descriptor)) std::ignore = file->poll();
}

// ---- the run

// Ends the process with a sentence if a client hangs.
void watch(const std::vector<std::unique_ptr<Client>>& clients, const std::atomic<bool>& stop) {
  std::vector<std::uint64_t> seen(clients.size());
  std::vector<std::chrono::steady_clock::time_point> since(clients.size(), std::chrono::steady_clock::now());
  while (!stop.load()) {
    std::this_thread::sleep_for(100ms);
    const auto now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (clients[i]->progress() != seen[i] || clients[i]->done()) since[i] = now;
      seen[i] = clients[i]->progress();
      if (now - since[i] < kPatience) continue;
      std::fprintf(stderr, "hostile_client: thread %zu has made no progress for 30 s in \"%s\"\n", i,
                   clients[i]->doing());
      std::abort();
    }
  }
}

// A run in which every call fails early proves nothing.
void expect_was_at_work(const std::vector<std::unique_ptr<Client>>& clients) {
  for (const unsigned command : {abi::kIommuMapDma, abi::kIommuUnmapDma, abi::kIommuDirtyPages, abi::kDeviceSetIrqs,
                                 abi::kDeviceReset, abi::kDeviceAttachIommufdPt, iommufd::abi::kIoasMap,
                                 iommufd::abi::kIoasUnmap, iommufd::abi::kIoasCopy, iommufd::abi::kHwptAlloc}) {
    std::uint64_t served = 0;
    for (const auto& client : clients) served += client->served(command);
    std::printf("%llu calls of number %u were served\n", static_cast<unsigned long long>(served), command);
    EXPECT_GT(served, 0U) << command;
  }
  std::uint64_t of_mock = 0;
  for (const auto& client : clients) of_mock += client->mock_served();
  std::printf("%llu calls of the mock IOMMU were served\n", static_cast<unsigned long long>(of_mock));
  EXPECT_GT(of_mock, 0U);
}

TEST(HostileClient, LeavesNothingBehindAndBreaksNothing) {
  const std::uint64_t seed = fuzz_seed();
  HostileRig rig(seed % 2 != 0);
  const auto end = std::chrono::steady_clock::now() + fuzz_seconds(5s);
  std::vector<std::unique_ptr<Client>> clients;
  for (unsigned i = 0; i < kThreads; ++i) clients.push_back(std::make_unique<Client>(rig, seed, i));
  std::atomic<bool> stop{false};
  std::thread watchdog([&] { watch(clients, stop); });
  std::vector<std::thread> threads;
  for (const auto& client : clients) threads.emplace_back([&client, end] { client->run(end); });
  for (std::thread& thread : threads) thread.join();
  stop.store(true);
  watchdog.join();
  rig.program().close_all();
  rig.expect_as_before();
  rig.use_each_group();
  rig.expect_as_before();
  expect_was_at_work(clients);
}

}  // namespace
}  // namespace softiommu::test
