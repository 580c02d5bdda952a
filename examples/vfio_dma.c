/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies memory through a PCI device with VFIO, as one writes it for real hardware: nothing here knows softiommu.
 * The device is QEMU's "edu" (1234:11e8): it copies a page into its own buffer by DMA and back to another address.
 * Its memory is mapped by a container, or by an iommufd.
 *
 * usage: vfio_dma [--iommufd | --vf-token UUID] 0000:00:06.0
 * The token is what the users of a physical function and of its virtual ones share.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd_calls.h"

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

#define PAGE 4096u
#define MEMORY (2 * PAGE)
#define LOWEST_IOVA 0x100000u

/* Where the device's memory is mapped: in a container, or in an address space of an iommufd. */
struct mapper {
  int fd;
  int is_iommufd;
  uint32_t ioas;
  uint64_t iova; /* of the memory */
};

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

static int open_by_group(const char* bdf, const char* token, struct mapper* mapper) {
  char path[64];
  snprintf(path, sizeof path, "/dev/vfio/%d", group_of(bdf));
  mapper->fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (mapper->fd < 0) die("/dev/vfio/vfio");
  int group = open(path, O_RDWR | O_CLOEXEC);
  if (group < 0) die(path);

  struct vfio_group_status status = {.argsz = sizeof status};
  if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) != 0) die("VFIO_GROUP_GET_STATUS");
  check((status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0, "the group is not viable");
  check(ioctl(mapper->fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION, "another VFIO API version");
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &mapper->fd) != 0) die("VFIO_GROUP_SET_CONTAINER");
  if (ioctl(mapper->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) die("VFIO_SET_IOMMU");
  char name[128];
  snprintf(name, sizeof name, "%s%s%s", bdf, token == NULL ? "" : " vf_token=", token == NULL ? "" : token);
  int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
  if (device < 0) die("VFIO_GROUP_GET_DEVICE_FD");
  return device;
}

/* The name of the device's own file, as "vfio3". */
static void name_device(const char* bdf, char* name, size_t size) {
  char path[128];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vfio-dev", bdf);
  DIR* folder = opendir(path);
  if (folder == NULL) die(path);
  name[0] = '\0';
  for (struct dirent* entry; (entry = readdir(folder)) != NULL;)
    if (strncmp(entry->d_name, "vfio", 4) == 0) snprintf(name, size, "%.32s", entry->d_name);
  closedir(folder);
  check(name[0] != '\0', "the device has no file of its own");
}

static int open_by_iommufd(const char* bdf, struct mapper* mapper) {
  char name[64], path[128];
  name_device(bdf, name, sizeof name);
  snprintf(path, sizeof path, "/dev/vfio/devices/%s", name);
  mapper->is_iommufd = 1;
  mapper->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  if (mapper->fd < 0) die("/dev/iommu");
  int device = open(path, O_RDWR | O_CLOEXEC);
  if (device < 0) die(path);

  struct vfio_device_bind_iommufd bind = {.argsz = sizeof bind, .iommufd = mapper->fd};
  if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) != 0) die("VFIO_DEVICE_BIND_IOMMUFD");
  struct iommu_ioas_alloc alloc = {.size = sizeof alloc};
  if (ioctl(mapper->fd, IOMMU_IOAS_ALLOC, &alloc) != 0) die("IOMMU_IOAS_ALLOC");
  mapper->ioas = alloc.out_ioas_id;
  struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof attach, .pt_id = mapper->ioas};
  if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) != 0) die("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
  return device;
}

