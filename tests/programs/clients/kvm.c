/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device in a KVM guest, as a small virtual machine monitor gives it: the group is told to KVM's VFIO device, a
 * memory slot lies over the BAR, the device's interrupt is an irqfd. The guest, a page of 16-bit code, reads and writes
 * the edu device's registers, makes it interrupt and acknowledges in its handler.
 *
 * Where the BAR is real memory the guest's accesses never come here; where it is not, each is an exit that we make.
 * usage: kvm BDF; 77: no /dev/kvm
 */
#include <linux/kvm.h>
#include <sys/eventfd.h>

#include "client.h"

#define GUEST_BYTES 0x10000u /* of memory, from address 0; the code is in its second page */
#define GUEST_CODE 0x1000u
#define GUEST_BAR 0x80000u
#define BAR_SLOT 3u
#define INTERRUPT_LINE 5u
enum { PORT_WORD = 0x500, PORT_END = 0x504 };
enum { EDU_STATUS_REGISTER = 0x24 };
enum { EDU_IDENTITY = 0x010000ed };

/* Vector 0xd is line 5 of the first interrupt controller, which starts at vector 8. */
__asm__(
    ".pushsection .rodata\n"
    "guest_code:\n.code16\n"
    "cli\nxorw %ax, %ax\nmovw %ax, %ds\nmovw %ax, %ss\nmovw $0x7000, %sp\n"
    "movw $(0x1000 + guest_handler - guest_code), 0x34\nmovw $0, 0x36\nmovb $0, 0x500\n"
    "movb $0x11, %al\noutb %al, $0x20\nmovb $8, %al\noutb %al, $0x21\n"
    "movb $4, %al\noutb %al, $0x21\nmovb $1, %al\noutb %al, $0x21\nmovb $0xdf, %al\noutb %al, $0x21\n"
    "movw $0x8000, %ax\nmovw %ax, %es\nmovw $0x500, %dx\n"
    "movl %es:0x0, %eax\noutl %eax, %dx\n"
    "movl $0x12345678, %es:0x4\nmovl %es:0x4, %eax\noutl %eax, %dx\n"
    "sti\nmovl $0x40, %es:0x60\n"
    "1: cmpb $1, 0x500\njne 1b\n"
    "movw $0x504, %dx\noutb %al, %dx\n2: hlt\njmp 2b\n"
    "guest_handler:\npushl %eax\nmovl %es:0x24, %eax\noutl %eax, %dx\nmovl %eax, %es:0x64\n"
    "movb $1, 0x500\nmovb $0x20, %al\noutb %al, $0x20\npopl %eax\niretw\n"
    "guest_code_end:\n.code64\n.popsection\n");
extern const uint8_t guest_code[], guest_code_end[];

static struct client c;
static int vm;
static unsigned exits;
static uint32_t words[8];
static unsigned word_count;

static int set_slot(uint32_t slot, uint64_t guest, uint64_t bytes, const volatile void* memory) {
  struct kvm_userspace_memory_region region = {
      .slot = slot, .guest_phys_addr = guest, .memory_size = bytes, .userspace_addr = (uintptr_t)memory};
  return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int change_file(int device, uint64_t change, int32_t file) {
  struct kvm_device_attr attribute = {.group = KVM_DEV_VFIO_GROUP, .attr = change, .addr = (uintptr_t)&file};
  return ioctl(device, KVM_SET_DEVICE_ATTR, &attribute);
}

static void tell_kvm_of_the_group(void) {
  struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};
  CHECK(ioctl(vm, KVM_CREATE_DEVICE, &device) == 0);
  const int fd = (int)device.fd, null = open("/dev/null", O_RDONLY);
  CHECK(change_file(fd, KVM_DEV_VFIO_GROUP_ADD, c.group) == 0);
  CHECK(change_file(fd, KVM_DEV_VFIO_GROUP_DEL, c.group) == 0);
  CHECK(change_file(fd, KVM_DEV_VFIO_GROUP_ADD, c.group) == 0);
  CHECK_FAILS(change_file(fd, KVM_DEV_VFIO_GROUP_ADD, c.container), EINVAL);
  CHECK_FAILS(change_file(fd, KVM_DEV_VFIO_GROUP_ADD, null), EINVAL);
  CHECK_FAILS(change_file(fd, KVM_DEV_VFIO_GROUP_ADD, -1), EBADF);
  CHECK_FAILS(change_file(c.device, KVM_DEV_VFIO_GROUP_ADD, c.group), ENOTTY);
  struct kvm_device_attr attribute = {.group = KVM_DEV_VFIO_GROUP, .attr = KVM_DEV_VFIO_GROUP_ADD, .addr = 8};
  CHECK(ioctl(fd, KVM_HAS_DEVICE_ATTR, &attribute) == 0);
  CHECK_FAILS(ioctl(fd, KVM_SET_DEVICE_ATTR, &attribute), EFAULT);
}

