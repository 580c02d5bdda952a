// SPDX-License-Identifier: BSD-3-Clause
// Sweeps on the mock IOMMU: nested page tables, virtual IOMMUs and their devices, queues, dirty pages, PASIDs.
#include <array>

#include "faults/sweep.h"

namespace softiommu::test {
namespace {

constexpr std::uint64_t kGuestName = 0x99;

void mapped(Rig& rig) {
  rig.mock = rig.mock_device(rig.ioas_);
  EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize), 0);
}
void with_parent(Rig& rig) {
  mapped(rig);
  rig.parent = rig.nest_parent(rig.mock);
}
void with_viommu(Rig& rig) {
  with_parent(rig);
  rig.id = rig.viommu(rig.mock, rig.parent);
  EXPECT_GT(rig.id, 0);
}
void with_nested(Rig& rig) {
  with_parent(rig);
  rig.id = rig.nested(rig.mock, rig.parent);
}

std::uint32_t id_of(const Rig& rig) { return static_cast<std::uint32_t>(rig.id); }

// ---- a guest

void with_named_device(Rig& rig) {
  with_viommu(rig);
  EXPECT_GT(rig.vdevice(id_of(rig), rig.mock, kGuestName), 0);
}
void with_hw_queue(Rig& rig) {
  with_viommu(rig);
  EXPECT_GT(rig.hw_queue(id_of(rig), 0, Rig::kMockIova, kPageSize), 0);
}
long invalidate(Rig& rig, const void* entries, std::uint32_t bytes, std::uint32_t count) {
  fd::HwptInvalidate request{0, id_of(rig), Rig::address(entries), mabi::kHwptInvalidateType, bytes, count, 0};
  return rig.command(fd::kHwptInvalidate, request);
}

// ---- queues and their files

void with_events(Rig& rig) {
  with_named_device(rig);
  EXPECT_EQ(rig.move(rig.mock, rig.nested(rig.mock, id_of(rig))), 0);
  fd::VeventqAlloc request{0, 0, id_of(rig), mabi::kVeventqType, 2, 0, 0, 0};
  EXPECT_EQ(rig.command(fd::kVeventqAlloc, request), 0);
  rig.queue = {request.out_veventq_id, static_cast<int>(request.out_veventq_fd)};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rig.event(rig.mock), 0) << "the third is lost";
}
void with_page_requests(Rig& rig) {
  with_parent(rig);
  rig.queue = rig.fault_queue();
  EXPECT_EQ(rig.move(rig.mock, rig.faulting(rig.mock, rig.parent, rig.queue)), 0);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(rig.page_request(rig.mock), 0);
}
void with_page_requests_read(Rig& rig) {
  with_page_requests(rig);
  std::array<fd::PageFault, 2> records{};
  EXPECT_EQ(rig.pread(rig.queue.file, records.data(), sizeof records), static_cast<ssize_t>(sizeof records));
}
// What read() and write() leave undone is done by the next: a failure on the way ends them early.
template <class Step>
long until(std::size_t bytes, Step&& step) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t part = step(done);
    if (part <= 0) return part;
    done += static_cast<std::size_t>(part);
  }
  return 0;
}
long read_page_requests(Rig& rig) {
  std::array<fd::PageFault, 2> records{};
  return until(sizeof records, [&](std::size_t done) {
    return rig.pread(rig.queue.file, reinterpret_cast<std::byte*>(records.data()) + done, sizeof records - done);
  });
}
long answer_page_requests(Rig& rig) {
  const std::array<fd::PageResponse, 2> answers{{{1, fd::kPageResponseSuccess}, {2, fd::kPageResponseInvalid}}};
  return until(sizeof answers, [&](std::size_t done) {
    return rig.pwrite(rig.queue.file, reinterpret_cast<const std::byte*>(answers.data()) + done, sizeof answers - done);
  });
}
long read_events(Rig& rig) {
  constexpr std::size_t kEvent = sizeof(fd::VeventHeader) + sizeof(mabi::ViommuEvent);
  std::array<std::byte, 2 * kEvent + sizeof(fd::VeventHeader)> bytes{};
  return until(bytes.size(),
               [&](std::size_t done) { return rig.pread(rig.queue.file, bytes.data() + done, bytes.size() - done); });
}

// ---- dirty pages

