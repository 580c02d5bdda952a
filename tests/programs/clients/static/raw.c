/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO client without a C library: every system call is made by an instruction of its own. An edu device copies a
 * page of the stack into itself and back, with an interrupt each time. The device's name is the first argument.
 */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096u
#define IOVA 0x100000u
#define EDU_BUFFER 0x40000u
enum { EDU_IRQ_STATUS = 0x24, EDU_IRQ_ACK = 0x64 };
enum { EDU_SOURCE = 0x80, EDU_TARGET = 0x88, EDU_COUNT = 0x90, EDU_COMMAND = 0x98 };
enum { START = 1, TO_MEMORY = 2, INTERRUPT = 4 };

static long call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define CALL3(number, a, b, c) call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static size_t length(const char *text) {
  size_t n = 0;
  while (text[n] != '\0') n++;
  return n;
}

static long check(long ok, const char *what) {
  if (ok) return ok;
  CALL3(SYS_write, 2, "raw: ", 5);
  CALL3(SYS_write, 2, what, length(what));
  CALL3(SYS_write, 2, "\n", 1);
  for (;;) CALL3(SYS_exit_group, 1, 0, 0);
}
#define CHECK(condition) check((condition) != 0, #condition)

static long control(long fd, unsigned long command, const void *argument) {
  return CALL3(SYS_ioctl, fd, command, argument);
}

static char *append(char *to, const char *text) {
  while (*text != '\0') *to++ = *text++;
  *to = '\0';
  return to;
}

static long open_group(const char *bdf) {
  char path[128], link[256];
  append(append(append(path, "/sys/bus/pci/devices/"), bdf), "/iommu_group");
  long bytes = CALL3(SYS_readlink, path, link, sizeof link - 1);
  CHECK(bytes > 0);
  link[bytes] = '\0';
  while (link[bytes] != '/') bytes--;
  append(append(path, "/dev/vfio"), link + bytes);
  return CALL3(SYS_open, path, O_RDWR, 0);
}

static long open_device(const char *bdf, long *container) {
  const long group = open_group(bdf);
  *container = call(SYS_openat, AT_FDCWD, (long)"/dev/vfio/vfio", O_RDWR | O_CLOEXEC, 0, 0, 0);
  CHECK(*container >= 0);
  CHECK(group >= 0);
  const int fd = (int)*container;
  CHECK(control(group, VFIO_GROUP_SET_CONTAINER, &fd) == 0);
  CHECK(control(*container, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU) == 0);
  const long device = control(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
  CHECK(device >= 0);
  return device;
}

static volatile uint8_t *map_registers(long device) {
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  const uint16_t enable = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  CHECK(control(device, VFIO_DEVICE_GET_REGION_INFO, &config) == 0);
  CHECK(control(device, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0);
  CHECK(call(SYS_pwrite64, device, (long)&enable, 2, (long)config.offset + PCI_COMMAND, 0, 0) == 2);
  const long at = call(SYS_mmap, 0, (long)bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (long)bar.offset);
  CHECK(at > 0);
  return (volatile uint8_t *)at;
}

static long enable_interrupt(long device) {
  struct {
    uint32_t argsz, flags, index, start, count; /* struct vfio_irq_set */
    int event;
  } irq = {sizeof irq, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSI_IRQ_INDEX, 0, 1,
           (int)CALL3(SYS_eventfd2, 0, O_CLOEXEC, 0)};
  CHECK(irq.event >= 0);
  CHECK(control(device, VFIO_DEVICE_SET_IRQS, &irq) == 0);
  return irq.event;
}

static void transfer(volatile uint8_t *at, long event, uint64_t source, uint64_t target, uint64_t direction) {
  struct pollfd wait = {.fd = (int)event, .events = POLLIN};
  uint64_t count = 0;
  *(volatile uint64_t *)(at + EDU_SOURCE) = source;
  *(volatile uint64_t *)(at + EDU_TARGET) = target;
  *(volatile uint64_t *)(at + EDU_COUNT) = PAGE;
  *(volatile uint64_t *)(at + EDU_COMMAND) = START | INTERRUPT | direction;
  CHECK(CALL3(SYS_poll, &wait, 1, 5000) == 1);
  CHECK(CALL3(SYS_read, event, &count, sizeof count) == sizeof count);
  *(volatile uint32_t *)(at + EDU_IRQ_ACK) = *(volatile uint32_t *)(at + EDU_IRQ_STATUS);
}

__attribute__((used)) static void run(const char *bdf) {
  _Alignas(4096) uint8_t memory[2 * PAGE];
  long container;
  const long device = open_device(bdf, &container);
  volatile uint8_t *registers = map_registers(device);
  const long event = enable_interrupt(device);
  for (unsigned i = 0; i < PAGE; i++) ((volatile uint8_t *)memory)[i] = (uint8_t)(i * 7 + 1);
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = IOVA,
                                         .size = sizeof memory};
  CHECK(control(container, VFIO_IOMMU_MAP_DMA, &map) == 0);
  CHECK((*(volatile uint32_t *)registers & 0xff) == 0xed);
  transfer(registers, event, IOVA, EDU_BUFFER, 0);
  transfer(registers, event, EDU_BUFFER, IOVA + PAGE, TO_MEMORY);
  for (unsigned i = 0; i < PAGE; i++) CHECK(((volatile uint8_t *)memory)[PAGE + i] == (uint8_t)(i * 7 + 1));
  CALL3(SYS_write, 1, "raw: copied 4096 bytes\n", 23);
  CALL3(SYS_exit_group, 0, 0, 0);
}

/* At the entry the stack holds the number of arguments, then their addresses. */
__asm__(".globl _start\n_start:\n  mov 16(%rsp), %rdi\n  and $-16, %rsp\n  call run\n  hlt\n");