/* A place for the memory among the addresses that every device of the container can use. */
static uint64_t free_iova(int container) {
  _Alignas(8) char storage[PAGE];
  struct vfio_iommu_type1_info* info = (struct vfio_iommu_type1_info*)storage;
  *info = (struct vfio_iommu_type1_info){.argsz = sizeof storage};
  if (ioctl(container, VFIO_IOMMU_GET_INFO, info) != 0) die("VFIO_IOMMU_GET_INFO");
  if ((info->flags & VFIO_IOMMU_INFO_CAPS) == 0 || info->argsz > sizeof storage) return LOWEST_IOVA;
  for (uint32_t at = info->cap_offset; at != 0;) {
    const struct vfio_info_cap_header* header = (const struct vfio_info_cap_header*)(storage + at);
    const struct vfio_iommu_type1_info_cap_iova_range* cap = (const void*)header;
    at = header->next;
    if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) continue;
    for (uint32_t i = 0; i < cap->nr_iovas; i++) {
      uint64_t start = cap->iova_ranges[i].start < LOWEST_IOVA ? LOWEST_IOVA : cap->iova_ranges[i].start;
      if (cap->iova_ranges[i].end >= start && cap->iova_ranges[i].end - start >= MEMORY - 1) return start;
    }
  }
  return LOWEST_IOVA;
}

static void map_memory(struct mapper* mapper, void* memory) {
  if (mapper->is_iommufd) { /* the kernel chooses the address */
    struct iommu_ioas_map map = {.size = sizeof map,
                                 .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
                                 .ioas_id = mapper->ioas,
                                 .user_va = (uintptr_t)memory,
                                 .length = MEMORY};
    if (ioctl(mapper->fd, IOMMU_IOAS_MAP, &map) != 0) die("IOMMU_IOAS_MAP");
    mapper->iova = map.iova;
    return;
  }
  mapper->iova = free_iova(mapper->fd);
  struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map,
                                         .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                         .vaddr = (uintptr_t)memory,
                                         .iova = mapper->iova,
                                         .size = MEMORY};
  if (ioctl(mapper->fd, VFIO_IOMMU_MAP_DMA, &map) != 0) die("VFIO_IOMMU_MAP_DMA");
}

static void unmap_memory(const struct mapper* mapper) {
  if (mapper->is_iommufd) {
    struct iommu_ioas_unmap unmap = {
        .size = sizeof unmap, .ioas_id = mapper->ioas, .iova = mapper->iova, .length = MEMORY};
    if (ioctl(mapper->fd, IOMMU_IOAS_UNMAP, &unmap) != 0) die("IOMMU_IOAS_UNMAP");
    check(unmap.length == MEMORY, "not everything was unmapped");
    return;
  }
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = mapper->iova, .size = MEMORY};
  if (ioctl(mapper->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) die("VFIO_IOMMU_UNMAP_DMA");
  check(unmap.size == MEMORY, "not everything was unmapped");
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
  const int by_iommufd = argc == 3 && strcmp(argv[1], "--iommufd") == 0;
  const char* token = argc == 4 && strcmp(argv[1], "--vf-token") == 0 ? argv[2] : NULL;
  if (argc != 2 && !by_iommufd && token == NULL) {
    fprintf(stderr, "usage: vfio_dma [--iommufd | --vf-token UUID] BDF (for example 0000:00:06.0)\n");
    return 2;
  }
  const char* bdf = argv[argc - 1];
  struct mapper mapper = {0};
  int device = by_iommufd ? open_by_iommufd(bdf, &mapper) : open_by_group(bdf, token, &mapper);

  uint8_t* memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  for (unsigned i = 0; i < PAGE; i++) memory[i] = (uint8_t)(i * 7 + 1);
  map_memory(&mapper, memory);

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

  transfer(registers, event, mapper.iova, EDU_BUFFER, 0);
  transfer(registers, event, EDU_BUFFER, mapper.iova + PAGE, EDU_DMA_TO_MEMORY);
  check(memcmp(memory, memory + PAGE, PAGE) == 0, "the copy differs from the original");

  unmap_memory(&mapper);
  printf("vfio_dma: %s copied %u bytes through its IOMMU; device id 0x%08x\n", bdf, PAGE, id);
  return 0;
}
