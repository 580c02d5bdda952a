// SPDX-License-Identifier: BSD-3-Clause
// A machine with everything that VFIO shows of a device, a program that is this process, and the calls it makes.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/program.h"
#include "core/system.h"
#include "machine/machine.h"
#include "vfio/abi.h"
#include "vfio/vfio.h"

namespace softiommu::test {

namespace abi = vfio::abi;

// This process as the program under test: the kernel copies, so that bad addresses are EFAULT. Threads may use it.
class FakeProgram final : public Program {
 public:
  ~FakeProgram() override;
  Result<> copy_in(void* to, std::uint64_t user, std::size_t bytes) override;
  Result<> copy_out(std::uint64_t user, const void* from, std::size_t bytes) override;
  Result<> check_pinnable(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<PhysAddr> registers_at(std::uint64_t user, std::uint64_t bytes, bool write) override;
  Result<int> install(std::shared_ptr<File> file, int flags) override;
  void take_back(int descriptor) override { close(descriptor); }
  Result<std::shared_ptr<File>> file_of(int descriptor) override;
  Result<std::unique_ptr<FileMapping>> map_file(const FilePart& part) override;
  Result<int> take_eventfd(int descriptor) override;

  void close(int descriptor);
  File& operator[](int descriptor);
  void close_all();
  const std::map<int, std::shared_ptr<File>>& files() const { return files_; }
  std::atomic<int> install_errno{0};  // the next install fails with it
  // Where the program has mapped a BAR, and what it is there.
  std::optional<std::pair<std::uint64_t, MmapPlan>> bar;

 private:
  bool is_ours(int descriptor);
  std::mutex mutex_;  // of the two
  int next_ = 1000;
  std::map<int, std::shared_ptr<File>> files_;
};

// What the test device's control register (BAR 2, offset 0) is told.
enum class Gadget : std::uint32_t { send_message = 1, raise_intx = 2, lower_intx = 3 };
DeviceModel
gadget_model();  // "gadget": BAR0 16K with the MSI-X table, BAR2 4K, BAR3 I/O, BAR4 256 bytes; INTx, MSI, MSI-X

// Pages of this process.
class Pages {
 public:
  explicit Pages(std::size_t count, int prot = PROT_READ | PROT_WRITE);
  ~Pages() { munmap(memory_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(memory_); }
  char* at(std::size_t offset = 0) const { return static_cast<char*>(memory_) + offset; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
  void* memory_;
};

// A counter that a device signals.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  int descriptor() const { return descriptor_; }
  std::uint64_t take();  // how often it was signalled since
  void signal();

 private:
  int descriptor_;
};

// 0000:00:02.0 and 0000:00:03.0 are alone; 0000:01:00.0 and .1 are on a bus that can be reset, in one group.
class VfioTest : public ::testing::Test {
 protected:
  static constexpr const char* kName = "0000:00:02.0";
  void SetUp() override { start({}); }
  void TearDown() override;
  void start(const VfioOptions& options, std::string_view more_toml = "");
  // On another machine.
  void start_on(const MachineSpec& spec, const VfioOptions& options = {}, Rules rules = Rules::contract);
  void stop();

  unsigned group_of(const std::string& device) { return system_->device(device)->group()->id(); }
  // The descriptor of what was opened, or a negative errno.
  int installed(Result<std::shared_ptr<File>> opened);
  int open_container();
  int open_group(const std::string& device);
  // As ioctl(2) answers; the second form passes a structure.
  long call(int descriptor, unsigned command, std::uint64_t argument = 0) {
    return program_[descriptor].ioctl(command, argument);
  }
  template <typename T>
  long call(int descriptor, unsigned command, T* structure) {
    return call(descriptor, command, reinterpret_cast<std::uint64_t>(structure));
  }
  long set_container(int group, int container);
  // Container, group and IOMMU, ready for devices.
  void attach(abi::Extension type = abi::Extension::type1_v2, const std::string& device = kName);
  long add(const std::string& device);  // another group into the container
  int open_device(const std::string& name = kName);

  long map(std::uint64_t iova, std::uint64_t user, std::uint64_t bytes,
           std::uint32_t flags = abi::kMapRead | abi::kMapWrite);
  std::pair<long, std::uint64_t> unmap(std::uint64_t iova, std::uint64_t bytes, std::uint32_t flags = 0);
  // What the device reads by DMA; '-' where it is refused.
  char dma_read(std::uint64_t iova, const std::string& device = kName);
  bool dma_write(std::uint64_t iova, char value, const std::string& device = kName);

  template <typename T>
  T config(int device, std::uint64_t offset) {
    T value{};
    EXPECT_EQ(
        program_[device].pread(reinterpret_cast<std::uint64_t>(&value), sizeof value, at(abi::kConfigRegion, offset)),
        static_cast<ssize_t>(sizeof value));
    return value;
  }
  template <typename T>
  void set_config(int device, std::uint64_t offset, T value) {
    EXPECT_EQ(
        program_[device].pwrite(reinterpret_cast<std::uint64_t>(&value), sizeof value, at(abi::kConfigRegion, offset)),
        static_cast<ssize_t>(sizeof value));
  }
  template <typename T>
  ssize_t read_region(int device, std::uint32_t region, std::uint64_t offset, T* value) {
    return program_[device].pread(reinterpret_cast<std::uint64_t>(value), sizeof *value, at(region, offset));
  }
  template <typename T>
  ssize_t write_region(int device, std::uint32_t region, std::uint64_t offset, T value) {
    return program_[device].pwrite(reinterpret_cast<std::uint64_t>(&value), sizeof value, at(region, offset));
  }
  long set_irqs(int device, std::uint32_t flags, std::uint32_t index, std::uint32_t start,
                std::vector<std::int32_t> events);
  long set_irqs_count(int device, std::uint32_t flags, std::uint32_t index, std::uint32_t start, std::uint32_t count);
  // DEVICE_FEATURE, by itself and with what follows it.
  long feature(int device, std::uint32_t flags) {
    const abi::Feature request{sizeof request, flags};
    return call(device, abi::kDeviceFeature, &request);
  }
  template <typename T>
  long feature(int device, std::uint32_t flags, const T& data) {
    const struct {
      abi::Feature head;
      T data;
    } request{{sizeof request.head + sizeof data, flags}, data};
    return call(device, abi::kDeviceFeature, &request);
  }
  long hot_reset(int device, const std::vector<int>& groups);
  void tell(int device, Gadget what, std::uint32_t value = 0);
  // In pages: what type1 counts against the limit, what iommufds have pinned.
  std::uint64_t locked_pages() { return program_.locked().pages(); }
  std::uint64_t iommufd_pages() { return program_.locked().pinned(); }
  void run() { machine_->executor().run(machine_->executor().now_ns() + 1'000'000); }
  static off_t at(std::uint32_t region, std::uint64_t offset) {
    return static_cast<off_t>(abi::region_offset(region) + offset);
  }

  std::shared_ptr<FakeProgram> the_program_ = std::make_shared<FakeProgram>();
  FakeProgram& program_ = *the_program_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<System> system_;
  std::unique_ptr<Vfio> vfio_;
  int container_ = -1, group_ = -1;
};

}  // namespace softiommu::test
