// SPDX-License-Identifier: BSD-3-Clause
// A plain iommufd client for tools/bench: address spaces with and without a device, and what attaching costs.
//
// usage: iommufd_calls BDF OTHER_BDF count PAIRS attached|unattached   maps and unmaps a page PAIRS times
//        iommufd_calls BDF OTHER_BDF time                              name=value lines: nanoseconds, medians of runs
// map_page() and unmap_page() are functions of their own so that callgrind can count inside them.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "iommufd/abi.h"
#include "vfio/abi.h"

namespace {

namespace fd_abi = softiommu::iommufd::abi;
namespace vfio_abi = softiommu::vfio::abi;

constexpr std::uint64_t kPage = 4096, kLargePage = 2ull << 20, kGiB = 1ull << 30;
constexpr std::uint64_t kIova = 0x40000000;
constexpr unsigned kRuns = 15;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

template <class T>
void must(int descriptor, unsigned command, T& request, const char* what) {
  if (::ioctl(descriptor, command, &request) != 0) die(what);
}

std::uint32_t make_ioas(int iommufd) {
  fd_abi::IoasAlloc request{.size = sizeof request, .flags = 0, .out_ioas_id = 0};
  must(iommufd, fd_abi::kIoasAlloc, request, "IOAS_ALLOC");
  return request.out_ioas_id;
}

void destroy(int iommufd, std::uint32_t id) {
  fd_abi::Destroy request{.size = sizeof request, .id = id};
  must(iommufd, fd_abi::kDestroy, request, "DESTROY");
}

void map(int iommufd, std::uint32_t ioas, std::uint64_t memory, std::uint64_t bytes, std::uint64_t iova) {
  fd_abi::IoasMap request{.size = sizeof request,
                          .flags = fd_abi::kMapFixedIova | fd_abi::kMapReadable | fd_abi::kMapWriteable,
                          .ioas_id = ioas,
                          .reserved = 0,
                          .user_va = memory,
                          .length = bytes,
                          .iova = iova};
  must(iommufd, fd_abi::kIoasMap, request, "IOAS_MAP");
}

void unmap(int iommufd, std::uint32_t ioas, std::uint64_t iova, std::uint64_t bytes) {
  fd_abi::IoasUnmap request{.size = sizeof request, .ioas_id = ioas, .iova = iova, .length = bytes};
  must(iommufd, fd_abi::kIoasUnmap, request, "IOAS_UNMAP");
}

// A device file, bound to the context.
class Device {
 public:
  Device(int iommufd, const std::string& bdf) {
    const std::filesystem::path folder = "/sys/bus/pci/devices/" + bdf + "/vfio-dev";
    const std::string name = std::filesystem::directory_iterator(folder)->path().filename();
    descriptor_ = ::open(("/dev/vfio/devices/" + name).c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor_ < 0) die(name.c_str());
    vfio_abi::BindIommufd bind{
        .argsz = vfio_abi::kBindIommufdMinimum, .flags = 0, .iommufd = iommufd, .out_devid = 0, .token_uuid_ptr = 0};
    must(descriptor_, vfio_abi::kDeviceBindIommufd, bind, "VFIO_DEVICE_BIND_IOMMUFD");
    id_ = bind.out_devid;
  }
  std::uint32_t id() const { return id_; }
  void attach(std::uint32_t pt_id) const {
    vfio_abi::AttachIommufdPt request{
        .argsz = vfio_abi::kAttachIommufdPtMinimum, .flags = 0, .pt_id = pt_id, .pasid = 0};
    must(descriptor_, vfio_abi::kDeviceAttachIommufdPt, request, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
  }
  void detach() const {
    vfio_abi::DetachIommufdPt request{.argsz = vfio_abi::kDetachIommufdPtMinimum, .flags = 0, .pasid = 0};
    must(descriptor_, vfio_abi::kDeviceDetachIommufdPt, request, "VFIO_DEVICE_DETACH_IOMMUFD_PT");
  }

 private:
  int descriptor_ = -1;
  std::uint32_t id_ = 0;
};

std::uint32_t make_hwpt(int iommufd, const Device& device, std::uint32_t ioas) {
  fd_abi::HwptAlloc request{};
  request.size = sizeof request;
  request.dev_id = device.id();
  request.pt_id = ioas;
  must(iommufd, fd_abi::kHwptAlloc, request, "HWPT_ALLOC");
  return request.out_hwpt_id;
}

// Prints the median over the runs of what one of `repeats` calls of `body` takes.
template <class Body>
void time(const char* name, unsigned repeats, Body&& body) {
  using Clock = std::chrono::steady_clock;
  std::array<double, kRuns> runs;
  for (double& run : runs) {
    const auto begin = Clock::now();
    for (unsigned i = 0; i < repeats; ++i) body();
    run = std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / repeats;
  }
  std::ranges::sort(runs);
  std::printf("%s=%.1f\n", name, runs[kRuns / 2]);
}

std::uint64_t make_memory(std::uint64_t bytes) {
  void* const memory = ::mmap(nullptr, bytes + kGiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  const std::uint64_t first = (reinterpret_cast<std::uint64_t>(memory) + kGiB - 1) & ~(kGiB - 1);
  for (std::uint64_t at = 0; at < bytes; at += kPage) *reinterpret_cast<volatile char*>(first + at) = 1;
  return first;
}

void time_maps(int iommufd, std::uint32_t ioas, std::uint64_t memory) {
  const auto pair = [&](std::uint64_t bytes) {
    return [=] {
      map(iommufd, ioas, memory, bytes, kIova);
      unmap(iommufd, ioas, kIova, bytes);
    };
  };
  time("pair_4k_ns", 20000, pair(kPage));
  time("pair_2m_ns", 5000, pair(kLargePage));
  time("pair_1g_ns", 20, pair(kGiB));
}

// A copy of 1 GiB into an address space that a device is attached to, and its unmapping.
void time_copy(int iommufd, std::uint32_t ioas, std::uint64_t memory) {
  const std::uint32_t source = make_ioas(iommufd);
  map(iommufd, source, memory, kGiB, kIova);
  time("copy_1g_ns", 20, [&] {
    fd_abi::IoasCopy request{.size = sizeof request,
                             .flags = fd_abi::kMapFixedIova | fd_abi::kMapReadable | fd_abi::kMapWriteable,
                             .dst_ioas_id = ioas,
                             .src_ioas_id = source,
                             .length = kGiB,
                             .dst_iova = kIova,
                             .src_iova = kIova};
    must(iommufd, fd_abi::kIoasCopy, request, "IOAS_COPY");
    unmap(iommufd, ioas, kIova, kGiB);
  });
  destroy(iommufd, source);
}

void time_attach(int iommufd, std::uint32_t ioas, const Device& device) {
  const std::uint32_t one = make_hwpt(iommufd, device, ioas), two = make_hwpt(iommufd, device, ioas);
  time("attach_detach_ns", 5000, [&] {
    device.attach(one);
    device.detach();
  });
  device.attach(one);
  time("replace_ns", 2500, [&] {
    device.attach(two);
    device.attach(one);
  });
  device.detach();
  destroy(iommufd, one);
  destroy(iommufd, two);
}

// 64 GiB in pages of 4 KiB: the first device makes a domain and fills it, the second one joins it.
void time_populated(int iommufd, const Device& first, const Device& second, std::uint64_t memory) {
  constexpr std::uint64_t kSpace = 64;
  const std::uint32_t ioas = make_ioas(iommufd);
  fd_abi::Option small{.size = sizeof small,
                       .option_id = fd_abi::kOptionHugePages,
                       .op = fd_abi::kOptionSet,
                       .reserved = 0,
                       .object_id = ioas,
                       .val64 = 0};
  must(iommufd, fd_abi::kOption, small, "OPTION");
  for (std::uint64_t i = 0; i < kSpace; ++i) map(iommufd, ioas, memory, kGiB, (4 + i) * kGiB);
  time("fill_64g_ns", 1, [&] {
    first.attach(ioas);
    first.detach();
  });
  first.attach(ioas);
  time("join_64g_ns", 1000, [&] {
    second.attach(ioas);
    second.detach();
  });
  first.detach();
  destroy(iommufd, ioas);
}

}  // namespace

extern "C" __attribute__((noinline)) void map_page(int iommufd, std::uint32_t ioas, std::uint64_t memory) {
  map(iommufd, ioas, memory, kPage, kIova);
}
extern "C" __attribute__((noinline)) void unmap_page(int iommufd, std::uint32_t ioas) {
  unmap(iommufd, ioas, kIova, kPage);
}

int main(int argc, char** argv) {
  const bool count = argc == 6 && std::strcmp(argv[3], "count") == 0;
  if (!count && (argc != 4 || std::strcmp(argv[3], "time") != 0)) {
    std::fprintf(stderr, "usage: iommufd_calls BDF OTHER_BDF count PAIRS attached|unattached | time\n");
    return 2;
  }
  const int iommufd = ::open("/dev/iommu", O_RDWR | O_CLOEXEC);
  if (iommufd < 0) die("/dev/iommu");
  const Device first(iommufd, argv[1]), second(iommufd, argv[2]);
  const std::uint32_t ioas = make_ioas(iommufd);
  if (count) {
    const std::uint64_t memory = make_memory(2 * kPage);
    if (std::strcmp(argv[5], "attached") == 0) first.attach(ioas);
    map(iommufd, ioas, memory + kPage, kPage, kIova + kPage);
    for (long i = std::atol(argv[4]); i > 0; --i) {
      map_page(iommufd, ioas, memory);
      unmap_page(iommufd, ioas);
    }
    return 0;
  }
  const std::uint64_t memory = make_memory(kGiB);
  time_attach(iommufd, ioas, first);
  first.attach(ioas);
  time_maps(iommufd, ioas, memory);
  time_copy(iommufd, ioas, memory);
  first.detach();
  time_populated(iommufd, first, second, memory);
  return 0;
}
