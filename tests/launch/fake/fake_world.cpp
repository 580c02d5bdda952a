// SPDX-License-Identifier: BSD-3-Clause
// An engine world without a machine: one file whose BAR is 64 KiB of plain bytes, so that the shim, the descriptor
// table and the trap can be judged alone.
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

#include "fake_abi.h"
#include "launch/engine/world.h"
#include "machine/mmio.h"

namespace softiommu::launch {
namespace {

class ByteRegisters final : public MmioRegion {
 public:
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    const std::scoped_lock lock(mutex_);
    ++accesses;
    std::uint64_t value = 0;
    if (offset + bytes <= bytes_.size()) std::memcpy(&value, &bytes_[offset], bytes);
    return value;
  }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    const std::scoped_lock lock(mutex_);
    ++accesses;
    if (offset + bytes <= bytes_.size()) std::memcpy(&bytes_[offset], &value, bytes);
  }
  std::atomic<long> accesses{0};

 private:
  std::mutex mutex_;
  std::array<std::uint8_t, kFakeBarBytes> bytes_{};
};

struct Counters {
  std::atomic<long> opened{0}, released{0};
};
Counters counters;

class FakeFile final : public File {
 public:
  explicit FakeFile(Program& program) : program_(program) { ++counters.opened; }
  std::string path() const override { return "/dev/vfio/vfio"; }
  dev_t device_number() const override { return makedev(10, 196); }

  long ioctl(unsigned int command, std::uint64_t argument) override {
    switch (command) {
      case kFakeEcho:
        return static_cast<long>(argument);
      case kFakeReleased:
        return counters.released;
      case kFakeOpen:
        return counters.opened - counters.released;
      case kFakeAccesses:
        return registers_.accesses;
      case kFakeEnable:
        enabled_ = argument != 0;
        return 0;
      case kFakeCopy: {
        std::uint64_t word;
        if (auto done = program_.copy_in(&word, argument, sizeof word); !done) return -done.error().code;
        word += 1;
        auto done = program_.copy_out(argument, &word, sizeof word);
        return done ? 0 : -done.error().code;
      }
      case kFakePinnable: {
        auto done = program_.check_pinnable(argument, 4096, true);
        return done ? 0 : -done.error().code;
      }
      case kFakeEventfd: {
        auto fd = program_.take_eventfd(static_cast<int>(argument));
        return fd ? *fd : -fd.error().code;
      }
      case kFakeSignal: {
        auto fd = program_.take_eventfd(static_cast<int>(argument));
        constexpr std::uint64_t one = 1;
        if (fd && ::write(*fd, &one, sizeof one) != sizeof one) return -EIO;
        return fd ? ::close(*fd) : -fd.error().code;
      }
      case kFakeInstall: {
        auto fd = program_.install(std::make_shared<FakeFile>(program_), 0);
        return fd ? *fd : -fd.error().code;
      }
      default:
        return -ENOTTY;
    }
  }
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t offset) override {
    std::array<std::uint8_t, 256> config;
    for (std::size_t i = 0; i < config.size(); ++i) config[i] = static_cast<std::uint8_t>(i);
    if (offset >= 256) return 0;
    bytes = std::min<std::size_t>(bytes, 256 - static_cast<std::size_t>(offset));
    auto done = program_.copy_out(user, config.data() + offset, bytes);
    return done ? static_cast<ssize_t>(bytes) : -done.error().code;
  }
  int mmap(std::uint64_t offset, std::uint64_t bytes, int, int, MmapPlan& out) override {
    if (offset + bytes > kFakeBarBytes) return -EINVAL;
    out.registers = &registers_;
    out.offset = offset;
    out.enabled = [](const void* context) { return static_cast<const FakeFile*>(context)->enabled_.load(); };
    out.enabled_context = this;
    return 0;
  }
  void release() override { ++counters.released; }

 private:
  Program& program_;
  ByteRegisters registers_;
  std::atomic<bool> enabled_{true};
};

class FakeWorld final : public World {
 public:
  Result<Opened> open(const std::string& path, Program& program) override {
    if (path != "/dev/vfio/vfio") return fail(ENODEV, "the fake world has one file");
    return Opened{std::make_shared<FakeFile>(program), {}};
  }
  Memory* memory() override { return nullptr; }
};

}  // namespace

Result<std::unique_ptr<World>> make_world(const std::string&, StackTraces&) { return std::make_unique<FakeWorld>(); }

}  // namespace softiommu::launch
