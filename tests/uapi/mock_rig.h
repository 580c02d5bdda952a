// SPDX-License-Identifier: BSD-3-Clause
// An iommufd on the mock IOMMU: what real drivers do not offer, asked for by the kernel's own test command.
#pragma once

#include <cstddef>

#include "drivers/mock.h"
#include "iommufd/selftest/abi.h"
#include "iommufd_rig.h"

namespace softiommu::test {

namespace mabi = mock::abi;
namespace tabi = iommufd::selftest::abi;

// The mock IOMMU in front of the machine's PCI devices, which have PASIDs then: what a program can do with a device
// file and the hardware that it has no model of.
class PciMockDriver final : public mock::MockDriver {
 public:
  using MockDriver::MockDriver;
  std::string_view unit_model() const override { return "intel-vtd"; }
  Result<> add_unit(const UnitHardware& /*hardware*/) override { return {}; }
  Result<std::unique_ptr<DeviceData>> probe(Device& /*device*/) override {
    return std::make_unique<mock::MockDevice>(mabi::kDevicePasid);
  }
  static std::unique_ptr<Driver> make() { return std::make_unique<PciMockDriver>(*tables_to_use); }
  static inline TableMemory* tables_to_use = nullptr;  // make() takes nothing
};

class MockTest : public IommufdTest {
 protected:
  struct MockDevice {
    std::uint32_t object = 0, hwpt = 0, id = 0;
  };
  static constexpr std::uint32_t kIotlb = 0xbadbeef;

  void SetUp() override {
    VfioTest::SetUp();
    vfio_.reset();
    auto driver = std::make_unique<mock::MockDriver>(machine_->memory().tables());
    VfioOptions options;
    options.selftest = driver.get();
    system_->add_driver(std::move(driver));
    vfio_ = std::make_unique<Vfio>(*system_, options);
    iommufd_ = open_iommufd();
    ioas_ = alloc_ioas();
  }
  void TearDown() override {
    program_.close_all();
    VfioTest::TearDown();
  }
  // The machine's PCI devices are behind the mock too, from now on.
  void mock_pci() {
    program_.close_all();
    vfio_.reset();
    system_.reset();
    PciMockDriver::tables_to_use = &machine_->memory().tables();
    constexpr MakeDriver kDrivers[] = {PciMockDriver::make};
    system_ = *System::create(*machine_, kDrivers, {});
    vfio_ = std::make_unique<Vfio>(*system_, VfioOptions{});
    iommufd_ = open_iommufd();
    ioas_ = alloc_ioas();
  }

  static std::uint64_t address(const void* of) { return reinterpret_cast<std::uint64_t>(of); }
  long test(tabi::Op op, tabi::Command& command_of) {
    command_of.op = op;
    return command(tabi::kTestCommand, command_of);
  }
  // A device that is bound and attached to `pt`.
  MockDevice mock_device(std::uint32_t pt, std::uint32_t flags = 0) {
    tabi::Command ask{};
    ask.id = pt;
    ask.mock_domain.dev_flags = flags;
    EXPECT_EQ(test(tabi::Op::mock_domain_flags, ask), 0);
    return {ask.mock_domain.out_stdev_id, ask.mock_domain.out_hwpt_id, ask.mock_domain.out_idev_id};
  }
  long move(const MockDevice& device, std::uint32_t pt) {
    tabi::Command ask{};
    ask.id = device.object;
    ask.mock_domain_replace.pt_id = pt;
    return test(tabi::Op::mock_domain_replace, ask);
  }
  long page_request(const MockDevice& device, std::uint32_t pasid = 0, std::uint64_t at = 0xdead0000) {
    tabi::Command ask{};
    ask.trigger_iopf = {device.id, pasid, 2, PageRight::read | PageRight::write, at};
    return test(tabi::Op::trigger_iopf, ask);
  }
  long event(const MockDevice& device) {
    tabi::Command ask{};
    ask.trigger_vevent = {device.id};
    return test(tabi::Op::trigger_vevent, ask);
  }
  bool iotlb_is(std::uint32_t hwpt, std::uint32_t entry, std::uint32_t value) {
    tabi::Command ask{};
    ask.id = hwpt;
    ask.check_iotlb = {entry, value};
    return test(tabi::Op::md_check_iotlb, ask) == 0;
  }
  bool cache_is(const MockDevice& device, std::uint32_t entry, std::uint32_t value) {
    tabi::Command ask{};
    ask.id = device.id;
    ask.check_dev_cache = {entry, value};
    return test(tabi::Op::dev_check_cache, ask) == 0;
  }

