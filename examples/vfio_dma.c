/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies memory through a PCI device with VFIO, as one writes it for real hardware: nothing here knows softiommu.
 * The device is QEMU's "edu" (1234:11e8): it copies a page into its own buffer by DMA and back to another address.
 *
 * usage: vfio_dma 0000:00:06.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  EDU_ID = 0x00,
  EDU_LIVENESS = 0x04,
  EDU_IRQ_STATUS = 0x24,
  EDU_IRQ_ACK = 0x64,
  EDU_DMA_SOURCE = 0x80,
  EDU_DMA_TARGET = 0x88,
  EDU_DMA_COUNT = 0x90,
  EDU_DMA_COMMAND = 0x98,
  EDU_DMA_START = 1,
  EDU_DMA_TO_MEMORY = 2,
  EDU_DMA_INTERRUPT = 4,
  EDU_BUFFER = 0x40000, /* the device's own memory, as its DMA engine addresses it */
};

#define IOVA 0x100000u
#define PAGE 4096u

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void check(int ok, const char* what) {
  if (!ok) {
    fprintf(stderr, "vfio_dma: %s\n", what);
    exit(1);
  }
}

/* The number of the IOMMU group that sysfs names for the device. */
static int group_of(const char* bdf) {
  char path[128], link[256];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", bdf);
  ssize_t length = readlink(path, link, sizeof link - 1);
  if (length < 0) die(path);
  link[length] = '\0';
  return atoi(strrchr(link, '/') + 1);
}

static int open_device(const char* bdf, int* container) {
  char path[64];
  snprintf(path, sizeof path, "/dev/vfio/%d", group_of(bdf));
  *container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (*container < 0) die("/dev/vfio/vfio");
  int group = open(path, O_RDWR | O_CLOEXEC);
  if (group < 0) die(path);

  struct vfio_group_status status = {.argsz = sizeof status};
  if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) != 0) die("VFIO_GROUP_GET_STATUS");
  check((status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0, "the group is not viable");
  check(ioctl(*container, VFIO_GET_API_VERSION) == VFIO_API_VERSION, "another VFIO API version");
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, container) != 0) die("VFIO_GROUP_SET_CONTAINER");
  if (ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) die("VFIO_SET_IOMMU");
  int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
  if (device < 0) die("VFIO_GROUP_GET_DEVICE_FD");
  return device;
}

static void enable_bus_master(int device) {
  struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
  uint16_t command;
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  if (pread(device, &command, 2, (off_t)config.offset + PCI_COMMAND) != 2) die("reading the command register");
  command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  if (pwrite(device, &command, 2, (off_t)config.offset + PCI_COMMAND) != 2) die("writing the command register");
}

static int enable_msi(int device) {
  char storage[sizeof(struct vfio_irq_set) + sizeof(int)];
  struct vfio_irq_set* set = (struct vfio_irq_set*)storage;
  int event = eventfd(0, EFD_CLOEXEC);
  if (event < 0) die("eventfd");
  *set = (struct vfio_irq_set){.argsz = sizeof storage,
                               .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                               .index = VFIO_PCI_MSI_IRQ_INDEX,
                               .start = 0,
                               .count = 1};
  memcpy(set->data, &event, sizeof event);
  if (ioctl(device, VFIO_DEVICE_SET_IRQS, set) != 0) die("VFIO_DEVICE_SET_IRQS");
  return event;
}

/* One transfer of a page; returns when the device's interrupt has come. */
static void transfer(volatile uint8_t* registers, int event, uint64_t source, uint64_t target, uint32_t direction) {
  struct pollfd wait = {.fd = event, .events = POLLIN};
  uint64_t count;
  *(volatile uint64_t*)(registers + EDU_DMA_SOURCE) = source;
  *(volatile uint64_t*)(registers + EDU_DMA_TARGET) = target;
  *(volatile uint64_t*)(registers + EDU_DMA_COUNT) = PAGE;
  *(volatile uint64_t*)(registers + EDU_DMA_COMMAND) = EDU_DMA_START | EDU_DMA_INTERRUPT | direction;
  check(poll(&wait, 1, 5000) == 1, "the device's interrupt did not come");
  if (read(event, &count, sizeof count) != sizeof count) die("reading the eventfd");
  *(volatile uint32_t*)(registers + EDU_IRQ_ACK) = *(volatile uint32_t*)(registers + EDU_IRQ_STATUS);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: vfio_dma BDF (for example 0000:00:06.0)\n");
    return 2;
  }
  int container;
  int device = open_device(argv[1], &container);

  uint8_t* memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  for (unsigned i = 0; i < PAGE; i++) memory[i] = (uint8_t)(i * 7 + 1);
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = IOVA,
                                         .size = 2 * PAGE};
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) die("VFIO_IOMMU_MAP_DMA");

  struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
  if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) != 0) die("VFIO_DEVICE_GET_REGION_INFO");
  enable_bus_master(device);
  volatile uint8_t* registers = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)bar.offset);
  if (registers == MAP_FAILED) die("mmap of BAR 0");
  int event = enable_msi(device);

  uint32_t id = *(volatile uint32_t*)(registers + EDU_ID);
  check((id & 0xff) == 0xed, "this is not an edu device");
  *(volatile uint32_t*)(registers + EDU_LIVENESS) = 0x12345678;
  check(*(volatile uint32_t*)(registers + EDU_LIVENESS) == ~0x12345678u, "the device is not alive");

  transfer(registers, event, IOVA, EDU_BUFFER, 0);
  transfer(registers, event, EDU_BUFFER, IOVA + PAGE, EDU_DMA_TO_MEMORY);
  check(memcmp(memory, memory + PAGE, PAGE) == 0, "the copy differs from the original");

  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = IOVA, .size = 2 * PAGE};
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) die("VFIO_IOMMU_UNMAP_DMA");
  check(unmap.size == 2 * PAGE, "not everything was unmapped");
  printf("vfio_dma: %s copied %u bytes through its IOMMU; device id 0x%08x\n", argv[1], PAGE, id);
  return 0;
}