long set_dirty_tracking(Rig& rig) {
  fd::HwptSetDirtyTracking request{0, fd::kDirtyTrackingEnable, id_of(rig), 0};
  return rig.command(fd::kHwptSetDirtyTracking, request);
}
// Pages 0 and 2.
long make_dirty(Rig& rig) {
  std::uint64_t bits = 0b101;
  tabi::Command ask{};
  ask.id = id_of(rig);
  ask.dirty = {0, Rig::kMockIova, 4 * kPageSize, kPageSize, Rig::address(&bits), 0};
  return rig.test(tabi::Op::dirty, ask);
}
void with_dirty_pages(Rig& rig) {
  mapped(rig);
  rig.id = rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptDirtyTracking);
  EXPECT_EQ(rig.move(rig.mock, id_of(rig)), 0);
  EXPECT_EQ(set_dirty_tracking(rig), 0);
  EXPECT_EQ(make_dirty(rig), 0);
}
void with_dirty_hwpt(Rig& rig) {
  mapped(rig);
  rig.id = rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptDirtyTracking);
  EXPECT_GT(rig.id, 0);
}
long get_dirty_bitmap(Rig& rig, std::uint32_t flags) {
  std::uint64_t bitmap = 0;
  fd::HwptGetDirtyBitmap request{0,         id_of(rig),           flags, 0, Rig::kMockIova, 4 * kPageSize,
                                 kPageSize, Rig::address(&bitmap)};
  return rig.command(fd::kHwptGetDirtyBitmap, request);
}

// ---- PASIDs

constexpr std::uint32_t kPasid = 5;

void with_pasids(Rig& rig) {
  rig.mock = rig.mock_device(rig.ioas_, mabi::kDevicePasid);
  EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize), 0);
  rig.parent = static_cast<std::uint32_t>(rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptPasid));
  rig.id = rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptPasid);
  EXPECT_EQ(rig.move(rig.mock, rig.parent), 0);
}
void with_pasid_attached(Rig& rig) {
  with_pasids(rig);
  EXPECT_EQ(rig.pasid(tabi::Op::pasid_attach, rig.mock, kPasid, rig.parent), 0);
}

// ---- what the kernel's tests ask

long check_map(Rig& rig) {
  tabi::Command ask{};
  ask.id = rig.mock.hwpt;
  ask.check_map = {Rig::kMockIova, 4 * kPageSize, rig.user()};
  return rig.test(tabi::Op::md_check_map, ask);
}

long fault_queue(Rig& rig) {
  fd::FaultQueueAlloc request{};
  return rig.command(fd::kFaultQueueAlloc, request);
}
long veventq(Rig& rig) {
  fd::VeventqAlloc request{};
  request.viommu_id = id_of(rig);
  request.type = mabi::kVeventqType;
  request.veventq_depth = 2;
  return rig.command(fd::kVeventqAlloc, request);
}