/* A slot over the BAR comes and goes, also by its number alone; the number then serves for memory. */
static void try_slots(const uint8_t* memory) {
  CHECK(set_slot(BAR_SLOT, GUEST_BAR, PAGE, c.bar) == 0);
  CHECK(set_slot(BAR_SLOT, GUEST_BAR, 0, NULL) == 0);
  CHECK_FAILS(set_slot(BAR_SLOT, GUEST_BAR, 0, NULL), EINVAL);
  CHECK_FAILS(set_slot(BAR_SLOT, GUEST_BAR, PAGE / 2, c.bar), EINVAL);
  CHECK(set_slot(BAR_SLOT, GUEST_BAR, PAGE, memory) == 0);
  CHECK(set_slot(BAR_SLOT, GUEST_BAR, 0, NULL) == 0);
  CHECK_FAILS(ioctl(vm, KVM_SET_USER_MEMORY_REGION, (void*)8), EFAULT);
  struct kvm_userspace_memory_region region = {.memory_size = PAGE, .userspace_addr = (uintptr_t)c.bar};
  CHECK_FAILS(ioctl(eventfd(0, 0), KVM_SET_USER_MEMORY_REGION, &region), ENOTTY);
  CHECK(set_slot(BAR_SLOT, GUEST_BAR, PAGE, c.bar) == 0);
}

/* The device's message is the guest's interrupt, without us. */
static void connect_interrupt(void) {
  const int event = interrupt_event(&c, VFIO_PCI_MSI_IRQ_INDEX);
  struct kvm_irqfd irqfd = {.fd = (uint32_t)event, .gsi = INTERRUPT_LINE};
  CHECK(ioctl(vm, KVM_IRQFD, &irqfd) == 0);
}

static void make_access(struct kvm_run* run) {
  const uint64_t offset = run->mmio.phys_addr - GUEST_BAR;
  CHECK(offset < PAGE && run->mmio.len == 4);
  if (run->mmio.is_write) {
    uint32_t value;
    memcpy(&value, run->mmio.data, sizeof value);
    write32(&c, (unsigned)offset, value);
  } else {
    const uint32_t value = read32(&c, (unsigned)offset);
    memcpy(run->mmio.data, &value, sizeof value);
  }
  exits++;
}

/* False: the guest has ended. */
static int serve(struct kvm_run* run) {
  switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
      make_access(run);
      return 1;
    case KVM_EXIT_IO:
      if (run->io.port == PORT_END) return 0;
      CHECK(run->io.port == PORT_WORD && run->io.size == 4 && word_count < 8);
      memcpy(&words[word_count++], (const uint8_t*)run + run->io.data_offset, sizeof words[0]);
      return 1;
    default:
      fprintf(stderr, "exit %u\n", run->exit_reason);
      CHECK(run->exit_reason == KVM_EXIT_INTR);
      return 1;
  }
}

static void run_guest(int kvm) {
  const int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  CHECK(cpu >= 0);
  const long bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run* run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
  CHECK(run != MAP_FAILED);
  struct kvm_sregs system;
  CHECK(ioctl(cpu, KVM_GET_SREGS, &system) == 0);
  system.cs.base = system.cs.selector = 0;
  CHECK(ioctl(cpu, KVM_SET_SREGS, &system) == 0);
  struct kvm_regs registers = {.rip = GUEST_CODE, .rflags = 2};
  CHECK(ioctl(cpu, KVM_SET_REGS, &registers) == 0);
  do {
    CHECK(ioctl(cpu, KVM_RUN, 0) == 0);
  } while (serve(run));
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0 || ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return 77;
  alarm(60);
  c = open_client(argv[1]);
  CHECK((vm = ioctl(kvm, KVM_CREATE_VM, 0)) >= 0);
  CHECK(ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0);
  uint8_t* memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  memcpy(memory + GUEST_CODE, guest_code, (size_t)(guest_code_end - guest_code));
  CHECK(set_slot(0, 0, GUEST_BYTES, memory) == 0);

  tell_kvm_of_the_group();
  try_slots(memory);
  connect_interrupt();
  run_guest(kvm);

  printf("the guest read %#x and %#x, its interrupt's status was %#x; %u accesses came here\n", words[0], words[1],
         words[2], exits);
  CHECK(word_count == 3);
  CHECK(words[0] == EDU_IDENTITY);
  CHECK(words[1] == ~UINT32_C(0x12345678));
  CHECK(words[2] == 0x40);
  CHECK(read32(&c, EDU_STATUS_REGISTER) == 0);
  return 0;
}
