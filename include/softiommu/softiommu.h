// SPDX-License-Identifier: BSD-3-Clause
// softiommu for an embedding program: a machine with IOMMUs and PCI devices, I/O address spaces, and attaches whose
// refusals say why. C++23; `find_package(softiommu)` or pkg-config.
//
// Addresses and sizes are bytes. Errors are values: nothing here throws except std::bad_alloc from creating std::string
// or std::vector results in the caller, and nothing exits. Objects of one Computer may be used from several threads,
// one AddressSpace and one Device from one thread at a time. A Computer outlives what came from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define SOFTIOMMU_API __attribute__((visibility("default")))

namespace softiommu::api {

struct Error {
  int code;         // an errno
  std::string why;  // one sentence for people
};

// The answer of an attach (the contract of Linux 6.2 and later): whose fault is it?
enum class Failure : std::uint8_t {
  incompatible,  // EINVAL: this address space and this device do not fit together; another may
  no_memory,     // ENOMEM
  no_space,      // ENOSPC: domain ids, ASIDs and the like are used up
  busy,          // EBUSY: the device is attached and may not be changed
  no_device,     // ENODEV: nothing can ever be attached to this device
};
struct Refusal {
  Failure failure;
  int code;              // the errno that a VFIO program would see
  std::string property;  // what differed, e.g. "address width"; empty where nothing was compared
  std::uint64_t domain_value = 0, device_value = 0;
};

// One attach decision, in the order in which they were made.
struct Decision {
  std::string devices;   // of the group, e.g. "0000:00:04.0"
  std::uint64_t domain;  // a number per domain, from 1
  bool fresh;            // the domain was made for this group
  std::optional<Refusal> refusal;
};

class Computer;

// A device as hardware: registers behind its BARs, DMA through its IOMMU. A platform device has one window of
// registers, BAR 0, no configuration space (it reads as ones), and is always on.
class SOFTIOMMU_API Device {
 public:
  const std::string& name() const { return name_; }  // "0000:00:04.0", "ff900000.vop"
  // Register accesses of 1, 2, 4 or 8 bytes; all ones while memory decoding is off.
  std::uint64_t read(unsigned bar, std::uint64_t offset, unsigned bytes);
  void write(unsigned bar, std::uint64_t offset, unsigned bytes, std::uint64_t value);
  std::uint32_t config_read(unsigned offset, unsigned bytes);
  void config_write(unsigned offset, unsigned bytes, std::uint32_t value);
  // Memory decoding and bus mastering on.
  void enable();
  // The device's own DMA, as its engine would do it. False: the IOMMU refused it or nothing is there; how many bytes
  // got through before is not said.
  bool dma_read(std::uint64_t iova, std::span<std::byte> to);
  bool dma_write(std::uint64_t iova, std::span<const std::byte> from);

 private:
  friend class Computer;
  Device(std::string name, void* function, void* platform)
      : name_(std::move(name)), function_(function), platform_(platform) {}
  std::string name_;
  void *function_, *platform_;  // one of them
};

// An I/O address space: memory of this process at IOVAs, for any number of devices behind any number of IOMMUs.
class SOFTIOMMU_API AddressSpace {
 public:
  ~AddressSpace();  // detaches and unmaps everything
  // The group of `device` joins: it tries the domains that are there, goes on only on `incompatible`, else makes one.
  // On failure the device's DMA is blocked as before and nothing else has changed.
  std::expected<void, Refusal> attach(const Device& device);
  void detach(const Device& device);
  // Page-aligned. EEXIST, EINVAL (outside what every attached device can reach, or misaligned), ENOMEM.
  // On failure nothing of the range is mapped.
  std::expected<void, Error> map(std::uint64_t iova, void* memory, std::uint64_t bytes, bool writable = true);
  // What map() mapped at `iova`, whole; ENOENT otherwise. No device uses it any more when this returns.
  std::expected<void, Error> unmap(std::uint64_t iova);
  // How many page tables hold this address space.
  std::size_t domains() const;

 private:
  friend class Computer;
  struct Impl;
  explicit AddressSpace(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class SOFTIOMMU_API Computer {
 public:
  // A machine file (docs/machine-file.md), its text, or the built-in machine. EINVAL with file:line:column.
  static std::expected<std::unique_ptr<Computer>, Error> load(const std::string& path);
  static std::expected<std::unique_ptr<Computer>, Error> parse(std::string_view toml);
  static std::expected<std::unique_ptr<Computer>, Error> built_in();
  ~Computer();

  std::vector<std::string> device_names() const;
  Device* device(std::string_view name);  // nullptr: none
  std::unique_ptr<AddressSpace> make_address_space();
  // Lets the device models run until all of them are idle (their time is virtual).
  void run();
  std::vector<Decision> decisions() const;
  // What the machine noticed: DMA to memory that is gone, stale translations (`paranoid`).
  std::vector<std::string> findings() const;
  // The text of `softiommu show`.
  std::string describe() const;

 private:
  struct Impl;
  explicit Computer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace softiommu::api
