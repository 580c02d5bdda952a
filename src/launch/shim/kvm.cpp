// SPDX-License-Identifier: BSD-3-Clause
// KVM's calls that speak of our objects.
//
// The kernel has no memory behind a BAR of ours that it could give to a guest. A memory slot over one is answered here
// and stays empty in the kernel, so that the guest's accesses come out as MMIO exits and user space makes them, on the
// mapping that traps. The kernel's VFIO device (KVM_DEV_TYPE_VFIO) knows no files of ours: adding and removing one is
// answered here as well; what it decides there, cache coherency and posted interrupts, does not exist here.
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/uio.h>

#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

// KVM_SET_USER_MEMORY_REGION2 (Linux 6.8): begins like the first, goes on with the guest's private memory.
constexpr unsigned long kSetMemoryRegion2 = _IOC(_IOC_WRITE, KVMIO, 0x49, 160);
constexpr uint64_t kPageMask = 4095;

// Slots that stay empty in the kernel: a bit for each id of both address spaces (KVM_MEM: 16 bits of slot, then space).
constexpr uint32_t kSlotIds = 1u << 15, kSpaces = 2, kSpaceShift = 16;
uint64_t empty_slots[kSlotIds * kSpaces / 64];

uint32_t slot_index(uint32_t slot) { return (slot >> kSpaceShift) * kSlotIds + (slot & (kSlotIds - 1)); }
bool tracked(uint32_t slot) { return slot >> kSpaceShift < kSpaces && (slot & 0xffff) < kSlotIds; }
void mark_empty(uint32_t slot) {
  const uint32_t at = slot_index(slot);
  __atomic_fetch_or(&empty_slots[at / 64], uint64_t{1} << (at % 64), __ATOMIC_RELAXED);
}
// True: it was.
bool unmark_empty(uint32_t slot) {
  if (!tracked(slot)) return false;
  const uint32_t at = slot_index(slot);
  const uint64_t mask = uint64_t{1} << (at % 64);
  return (__atomic_fetch_and(&empty_slots[at / 64], ~mask, __ATOMIC_RELAXED) & mask) != 0;
}

// The program's memory, which may be missing. False: it is.
template <typename T>
bool peek(uint64_t from, T& to) {
  iovec here = {&to, sizeof to}, there = {reinterpret_cast<void*>(from), sizeof to};
  return raw(SYS_process_vm_readv, raw(SYS_getpid), word(&here), 1, word(&there), 1, 0) == sizeof to;
}

bool is_link(int fd, const char* wanted) {
  char text[64];
  const long length = link_of(fd, text, sizeof text);
  return length == static_cast<long>(strlen(wanted)) && memcmp(text, wanted, static_cast<size_t>(length)) == 0;
}

long pass(int fd, unsigned long request, unsigned long argument) {
  return raw(SYS_ioctl, fd, static_cast<long>(request), static_cast<long>(argument));
}

// A slot that was ours and is deleted, or becomes memory, is none of ours any more.
long set_memory(int fd, unsigned long request, unsigned long argument) {
  kvm_userspace_memory_region region;
  if (!peek(argument, region)) return pass(fd, request, argument);
  const uint64_t unaligned = (region.memory_size | region.guest_phys_addr | region.userspace_addr) & kPageMask;
  const bool bar =
      region.memory_size != 0 && unaligned == 0 && tracked(region.slot) &&
      in_engine([&](const SoftiommuEngine& e) { return e.is_trapped(region.userspace_addr, region.memory_size); }) != 0;
  if (bar && is_link(fd, "anon_inode:kvm-vm")) {
    mark_empty(region.slot);
    return 0;
  }
  const long result = pass(fd, request, argument);
  if (region.memory_size == 0 && unmark_empty(region.slot)) return result == -EINVAL ? 0 : result;
  if (result == 0) unmark_empty(region.slot);
  return result;
}

// Groups and devices, not containers and iommufds.
bool is_vfio_file(int fd) {
  if (!owned(fd) && !adopted(fd)) return false;
  SoftiommuNode node;
  if (in_engine([&](const SoftiommuEngine& e) { return e.describe(fd, &node); }) != 0) return false;
  return strcmp(node.path, "/dev/vfio/vfio") != 0 && strcmp(node.path, "/dev/iommu") != 0;
}

constexpr char kOwnDevice[] = "/memfd:kvm-vfio (deleted)";

long set_attribute(int fd, unsigned long request, unsigned long argument) {
  const long result = pass(fd, request, argument);
  if (result >= 0 || result == -EFAULT || result == -EBADF) return result;
  if (!is_link(fd, "anon_inode:kvm-vfio") && !is_link(fd, kOwnDevice)) return result;
  kvm_device_attr attribute;
  if (!peek(argument, attribute) || attribute.group != KVM_DEV_VFIO_GROUP) return result;
  if (attribute.attr != KVM_DEV_VFIO_GROUP_ADD && attribute.attr != KVM_DEV_VFIO_GROUP_DEL) return result;
  if (request == KVM_HAS_DEVICE_ATTR) return 0;
  int file;
  if (!peek(attribute.addr, file)) return -EFAULT;
  return is_vfio_file(file) ? 0 : result;
}

// A kernel without VFIO may have been built without the device, too: then a memory file stands for it.
long create_device(int fd, unsigned long request, unsigned long argument) {
  const long result = pass(fd, request, argument);
  kvm_create_device device;
  if (result != -ENODEV || !peek(argument, device) || device.type != KVM_DEV_TYPE_VFIO) return result;
  if ((device.flags & KVM_CREATE_DEVICE_TEST) != 0) return 0;
  const long made = raw(SYS_memfd_create, word("kvm-vfio"), 1 /* MFD_CLOEXEC */);
  if (made < 0) return made;
  reinterpret_cast<kvm_create_device*>(argument)->fd = static_cast<uint32_t>(made);
  return 0;
}

}  // namespace

long kvm_ioctl(int fd, unsigned long request, unsigned long argument) {
  switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
    case kSetMemoryRegion2:
      return set_memory(fd, request, argument);
    case KVM_SET_DEVICE_ATTR:
    case KVM_HAS_DEVICE_ATTR:
      return set_attribute(fd, request, argument);
    case KVM_CREATE_DEVICE:
      return create_device(fd, request, argument);
    default:
      return pass(fd, request, argument);
  }
}

}  // namespace softiommu::shim