  // Each of these: the new object's id, or a negative errno.
  std::int64_t hwpt(const fd::HwptAlloc& wanted) {
    fd::HwptAlloc request = wanted;
    const long answer = command(fd::kHwptAlloc, request);
    return answer == 0 ? request.out_hwpt_id : answer;
  }
  fd::HwptAlloc nested_request(const MockDevice& device, std::uint32_t with, std::uint32_t flags = 0) {
    fd::HwptAlloc request{};
    request.flags = flags;
    request.dev_id = device.id;
    request.pt_id = with;
    request.data_type = mabi::kHwptDataType;
    request.data_len = sizeof nested_data_;
    request.data_uptr = address(&nested_data_);
    return request;
  }
  std::uint32_t nest_parent(const MockDevice& device) {
    const std::int64_t made = alloc_hwpt(device.id, ioas_, fd::kHwptNestParent);
    EXPECT_GT(made, 0);
    return static_cast<std::uint32_t>(made);
  }
  std::uint32_t nested(const MockDevice& device, std::uint32_t with, std::uint32_t flags = 0) {
    const std::int64_t made = hwpt(nested_request(device, with, flags));
    EXPECT_GT(made, 0);
    return static_cast<std::uint32_t>(made);
  }
  // With its file.
  struct Queue {
    std::uint32_t id = 0;
    int file = -1;
  };
  Queue fault_queue() {
    fd::FaultQueueAlloc request{};
    EXPECT_EQ(command(fd::kFaultQueueAlloc, request), 0);
    return {request.out_fault_id, static_cast<int>(request.out_fault_fd)};
  }
  std::uint32_t faulting(const MockDevice& device, std::uint32_t with, const Queue& queue, std::uint32_t flags = 0) {
    fd::HwptAlloc request = nested_request(device, with, flags | fd::kHwptFaultIdValid);
    request.fault_id = queue.id;
    const std::int64_t made = hwpt(request);
    EXPECT_GT(made, 0);
    return static_cast<std::uint32_t>(made);
  }
  std::int64_t viommu(const MockDevice& device, std::uint32_t parent, std::uint32_t type = mabi::kViommuType) {
    fd::ViommuAlloc request{.size = 0,
                            .flags = 0,
                            .type = type,
                            .dev_id = device.id,
                            .hwpt_id = parent,
                            .out_viommu_id = 0,
                            .data_len = 0,
                            .reserved = 0,
                            .data_uptr = 0};
    const long answer = command(fd::kViommuAlloc, request);
    return answer == 0 ? request.out_viommu_id : answer;
  }
  std::int64_t vdevice(std::uint32_t of, const MockDevice& device, std::uint64_t name) {
    fd::VdeviceAlloc request{0, of, device.id, 0, name};
    const long answer = command(fd::kVdeviceAlloc, request);
    return answer == 0 ? request.out_vdevice_id : answer;
  }

  std::int64_t hw_queue(std::uint32_t of, std::uint32_t index, std::uint64_t iova, std::uint64_t bytes,
                        std::uint32_t type = mabi::kHwQueueType) {
    fd::HwQueueAlloc request{0, 0, of, type, index, 0, iova, bytes};
    const long answer = command(fd::kHwQueueAlloc, request);
    return answer == 0 ? request.out_hw_queue_id : answer;
  }
  long pasid(tabi::Op op, const MockDevice& device, std::uint32_t pasid, std::uint32_t pt) {
    tabi::Command ask{};
    ask.id = device.object;
    ask.pasid_attach = {pasid, pt};
    return test(op, ask);
  }

  // ---- accesses
  // Its descriptor, or a negative errno.
  std::int64_t open_access(std::uint32_t flags = tabi::kAccessNeedsPin, std::uint32_t ioas = 0) {
    tabi::Command ask{};
    ask.id = ioas == 0 ? ioas_ : ioas;
    ask.create_access.flags = flags;
    const long answer = test(tabi::Op::create_access, ask);
    return answer == 0 ? ask.create_access.out_access_fd : answer;
  }
  // The number of what is pinned, or a negative errno; the pages must be those at `user`.
  std::int64_t pin(std::int64_t access, std::uint64_t iova, std::uint64_t bytes, std::uint64_t user = 0,
                   std::uint32_t flags = 0) {
    tabi::Command ask{};
    ask.id = static_cast<std::uint32_t>(access);
    ask.access_pages = {flags, 0, iova, bytes, user};
    const long answer = test(tabi::Op::access_pages, ask);
    return answer == 0 ? ask.access_pages.out_access_pages_id : answer;
  }
  long unpin(std::int64_t access, std::int64_t number) {
    tabi::Command ask{};
    ask.id = static_cast<std::uint32_t>(access);
    ask.destroy_access_pages.access_pages_id = static_cast<std::uint32_t>(number);
    return test(tabi::Op::destroy_access_pages, ask);
  }
  long move_access(std::int64_t access, std::uint32_t ioas) {
    tabi::Command ask{};
    ask.id = static_cast<std::uint32_t>(access);
    ask.access_replace_ioas.ioas_id = ioas;
    return test(tabi::Op::access_replace_ioas, ask);
  }
  long copy_bytes(std::int64_t access, std::uint64_t iova, std::string& text, std::uint32_t flags) {
    tabi::Command ask{};
    ask.id = static_cast<std::uint32_t>(access);
    ask.access_rw = {iova, text.size(), address(text.data()), flags};
    return test(tabi::Op::access_rw, ask);
  }

  // ---- DMA-BUFs of nobody's device
  int dma_buf(std::uint32_t bytes) {
    tabi::Command ask{};
    ask.dmabuf_get = {bytes, 0};
    return static_cast<int>(test(tabi::Op::dmabuf_get, ask));
  }
  long revoke(int buffer, bool revoked) {
    tabi::Command ask{};
    ask.dmabuf_revoke = {buffer, revoked ? 1U : 0U};
    return test(tabi::Op::dmabuf_revoke, ask);
  }
  long map_buffer(int buffer, std::uint64_t start, std::uint64_t bytes, std::uint64_t iova = mabi::kApertureFirst) {
    fd::IoasMapFile request{0, kBoth | fd::kMapFixedIova, ioas_, buffer, start, bytes, iova};
    return command(fd::kIoasMapFile, request);
  }

  template <class T>
  ssize_t read(int file, std::vector<T>& into) {
    return program_[file].pread(address(into.data()), into.size() * sizeof(T), 0);
  }
  template <class T>
  ssize_t write(int file, const std::vector<T>& from) {
    return program_[file].pwrite(address(from.data()), from.size() * sizeof(T), 0);
  }

  std::uint32_t ioas_ = 0;
  mabi::HwptData nested_data_{kIotlb, 0};
};

}  // namespace softiommu::test
