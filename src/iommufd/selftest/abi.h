// SPDX-License-Identifier: BSD-3-Clause
// IOMMU_TEST_CMD: what the kernel's own iommufd tests ask of the mock IOMMU (Linux 7.2's iommufd_test.h).
//
// One structure for all operations: a head that says which, and a part that is that operation's own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "drivers/mock_abi.h"
#include "iommufd/abi.h"

namespace softiommu::iommufd::selftest::abi {

inline constexpr unsigned kTestCommand = iommufd::abi::command(32);

enum class Op : std::uint32_t {
  add_reserved = 1,
  mock_domain,
  md_check_map,
  md_check_refs,
  create_access,
  destroy_access_pages,
  access_pages,
  access_rw,
  set_temp_memory_limit,
  mock_domain_replace,
  access_replace_ioas,
  mock_domain_flags,
  dirty,
  md_check_iotlb,
  trigger_iopf,
  dev_check_cache,
  trigger_vevent,
  pasid_attach,
  pasid_replace,
  pasid_detach,
  pasid_check_hwpt,
  dmabuf_get,
  dmabuf_revoke,
};

inline constexpr std::uint32_t kAccessNeedsPin = 1 << 0;                         // create_access
inline constexpr std::uint32_t kAccessWrite = 1 << 0, kAccessNthArea = 1 << 16;  // access_pages
inline constexpr std::uint32_t kRwWrite = 1 << 0, kRwSlow = 1 << 2;              // access_rw
// kAccessNthArea: the IOVA is not one, but the number of an area and an offset into it.
struct NthArea {
  std::uint32_t nth;
  std::uint32_t offset;
};

struct AddReserved {
  std::uint64_t start, length;
};
struct MockDomain {
  std::uint32_t out_stdev_id, out_hwpt_id, out_idev_id;
  std::uint32_t dev_flags;  // mock_domain_flags only
};
struct MockDomainReplace {
  std::uint32_t pt_id;
};
struct CheckMap {
  std::uint64_t iova, length, uptr;
};
struct CheckRefs {
  std::uint64_t length, uptr;
  std::uint32_t refs;
};
struct CreateAccess {
  std::uint32_t out_access_fd, flags;
};
struct DestroyAccessPages {
  std::uint32_t access_pages_id;
};
struct AccessPages {
  std::uint32_t flags, out_access_pages_id;
  std::uint64_t iova, length, uptr;
};
struct AccessRw {
  std::uint64_t iova, length, uptr;
  std::uint32_t flags;
};
struct MemoryLimit {
  std::uint32_t limit;
};
struct AccessReplaceIoas {
  std::uint32_t ioas_id;
};
struct Dirty {
  std::uint32_t flags;
  std::uint64_t iova, length, page_size, uptr, out_nr_dirty;
};
struct CheckIotlb {
  std::uint32_t id, iotlb;
};
struct TriggerIopf {
  std::uint32_t dev_id, pasid, grpid, perm;
  std::uint64_t addr;
};
struct CheckDevCache {
  std::uint32_t id, cache;
};
struct TriggerVevent {
  std::uint32_t dev_id;
};
struct PasidAttach {  // and replace
  std::uint32_t pasid, pt_id;
};
struct PasidDetach {
  std::uint32_t pasid;
};
struct PasidCheckHwpt {
  std::uint32_t pasid, hwpt_id;  // 0: nothing shall be attached
};
struct DmabufGet {
  std::uint32_t length, open_flags;
};
struct DmabufRevoke {
  std::int32_t dmabuf_fd;
  std::uint32_t revoked;
};

struct Command {
  std::uint32_t size;
  Op op;
  std::uint32_t id;
  std::uint32_t reserved;
  union {
    AddReserved add_reserved;
    MockDomain mock_domain;
    MockDomainReplace mock_domain_replace;
    CheckMap check_map;
    CheckRefs check_refs;
    CreateAccess create_access;
    DestroyAccessPages destroy_access_pages;
    AccessPages access_pages;
    AccessRw access_rw;
    MemoryLimit memory_limit;
    AccessReplaceIoas access_replace_ioas;
    Dirty dirty;
    CheckIotlb check_iotlb;
    TriggerIopf trigger_iopf;
    CheckDevCache check_dev_cache;
    TriggerVevent trigger_vevent;
    PasidAttach pasid_attach;
    PasidDetach pasid_detach;
    PasidCheckHwpt pasid_check;
    DmabufGet dmabuf_get;
    DmabufRevoke dmabuf_revoke;
  };
  std::uint32_t last;
};
static_assert(sizeof(Command) == 72 && offsetof(Command, last) == 64);

}  // namespace softiommu::iommufd::selftest::abi