constexpr Scenario kScenarios[] = {
    {"MockDomain", [](Rig&) {},
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.ioas_;
       return rig.test(tabi::Op::mock_domain, ask);
     }},
    {"IoasMap", [](Rig& rig) { rig.mock = rig.mock_device(rig.ioas_); },
     [](Rig& rig) { return rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize); }},
    {"IoasUnmap", mapped, [](Rig& rig) -> long { return rig.unmap_range(rig.ioas_, Rig::kMockIova, 4 * kPageSize); }},
    {"MockDomainReplace",
     [](Rig& rig) {
       mapped(rig);
       rig.other_ioas = rig.alloc_ioas();
       EXPECT_EQ(rig.map_fixed(rig.other_ioas, Rig::kMockIova, rig.user(8), kPageSize), 0);
     },
     [](Rig& rig) { return rig.move(rig.mock, rig.other_ioas); }},
    {"HwptAllocNestParent", mapped,
     [](Rig& rig) -> long { return rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptNestParent); }},
    {"HwptAllocNested", with_parent,
     [](Rig& rig) -> long { return rig.hwpt(rig.nested_request(rig.mock, rig.parent)); }},
    {"HwptAllocNestedOnAViommu", with_viommu,
     [](Rig& rig) -> long { return rig.hwpt(rig.nested_request(rig.mock, id_of(rig))); }},
    {"MockDomainReplaceByANestedOne", with_nested, [](Rig& rig) { return rig.move(rig.mock, id_of(rig)); }},
    {"ViommuAlloc", with_parent, [](Rig& rig) -> long { return rig.viommu(rig.mock, rig.parent); }},
    {"VdeviceAlloc", with_viommu, [](Rig& rig) -> long { return rig.vdevice(id_of(rig), rig.mock, 5); }},
    {"FaultQueueAlloc", [](Rig&) {}, fault_queue},
    {"VeventqAlloc", with_viommu, veventq},
    {"DestroyOfAViommu", with_viommu, [](Rig& rig) { return rig.destroy(id_of(rig)); }},
    {"MockDomainFlags", [](Rig&) {},
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.ioas_;
       ask.mock_domain.dev_flags = mabi::kDevicePasid;
       return rig.test(tabi::Op::mock_domain_flags, ask);
     }},
    {"MdCheckMap", mapped, check_map},
    {"MdCheckIotlb", with_nested,
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = id_of(rig);
       ask.check_iotlb = {0, Rig::kIotlb};
       return rig.test(tabi::Op::md_check_iotlb, ask);
     }},
    {"DevCheckCache", mapped,
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.mock.id;
       ask.check_dev_cache = {0, mabi::kDeviceCacheDefault};
       return rig.test(tabi::Op::dev_check_cache, ask);
     }},
    {"HwQueueAlloc", with_viommu,
     [](Rig& rig) -> long { return rig.hw_queue(id_of(rig), 0, Rig::kMockIova, kPageSize); }},
    {"HwQueueAllocOfASecond", with_hw_queue,
     [](Rig& rig) -> long { return rig.hw_queue(id_of(rig), 1, Rig::kMockIova + kPageSize, kPageSize); }},
    {"ViommuAllocWithData", with_parent,
     [](Rig& rig) {
       mabi::ViommuData data{.in_data = 7, .out_data = 0, .out_mmap_offset = 0, .out_mmap_length = 0};
       fd::ViommuAlloc request{0,           0, mabi::kViommuType,  rig.mock.id, rig.parent, 0,
                               sizeof data, 0, Rig::address(&data)};
       return rig.command(fd::kViommuAlloc, request);
     }},
    {"HwptAllocOfHugePages", mapped,
     [](Rig& rig) -> long {
       mabi::HwptData data{0, mabi::kTableHuge};
       fd::HwptAlloc request{};
       request.dev_id = rig.mock.id;
       request.pt_id = rig.ioas_;
       request.data_type = mabi::kHwptDataType;
       request.data_len = sizeof data;
       request.data_uptr = Rig::address(&data);
       return rig.hwpt(request);
     }},
    {"HwptAllocWithAFaultQueue",
     [](Rig& rig) {
       with_parent(rig);
       rig.queue = rig.fault_queue();
     },
     [](Rig& rig) -> long {
       fd::HwptAlloc request = rig.nested_request(rig.mock, rig.parent, fd::kHwptFaultIdValid);
       request.fault_id = rig.queue.id;
       return rig.hwpt(request);
     }},
    {"HwptInvalidate", with_nested,
     [](Rig& rig) {
       const std::array<mabi::HwptInvalidate, 2> entries{{{0, 0}, {0, 2}}};
       return invalidate(rig, entries.data(), sizeof entries[0], entries.size());
     }},
    {"HwptInvalidateOfAViommu", with_named_device,
     [](Rig& rig) {
       const std::array<mabi::ViommuInvalidate, 2> entries{{{0, kGuestName, 0}, {0, kGuestName, 2}}};
       return invalidate(rig, entries.data(), sizeof entries[0], entries.size());
     }},
    {"HwptSetDirtyTracking", with_dirty_hwpt, set_dirty_tracking},
    {"HwptGetDirtyBitmap", with_dirty_pages, [](Rig& rig) { return get_dirty_bitmap(rig, 0); }},
    {"HwptGetDirtyBitmapWithoutClearing", with_dirty_pages,
     [](Rig& rig) { return get_dirty_bitmap(rig, fd::kDirtyNoClear); }},
    {"Dirty",
     [](Rig& rig) {
       with_dirty_hwpt(rig);
       EXPECT_EQ(set_dirty_tracking(rig), 0);
     },
     make_dirty},
    {"ReadOfAFaultQueue", with_page_requests, read_page_requests},
    {"WriteOfAFaultQueue", with_page_requests_read, answer_page_requests},
    {"MockDomainReplaceWithRequestsUnanswered", with_page_requests_read,
     [](Rig& rig) { return rig.move(rig.mock, rig.ioas_); }},
    {"ReadOfAVeventq", with_events, read_events},
    {"PasidAttach", with_pasids,
     [](Rig& rig) { return rig.pasid(tabi::Op::pasid_attach, rig.mock, kPasid, id_of(rig)); }},
    {"PasidReplace", with_pasid_attached,
     [](Rig& rig) { return rig.pasid(tabi::Op::pasid_replace, rig.mock, kPasid, id_of(rig)); }},
    {"PasidDetach", with_pasid_attached,
     [](Rig& rig) { return rig.pasid(tabi::Op::pasid_detach, rig.mock, kPasid, 0); }},
    {"PasidCheckHwpt", with_pasid_attached,
     [](Rig& rig) { return rig.pasid(tabi::Op::pasid_check_hwpt, rig.mock, kPasid, rig.parent); }},
    {"DestroyOfADevice", mapped, [](Rig& rig) { return rig.destroy(rig.mock.object); }},
};

class MockFaults : public Sweep {};
TEST_P(MockFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, MockFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
